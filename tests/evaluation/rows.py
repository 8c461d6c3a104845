"""Ragged rows and slates, written as lists."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from tailrec.items import PADDING, Float64Array, Int32Array, Int64Array


def ragged(rows: Sequence[Sequence[int]]) -> tuple[Int64Array, Int32Array]:
    """Bounds int64 [B + 1] and entries int32 [T]."""
    ptr = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return ptr, np.array([item for row in rows for item in row], np.int32)


def slates(rows: Sequence[Sequence[int]], k: int) -> Int32Array:
    """int32 [B, k], padded at the end."""
    ids = np.full((len(rows), k), PADDING, np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return ids


def unit(vectors: Float64Array) -> sparse.csr_array:
    """float32 CSR, rows of unit length; empty ones stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    own = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    return sparse.csr_array(own.astype(np.float32))
