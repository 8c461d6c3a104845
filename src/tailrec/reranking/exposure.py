"""Goals for who is shown, where and how often: floors, caps and budgets on exposure.

An item's exposure is the attention of the places it stood at, summed over slates. A goal is
about the exposure of some items together, or of every group of them apart.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from tailrec import columns as c
from tailrec.errors import DataError, RecipeError
from tailrec.items import BoolArray, Float64Array, Int32Array
from tailrec.recipe import Recipe
from tailrec.reranking.exposure_goals import ROUNDING, CompiledGoals, check_goals
from tailrec.reranking.grouping import GROUP_WORDS, UNGROUPED, groups_of, is_group, numbers_of
from tailrec.reranking.rules import MOST_ITEMS, FilterOption, ItemId, Selection

MOST_GOALS: Final = 100
"""Goals of a recipe, at most; each can have as many groups as there are items."""

Tier = Literal["head", "middle", "tail", "cold"]
Unit = Literal["share", "even", "budget"]


class Goal(Recipe):
    """What some items together, or every group of them, should get of all exposure.

    Attributes:
        name: what it is called; made of the rest where none is given.
        filter: it is about the items that pass these conditions,
        items: or about these ids,
        tier: or about these tiers; about all items where none of the three is given.
        each: a field (`seller_id`, `brand`, `category/1`, `attributes.NAME`, `tier`, ...) or
            `item_id`: every value of it among those items is a goal of its own. Items without a
            value are in none.
        floor: least exposure, in `unit`.
        cap: most exposure, in `unit`.
        unit: `share` of all exposure; `even`, multiples of what the items would get if all
            exposure went evenly over all items for sale; `budget`, exposure a day.
    """

    name: str | None = Field(default=None, min_length=1, max_length=200)
    filter: FilterOption | None = None
    items: tuple[ItemId, ...] = Field(default=(), max_length=MOST_ITEMS)
    tier: tuple[Tier, ...] = ()
    each: str | None = None
    floor: Annotated[float, Field(gt=0)] | None = None
    cap: Annotated[float, Field(ge=0)] | None = None
    unit: Unit = "share"

    @property
    def label(self) -> str:
        """Its name, or its items in words."""
        if self.name is not None:
            return self.name
        if self.tier:
            about = f"tier {', '.join(self.tier)}"
        elif self.items:
            about = f"items {', '.join(self.items[:3])}{', ...' * (len(self.items) > 3)}"
        else:
            about = self.filter.words() if self.filter is not None else "all items"
        return f"each {self.each} of {about}" if self.each else about

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        given = [name for name in ("filter", "items", "tier") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"a goal is about a filter, items or tiers; {', '.join(given)} given")
        if self.each is not None and self.each != c.ITEM_ID and not is_group(self.each):
            raise ValueError(
                f"each is {self.each[:60]!r}; there are {c.ITEM_ID}, {GROUP_WORDS}",
            )
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.floor is None and self.cap is None:
            raise ValueError(f"goal {self.label!r} has neither floor nor cap; give one")
        if self.floor is not None and self.cap is not None and self.floor > self.cap:
            raise ValueError(
                f"goal {self.label!r} has floor {self.floor:g} above its cap {self.cap:g}"
            )
        most = max(self.floor or 0, self.cap or 0)
        if self.unit == "share" and most > 1:
            raise ValueError(f"goal {self.label!r} asks for {most:g} of all exposure; 1 is all")
        every_item = self.each == c.ITEM_ID and not (self.filter or self.items or self.tier)
        if every_item and self.unit == "even" and (self.floor or 0) > 1:
            raise ValueError(
                f"goal {self.label!r}: not every item can get {self.floor:g} times even"
            )
        return self

    def mask(self, table: pl.DataFrame) -> BoolArray:
        """bool [I], the items of a table it is about, for sale or not.

        Raises:
            RecipeError: none is, though it has a filter or names items.
        """
        if self.tier:
            of_tier = table[c.TIER].is_in(self.tier) if c.TIER in table.columns else None
            return np.zeros(len(table), np.bool_) if of_tier is None else of_tier.to_numpy()
        chosen = np.ones(len(table), np.bool_)
        if self.filter is not None or self.items:
            chosen[:] = False
            selection = Selection(filter=self.filter, items=self.items)
            chosen[selection.numbers(table, numbers_of(table, self.items))] = True
            if len(table) and not chosen.any():
                raise RecipeError(f"goal {self.label!r} is about no item of the catalogue")
        return chosen

    def groups(self, table: pl.DataFrame) -> tuple[Int32Array, list[str]]:
        """Which of its groups every item of a table is in, and what they are called.

        Returns:
            int32 [I], codes from 0, or -1 for items it is not about; and a name for each code.

        Raises:
            RecipeError: it is about no item, though it has a filter or names items, or no item
                has a value of `each`.
        """
        chosen = self.mask(table)
        if self.each is None:
            return np.where(chosen, 0, UNGROUPED).astype(np.int32), [self.label]
        if self.each == c.ITEM_ID:
            code, values = np.arange(len(table), dtype=np.int32), table[c.ITEM_ID].to_list()
        else:
            code, values = groups_of(table, self.each)
            if len(table) and not values:
                raise RecipeError(f"goal {self.label!r}: no item has a value of {self.each!r}")
        code = np.where(chosen, code, np.int32(UNGROUPED))
        return code, [f"{self.label}: {value}" for value in values]


class Exposure(Recipe):
    """How exposure is shared out. Without goals, slates are left as they are.

    Attributes:
        goals: floors, caps and budgets.
        cost: 0..1, share of its expected value that no slate may lose to the goals.
        window_days: days of slates that count when it is asked whether goals are met now.
    """

    goals: tuple[Goal, ...] = Field(default=(), max_length=MOST_GOALS)
    cost: float = Field(default=0.01, ge=0, le=1)
    window_days: float = Field(default=1.0, gt=0, le=366)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        labels = [goal.label for goal in self.goals]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two goals are called {label!r}; put them together or give names")
        return self

    @model_validator(mode="after")
    def _tiers_fit_together(self) -> Self:
        """Tiers are disjoint whatever the catalogue: their floors add up."""
        plain = [g for g in self.goals if g.unit == "share" and not (g.each or g.items or g.filter)]
        floors: dict[frozenset[str], tuple[float, str]] = {}
        for goal in plain:
            own = frozenset(goal.tier or c.TIERS)
            floors[own] = max(floors.get(own, (0.0, "")), (goal.floor or 0.0, goal.label))
        limits: list[tuple[float, tuple[str, ...], str]] = [(1.0, c.TIERS, "all exposure")]
        limits += [
            (goal.cap, goal.tier or c.TIERS, f"the cap of {goal.label!r}")
            for goal in plain
            if goal.cap is not None
        ]
        for limit, tiers, what in limits:
            total, names = _largest_floors(floors, frozenset(tiers))
            if total > limit + ROUNDING:
                raise ValueError(
                    f"the floors of goals {', '.join(map(repr, names))} add up to {total:g}; "
                    f"{what} is {limit:g}"
                )
        return self

    def compiled(self, table: pl.DataFrame, for_sale: BoolArray) -> CompiledGoals:
        """The goals over one catalogue; to be made once for each state of it.

        Groups without an item for sale have nothing to show and are left out.

        Args:
            table: columns of `columns.ITEMS` and `tier`; row = catalogue number.
            for_sale: bool [I], items that may be shown at all.

        Returns:
            Arrays by catalogue number and goal.

        Raises:
            RecipeError: a goal is about no item of the catalogue, or goals cannot be met together
                whatever is shown; names them.
            DataError: `for_sale` is of another length than the table.
        """
        if len(for_sale) != len(table):
            raise DataError(f"for_sale is of {len(for_sale)} items; the table has {len(table)}")
        parts = [_part(goal, table, for_sale) for goal in self.goals]
        first = np.cumsum([0, *(len(part.names) for part in parts)])
        in_goal = [part.code != UNGROUPED for part in parts]
        nothing = np.zeros(0, np.int64)
        item = np.concatenate([nothing, *(np.flatnonzero(mask) for mask in in_goal)])
        goal = np.concatenate(
            [nothing, *(p.code[m] + at for p, m, at in zip(parts, in_goal, first, strict=False))]
        )
        order = np.argsort(item, kind="stable")
        limits = np.concatenate([np.zeros((4, 0)), *(part.limits for part in parts)], axis=1)
        goals = CompiledGoals(
            np.searchsorted(item[order], np.arange(len(table) + 1)).astype(np.int64),
            goal[order].astype(np.int32),
            np.array([name for part in parts for name in part.names], object),
            np.repeat(np.arange(len(parts)), np.diff(first)).astype(np.int32),
            tuple(goal.label for goal in self.goals),
            *limits,
        )
        check_goals(goals, for_sale)
        return goals


class _Part(NamedTuple):
    """One goal's groups: code int32 [I], a name each, limits float64 [4, G] as compiled."""

    code: Int32Array
    names: list[str]
    limits: Float64Array


