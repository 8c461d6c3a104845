"""Filters: which items may be shown, said in JSON and asked of a whole catalogue at once.

::

    {"all": [{"price": {"lte": 20}}, {"category": {"under": "Makeup"}}, {"not": {"brand": "X"}}]}

An object holds where all of its entries hold. A missing value meets nothing but
``exists: false``, and ``not`` is the plain complement: ``{"brand": {"ne": "X"}}`` leaves items
without a brand out, ``{"not": {"brand": "X"}}`` does not.
"""

import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.data.conditions import ATTRIBUTE, Condition, Scalar, Value, plain_value, shown
from tailrec.errors import DataError
from tailrec.items import BoolArray

MAX_DEPTH: Final = 16
MAX_CONDITIONS: Final = 200
MAX_CONTAINS: Final = 10
"""Conditions that read through texts, which take a hundred times as long as others."""
MAX_VALUES: Final = 1_000
MAX_TEXT: Final = 1_000
MAX_NUMBER: Final = 2.0**53
"""Beyond it whole numbers are no longer told apart."""

_EQUAL = ("eq", "ne", "in", "not_in")
_ORDER = ("lt", "lte", "gt", "gte")
OPERATORS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "text": (*_EQUAL, "contains", "exists"),
        "category": (*_EQUAL, "contains", "under", "exists"),
        "number": (*_EQUAL, *_ORDER, "exists"),
        "flag": ("eq", "ne", "exists"),
        "time": ("since", "until", "exists"),
        c.TIER: (*_EQUAL, "exists"),
        "attribute": (*_EQUAL, *_ORDER, "contains", "exists"),
    }
)
"""What can be asked of a field, by its kind."""

_KIND_OF_TYPE = {pl.String: "text", pl.Float64: "number", pl.Boolean: "flag", pl.Datetime: "time"}
FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {name: _KIND_OF_TYPE[type(dtype)] for name, dtype in c.ITEMS.items() if name != c.ATTRIBUTES}
    | {c.CATEGORY: "category", c.TIER: c.TIER}
)
"""The kind of each field; an attribute is `attributes.` and its name."""

_NORMALISED = (c.TITLE, c.DESCRIPTION, c.BRAND, c.CATEGORY)
"""Columns an ingest brings to one form of Unicode."""


class FilterError(DataError):
    """A filter is malformed.

    Attributes:
        path: where, as in `filter.all[1].price.lte`.
        fault: what is wrong there and what is possible.
    """

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.path = path
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Filter:
    """Which items may be shown. Filters that say the same in another order are equal.

    Attributes:
        key: the filter as JSON in its one form; a key for caches.
    """

    key: str = field(init=False)
    root: "Node" = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _text(self.root))

    def mask(self, table: pl.DataFrame) -> BoolArray:
        """The items of a table that pass.

        Every item is judged by its own row: masks of two tables put one behind the other are
        the mask of both tables put so.

        Args:
            table: columns of `columns.ITEMS` and `tier`; a column it lacks is all missing.

        Returns:
            bool [I].
        """
        return self.root.mask(table)

    def why_not(self, item: pl.DataFrame) -> str | None:
        """Why the one item of a table does not pass, in words; None where it passes.

        Raises:
            DataError: the table holds another number of items.
        """
        if len(item) != 1:
            raise DataError(f"a table of {len(item)} items was given; give the row of one item")
        return self.root.why_not(item)

    def conditions(self) -> Iterator[Condition]:
        """All conditions in it."""
        return _conditions(self.root)

    def plain(self) -> dict[str, object]:
        """The filter as values of JSON, in its one form."""
        return self.root.plain()

    def words(self) -> str:
        """The filter in words."""
        return self.root.words()


@dataclass(frozen=True, slots=True)
class _All:
    parts: "tuple[Node, ...]"

    def mask(self, table: pl.DataFrame) -> BoolArray:
        met = np.ones(len(table), np.bool_)
        for part in self.parts:
            met &= part.mask(table)
        return met

    def why_not(self, item: pl.DataFrame) -> str | None:
        faults = [fault for part in self.parts if (fault := part.why_not(item))]
        return "; ".join(faults) or None

    def plain(self) -> dict[str, object]:
        return {"all": [part.plain() for part in self.parts]}

    def words(self) -> str:
        return " and ".join(part.words() for part in self.parts) or "anything"


@dataclass(frozen=True, slots=True)
class _Any:
    parts: "tuple[Node, ...]"

    def mask(self, table: pl.DataFrame) -> BoolArray:
        met = np.zeros(len(table), np.bool_)
        for part in self.parts:
            met |= part.mask(table)
        return met

    def why_not(self, item: pl.DataFrame) -> str | None:
        faults = [part.why_not(item) for part in self.parts]
        return None if None in faults else ", or else ".join(map(str, faults))

    def plain(self) -> dict[str, object]:
        return {"any": [part.plain() for part in self.parts]}

    def words(self) -> str:
        return "(" + " or ".join(part.words() for part in self.parts) + ")"


