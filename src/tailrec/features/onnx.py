"""The int8 form of an encoder, run by ONNX Runtime: no PyTorch, twice as fast on a CPU."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from tailrec.errors import RecipeError
from tailrec.items import Float32Array

_MAKING: Final = 2
"""Raised when the way a form is made changes, so that older forms are made anew."""

_LEAST_LIKENESS: Final = 0.97
_PROBE: Final = (
    "red matte lipstick long lasting vegan 2 pack garden hose 30 m with brass nozzle wireless "
    "headphones noise cancelling bluetooth 5.3 black stainless steel bottle for kids organic "
    "green tea 100 bags men's running shoes size 44 waterproof led bicycle tail light usb"
)
_PROBE_TOKENS: Final = 128
_FILES: Final = ("model.onnx", "tokenizer.json")
_CARD: Final = "form.json"
_log = logging.getLogger(__name__)


class Int8:
    """A form that was made, ready to encode.

    Attributes:
        dim: length of a vector.
    """

    def __init__(self, folder: Path, *, max_length: int, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        # Texts, not the parts of one text, are what runs side by side.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            folder / _FILES[0], options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / _FILES[1]))
        self._tokenizer.no_padding()
        card = json.loads((folder / _CARD).read_text("utf-8"))
        self._tokenizer.enable_truncation(min(max_length, card["longest"]))
        self._threads = threads or _n_processors()
        self.dim = int(self._session.get_outputs()[0].shape[1])

    def vectors(self, texts: Sequence[str]) -> Float32Array:
        """float32 [N, dim], not yet of unit length; each depends on its text alone."""
        encoded = [entry.ids for entry in self._tokenizer.encode_batch(list(texts))]
        vectors = np.empty((len(texts), self.dim), np.float32)

        def encode(first: int) -> None:
            for row in range(first, len(texts), n_threads):
                ids = np.array([encoded[row]], np.int64)
                vectors[row] = self._session.run(None, {"input_ids": ids})[0][0]

        n_threads = max(1, min(self._threads, len(texts)))
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(encode, range(n_threads)))
        return vectors


def load_int8(
    model: Path, mark: str, *, cache: Path | None, max_length: int, threads: int | None
) -> Int8:
    """The int8 form of a model, made on first use.

    Args:
        model: folder of the original.
        mark: the original's fingerprint.
        cache: folder where forms are kept; None makes the form anew every time.
        max_length: tokens of a text that are read.
        threads: texts encoded side by side; None for one a processor.

    Raises:
        RecipeError: no int8 form of the model can be made, or it is not like the original.
    """
    if cache is None:
        with tempfile.TemporaryDirectory() as scratch:
            _make(model, Path(scratch))
            return Int8(Path(scratch), max_length=max_length, threads=threads)
    folder = cache / "forms" / form_key(mark)
    if refused := _card(folder).get("refused"):
        raise RecipeError(refused)
    if not _whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
            beside = Path(scratch) / folder.name
            beside.mkdir()
            try:
                _make(model, beside)
            except RecipeError as error:
                # Remembered, for it takes long to find out; nothing else of it is kept.
                for path in beside.iterdir():
                    path.unlink()
                (beside / _CARD).write_text(json.dumps({"refused": str(error)}), "utf-8")
                _put(beside, folder)
                raise
            _put(beside, folder)
    return Int8(folder, max_length=max_length, threads=threads)


def _put(beside: Path, folder: Path) -> None:
    try:
        beside.rename(folder)
    except OSError:
        # Another process was first; what it made is as good.
        if not _whole(folder) and "refused" not in _card(folder):
            raise


def form_key(mark: str) -> str:
    """Name of the int8 form of the weights `mark`, as made by the installed versions."""
    makers = [f"{name}={version(name)}" for name in ("onnxruntime", "torch", "onnx")]
    whole = ":".join([mark, str(_MAKING), *makers])
    return f"int8-{hashlib.sha256(whole.encode()).hexdigest()[:24]}"


def _make(model: Path, folder: Path) -> None:
    """Write a form and its card into an empty folder, once it has proved like the original."""
    from tailrec.features.original import Original
    from tailrec.features.quantise import write_int8

    _log.info("making the int8 form of %s; this is done once", model.name)
    original = Original(model, device="cpu", max_length=_PROBE_TOKENS)
    try:
        write_int8(original.model, folder)
    except Exception as error:
        # The exporter raises all kinds; for what runs a model they mean the same.
        reason = str(error).strip().partition("\n")[0][:200]
        raise RecipeError(
            f"encoder {model.name!r} has no int8 form ({type(error).__name__}: {reason}); "
            "use form = 'fp32' for this encoder"
        ) from error
    digests = {name: _digest(folder / name) for name in _FILES}
    card = {"longest": original.longest, "digests": digests}
    (folder / _CARD).write_text(json.dumps(card), "utf-8")
    probes = [_PROBE[:length] for length in (3, 10, 20, 40, 80, 160, len(_PROBE))]
    exact = original.vectors(probes, batch_tokens=4096)
    near = Int8(folder, max_length=_PROBE_TOKENS, threads=1).vectors(probes)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(near, axis=1)
    likeness = float(np.mean((exact * near).sum(axis=1) / norms))
    if not likeness >= _LEAST_LIKENESS:
        raise RecipeError(
            f"the int8 form of encoder {model.name!r} has cosine {likeness:.3f} to the original, "
            f"below {_LEAST_LIKENESS}; use form = 'fp32' for this encoder"
        )


def _whole(folder: Path) -> bool:
    """Whether a form is there, with every byte it was made with."""
    try:
        return bool(_card(folder)["digests"] == {name: _digest(folder / name) for name in _FILES})
    except (OSError, KeyError):
        return False


def _card(folder: Path) -> dict[str, Any]:
    """What a form tells of itself; empty where there is none, or none that can be read."""
    try:
        card = json.loads((folder / _CARD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def _n_processors() -> int:
    """Processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
