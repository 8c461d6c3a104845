"""How much of a teacher's vectors a smaller encoder keeps."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.random import Generator

from tailrec.errors import DataError
from tailrec.items import Array, Float32Array, Int64Array

NEAREST: Final = 10
"""Neighbours of a text that are compared."""

LIKENESS: Final = "likeness"
OVERLAP: Final = f"overlap@{NEAREST}"
_MOST: Final = 1000
"""Texts that are held out at most: every pair of them is compared."""

_LEAST: Final = 2 * NEAREST


def unit(vectors: Array) -> Float32Array:
    """float32 [N, D], rows of unit length; zero rows stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)


def likeness(near: Float32Array, exact: Float32Array) -> float:
    """Mean cosine of two encoders' vectors of the same texts, both [N, D] in one space."""
    return float(np.mean((unit(near) * unit(exact)).sum(axis=1)))


def overlap(near: Float32Array, exact: Float32Array) -> float:
    """Share of each text's nearest others that both encoders name, in 0..1.

    Args:
        near: float32 [N, D].
        exact: float32 [N, E]; widths may differ.

    Cost: N² products.
    """
    ours, theirs = _nearest(unit(near)), _nearest(unit(exact))
    shared = (ours[:, :, None] == theirs[:, None, :]).any(axis=2)
    return float(shared.mean())


def hold_out(texts: Sequence[str], share: float, rng: Generator) -> tuple[Int64Array, Int64Array]:
    """Texts to learn from and texts to measure on, at most a thousand.

    Args:
        texts: [N], distinct.
        share: of the texts that are measured on, in (0, 1).
        rng: draws them.

    Returns:
        int64, rows to learn from, and int64, rows to measure on, both rising.

    Raises:
        DataError: there are too few texts to compare neighbours, or none are left to learn from.
    """
    n_held = min(round(share * len(texts)), _MOST)
    if n_held < _LEAST:
        raise DataError(
            f"{n_held} of {len(texts)} texts can be held out; {_LEAST} are needed to compare the "
            f"{NEAREST} nearest: ingest more items, or hold out a larger share"
        )
    if n_held == len(texts):
        raise DataError(
            f"held_out = {share:g} leaves none of {n_held} texts to learn from; hold out fewer"
        )
    order = rng.permutation(len(texts))
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def _nearest(vectors: Float32Array) -> Int64Array:
    like = vectors @ vectors.T
    np.fill_diagonal(like, -np.inf)
    k = min(NEAREST, len(vectors) - 1)
    return np.argpartition(-like, k - 1, axis=1)[:, :k]
