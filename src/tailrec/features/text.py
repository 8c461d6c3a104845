"""Vectors of what the items' texts mean, by any sentence-transformers model."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tailrec.dataset import Catalog
from tailrec.features.cache import VectorCache
from tailrec.features.fields import FIELDS, item_texts
from tailrec.features.onnx import form_key, load_int8
from tailrec.features.weights import PACKAGED, find_model, fingerprint
from tailrec.items import BoolArray, Float32Array
from tailrec.recipe import Recipe

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

_PIECE: Final = 1024
"""Texts encoded between two reports; what is encoded is kept if the process then ends."""


class TextEncoder(Recipe):
    """Which encoder reads which fields, and how.

    Attributes:
        kind: says which encoder recipe this is.
        model: the packaged MiniLM, a folder, or a name on the Hugging Face hub.
        form: `int8` runs on the CPU by ONNX Runtime, `fp32` by PyTorch as published; `auto` is
            fp32 on a GPU and int8 elsewhere.
        device: `auto`, or a device of PyTorch's such as `cpu` and `cuda`.
        fields: text columns, most telling first: only the beginning of a long text is read.
        max_length: tokens of a text that are read, at most what the model was made for.
        item_prefix: put before every item's text, for models that were taught with one.
        query_prefix: put before every query, likewise.
        threads: texts encoded side by side by the int8 form; None for one a processor.
        batch_tokens: tokens encoded at once by the fp32 form, padding counted.
    """

    kind: Literal["sentence-transformers"] = "sentence-transformers"
    model: str = PACKAGED
    form: Literal["auto", "int8", "fp32"] = "auto"
    device: str = "auto"
    fields: tuple[str, ...] = FIELDS
    max_length: int = Field(default=64, ge=4)
    item_prefix: str = ""
    query_prefix: str = ""
    threads: int | None = Field(default=None, ge=1)
    batch_tokens: int = Field(default=4096, ge=1)

    @model_validator(mode="after")
    def _form_fits_device(self) -> Self:
        if self.form == "int8" and self.device not in ("auto", "cpu"):
            raise ValueError(f"form 'int8' runs on the CPU, not on {self.device!r}; use 'fp32'")
        return self

    def prepare(self, *, cache: Path | None = None) -> "LoadedEncoder":
        """The encoder, ready.

        Args:
            cache: folder that keeps vectors and int8 forms, made where missing; several
                processes may share it, and deleting it only costs time. None keeps nothing.

        Raises:
            RecipeError: the model cannot be found, or not be brought to this form.
        """
        folder = find_model(self.model)
        mark = fingerprint(folder)
        device = _device(self.device)
        on_cpu = device == "cpu"
        if self.form == "int8" or (self.form == "auto" and on_cpu):
            form = form_key(mark)
            int8 = load_int8(
                folder, mark, cache=cache, max_length=self.max_length, threads=self.threads
            )
            run, dim = int8.vectors, int8.dim
        else:
            from tailrec.features.original import Original

            form = f"fp32-{mark[:24]}"
            original = Original(folder, device=device, max_length=self.max_length)
            run = partial(original.vectors, batch_tokens=self.batch_tokens)
            dim = original.dim
        kept = None
        if cache is not None:
            kept = VectorCache(cache / "vectors" / f"{form}-{self.max_length}", dim)
        return LoadedEncoder(self, dim, run, kept)


class LoadedEncoder:
    """Texts to vectors of unit length, for items and for queries.

    Attributes:
        dim: length of a vector.
    """

    def __init__(
        self,
        recipe: TextEncoder,
        dim: int,
        run: Callable[[Sequence[str]], Float32Array],
        kept: VectorCache | None,
    ) -> None:
        self.dim = dim
        self._recipe = recipe
        self._run = run
        self._kept = kept

    def encode(self, catalog: Catalog, *, progress: Progress | None = None) -> Float32Array:
        """Vectors of items; texts that were encoded before come from the cache.

        Args:
            catalog: the items.
            progress: told how many of the texts not in the cache are encoded.

        Returns:
            float32 [I, dim], rows of unit length, zero where an item has no text.
        """
        texts = item_texts(catalog, self._recipe.fields)
        distinct, place = np.unique(np.array(texts, dtype=object), return_inverse=True)
        prefixed = [self._recipe.item_prefix + text for text in distinct]
        vectors, known = self._recall(prefixed)
        known |= distinct == ""
        missing = np.flatnonzero(~known)
        # Texts of one length side by side need little padding; the longest come first, so that
        # the time told from the progress made is too long rather than too short.
        lengths = np.array([len(prefixed[row]) for row in missing], np.int64)
        missing = missing[np.argsort(-lengths, kind="stable")]
        for start in range(0, len(missing), _PIECE):
            rows = missing[start : start + _PIECE]
            piece = [prefixed[row] for row in rows]
            vectors[rows] = _unit(self._run(piece))
            if self._kept is not None:
                self._kept.put(piece, vectors[rows])
            if progress is not None:
                progress("encoding texts", start + len(rows), len(missing))
        return vectors[place]

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """Vectors of queries, never cached.

        Args:
            texts: [N] strings.

        Returns:
            float32 [N, dim], rows of unit length, zero where a text is blank.
        """
        rows = [row for row, text in enumerate(texts) if text.strip()]
        vectors = np.zeros((len(texts), self.dim), np.float32)
        if rows:
            asked = [self._recipe.query_prefix + texts[row] for row in rows]
            vectors[rows] = _unit(self._run(asked))
        return vectors

    def _recall(self, texts: list[str]) -> tuple[Float32Array, BoolArray]:
        if self._kept is not None:
            return self._kept.get(texts)
        return np.zeros((len(texts), self.dim), np.float32), np.zeros(len(texts), np.bool_)


def _unit(vectors: Float32Array) -> Float32Array:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float32Array = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit


def _device(wanted: str) -> str:
    """The device meant; PyTorch is asked only where the machine shows a GPU."""
    if wanted != "auto":
        return wanted
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
