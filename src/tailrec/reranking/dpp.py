"""Slates whose items span as much as they can: greedy choice by a determinantal point process."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tailrec.items import PADDING, Array, Float32Array, Float64Array, Int32Array
from tailrec.kernels import compiled
from tailrec.reranking.diversity import mean_distance
from tailrec.reranking.pool import Pool

DEPENDENT: Final = 1e-6
"""What is left of an item, of 1, once those above it are taken out, where it adds nothing: some
times the rounding of cosines in float32."""


@dataclass(frozen=True, slots=True)
class Dpp:
    """Greedy maximum of a determinantal point process.

    Next comes the item that raises (1 - s)·(sum of relevance) + s·log det(S) most, S the
    similarities (1 + cosine) / 2 of the slate: the determinant of its part of the kernel
    Diag(exp(a·r)) S Diag(exp(a·r)) with a = (1 - s) / 2s. Where every item left is, up to
    rounding, a combination of those above it, the most relevant comes next.

    Attributes:
        cosine: float32 [B, P, P], of all pairs of a pool; see `diversity.cosines`.
        window: how many of the items above an item count.

    Source:
        Chen, Zhang and Zhou 2018, arXiv:1709.05135: their s is 1 - theta here.
    """

    cosine: Float32Array
    window: int

    def slates(self, pool: Pool, strengths: Float64Array, n: int) -> Int32Array:
        """The greedy slates; see `pool.Variety`. Cost: n·P·min(n, window) for each strength."""
        places = np.full((*strengths.shape, n), PADDING, np.int32)
        sizes = pool.proposed, pool.size
        _arrange(self.cosine, (pool.relevance, *sizes), strengths, self.window, places)
        return places

    def measure(self, slates: Int32Array) -> Float64Array:
        """Mean distance of the pairs; see `diversity.mean_distance`."""
        return mean_distance(self.cosine, slates, self.window)


@compiled
def _arrange(
    cosine: Float32Array,
    pool: tuple[Array, Array, Array],
    strengths: Float64Array,
    window: int,
    places: Int32Array,
) -> None:
    """Fill `places` [B, S, n]; `pool` is relevance, proposed and size.

    `factor` [w, P] holds, for the items that count, rows of the Cholesky factor of their
    similarities, taken on to all items; `left` [P] is what they leave of each item.
    """
    n_items = cosine.shape[1]
    factor = np.empty((min(window, places.shape[2]), n_items))
    for row in range(len(places)):
        relevance, proposed, size = pool[0][row], pool[1][row], pool[2][row]
        for step in range(places.shape[1]):
            strength, chosen = strengths[row, step], places[row, step]
            weight = np.exp(relevance[:size] * ((1 - strength) / strength))
            left = np.ones(size)
            taken = np.zeros(size, np.bool_)
            for place in range(min(len(chosen), size)):
                low, high = (0, proposed) if place < proposed else (proposed, size)
                best, best_gain, first = -1, -np.inf, -1
                for at in range(low, high):
                    if not taken[at]:
                        first = at if first < 0 else first
                        gain = weight[at] * left[at]
                        if left[at] > DEPENDENT and gain > best_gain:
                            best, best_gain = at, gain
                chosen[place] = best if best >= 0 else first
                taken[chosen[place]] = True
                if place >= window:
                    _forget(factor[:, :size], left, chosen[place - window + 1 : place])
                own = min(place, window - 1)
                _take_in(cosine[row, chosen[place]], factor[: own + 1, :size], left, chosen[place])


@compiled
def _take_in(cosine: Array, factor: Float64Array, left: Float64Array, item: int) -> None:
    """Make the last row of `factor` that of a chosen item; a dependent one takes nothing."""
    own = factor[-1]
    own[:] = 0
    if left[item] <= DEPENDENT:
        return
    for at in range(len(own)):
        own[at] = (1.0 + cosine[at]) / 2
    own[item] = 1
    for earlier in factor[:-1]:
        share = earlier[item]
        for at in range(len(own)):
            own[at] -= share * earlier[at]
    scale = 1 / np.sqrt(left[item])
    for at in range(len(own)):
        own[at] *= scale
        left[at] -= own[at] * own[at]


@compiled
def _forget(factor: Float64Array, left: Float64Array, kept: Int32Array) -> None:
    """Take the oldest item, the first row, out of `factor`; `kept` are the items behind it.

    Without its first column the factor of the others is no longer triangular: rotations of that
    column with one row after the other make it so again, and keep every sum of squares.
    """
    oldest = factor[0].copy()
    for m in range(len(kept)):
        own = factor[m + 1]
        a, b = own[kept[m]], oldest[kept[m]]
        length = np.sqrt(a * a + b * b)
        # An item that depends on others still does: its row stays zero.
        if length * length <= DEPENDENT:
            a, b, length = 1.0, 0.0, 1.0
        for at in range(len(oldest)):
            above, beside = own[at], oldest[at]
            factor[m, at] = (a * above + b * beside) / length
            oldest[at] = (a * beside - b * above) / length
    for at in range(len(oldest)):
        left[at] += oldest[at] * oldest[at]
