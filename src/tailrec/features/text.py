"""Vectors of what the items' texts mean, by any sentence-transformers model."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from tailrec.dataset import Catalog
from tailrec.errors import RecipeError
from tailrec.features.cache import VectorCache
from tailrec.features.fields import FIELDS, item_texts, read_template, template_texts
from tailrec.features.onnx import form_key, load_int8
from tailrec.features.static import Static, is_static
from tailrec.features.weights import PACKAGED, find_model, fingerprint, read_card
from tailrec.items import BoolArray, Float32Array
from tailrec.recipe import Recipe

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

_PIECE: Final = 1024
"""Texts encoded between two reports; what is encoded is kept if the process then ends."""

_log = logging.getLogger(__name__)


class Form(NamedTuple):
    """A way an encoder runs.

    Attributes:
        key: names it and the weights, for the cache.
        dim: length of a vector.
        run: [N] texts to float32 [N, dim], not yet of unit length.
    """

    key: str
    dim: int
    run: Callable[[list[str]], Float32Array]


class TextEncoder(Recipe):
    """Which encoder reads which fields, and how.

    Attributes:
        kind: says which encoder recipe this is.
        model: the packaged MiniLM, a folder, absolute or inside the shop's, or a name on the
            Hugging Face hub.
        form: `int8` runs on the CPU by ONNX Runtime, `fp32` by PyTorch as published; `auto` is
            fp32 on a GPU and int8 elsewhere, fp32 too where a model has no good int8 form. A
            static model runs by numpy under `auto`.
        device: `auto`, or a device of PyTorch's such as `cpu` and `cuda`.
        fields: text columns, most telling first: only the beginning of a long text is read.
        template: how the fields make one text, such as `{title} by {brand}`, in the place of
            `fields`; words beside a field that an item lacks go with it.
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
    template: str | None = None
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

    @field_validator("template")
    @classmethod
    def _template_is_read(cls, template: str | None) -> str | None:
        if template is not None:
            read_template(template)
        return template

    def texts(self, catalog: Catalog) -> list[str]:
        """What is read of every item, without the prefix: [I] strings, empty without a text."""
        if self.template is None:
            return item_texts(catalog, self.fields)
        return template_texts(catalog, read_template(self.template))

    def prefixed(self, texts: Iterable[str]) -> list[str]:
        """Items' texts as the model reads them; one that is not there has no prefix either."""
        return [text and self.item_prefix + text for text in texts]

    def card(self, home: Path | None = None) -> dict[str, Any]:
        """How the model came about; empty for one that was not trained here.

        Args:
            home: folder of the shop, where a model's folder is looked for; None: here.

        Raises:
            RecipeError: the model cannot be found.
            ArtifactError: its card is damaged.
        """
        return read_card(find_model(self.model, home))

    def prepare(self, *, cache: Path | None = None, home: Path | None = None) -> "LoadedEncoder":
        """The encoder, ready.

        Args:
            cache: folder that keeps vectors and int8 forms, made where missing; several
                processes may share it, and deleting it only costs time. None keeps nothing.
            home: folder of the shop, where a model's folder is looked for; None: here.

        Raises:
            RecipeError: the model cannot be found, or not be brought to this form.
        """
        folder = find_model(self.model, home)
        mark = fingerprint(folder)
        form = self._form(folder, mark, cache)
        kept = None
        if cache is not None:
            kept = VectorCache(cache / "vectors" / f"{form.key}-{self.max_length}", form.dim)
        return LoadedEncoder(self, mark, form, kept)

    def _form(self, folder: Path, mark: str, cache: Path | None) -> Form:
        device = _device(self.device)
        if self.form != "fp32" and is_static(folder):
            if self.form == "int8":
                raise RecipeError(f"encoder {self.model!r} is static; form 'auto' is its fast form")
            static = Static(folder, max_length=self.max_length)
            return Form(f"static-{mark[:24]}", static.dim, static.vectors)
        if self.form == "int8" or (self.form == "auto" and device == "cpu"):
            length, threads = self.max_length, self.threads
            try:
                int8 = load_int8(folder, mark, cache=cache, max_length=length, threads=threads)
                return Form(form_key(mark), int8.dim, int8.vectors)
            except RecipeError as refused:
                if self.form == "int8":
                    raise
                _log.warning("%s; it runs as fp32, which is slower", refused)
        from tailrec.features.original import Original

        original = Original(folder, device=device, max_length=self.max_length)
        run = partial(original.vectors, batch_tokens=self.batch_tokens)
        return Form(f"fp32-{mark[:24]}", original.dim, run)


class LoadedEncoder:
    """Texts to vectors of unit length, for items and for queries.

    Attributes:
        dim: length of a vector.
        mark: digest of the model's files; vectors of another are of another space.
    """

    def __init__(
        self, recipe: TextEncoder, mark: str, form: Form, kept: VectorCache | None
    ) -> None:
        self.dim = form.dim
        self.mark = mark
        self._recipe = recipe
        self._run = form.run
        self._kept = kept

    def encode(self, catalog: Catalog, *, progress: Progress | None = None) -> Float32Array:
        """Vectors of items; texts that were encoded before come from the cache.

        Args:
            catalog: the items.
            progress: told how many of the texts not in the cache are encoded.

        Returns:
            float32 [I, dim], rows of unit length, zero where an item has no text.
        """
        texts = self._recipe.texts(catalog)
        distinct, place = np.unique(np.array(texts, dtype=object), return_inverse=True)
        prefixed = self._recipe.prefixed(distinct)
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
