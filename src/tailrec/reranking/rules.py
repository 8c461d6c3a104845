"""Rules of a merchandiser: items pinned, boosted, buried and capped, in the recipe or a request."""

from collections.abc import Mapping
from typing import Annotated, Final, Self

import numpy as np
import polars as pl
from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from tailrec import columns as c
from tailrec.data.conditions import shown
from tailrec.data.filters import MAX_CONDITIONS, MAX_CONTAINS, Filter, parse_filter
from tailrec.items import Float32Array, Int32Array, Int64Array
from tailrec.recipe import Recipe
from tailrec.reranking.grouping import GROUP_WORDS, group, groups_of, is_group, numbers_of, raw
from tailrec.reranking.rules_compiled import BOOSTED, BURIED, NOTHING, UNLIMITED, CompiledRules

LAST_PLACE: Final = 100
"""The lowest place an item can be pinned to."""
MOST_RULES: Final = 100
"""Rules of one kind, at most."""
MOST_ITEMS: Final = 1_000
"""Items one rule may name, at most."""
FACTORS: Final = (1e-6, 1e6)
"""Bounds of the product of an item's factors, unless it is 0: scores stay finite."""


def _filter(value: object) -> Filter:
    return value if isinstance(value, Filter) else parse_filter(value)


FilterOption = Annotated[
    Filter,
    PlainValidator(_filter),
    PlainSerializer(Filter.plain, return_type=dict[str, object]),
    WithJsonSchema(
        {
            "type": "object",
            "description": "Which items: conditions on fields, put together by all, any, not.",
            "examples": [{"all": [{"price": {"lte": 20}}, {"category": {"under": "Makeup"}}]}],
        }
    ),
]
"""A filter as an option of a recipe or the body of a request."""

ItemId = Annotated[str, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Field(ge=1, le=1_000)]


class Pin(Recipe):
    """An item with a fixed place.

    Attributes:
        item: its id.
        position: its place, 1 at the top.
    """

    item: ItemId
    position: int = Field(ge=1, le=LAST_PLACE)


class Selection(Recipe):
    """The items a rule is about: those that pass a filter, or those it names.

    Attributes:
        filter: conditions on the items.
        items: their ids.
    """

    filter: FilterOption | None = None
    items: tuple[ItemId, ...] = Field(default=(), max_length=MOST_ITEMS)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.filter is None) == (not self.items):
            both = "both were given" if self.items else "neither was given"
            raise ValueError(f"a rule is about a filter or about items; {both}")
        return self

    def numbers(self, table: pl.DataFrame, number: Mapping[str, int]) -> Int64Array:
        """The items of a table the rule is about, as rows; `number` has those of ids."""
        if self.filter is not None:
            return np.flatnonzero(self.filter.mask(table))
        return np.array([number[item] for item in self.items if item in number], np.int64)

    def about(self, item: pl.DataFrame) -> bool:
        """Whether the rule is about the one item of a table."""
        if self.filter is not None:
            return bool(self.filter.mask(item)[0])
        return item[c.ITEM_ID][0] in self.items

    def words(self) -> str:
        """The items in words."""
        return self.filter.words() if self.filter is not None else "items named in the rule"


class Boost(Selection):
    """Items shown higher up.

    Attributes:
        factor: what their scores are multiplied by, above 1.
    """

    factor: float = Field(gt=1, le=1_000)


class Bury(Selection):
    """Items shown further down, or never.

    Attributes:
        factor: what their scores are multiplied by, below 1; 0: never shown.
    """

    factor: float = Field(ge=0, lt=1)


class Cap(Selection):
    """Items of which a slate holds only so many.

    Attributes:
        at_most: how many.
    """

    at_most: Limit