def _part(goal: Goal, table: pl.DataFrame, for_sale: BoolArray) -> _Part:
    code, names = goal.groups(table)
    size = np.bincount(code[for_sale & (code != UNGROUPED)], minlength=len(names))
    kept = size > 0
    renumbered = np.append(np.where(kept, np.cumsum(kept) - 1, UNGROUPED), UNGROUPED)
    even = size[kept] / max(int(for_sale.sum()), 1)
    unit = even if goal.unit == "even" else np.ones(len(even))
    limits = np.full((4, len(even)), np.nan)
    at = 2 if goal.unit == "budget" else 0
    for row, limit in ((at, goal.floor), (at + 1, goal.cap)):
        if limit is not None:
            limits[row] = limit * unit
    kept_names = [name for name, keep in zip(names, kept, strict=True) if keep]
    return _Part(renumbered[code].astype(np.int32), kept_names, limits)


def _largest_floors(
    floors: Mapping[frozenset[str], tuple[float, str]], within: frozenset[str]
) -> tuple[float, list[str]]:
    """The largest sum of floors of disjoint sets of tiers inside one, and whose they are."""
    best: tuple[float, list[str]] = (0.0, [])
    for tiers, (floor, label) in floors.items():
        if floor and tiers <= within:
            total, labels = _largest_floors(floors, within - tiers)
            best = max(best, (total + floor, [label, *labels]), key=lambda one: one[0])
    return best
