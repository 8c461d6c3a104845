"""Fair slates: enough protected items in every prefix, and otherwise the best score first."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from pydantic import Field

from tailrec.errors import DataError
from tailrec.items import PADDING, Array, BoolArray, Float64Array, Int32Array, ItemsBatch
from tailrec.kernels import compiled, kernel_view
from tailrec.recipe import Recipe
from tailrec.reranking.grouping import numbers_of
from tailrec.reranking.rules import Selection

LIFTED: Final = "lifted"
"""The column of a slate that says whether an item stands before a better one for fairness."""


class Fairness(Recipe):
    """How many items of a protected kind a slate holds, from its top on.

    Attributes:
        protected: the items, by a filter or by their ids; None: slates are left as they are.
        share: of the protected items among all that deserve to be shown.
        alpha: chance of changing a slate whose protected items are as many as chance puts there.
    """

    protected: Selection | None = None
    share: float = Field(default=0.3, gt=0, lt=1)
    alpha: float = Field(default=0.1, gt=0, lt=1)

    def compiled(self, table: pl.DataFrame) -> "CompiledFairness | None":
        """The constraint over one catalogue; None where nothing is protected.

        Args:
            table: columns of `columns.ITEMS` and `tier`; row = catalogue number.
        """
        if self.protected is None:
            return None
        number = numbers_of(table, self.protected.items)
        mask = np.zeros(len(table), np.bool_)
        mask[self.protected.numbers(table, number)] = True
        unknown = set(self.protected.items) - number.keys()
        return CompiledFairness(mask, self.share, self.alpha, tuple(sorted(unknown)))


@dataclass(frozen=True, slots=True, eq=False)
class CompiledFairness:
    """The constraint as arrays by catalogue number; `Fairness.compiled` makes it.

    Attributes:
        protected: bool [I].
        share: of protected items.
        alpha: chance of changing a slate that is fair.
        unknown: ids the recipe names and the catalogue lacks.
    """

    protected: BoolArray
    share: float
    alpha: float
    unknown: tuple[str, ...]

    def placed(self, pools: ItemsBatch, k: int) -> ItemsBatch:
        """Slates of k items that hold enough protected ones; see `fair`.

        Args:
            pools: [B, P] in the order to be kept, padded at the end.
            k: places of a slate, at least 1.

        Raises:
            DataError: k is below 1, or a pool holds an item beyond the catalogue.
        """
        return fair(pools, self.protected, k, self.minimum(k))

    def minimum(self, k: int) -> Int32Array:
        """int32 [k], the fewest protected items in each prefix of a slate of k.

        Raises:
            DataError: k is below 1.
        """
        if k < 1:
            raise DataError(f"k is {k}; a slate has at least 1 place")
        return minimum_protected(k, self.share, self.alpha)


@lru_cache(maxsize=512)
def minimum_protected(n: int, share: float, alpha: float, *, adjusted: bool = True) -> Int32Array:
    """Fewest protected items a fair ranking holds in each prefix.

    A ranking is fair if its protected items could have come from draws that each give one with
    probability `share`: no prefix holds so few that as few, or fewer, have a probability of at
    most a level. Every prefix being a test of its own, a fair ranking fails some test far more
    often than the level says. The level is therefore lowered to the largest one with which the
    chance of failing any test is at most alpha.

    Args:
        n: Ranking length, in items, at least 1.
        share: Target proportion of protected items, in (0, 1).
        alpha: Chance of rejecting a fair ranking, in (0, 1).
        adjusted: False takes alpha as the level of every single test.

    Returns:
        int32 [n], read-only; entry i bounds the prefix of i + 1 items.

    Raises:
        ValueError: n, share or alpha is out of range.

    Cost:
        n² log n; answers are kept.

    Source:
        Zehlike et al. 2017, doi:10.1145/3132847.3132938.
    """
    if n < 1 or not 0 < share < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"a ranking of {n} items, share {share} and alpha {alpha} were given; at least 1 item "
            f"and two numbers between 0 and 1 are needed"
        )
    table = _at_most(n, share)
    least = _least(table, _level(table, share, alpha) if adjusted else alpha)
    least.flags.writeable = False
    return least


def rejection_chance(minimum: Int32Array, share: float) -> float:
    """Chance that a ranking drawn fairly has too few protected items in some prefix; exact.

    Args:
        minimum: int32 [n], the fewest in each prefix.
        share: probability that a place holds a protected item.

    Cost:
        n².

    Source:
        Zehlike et al. 2017, section 4.2: a dynamic programme over prefixes.
    """
    chance = np.zeros(len(minimum) + 1)  # of so many protected items, and no test failed yet
    chance[0] = 1
    failed = 0.0
    for least in minimum:
        chance = _one_more(chance, share)
        failed += float(chance[:least].sum())
        chance[:least] = 0
    return failed


def fair(pools: ItemsBatch, protected: BoolArray, k: int, minimum: Int32Array) -> ItemsBatch:
    """Slates of k from larger pools with enough protected items in every prefix.

    Each place goes to the next item of the pool, unless that would leave the prefix with fewer
    protected items than its minimum: then it goes to the next protected one. Among themselves,
    protected items keep their order, and so do the others. A pool that runs out of protected
    items gives its others: `lacking` tells by how many a slate falls short.

    Args:
        pools: [B, P] in the order to be kept, padded at the end.
        protected: bool [I].
        k: places of a slate, at least 1.
        minimum: int32 [M], as `minimum_protected` gives it; places beyond M ask for nothing.

    Returns:
        [B, K], K at most k, with the columns of the pools and `LIFTED`, bool: the item stands
        before a better one because a minimum asked for it.

    Raises:
        DataError: k is below 1, or a pool holds an item beyond the mask.

    Source:
        Zehlike et al. 2017, doi:10.1145/3132847.3132938, algorithm FA*IR.
    """
    if k < 1:
        raise DataError(f"k is {k}; a slate has at least 1 place")
    _check(pools.ids, protected)
    shape = (len(pools), min(k, pools.ids.shape[1]))
    places = np.full(shape, PADDING, np.int32)
    lifted = np.zeros(shape, np.bool_)
    _choose(
        kernel_view(pools.ids),
        kernel_view(protected),
        kernel_view(minimum, np.int32),
        (places, lifted),
    )
    slates = pools.placed(places)
    return ItemsBatch(slates.ids, slates.scores, {**slates.columns, LIFTED: lifted})


def lacking(ids: Int32Array, protected: BoolArray, minimum: Int32Array) -> Int32Array:
    """How many protected items slates are short of, in the prefix that is worst off.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end; only filled places are judged.
        protected: bool [I].
        minimum: int32 [M], the fewest in each prefix.

    Returns:
        int32 [B]; 0: the slate is fair.

    Raises:
        DataError: a slate holds an item beyond the mask.
    """
    _check(ids, protected)
    top = ids[:, : len(minimum)]
    filled = top != PADDING
    held = np.cumsum(filled & np.append(protected, np.False_)[top], axis=1)
    short = np.where(filled, minimum[: top.shape[1]] - held, 0)
    worst: Int32Array = short.max(axis=1, initial=0).astype(np.int32)
    return worst


def is_fair(ids: Int32Array, protected: BoolArray, minimum: Int32Array) -> BoolArray:
    """bool [B], the slates that pass the ranked group fairness test; see `lacking`."""
    return np.asarray(lacking(ids, protected, minimum) == 0)


def _at_most(n: int, share: float) -> Float64Array:
    """float64 [n, n + 1], chance of at most t protected among the first i + 1, at [i, t]."""
    chance = np.zeros(n + 1)
    chance[0] = 1
    table = np.ones((n, n + 1))
    for i in range(n):
        chance = _one_more(chance, share)
        table[i, : i + 1] = np.cumsum(chance[: i + 1])
    return table


def _one_more(chance: Float64Array, share: float) -> Float64Array:
    """Chances of so many protected items [n + 1] after one more draw."""
    after = chance * (1 - share)
    after[1:] += chance[:-1] * share
    return after


def _least(table: Float64Array, level: float) -> Int32Array:
    """int32 [n], the fewest items whose chance is above a level."""
    least: Int32Array = np.argmax(table > level, axis=1).astype(np.int32)
    return least


def _level(table: Float64Array, share: float, alpha: float) -> float:
    """The largest level of the single tests with which all together reject at most alpha.

    Minima change only where the level meets an entry of the table. An entry above alpha rejects
    too much by its own test alone, and the chance rises with the level, so that a bisection over
    the others is exact.
    """
    levels = np.append(0.0, np.unique(table[table <= alpha]))
    low, high = 0, len(levels)
    while high - low > 1:
        middle = (low + high) // 2
        if rejection_chance(_least(table, levels[middle]), share) <= alpha:
            low = middle
        else:
            high = middle
    return float(levels[low])


def _check(ids: Int32Array, protected: BoolArray) -> None:
    # The kernel does not check bounds.
    if ids.size and not PADDING <= ids.min() <= ids.max() < len(protected):
        raise DataError(
            f"a pool holds item number {ids.max()}; the mask is of {len(protected)} items, "
            f"compile it for this catalogue"
        )


@compiled
def _choose(pools: Array, protected: Array, minimum: Array, slates: tuple[Array, Array]) -> None:
    """Fill slates [B, K]: places in the pools, and whether each was lifted."""
    places, lifted = slates
    for row in range(len(pools)):
        size = 0
        while size < pools.shape[1] and pools[row, size] != PADDING:
            size += 1
        first, other, held = 0, 0, 0  # the next protected item, the next other one
        for place in range(min(places.shape[1], size)):
            while first < size and not protected[pools[row, first]]:
                first += 1
            while other < size and protected[pools[row, other]]:
                other += 1
            asked = place < len(minimum) and held < minimum[place]
            if first < size and (asked or first < other):
                places[row, place] = first
                lifted[row, place] = other < first
                first, held = first + 1, held + 1
            else:
                places[row, place] = other
                other += 1