class Rules(Recipe):
    """How slates are bent. Without any, they are left as they are.

    Attributes:
        pin: items at fixed places.
        boost: items shown higher up.
        bury: items shown further down, or never.
        cap: how many of some items a slate holds at most.
        at_most: how many items with one value of a field a slate holds at most: of title, brand,
            category, `category/1` (its first level), seller_id, tier or `attributes.NAME`. Items
            without a value are not counted.
    """

    pin: tuple[Pin, ...] = Field(default=(), max_length=MOST_RULES)
    boost: tuple[Boost, ...] = Field(default=(), max_length=MOST_RULES)
    bury: tuple[Bury, ...] = Field(default=(), max_length=MOST_RULES)
    cap: tuple[Cap, ...] = Field(default=(), max_length=MOST_RULES)
    at_most: dict[str, Limit] = Field(default={}, max_length=10)

    def __hash__(self) -> int:
        return hash((self.pin, self.boost, self.bury, self.cap, *self.at_most.items()))

    @property
    def factors(self) -> tuple[Boost | Bury, ...]:
        """The rules that change scores."""
        return (*self.boost, *self.bury)

    @property
    def selections(self) -> tuple[Selection, ...]:
        """The rules that are about some of the items."""
        return (*self.factors, *self.cap)

    @field_validator("pin")
    @classmethod
    def _one_pin_a_place(cls, pins: tuple[Pin, ...]) -> tuple[Pin, ...]:
        at: dict[int, str] = {}
        place: dict[str, int] = {}
        for pin in pins:
            if pin.position in at:
                both = f"{at[pin.position]!r} and {pin.item!r}"
                raise ValueError(f"position {pin.position} is pinned twice, to {both}")
            if pin.item in place:
                both = f"{place[pin.item]} and {pin.position}"
                raise ValueError(f"item {pin.item!r} is pinned twice, at positions {both}")
            at[pin.position], place[pin.item] = pin.item, pin.position
        return tuple(sorted(pins, key=lambda pin: pin.position))

    @field_validator("at_most")
    @classmethod
    def _known_groups(cls, at_most: dict[str, int]) -> dict[str, int]:
        for name in at_most:
            if not is_group(name):
                raise ValueError(
                    f"items cannot be counted by {name[:60]!r}; there are {GROUP_WORDS}"
                )
        return dict(sorted(at_most.items()))

    @model_validator(mode="after")
    def _pins_are_shown(self) -> Self:
        never = self._never_by_name()
        for pin in self.pin:
            if pin.item in never:
                raise ValueError(
                    f"item {pin.item!r} is pinned at position {pin.position} and buried with "
                    f"factor 0, which hides it; keep one of the two"
                )
        return self

    @model_validator(mode="after")
    def _few_conditions(self) -> Self:
        """Each is asked of the whole catalogue whenever that changes."""
        asked = [
            condition
            for rule in self.selections
            if rule.filter is not None
            for condition in rule.filter.conditions()
        ]
        slow = sum(condition.operator == "contains" for condition in asked)
        if len(asked) > MAX_CONDITIONS or slow > MAX_CONTAINS:
            raise ValueError(
                f"all filters of the rules have {len(asked)} conditions, {slow} of them contains; "
                f"{MAX_CONDITIONS} and {MAX_CONTAINS} are the most"
            )
        return self

    def _never_by_name(self) -> set[str]:
        return {item for rule in self.bury if rule.factor == 0 for item in rule.items}

    def joined(self, request: "Rules") -> "Rules":
        """These rules of a shop with those of a request.

        A pin of the request takes the place of the shop's at its position or of its item; all
        boosts, buries and caps hold; of two limits of one field the lower one does. What either
        never shows is not pinned.

        Raises:
            RecipeError: together they are more rules of a kind than there may be.
        """
        taken = {pin.position for pin in request.pin}
        moved = {pin.item for pin in request.pin}
        pins = [p for p in self.pin if p.position not in taken and p.item not in moved]
        never = self._never_by_name() | request._never_by_name()
        limits = [*self.at_most.items(), *request.at_most.items()]
        return Rules.parse(
            {
                "pin": tuple(p for p in (*pins, *request.pin) if p.item not in never),
                "boost": self.boost + request.boost,
                "bury": self.bury + request.bury,
                "cap": self.cap + request.cap,
                "at_most": dict(sorted(limits, key=lambda limit: limit[1], reverse=True)),
            },
            origin="rules of the shop and the request together",
        )

    def compiled(self, table: pl.DataFrame) -> CompiledRules:
        """The rules over one catalogue; to be made once for each state of it.

        Args:
            table: columns of `columns.ITEMS` and `tier`; row = catalogue number.

        Returns:
            Arrays by catalogue number; items the catalogue lacks are in `unknown`.
        """
        named = {pin.item for pin in self.pin}
        named.update(*(rule.items for rule in self.selections))
        number = numbers_of(table, named)
        factor = self._factor(table, number)
        touch = np.select([factor > 1, factor < 1], [BOOSTED, BURIED], NOTHING).astype(np.int8)
        pins = [
            (number[p.item], p.position - 1)
            for p in self.pin
            if p.item in number and factor[number[p.item]] > 0
        ]
        pinned = np.array(pins, np.int32).reshape(-1, 2)
        codes, n_counts = self._codes(table, number)
        return CompiledRules(
            factor,
            touch,
            np.ascontiguousarray(pinned[:, 0]),
            np.ascontiguousarray(pinned[:, 1]),
            codes,
            np.array([*(cap.at_most for cap in self.cap), *self.at_most.values()], np.int32),
            n_counts,
            tuple(sorted(named - number.keys())),
            lambda row: self.why(table[row]),
        )

    def why(self, item: pl.DataFrame) -> list[str]:
        """What the rules do to the one item of a table, a sentence each."""
        name = item[c.ITEM_ID][0]
        said = [f"pinned at position {pin.position}" for pin in self.pin if pin.item == name]
        for rule in self.factors:
            if rule.about(item):
                verb = "boosted" if isinstance(rule, Boost) else "buried"
                effect = f"{verb} by {rule.factor:g}" if rule.factor else "never shown"
                said.append(f"{effect}: {rule.words()}")
        said += [
            f"at most {cap.at_most} in a slate: {cap.words()}"
            for cap in self.cap
            if cap.about(item)
        ]
        for field, limit in self.at_most.items():
            value = group(raw(item, field), field)[0]
            if value is not None:
                said.append(f"at most {limit} in a slate with {field} {shown(value)}")
        return said

    def _factor(self, table: pl.DataFrame, number: Mapping[str, int]) -> Float32Array:
        """float32 [I], the product of the factors of all rules about an item."""
        factor = np.ones(len(table))
        for rule in self.factors:
            chosen = rule.numbers(table, number)
            bent = factor[chosen] * rule.factor
            factor[chosen] = np.where(bent > 0, np.clip(bent, *FACTORS), 0)
        return factor.astype(np.float32)

    def _codes(self, table: pl.DataFrame, number: Mapping[str, int]) -> tuple[Int32Array, int]:
        """Which counts the items of a table go to, int32 [G, I], and how many counts there are."""
        each = [np.full(len(table), UNLIMITED, np.int32) for _ in self.cap]
        for own, cap in zip(each, self.cap, strict=True):
            own[cap.numbers(table, number)] = 0
        each += [groups_of(table, name)[0] for name in self.at_most]
        codes = np.full((len(each), len(table)), UNLIMITED, np.int32)
        n_counts = 0
        for row, own in enumerate(each):
            codes[row] = np.where(own == UNLIMITED, UNLIMITED, own + n_counts)
            n_counts += int(own.max(initial=UNLIMITED)) + 1
        return codes, n_counts
