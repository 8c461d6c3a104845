"""Slates of many people planned at once: the most worth at which the goals on exposure are met.

The plan maximises sum(worth * attention) over the slates of all rows, subject to floors and
caps on exposure and to what each row may lose. A small plan is solved exactly as a linear
programme over mixtures of slates, a large one on its dual, which has one price a goal. Either
way whole slates come from the prices: rows answer to them one after the other, in passes with
ever stronger answers to what is still missing.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tailrec.errors import DataError
from tailrec.items import PADDING, Float32Array, Float64Array, Int32Array, ItemsBatch
from tailrec.kernels import kernel_view, over_rows
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_kernels import SAMPLED, attain, bound, walk
from tailrec.reranking.exposure_linear import linear_plan
from tailrec.reranking.exposure_prices import (
    ExposureSums,
    checked,
    starts,
    steps,
    taken,
)

SMALL: Final = 20_000
"""Choices of an item for a place up to which a plan is solved as a linear programme."""
PRICING: Final = 4
"""Rounds that look for prices; each starts at the mean prices of the one before."""
ANSWERS: Final = 20_000
"""Answers of rows a round has at least: few rows are asked several times over."""
MENDING: Final = 12
"""Passes that mend slates, at most."""
MARGIN: Final = 0.1
"""Mending aims this part of the attention of the top place above floors and below caps."""
DEAREST: Final = 16.0
"""The highest price of a plan, in worths of the best item there is. What could only be met at
more is left unmet."""
MET: Final = 1e-9
"""A goal is met when it misses no more than this part of what is owed or allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Slates, what they cost, and how far they are from the best there can be.

    Attributes:
        slates: [B, K] with the columns of the pools and `WORTH`.
        prices: float64 [G], of a unit of exposure of each goal; to start a `Controller` at.
        value: worth of the slates, weighted by attention.
        best: the same of the best slates without goals.
        bound: no mixture of slates that misses the goals by no more than these is worth more.
        given: float64 [G], exposure each goal got.
        shortfall: float64 [G], exposure missing to a floor, or above a cap.
        attainable: float64 [G], the most each goal can get, alone and at any cost.
    """

    slates: ItemsBatch
    prices: Float64Array
    value: float
    best: float
    bound: float
    given: Float64Array
    shortfall: Float64Array
    attainable: Float64Array

    @property
    def gap(self) -> float:
        """Part of the bound that the slates may fall short of the best plan by."""
        return (self.bound - self.value) / self.bound if self.bound else 0.0

    @property
    def feasible(self) -> bool:
        """Whether every goal is met."""
        return not self.shortfall.any()


def plan(
    pools: ItemsBatch,
    worth: Float32Array,
    goals: CompiledGoals,
    k: int,
    *,
    attention: Float64Array,
    cost: float,
    days: float = 1.0,
) -> Plan:
    """Slates of k for all pools together.

    Args:
        pools: [B, P], padded at the end.
        worth: float32 [B, P], expected value of each item if it is looked at, at least 0.
        goals: G goals over the catalogue of the pools.
        k: places.
        attention: float64 [k or more], chance that a place is looked at; never rises.
        cost: 0..1, share of its worth a slate may lose.
        days: what the slates of all pools cover, for budgets.

    Raises:
        DataError: as `steered` says, or a pool holds an item the goals were not compiled for.

    Source:
        Falk 1969 and Geoffrion 1974 (duals of separable programmes); Biega et al. 2018,
        doi:10.1145/3209978.3210063, and Singh and Joachims 2018, doi:10.1145/3219819.3220088
        (exposure as constraints on rankings).

    Cost:
        Up to 20 passes over the rows, each P + K² a row and step of rho at worst; a linear
        programme where B·P·k is at most 20,000.
    """
    attention = checked(pools, worth, attention, k, cost=cost)
    if pools.ids.size and pools.ids.max() >= goals.n_items:
        raise DataError(
            f"a pool holds item number {pools.ids.max()}; the goals were compiled for "
            f"{goals.n_items} items, compile them for this catalogue"
        )
    view = kernel_view(pools.ids), kernel_view(worth, np.float32)
    shown = np.minimum((pools.ids != PADDING).sum(1), k)
    total = float(np.append(0, np.cumsum(attention))[shown].sum())
    task = _Task(view, goals, attention, cost, (goals.least(total, days), goals.most(total, days)))
    best = task.dual(np.zeros(len(goals)))
    mean = best / total if total else 0.0
    if not len(goals) or not total:
        prices = np.zeros(len(goals))
    elif pools.ids.size * k <= SMALL:
        limits = *task.limits, task.dearest
        prices = linear_plan(view, goals, attention, cost, limits).prices
    else:
        prices = _priced(task, mean)
    attainable = task.attainable()
    places = _mended(task, prices, mean, attainable)
    slates = taken(pools, worth, places)
    sums = ExposureSums.of(slates, attention, goals.n_items)
    given = goals.given(sums.exposure)
    missing = task.missing(given)
    # Whatever the prices, the bound holds; those of a goal that cannot be met say little.
    bounds = [best, *(task.dual(p, missing) for p in (prices, np.where(missing > 0, 0, prices)))]
    return Plan(slates, prices, sums.worth, best, min(bounds), given, missing, attainable)


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is planned, as kernels take it: rows (ids and worth), goals, least and most."""

    rows: tuple[Int32Array, Float32Array]
    goals: CompiledGoals
    attention: Float64Array
    cost: float
    limits: tuple[Float64Array, Float64Array]

    @property
    def dearest(self) -> float:
        ids, worth = self.rows
        return DEAREST * float(worth.max(where=ids != PADDING, initial=0))

    def blank(self) -> Int32Array:
        """int32 [B, K], slates without items."""
        n, width = self.rows[0].shape
        return np.full((n, min(width, len(self.attention))), PADDING, np.int32)

    def missing(self, given: Float64Array) -> Float64Array:
        """float64 [G], exposure missing to floors or above caps, rounding aside."""
        least, most = self.limits
        missing = np.maximum(least - given, 0) + np.maximum(given - most, 0)
        allowed = MET * np.maximum(np.where(np.isfinite(most), most, least), 1)
        return np.where(missing > allowed, missing, 0)

    def dual(self, prices: Float64Array, missing: float | Float64Array = 0.0) -> float:
        """The most worth of slates that miss goals by no more than this, bounded at prices."""
        ids, worth = self.rows
        item_price = self.goals.item_prices(prices)
        values = np.empty(len(ids))

        def work(rows: slice) -> None:
            part = ids[rows], worth[rows]
            bound(part, item_price, self.attention, self.cost, values[rows])

        over_rows(len(ids), work)
        least, most = self.limits
        owed = np.maximum(prices, 0) @ (least - missing)
        allowed = np.maximum(-prices, 0) @ (np.where(np.isfinite(most), most, 0) + missing)
        return float(values.sum() - owed + allowed)

    def targets(self, start: Float64Array | None, mean: float) -> Float64Array:
        """float64 [6, G], what `walk` goes by: owed, step, start, and the same of caps."""
        least, most = self.limits
        capped, owed = np.isfinite(most), least > 0
        most = np.where(capped, most, 0)
        low, high = starts(self.goals, mean, start)
        return np.stack(
            [
                least,
                steps(least, mean) * owed,
                low * owed,
                most,
                steps(most, mean) * capped,
                high * capped,
            ]
        )

    def walk(
        self,
        places: Int32Array,
        targets: Float64Array,
        given: Float64Array,
        *,
        before: int = 0,
        due: int = 0,
    ) -> Float64Array:
        """One pass over the rows, which fills places and adds to given; mean prices, [G]."""
        sums = np.zeros(len(self.goals))
        knobs = self.cost, self.dearest, float(before), float(due)
        goals = self.goals.ptr, self.goals.goal
        walk((*self.rows, places), goals, (targets, given, sums), self.attention, knobs)
        return sums / max(-(-len(places) // SAMPLED), 1)

    def given(self, places: Int32Array) -> Float64Array:
        """float64 [G], what the goals get from slates."""
        filled = places != PADDING
        item = np.take_along_axis(self.rows[0], np.maximum(places, 0), axis=1)[filled]
        weight = np.broadcast_to(self.attention[: places.shape[1]], places.shape)[filled]
        exposure = np.bincount(item, weights=weight, minlength=self.goals.n_items)
        return self.goals.given(exposure.astype(np.float64))

    def value(self, places: Int32Array) -> float:
        """Worth of slates, weighted by attention."""
        worth = np.take_along_axis(self.rows[1], np.maximum(places, 0), axis=1)
        weighted = np.where(places != PADDING, worth, 0) @ self.attention[: places.shape[1]]
        return float(weighted.sum())

    def attainable(self) -> Float64Array:
        """float64 [G], what each goal gets where all rows show its items as high as can be."""
        out = np.zeros(len(self.goals))
        upto = np.append(0.0, np.cumsum(self.attention))
        attain(self.rows[0], self.goals.ptr, self.goals.goal, upto, out)
        return out


def _priced(task: _Task, mean: float) -> Float64Array:
    """Prices whose bound is the lowest of those that rounds over the rows find, float64 [G]."""
    n_rows = len(task.rows[0])
    n_passes = max(-(-ANSWERS // max(n_rows, 1)), 1)
    prices, found = None, []
    for _ in range(PRICING):
        targets = task.targets(prices, mean)
        targets[[0, 3]] *= n_passes
        targets[[1, 4]] /= np.sqrt(n_passes)
        given, sums = np.zeros(len(task.goals)), np.zeros(len(task.goals))
        for number in range(n_passes):
            before, due = number * n_rows, n_passes * n_rows
            sums += task.walk(task.blank(), targets, given, before=before, due=due)
        prices = sums / n_passes
        found.append((task.dual(prices), prices))
    return min(found, key=lambda one: one[0])[1]


def _mended(task: _Task, prices: Float64Array, mean: float, attainable: Float64Array) -> Int32Array:
    """Whole slates at prices, mended until all goals are met that can be; places [B, K].

    A goal that a pass leaves unmet is answered to twice as strongly in the next; a pass that
    makes things no better is the last.
    """
    places, targets = task.blank(), task.targets(prices, mean)
    task.walk(places, targets, np.zeros(len(task.goals)), due=len(places))
    room = MARGIN * task.attention[0]
    targets[0] = np.where(targets[0] > 0, targets[0] + room, 0)
    targets[3] = np.maximum(targets[3] - room, 0)
    possible = task.limits[0] <= attainable
    best, kept = -np.inf, places
    for _ in range(MENDING):
        missing = task.missing(task.given(places))
        score = task.value(places) - task.dearest * missing.sum()
        if score <= best:
            break
        best, kept = score, places.copy()
        if not missing[possible].any():
            break
        targets[[1, 4]] *= np.where(missing > 0, 2, 1)
        task.walk(places, targets, task.given(places))
    return kept