@dataclass(frozen=True, slots=True)
class _Not:
    part: "Node"

    def mask(self, table: pl.DataFrame) -> BoolArray:
        return ~self.part.mask(table)

    def why_not(self, item: pl.DataFrame) -> str | None:
        return None if self.mask(item)[0] else f"ruled out: {self.part.words()}"

    def plain(self) -> dict[str, object]:
        return {"not": self.part.plain()}

    def words(self) -> str:
        return f"not ({self.part.words()})"


Node = _All | _Any | _Not | Condition


def parse_filter(value: object, *, at: str = "filter") -> Filter:
    """A filter from values of JSON or TOML.

    Args:
        value: an object, as in the head of this file.
        at: how messages call the whole filter.

    Raises:
        FilterError: it is malformed or too large; says where, what was given and what is possible.
    """
    return Filter(_Reader().whole(value, at, 1))


class _Reader:
    """Reads one filter and counts its conditions."""

    def __init__(self) -> None:
        self.n_conditions = self.n_contains = 0

    def whole(self, value: object, at: str, depth: int) -> Node:
        """An object with all of its entries."""
        if depth > MAX_DEPTH:
            raise FilterError(at, f"conditions stand in one another {MAX_DEPTH} deep at most")
        if not isinstance(value, dict):
            raise FilterError(
                at, f'{_given(value)} was given; give an object such as {{"brand": "X"}}'
            )
        if not value:
            self._count(at)
        return _all_of(self._entry(key, part, at, depth) for key, part in value.items())

    def _entry(self, key: object, value: object, at: str, depth: int) -> Node:
        below = f"{at}.{_step(key)}"
        if key == "not":
            return _not(self.whole(value, below, depth + 1))
        if key not in ("all", "any"):
            return self._field(key, value, at)
        if not isinstance(value, list | tuple):
            raise FilterError(below, f"{_given(value)} was given; give a list of conditions")
        if not value:
            self._count(below)
            if key == "any":
                raise FilterError(below, "no condition is in the list, so nothing would pass")
        parts = [self.whole(v, f"{below}[{n}]", depth + 1) for n, v in enumerate(value)]
        return _all_of(parts) if key == "all" else _any_of(parts)

    def _field(self, key: object, value: object, at: str) -> Node:
        kind = _kind(key, at)
        at, name = f"{at}.{_step(key)}", str(key)
        if not isinstance(value, dict) and kind != "time":
            return self._condition(name, kind, ("eq", value), (at, at))
        if not isinstance(value, dict) or not value:
            possible = ", ".join(OPERATORS[kind])
            raise FilterError(
                at, f"{_given(value)} was given; give an object with one of: {possible}"
            )
        parts = [
            self._condition(name, kind, pair, (at, f"{at}.{_step(pair[0])}"))
            for pair in value.items()
        ]
        return _all_of(parts)

    def _condition(
        self, name: str, kind: str, pair: tuple[object, object], places: tuple[str, str]
    ) -> Condition:
        """A field's operator with its value; `places` are those of the field and of the value."""
        (operator, value), (at, below) = pair, places
        self._count(at)
        if not isinstance(operator, str) or operator not in OPERATORS[kind]:
            raise FilterError(
                below,
                f"{name} has no operator {_given(operator)}"
                f"{_nearest(operator, OPERATORS[kind])}; it has: {', '.join(OPERATORS[kind])}",
            )
        self.n_contains += operator == "contains"
        if self.n_contains > MAX_CONTAINS:
            raise FilterError(below, f"a filter asks contains {MAX_CONTAINS} times at most")
        read = _value(name, kind, operator, (value, below))
        if isinstance(read, tuple) and len(read) == 1:
            return Condition(name, "eq" if operator == "in" else "ne", read[0])
        return Condition(name, operator, read)

    def _count(self, at: str) -> None:
        self.n_conditions += 1
        if self.n_conditions > MAX_CONDITIONS:
            raise FilterError(at, f"a filter has {MAX_CONDITIONS} conditions at most")


def _all_of(parts: Iterable[Node]) -> Node:
    flat = [inner for p in parts for inner in (p.parts if isinstance(p, _All) else (p,))]
    ordered = _distinct(flat)
    return ordered[0] if len(ordered) == 1 else _All(ordered)


def _any_of(parts: Iterable[Node]) -> Node:
    flat = [inner for p in parts for inner in (p.parts if isinstance(p, _Any) else (p,))]
    ordered = _distinct(flat)
    return ordered[0] if len(ordered) == 1 else _Any(ordered)


def _not(part: Node) -> Node:
    return part.part if isinstance(part, _Not) else _Not(part)


def _distinct(parts: Iterable[Node]) -> tuple[Node, ...]:
    """The parts in the order of their texts. As values, 1 and true would be one."""
    return tuple(part for _, part in sorted({_text(p): p for p in parts}.items()))


def _conditions(node: Node) -> Iterator[Condition]:
    if isinstance(node, Condition):
        yield node
        return
    for part in (node.part,) if isinstance(node, _Not) else node.parts:
        yield from _conditions(part)


