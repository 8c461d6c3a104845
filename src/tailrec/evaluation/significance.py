"""Whether one model is better than another, or was lucky in its users."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from tailrec.errors import DataError
from tailrec.items import Float64Array

_CELLS = 4_000_000
"""Draws times users held at once: 32 MB of counts."""

_COUNTING = 6
"""A multinomial count costs about as much as drawing so many users one by one."""


class Interval(NamedTuple):
    """A figure with its bounds: `low` and `high` hold 95 % of the draws, `mid` is the figure."""

    low: float
    mid: float
    high: float


def ratio_interval(
    a: Float64Array, b: Float64Array, *, draws: int = 10_000, rng: Generator
) -> Interval:
    """Paired bootstrap over users of mean(a) / mean(b), with 95 % bounds.

    Model a is better than b if `low` is above 1.

    Args:
        a: float64 [B], one model's figure for each user; NaN where it is not defined.
        b: float64 [B], the other model's, for the same users.
        draws: how many resamples.
        rng: draws them.

    Returns:
        The bounds and the ratio itself. A draw in which both means are 0 counts as ratio 0, one
        in which only b's is 0 as infinity.

    Raises:
        DataError: the arrays are not of the same users, or b is 0 for all.

    Cost:
        draws x users, or far less where few pairs of figures differ, as in leave-one-out.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, percentile interval.
    """
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        raise DataError(
            f"figures of {a.shape} and {b.shape} users, {np.isnan(a).sum()} and "
            f"{np.isnan(b).sum()} undefined; a paired comparison needs the same users in both"
        )
    pairs = np.stack([a, b], axis=1)[~np.isnan(a)]
    if not pairs[:, 1].any():
        raise DataError("the second model's figure is 0 for every user; there is no ratio to it")
    sums = _resample(pairs, draws, rng)
    beyond = np.where(sums[:, 0] > 0, np.inf, 0.0)
    ratios = np.divide(sums[:, 0], sums[:, 1], out=beyond, where=sums[:, 1] > 0)
    # Interpolation between two infinities would be NaN.
    low, high = np.quantile(ratios, [0.025, 0.975], method="closest_observation")
    return Interval(float(low), float(pairs[:, 0].mean() / pairs[:, 1].mean()), float(high))


def _resample(pairs: Float64Array, draws: int, rng: Generator) -> Float64Array:
    """float64 [draws, 2], sums over users drawn with replacement from pairs [B, 2]."""
    n = len(pairs)
    distinct, counts = np.unique(pairs, axis=0, return_counts=True)
    # Equal users may be drawn together, by their number: the distribution is the same.
    together = _COUNTING * len(distinct) < n
    chunk = max(_CELLS // (len(distinct) if together else n), 1)
    sums = np.empty((draws, 2))
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        if together:
            sums[start : start + size] = rng.multinomial(n, counts / n, size=size) @ distinct
        else:
            users = rng.integers(n, size=(size, n), dtype=np.int32)
            for column in (0, 1):
                sums[start : start + size, column] = pairs[users, column].sum(1)
    return sums
