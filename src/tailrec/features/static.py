"""A static encoder: a text's vector is the mean of its tokens' vectors. It takes numpy alone."""

import json
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy import sparse
from tokenizers import Tokenizer

from tailrec.errors import RecipeError
from tailrec.items import Float32Array

_TABLE: Final = "StaticEmbedding"
_HARMLESS: Final = "Normalize"
"""What may follow the table: vectors become of unit length anyway."""

_WEIGHTS: Final = "model.safetensors"
_TOKENIZER: Final = "tokenizer.json"


class Static:
    """A static encoder, ready to encode.

    Attributes:
        dim: length of a vector.
    """

    def __init__(self, folder: Path, *, max_length: int) -> None:
        inside = folder / _modules(folder)[0]["path"]
        try:
            self._table = _table(load_file(inside / _WEIGHTS))
            # By its text: a missing file is then an OSError, not an Exception of no kind.
            self._tokenizer = Tokenizer.from_str((inside / _TOKENIZER).read_text("utf-8"))
        except (OSError, SafetensorError, KeyError) as error:
            raise RecipeError(f"static encoder {folder.name!r} cannot be read: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self.dim = int(self._table.shape[1])

    def vectors(self, texts: list[str]) -> Float32Array:
        """float32 [N, dim], not of unit length; zero where a text has no token."""
        read = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [entry.ids for entry in read]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.fromiter(chain.from_iterable(ids), np.int32, int(bounds[-1]))
        share = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
        shape = (len(ids), len(self._table))
        means: Float32Array = sparse.csr_array((share, flat, bounds), shape=shape) @ self._table
        return means


def is_static(folder: Path) -> bool:
    """Whether a sentence-transformers folder holds a table of token vectors, and no network."""
    kinds = [module["type"].rpartition(".")[2] for module in _modules(folder)]
    return kinds[:1] == [_TABLE] and set(kinds[1:]) <= {_HARMLESS}


def _modules(folder: Path) -> list[dict[str, str]]:
    try:
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        return [{"type": str(module["type"]), "path": str(module["path"])} for module in modules]
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"encoder {folder.name!r} has no readable modules.json ({error!r})"
        raise RecipeError(message) from error


def _table(weights: dict[str, Any]) -> Float32Array:
    """float32 [V, dim]; model2vec's files keep vectors, shares and a numbering apart."""
    if "embedding.weight" in weights:
        return np.asarray(weights["embedding.weight"], np.float32)
    table = np.asarray(weights["embeddings"], np.float32)
    if "mapping" in weights:
        table = table[weights["mapping"]]
    if "weights" in weights:
        table = table * weights["weights"].astype(np.float32)[:, None]
    return table
