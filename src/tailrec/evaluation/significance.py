"""Whether one model is better than another, or was lucky in its users."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from tailrec.errors import DataError
from tailrec.items import Array, Float64Array, Int32Array
from tailrec.kernels import compiled

Pair = tuple[Float64Array, Float64Array]

_CELLS = 2_000_000
"""Draws times users held at once: 16 MB of counts."""

_EQUAL = 1e-12
"""Sums closer than this part of them are the same but for rounding."""


class Interval(NamedTuple):
    """A figure with its bounds: `low` and `high` hold 95 % of the draws, `mid` is the figure."""

    low: float
    mid: float
    high: float


class Ratio(NamedTuple):
    """A ratio of two models, and the two-sided chance of such a one if they were alike."""

    interval: Interval
    p: float


class Bootstrap:
    """Users drawn with replacement, the same draws for every figure that is asked for.

    A person with several requests is drawn with all of them. What is kept is a seed and not
    the draws, which are made anew on each call: ask for many figures at once.

    Args:
        groups: int [B], who made each request; numbers need not be dense.
        draws: how many resamples, at least 1.
        rng: gives the seed.

    Raises:
        DataError: there are no requests, or no draws.

    Cost:
        draws x users x distinct figures, as a matrix product.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, percentile interval; drawn
        by clusters: Davison and Hinkley 1997, section 3.8.
    """

    def __init__(self, groups: Array, *, draws: int = 10_000, rng: Generator) -> None:
        if not len(groups) or draws < 1:
            raise DataError(f"{len(groups)} requests and {draws} draws; at least 1 of each")
        self._row = np.unique(groups, return_inverse=True)[1]
        self._draws = draws
        self._seed = int(rng.integers(2**63))

    def ratios(self, pairs: Sequence[Pair]) -> list[Ratio]:
        """Paired ratios mean(a) / mean(b), each with 95 % bounds and a p-value.

        Model a is better than b if `low` is above 1. The p-value is twice the smaller share of
        the draws in which a is at most, or at least, as good as b, one draw of either kind
        added; correct it with `holm` where many are asked for.

        Args:
            pairs: figures a and b of the same requests, float64 [B] each, NaN where they are
                not defined. An array that stands in several pairs is summed once.

        Returns:
            One for each pair. A draw in which both means are 0 counts as ratio 0, one in which
            only b's is 0 as infinity.

        Raises:
            DataError: a and b are not of the same requests, or b is 0 for all.
        """
        if not pairs:
            return []
        for a, b in pairs:
            self._check(a, b)
        flat = [array for pair in pairs for array in pair]
        # By content, so that two models with equal figures are tied in every draw.
        keys = [array.tobytes() for array in flat]
        distinct = dict(zip(keys, flat, strict=True))
        column = {key: number for number, key in enumerate(distinct)}
        sums = self._sums(list(distinct.values()))
        drawn = [sums[:, column[key]] for key in keys]
        return [
            _ratio(pair, top, bottom)
            for pair, top, bottom in zip(pairs, drawn[::2], drawn[1::2], strict=True)
        ]

    def means(self, figures: Sequence[Float64Array]) -> list[Interval]:
        """Means of figures over the requests in which they are defined, with 95 % bounds.

        Args:
            figures: float64 [B] each, NaN where one is not defined.

        Raises:
            DataError: a figure is of other requests, or nowhere defined.
        """
        for figure in figures:
            self._check(figure, figure)
        known = [np.where(np.isnan(figure), 0.0, 1.0) for figure in figures]
        both = self._sums([*known, *figures])
        counts, sums = both[:, : len(known)], both[:, len(known) :]
        # A draw without a request that has the figure says nothing of it.
        drawn = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        bounds = np.nanquantile(drawn, [0.025, 0.975], axis=0)
        return [
            Interval(float(low), float(np.nanmean(figure)), float(high))
            for figure, low, high in zip(figures, *bounds, strict=True)
        ]

    def _check(self, a: Float64Array, b: Float64Array) -> None:
        n = len(self._row)
        if not a.shape == b.shape == (n,) or not np.array_equal(np.isnan(a), np.isnan(b)):
            raise DataError(
                f"figures of {a.shape} and {b.shape} requests, {np.isnan(a).sum()} and "
                f"{np.isnan(b).sum()} undefined; a paired comparison needs the same users in "
                f"both, and here {n} requests"
            )
        if np.isnan(b).all():
            raise DataError(f"a figure is undefined for all {n} requests")

    def _sums(self, figures: Sequence[Float64Array]) -> Float64Array:
        """float64 [draws, M], sums of the figures over the requests of the users drawn."""
        n = int(self._row.max()) + 1
        of_users = np.empty((n, len(figures)))
        for column, figure in enumerate(figures):
            of_users[:, column] = np.bincount(self._row, np.nan_to_num(figure), n)
        rng = np.random.default_rng(self._seed)
        sums = np.empty((self._draws, len(figures)))
        chunk = max(_CELLS // n, 1)
        for start in range(0, self._draws, chunk):
            size = min(chunk, self._draws - start)
            counts = np.zeros((size, n))
            _count(rng.integers(n, size=(size, n), dtype=np.int32), counts)
            sums[start : start + size] = counts @ of_users
        return sums


def ratio_interval(
    a: Float64Array,
    b: Float64Array,
    *,
    groups: Array | None = None,
    draws: int = 10_000,
    rng: Generator,
) -> Interval:
    """Paired bootstrap of one ratio mean(a) / mean(b): `Bootstrap.ratios` for a single pair.

    Args:
        a: float64 [B], one model's figure of each request; NaN where it is not defined.
        b: float64 [B], the other model's, of the same requests.
        groups: int [B], who made each request; None takes each as a person's own.
        draws: how many resamples.
        rng: draws them.

    Returns:
        The bounds and the ratio itself.

    Raises:
        DataError: the arrays are not of the same requests, or b is 0 for all.
    """
    people = np.arange(len(a)) if groups is None else groups
    return Bootstrap(people, draws=draws, rng=rng).ratios([(a, b)])[0].interval


def holm(p: Float64Array) -> Float64Array:
    """P-values corrected for having asked many questions at once.

    Args:
        p: float64 [M], one for each question, in 0..1.

    Returns:
        float64 [M], in the same order. Taking those below a level as found makes one false
        finding or more with at most that chance.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian
        Journal of Statistics 6.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    factors = np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def _ratio(pair: Pair, top: Float64Array, bottom: Float64Array) -> Ratio:
    """The ratio of two figures [B] from their sums [draws]."""
    a, b = (float(np.nansum(figure)) for figure in pair)
    if b == 0:
        raise DataError("the second model's figure is 0 for every user; there is no ratio to it")
    beyond = np.where(top > 0, np.inf, 0.0)
    ratios = np.divide(top, bottom, out=beyond, where=bottom > 0)
    # Interpolation between two infinities would be NaN.
    low, high = np.quantile(ratios, [0.025, 0.975], method="closest_observation")
    tied = np.abs(top - bottom) <= _EQUAL * (top + bottom)
    at_most = np.count_nonzero(tied | (top < bottom))
    at_least = np.count_nonzero(tied | (top > bottom))
    p = min(2 * (1 + min(at_most, at_least)) / (1 + len(top)), 1.0)
    return Ratio(Interval(float(low), a / b, float(high)), float(p))


@compiled
def _count(drawn: Int32Array, counts: Float64Array) -> None:
    """Add to counts [D, U] how often each user stands in the rows of drawn [D, U]."""
    for row in range(len(drawn)):
        for user in drawn[row]:
            counts[row, user] += 1.0
