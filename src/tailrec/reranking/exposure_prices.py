"""Exposure steered while slates are served: prices from sums alone, and slates at prices.

Prices are those of follow-the-regularised-leader on the dual of the plan: a goal's price is
where it started, plus what the goal is short of so far times a step that falls with the root
of what it was owed. All that is kept are sums, which workers add up in any order.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from tailrec.errors import DataError
from tailrec.items import (
    PADDING,
    Float32Array,
    Float64Array,
    Int32Array,
    ItemsBatch,
)
from tailrec.kernels import kernel_view, over_rows
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_kernels import steer

WORTH: Final = "worth"
"""The column of a slate with the expected value of an item that is looked at."""
START: Final = 0.5
"""The price of a goal before anything was shown, in mean worths."""
STEP: Final = 0.5
"""What the root of one owed unit of exposure adds to a price, in mean worths."""
CEILING: Final = 8.0
"""The highest price, in mean worths."""
BETWEEN: Final = 64
"""Slates between two looks at the sums when many are made at once."""


@dataclass(frozen=True, slots=True, eq=False)
class ExposureSums:
    """What was shown so far; sums of different workers, days or shards add up.

    Attributes:
        exposure: float64 [I], attention of the places an item stood at.
        worth: worth of what was shown, weighted by attention.
    """

    exposure: Float64Array
    worth: float

    @classmethod
    def none(cls, n_items: int) -> Self:
        """Nothing was shown yet."""
        return cls(np.zeros(n_items), 0.0)

    @classmethod
    def of(cls, slates: ItemsBatch, attention: Float64Array, n_items: int) -> Self:
        """The sums of some slates.

        Args:
            slates: [B, K], K at most k, with the column `WORTH`.
            attention: float64 [k], of the places.
            n_items: items of the catalogue.
        """
        shown = slates.ids != PADDING
        weight = np.broadcast_to(attention[: slates.ids.shape[1]], shown.shape)[shown]
        exposure = np.bincount(slates.ids[shown], weights=weight, minlength=n_items)
        return cls(exposure.astype(np.float64), float(slates.columns[WORTH][shown] @ weight))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.exposure + other.exposure, self.worth + other.worth)

    @property
    def total(self) -> float:
        """All exposure."""
        return float(self.exposure.sum())


def goal_prices(
    goals: CompiledGoals,
    sums: ExposureSums,
    *,
    days: float = 1.0,
    start: Float64Array | None = None,
) -> Float64Array:
    """What a unit of exposure of each goal is worth now, beyond the worth of the items.

    With m the mean worth of a unit of exposure so far, d what a goal is owed by now and g what
    it got, a floor's price is start + m (d - g) / (2 sqrt(d)), and a cap's the same with g - d;
    both are kept in 0..8 m. The start is m / 2, so that a goal is met and not just approached
    from below wherever its price at the best plan is no more than that.

    Args:
        goals: G goals.
        sums: what was shown since the sums began.
        days: how many days ago they began; budgets are owed evenly over time.
        start: float64 [G], prices known beforehand, as a plan or yesterday's sums give them.

    Returns:
        float64 [G], the floor's price less the cap's.

    Raises:
        DataError: sums or start are of other items or goals.

    Source:
        Nesterov 2009, doi:10.1007/s10107-007-0149-x (dual averaging); Balseiro et al. 2020,
        arXiv:2011.10124; Xu et al. 2023, arXiv:2303.06660 (P-MMF).
    """
    given, total = goals.given(sums.exposure), sums.total
    mean = sums.worth / total if total else 0.0
    if start is not None and len(start) != len(goals):
        raise DataError(f"{len(start)} prices to start from were given for {len(goals)} goals")
    low, high = starts(goals, mean, start)
    least, most = goals.least(total, days), goals.most(total, days)
    capped = np.isfinite(most)
    over = given - np.where(capped, most, 0)
    owed = goals.least(1.0, 1.0) > 0
    floor = np.where(owed, low + steps(least, mean) * (least - given), 0)
    cap = np.where(capped, high + steps(most, mean) * over, 0)
    ceiling = CEILING * mean if mean else np.inf
    return np.asarray(np.clip(floor, 0, ceiling) - np.clip(cap, 0, ceiling), np.float64)


def starts(
    goals: CompiledGoals, mean: float, known: Float64Array | None = None
) -> tuple[Float64Array, Float64Array]:
    """Prices before anything was shown, float64 [G] each: of the floors and of the caps.

    Args:
        goals: G goals.
        mean: worth of a unit of exposure.
        known: float64 [G], prices known beforehand, below 0 for a cap's.
    """
    if known is not None:
        return np.maximum(known, 0), np.maximum(-known, 0)
    owed, capped = goals.least(1.0, 1.0) > 0, np.isfinite(goals.most(1.0, 1.0))
    return np.where(owed, START * mean, 0.0), np.where(capped, START * mean, 0.0)


def steps(target: Float64Array, mean: float) -> Float64Array:
    """float64 [G], what a unit of exposure too few or too many changes a price by."""
    return STEP * mean / np.sqrt(np.maximum(target, 1.0))


def steered(
    pools: ItemsBatch,
    worth: Float32Array,
    item_price: Float32Array,
    k: int,
    *,
    attention: Float64Array,
    cost: float,
) -> ItemsBatch:
    """Slates of k that lean to the items with a price as far as their own worth allows.

    A slate is the pool in order of worth + rho * price, ties in the order of the pool, at the
    largest rho in 0..1 (to 1 / 4096) at which sum(worth * attention) is at least 1 - cost of
    the largest there is.

    Args:
        pools: [B, P], padded at the end.
        worth: float32 [B, P], expected value of each item if it is looked at, at least 0.
        item_price: float32 [I], as `CompiledGoals.item_prices` gives it.
        k: places.
        attention: float64 [k or more], chance that a place is looked at; never rises.
        cost: 0..1, share of its worth a slate may lose.

    Returns:
        [B, K], K the smaller of k and P, with the columns of the pools and `WORTH`; scores are
        those of the pools and no longer fall.

    Raises:
        DataError: shapes do not fit, worth is negative or no number, attention rises, cost is
            out of range, or a pool holds an item without a price.

    Cost:
        P + K² a row and step of rho, at worst; P where few items are near the top.
    """
    width = min(k, pools.ids.shape[1])
    attention = checked(pools, worth, attention, k, cost=cost)[:width]
    if pools.ids.size and pools.ids.max() >= len(item_price):
        raise DataError(
            f"a pool holds item number {pools.ids.max()}; there are prices of {len(item_price)}"
        )
    places = np.full((len(pools), width), PADDING, np.int32)
    ids, values = kernel_view(pools.ids), kernel_view(worth, np.float32)
    prices = kernel_view(item_price, np.float32)
    over_rows(
        len(pools),
        lambda rows: steer((ids[rows], values[rows]), prices, attention, cost, places[rows]),
    )
    return taken(pools, worth, places)


def checked(
    pools: ItemsBatch, worth: Float32Array, attention: Float64Array, k: int, *, cost: float
) -> Float64Array:
    """The attention of k places, as kernels take it, once everything is seen to fit.

    Raises:
        DataError: as `steered` says.
    """
    if worth.shape != pools.ids.shape:
        raise DataError(f"worth is {worth.shape} for pools of {pools.ids.shape}")
    here = worth[pools.ids != PADDING]
    if here.size and not (np.isfinite(here).all() and here.min() >= 0):
        raise DataError(f"worth goes from {here.min()} to {here.max()}; give numbers from 0 up")
    if not 1 <= k <= len(attention):
        raise DataError(f"attention is of {len(attention)} places for slates of {k}")
    weights = np.asarray(attention[:k], np.float64)
    if not np.isfinite(weights).all() or weights[-1] < 0 or (np.diff(weights) > 0).any():
        raise DataError(f"attention is {weights.tolist()}; it must not rise, nor fall below 0")
    if not 0 <= cost <= 1:
        raise DataError(f"cost is {cost}; it must lie in 0..1")
    return kernel_view(weights)


def taken(pools: ItemsBatch, worth: Float32Array, places: Int32Array) -> ItemsBatch:
    """Slates of the items at places int32 [B, K] of their pools, with the column `WORTH`."""
    slates = ItemsBatch(pools.ids, pools.scores, {**pools.columns, WORTH: worth}).placed(places)
    known = np.where(places == PADDING, np.float32(0), slates.columns[WORTH])
    return ItemsBatch(slates.ids, slates.scores, {**slates.columns, WORTH: known})


@dataclass(frozen=True, slots=True, eq=False)
class Controller:
    """Many slates one after the other, each answering to what the ones before it showed.

    Attributes:
        goals: G goals.
        attention: float64 [k], of the places.
        cost: 0..1, share of its worth a slate may lose.
        start: float64 [G], prices known beforehand; None: as `goal_prices` says.
        between: slates made between two looks at the sums.
    """

    goals: CompiledGoals
    attention: Float64Array
    cost: float
    start: Float64Array | None = None
    between: int = BETWEEN

    def run(
        self,
        pools: ItemsBatch,
        worth: Float32Array,
        sums: ExposureSums,
        *,
        days: tuple[float, float] = (0.0, 1.0),
    ) -> tuple[ItemsBatch, ExposureSums]:
        """Slates for pools in their order, and the sums after them.

        Args:
            pools: [B, P], padded at the end.
            worth: float32 [B, P], as `steered` takes it.
            sums: what was shown before.
            days: since the sums began, at the first pool and after the last.

        Raises:
            DataError: as `steered` says.
        """
        k = len(self.attention)
        parts = []
        for first in range(0, max(len(pools), 1), self.between):
            rows = slice(first, first + self.between)
            now = days[0] + (days[1] - days[0]) * first / max(len(pools), 1)
            prices = goal_prices(self.goals, sums, days=now, start=self.start)
            item_price = self.goals.item_prices(prices)
            parts.append(
                steered(
                    pools.rows(rows),
                    worth[rows],
                    item_price,
                    k,
                    attention=self.attention,
                    cost=self.cost,
                )
            )
            sums += ExposureSums.of(parts[-1], self.attention, self.goals.n_items)
        return ItemsBatch.concat(parts), sums
