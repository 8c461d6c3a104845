"""Goals on exposure over one catalogue, as arrays, and whether they can be met together."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tailrec.errors import DataError, RecipeError
from tailrec.items import Array, BoolArray, Float32Array, Float64Array, Int32Array, Int64Array

ROUNDING = 1e-9
"""Shares that should add up to 1 may miss it by this much."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledGoals:
    """Goals by number, and which of them every item is in; `Exposure.compiled` makes them.

    Attributes:
        ptr: int64 [I + 1], bounds of the items' goals.
        goal: int32 [N], goals of item i: `goal[ptr[i]:ptr[i + 1]]`.
        names: object [G], what a goal is called.
        family: int32 [G], which goal of the recipe it comes from; goals of one family are
            disjoint.
        families: what the goals of the recipe are called.
        floor: float64 [G], least share of all exposure; NaN: none.
        cap: float64 [G], largest share; NaN: none.
        floor_a_day: float64 [G], least exposure a day; NaN: none.
        cap_a_day: float64 [G], most exposure a day; NaN: none.
    """

    ptr: Int64Array
    goal: Int32Array
    names: Array
    family: Int32Array
    families: tuple[str, ...]
    floor: Float64Array
    cap: Float64Array
    floor_a_day: Float64Array
    cap_a_day: Float64Array

    def __len__(self) -> int:
        return len(self.floor)

    @property
    def n_items(self) -> int:
        """Items of the catalogue they were made for."""
        return len(self.ptr) - 1

    @property
    def item(self) -> Int64Array:
        """int64 [N], the item of every entry of `goal`."""
        return np.repeat(np.arange(self.n_items), np.diff(self.ptr))

    def given(self, exposure: Float64Array) -> Float64Array:
        """What the goals got, float64 [G], when the items got `exposure`, float64 [I].

        Raises:
            DataError: exposure is of another number of items.
        """
        if len(exposure) != self.n_items:
            raise DataError(f"exposure is of {len(exposure)} items; the goals of {self.n_items}")
        got = np.bincount(self.goal, weights=exposure[self.item], minlength=len(self))
        return got.astype(np.float64)  # of no entries, bincount counts in integers

    def item_prices(self, prices: Float64Array) -> Float32Array:
        """What a unit of exposure of every item is worth beyond itself, float32 [I].

        Args:
            prices: float64 [G] of the goals, below 0 where a cap presses.

        Raises:
            DataError: there is not one price a goal.
        """
        if len(prices) != len(self):
            raise DataError(f"{len(prices)} prices were given for {len(self)} goals")
        summed = np.bincount(self.item, weights=prices[self.goal], minlength=self.n_items)
        return summed.astype(np.float32)

    def least(self, total: float, days: float) -> Float64Array:
        """float64 [G], exposure owed when `total` was given in `days`; 0 without a floor."""
        return np.nan_to_num(self.floor) * total + np.nan_to_num(self.floor_a_day) * days

    def most(self, total: float, days: float) -> Float64Array:
        """float64 [G], exposure allowed when `total` was given in `days`; inf without a cap."""
        share = np.where(np.isnan(self.cap), np.inf, self.cap * total)
        return np.where(np.isnan(self.cap_a_day), share, self.cap_a_day * days)


def check_goals(goals: CompiledGoals, for_sale: BoolArray) -> None:
    """See that shares do not contradict each other, as far as sums over disjoint goals tell.

    Raises:
        RecipeError: floors add up to more than all exposure, or than the cap of a goal that
            holds them, or caps leave exposure that nothing may take; names the goals.
    """
    if not len(goals) or not for_sale.any():
        return
    kept = for_sale[goals.item]
    entry = goals.item[kept], goals.goal[kept]
    shape = goals.n_items, len(goals)
    inside = sparse.csr_array((np.ones(len(entry[0])), entry), shape=shape)
    common = sparse.coo_array(inside.T @ inside)
    floor = np.nan_to_num(goals.floor)
    floors = np.bincount(goals.family, weights=floor, minlength=len(goals.families)).astype(float)
    _check_disjoint(goals, common, floors)
    _check_under_caps(goals, common, floor)
    caps = np.bincount(goals.family, weights=goals.cap, minlength=len(goals.families))
    size = np.bincount(goals.family, weights=common.diagonal(), minlength=len(goals.families))
    for family in np.flatnonzero((size >= for_sale.sum()) & (caps < 1 - ROUNDING)):
        raise RecipeError(
            f"goal {goals.families[family]!r} is about all items and its caps add up to "
            f"{caps[family]:g} of all exposure; nothing may take the rest"
        )


def _check_disjoint(goals: CompiledGoals, common: sparse.coo_array, floors: Float64Array) -> None:
    """Families without a common item; those that ask for most are put together first."""
    meet = np.zeros((len(floors), len(floors)), np.bool_)
    meet[goals.family[common.row], goals.family[common.col]] = True
    picked: list[int] = []
    for family in np.argsort(-floors, kind="stable"):
        if floors[family] > 0 and not meet[family, picked].any():
            picked.append(int(family))
    if (total := floors[picked].sum()) > 1 + ROUNDING:
        names = ", ".join(repr(goals.families[family]) for family in picked)
        raise RecipeError(f"the floors of {names} add up to {total:g} of all exposure; 1 is all")


def _check_under_caps(goals: CompiledGoals, common: sparse.coo_array, floor: Float64Array) -> None:
    """Floors of one family whose items are all under one cap."""
    size = common.diagonal()
    within = (common.data == size[common.row]) & ~np.isnan(goals.cap[common.col])
    low, high = common.row[within], common.col[within]
    cell = goals.family[low].astype(np.int64) * len(goals) + high
    cells, at = np.unique(cell, return_inverse=True)
    asked = np.bincount(at, weights=floor[low], minlength=len(cells))
    capped = cells % len(goals)
    for bad in np.flatnonzero(asked > goals.cap[capped] + ROUNDING):
        asking = goals.families[cells[bad] // len(goals)]
        raise RecipeError(
            f"the floors of goal {asking!r} add up to {asked[bad]:g} of all exposure inside goal "
            f"{goals.names[capped[bad]]!r}, whose cap is {goals.cap[capped[bad]]:g}"
        )