def _text(node: Node) -> str:
    return json.dumps(node.plain(), sort_keys=True, separators=(",", ":"))


def _kind(key: object, at: str) -> str:
    if isinstance(key, str) and key in FIELDS:
        return FIELDS[key]
    if isinstance(key, str) and key.startswith(ATTRIBUTE) and key != ATTRIBUTE:
        _text_of(key, f"{at}.{_step(key)}")
        return "attribute"
    known = [*FIELDS, f"{ATTRIBUTE}NAME"]
    near = _nearest(key, [*known, "all", "any", "not"])
    raise FilterError(
        f"{at}.{_step(key)}",
        f"there is no field {_given(key)}{near}; there are {', '.join(known)}, "
        f"and all, any and not put conditions together",
    )


def _value(name: str, kind: str, operator: str, given: tuple[object, str]) -> Value:
    """What an operator is given, checked; `given` is a value and where it stands."""
    value, at = given
    if operator == "exists":
        return _flag(value, at)
    if operator in ("in", "not_in"):
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_VALUES:
            length = f" of {len(value)} values" if isinstance(value, list | tuple) else ""
            raise FilterError(
                at,
                f"{_given(value)}{length} was given; give a list of 1 to {MAX_VALUES:,} values",
            )
        read = [_scalar(name, kind, part, f"{at}[{n}]") for n, part in enumerate(value)]
        distinct = {json.dumps(plain_value(part)): part for part in read}
        return tuple(part for _, part in sorted(distinct.items()))
    if operator in _ORDER:
        return _number(value, at)
    if operator == "under":
        return _path(value, at)
    if operator == "contains":
        return _normal(name, _text_of(value, at))
    return _scalar(name, kind, value, at)


def _scalar(name: str, kind: str, value: object, at: str) -> Scalar:
    if kind == "attribute":
        kind = {str: "text", bool: "flag", int: "number", float: "number"}.get(type(value), "")
        if not kind:
            raise FilterError(
                at, f"{_given(value)} was given; give text, a number, true or false{_null(value)}"
            )
    if kind == "number":
        return _number(value, at)
    if kind == "flag":
        return _flag(value, at)
    if kind == "time":
        return _instant(value, at)
    text = _normal(name, _text_of(value, at))
    if kind == c.TIER and text not in c.TIERS:
        near = _nearest(text, c.TIERS)
        raise FilterError(
            at, f"there is no tier {_given(text)}{near}; there are {', '.join(c.TIERS)}"
        )
    return text


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise FilterError(at, f"{_given(value)} was given; give true or false{_null(value)}")
    return value


def _number(value: object, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(at, f"{_given(value)} was given; give a number{_null(value)}")
    if not math.isfinite(value) if isinstance(value, float) else False:
        raise FilterError(at, f"{_given(value)} was given; give a finite number")
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise FilterError(at, f"{_given(value)} was given; numbers go up to 2 to the 53rd")
    return float(value) + 0.0  # -0.0 is 0.0


def _text_of(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise FilterError(at, f"{_given(value)} was given; give text{_null(value)}")
    if not 1 <= len(value) <= MAX_TEXT:
        lack = '; for items without a value ask {"exists": false}' if not value else ""
        raise FilterError(
            at, f"text of {len(value)} characters was given; give 1 to {MAX_TEXT:,}{lack}"
        )
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise FilterError(at, "the text holds half of a surrogate pair; send it as UTF-8")
    return value


def _normal(name: str, text: str) -> str:
    return unicodedata.normalize("NFC", text) if name in _NORMALISED else text


def _path(value: object, at: str) -> str:
    names = _normal(c.CATEGORY, _text_of(value, at)).split(c.CATEGORY_SEPARATOR)
    names = [name.strip() for name in names]
    if not all(names):
        raise FilterError(at, f"{_given(value)} has an empty step; write A{c.CATEGORY_SEPARATOR}B")
    return c.CATEGORY_SEPARATOR.join(names)


def _instant(value: object, at: str) -> datetime:
    """A time in UTC; a date is its first instant. TOML has times of its own."""
    try:
        if isinstance(value, date):
            moment = datetime.fromisoformat(value.isoformat())
        else:
            moment = datetime.fromisoformat(_text_of(value, at))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, FilterError):
            raise
        raise FilterError(
            at, f"{_given(value)} is no time; write 2024-05-31 or 2024-05-31T12:00Z"
        ) from error


def _given(value: object) -> str:
    """A value of any kind for a message: short, and printable whatever it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        return "a whole number beyond 2 to the 53rd"
    return shown(value)


def _null(value: object) -> str:
    return '; for items without a value ask {"exists": false}' if value is None else ""


def _step(key: object) -> str:
    """A key as a step of a path; odd ones quoted."""
    plain = isinstance(key, str) and key.replace(".", "").isidentifier() and len(key) <= 80
    return str(key) if plain else _given(key)


def _nearest(given: Any, known: Iterable[str]) -> str:
    close = get_close_matches(given[:40].lower(), list(known), 1) if isinstance(given, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""
