"""A multinomial logit over pools: which of the proposed items a person turned to.

The score of an item is w_c·x + b_c, with x what the sources say of it, c the class it is of, w at
least 0. The log-likelihood of what was turned to is concave in w and b, so there is one best.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import minimize

from tailrec.items import Array, BoolArray, Float32Array, Float64Array, Int8Array, Int64Array

_STEPS = 100


class Weights(NamedTuple):
    """Of a logit.

    Attributes:
        by_class: float64 [C, F], at least 0.
        offset: float64 [C], of each class.
    """

    by_class: Float64Array
    offset: Float64Array

    @classmethod
    def even(cls, n_classes: int, n_columns: int) -> Self:
        """Every column counts 1."""
        return cls(np.ones((n_classes, n_columns)), np.zeros(n_classes))


@dataclass(frozen=True)
class Choices:
    """Pools, one item after the other.

    Attributes:
        ptr: int64 [R + 1], bounds of the pools; none is empty.
        said: float32 [N, F], what sources say.
        kind: int8 [N], class of each item.
        counts: float64 [N], what an item counts as a right answer; 0 for those that are none.
    """

    ptr: Int64Array
    said: Float32Array
    kind: Int8Array
    counts: Float64Array

    @classmethod
    def of(cls, said: Float32Array, kind: Int8Array, counts: Array, real: BoolArray) -> Self:
        """Choices of pools without any right answer left out.

        Args:
            said: float32 [B, P, F].
            kind: int8 [B, P].
            counts: [B, P].
            real: bool [B, P], which places hold an item.
        """
        rows = np.flatnonzero((counts > 0).any(axis=1))
        said, kind, counts, real = said[rows], kind[rows], counts[rows], real[rows]
        sizes = real.sum(axis=1)
        ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(ptr, said[real], kind[real], counts[real].astype(np.float64))

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def best(self, start: Weights, shrink: float) -> Weights:
        """The weights of the highest likelihood, drawn to where they start.

        Args:
            start: where they start.
            shrink: weight of the squared distance to it, beside the mean log-likelihood.
        """
        if not len(self):
            return start
        n_classes, n_columns = start.by_class.shape
        n_weights = n_classes * n_columns

        def split(values: Float64Array) -> Weights:
            return Weights(values[:n_weights].reshape(n_classes, n_columns), values[n_weights:])

        def worse(values: Float64Array) -> tuple[float, Float64Array]:
            weights = split(values)
            loss, by_class, offset = self._loss(weights)
            apart, moved = weights.by_class - start.by_class, weights.offset - start.offset
            loss += shrink * float(np.square(apart).sum() + np.square(moved).sum())
            by_class = by_class + 2 * shrink * apart
            return loss, np.concatenate([by_class.ravel(), offset + 2 * shrink * moved])

        found = minimize(
            worse,
            np.concatenate([start.by_class.ravel(), start.offset]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * n_weights + [(None, None)] * n_classes,
            options={"maxiter": _STEPS},
        )
        return split(found.x)

    def _loss(self, weights: Weights) -> tuple[float, Float64Array, Float64Array]:
        """Minus the mean log-likelihood, and its gradients."""
        first, sizes = self.ptr[:-1], np.diff(self.ptr)
        scores = scored(weights, self.said, self.kind)
        scores -= np.repeat(np.maximum.reduceat(scores, first), sizes)
        shares = np.exp(scores)
        total = np.add.reduceat(shares, first)
        wanted = np.add.reduceat(self.counts, first)
        whole = float(wanted.sum())
        loss = float((wanted * np.log(total)).sum() - (self.counts * scores).sum()) / whole
        shares *= np.repeat(wanted / total, sizes)
        slope: Float64Array = (shares - self.counts) / whole
        n_classes = len(weights.offset)
        by_class, offset = np.empty_like(weights.by_class), np.empty(n_classes)
        offset[:] = np.bincount(self.kind, slope, n_classes)
        for column in range(self.said.shape[1]):
            by_class[:, column] = np.bincount(self.kind, slope * self.said[:, column], n_classes)
        return loss, by_class, offset


def scored(weights: Weights, said: Float32Array, kind: Int8Array) -> Float64Array:
    """float64 [...], scores of items of which sources say `said` [..., F]."""
    scores: Float64Array = weights.offset[kind]
    for column in range(said.shape[-1]):
        scores += weights.by_class[kind, column] * said[..., column]
    return scores
