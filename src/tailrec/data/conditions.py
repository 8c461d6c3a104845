"""One condition on items, asked of a whole table at once: a field, an operator and a value.

A missing value meets no condition but ``exists: false``. Missing are null, NaN, empty text, what
is not in an item's attributes, and every value of a column the table lacks.
"""

import json
import math
import re
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.items import BoolArray, Int32Array

ATTRIBUTE: Final = f"{c.ATTRIBUTES}."
"""What stands before the name of an attribute: `attributes.colour`."""

Scalar = str | float | bool | datetime
Value = Scalar | tuple[Scalar, ...]

_NEGATED: Final = {"ne": "eq", "not_in": "in"}
_TESTS: Final[Mapping[str, Callable[[pl.Series, Any], pl.Series]]] = MappingProxyType(
    {
        "eq": lambda values, given: values == given,
        "in": lambda values, given: values.is_in(list(given)),
        "lt": lambda values, given: values < given,
        "lte": lambda values, given: values <= given,
        "gt": lambda values, given: values > given,
        "gte": lambda values, given: values >= given,
        # Simple case folding, which finds all forms of a sigma; lower case would not.
        "contains": lambda values, given: values.str.contains("(?i)" + re.escape(given)),
        "under": lambda values, given: (
            (values == given) | values.str.starts_with(given + c.CATEGORY_SEPARATOR)
        ),
        "since": lambda values, given: values >= given,
        "until": lambda values, given: values < given,
    }
)
_SAID: Final[Mapping[str, str]] = MappingProxyType(
    {
        "eq": "{}",
        "ne": "anything but {}",
        "in": "one of {}",
        "not_in": "none of {}",
        "lt": "below {}",
        "lte": "at most {}",
        "gt": "above {}",
        "gte": "at least {}",
        "contains": "a text with {} in it",
        "under": "{} or below it",
        "since": "at or after {}",
        "until": "before {}",
    }
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What one field of an item must be.

    Attributes:
        field: a column of `columns.ITEMS`, `tier`, or `ATTRIBUTE` and a name.
        operator: eq, ne, in, not_in, lt, lte, gt, gte, contains, under, since, until or exists.
        value: what it is held against, of the field's type.
    """

    field: str
    operator: str
    value: Value

    def mask(self, table: pl.DataFrame) -> BoolArray:
        """bool [I], the items of a table that meet it."""
        if self.operator == "exists":
            present = _present(table, self.field)
            return present if self.value else ~present
        positive = _NEGATED.get(self.operator, self.operator)
        met = _meeting(table, self.field, positive, self.value)
        return met if positive == self.operator else _present(table, self.field) & ~met

    def plain(self) -> dict[str, object]:
        """The condition as values of JSON; the same for conditions that mean the same."""
        return {self.field: {self.operator: plain_value(self.value)}}

    def words(self) -> str:
        """The condition in words."""
        return f"{self.field} is {self._wanted()}"

    def why_not(self, item: pl.DataFrame) -> str | None:
        """Why the one item of a table fails, in words; None where it does not."""
        if self.mask(item)[0]:
            return None
        known = _present(item, self.field)[0]
        given = shown(value_of(item, self.field)) if known else "missing"
        return f"{self.field} is {given}; it must be {self._wanted()}"

    def _wanted(self) -> str:
        if self.operator == "exists":
            return "known" if self.value else "missing"
        return _SAID[self.operator].format(shown(self.value))


def plain_value(value: Value) -> object:
    """A condition's value as JSON and TOML can hold it."""
    if isinstance(value, tuple):
        return [plain_value(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def shown(value: object) -> str:
    """A value for a message; long ones are cut."""
    if isinstance(value, tuple):
        rest = f" and {len(value) - 5} more" if len(value) > 5 else ""
        return ", ".join(shown(part) for part in value[:5]) + rest
    if isinstance(value, datetime | float):
        text = str(plain_value(value))
    else:
        text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def value_of(item: pl.DataFrame, name: str) -> object:
    """The value of a field of the one item of a table; None where it is missing."""
    if name.startswith(ATTRIBUTE):
        return attributes_of(item).value(0, name.removeprefix(ATTRIBUTE))
    return item[name][0] if name in item.columns else None


def _present(table: pl.DataFrame, name: str) -> BoolArray:
    """bool [I], whether an item has a value in a field."""
    if name.startswith(ATTRIBUTE):
        return attributes_of(table).present(name.removeprefix(ATTRIBUTE))
    if name not in table.columns:
        return np.zeros(len(table), np.bool_)
    values = _column(table, name)
    return _bools(values != "" if values.dtype == pl.String else values.is_not_null())


def _meeting(table: pl.DataFrame, name: str, operator: str, value: Value) -> BoolArray:
    """bool [I], the items that pass a test which no missing value passes."""
    if name.startswith(ATTRIBUTE):
        return attributes_of(table).meeting(name.removeprefix(ATTRIBUTE), operator, value)
    if name not in table.columns:
        return np.zeros(len(table), np.bool_)
    return _bools(_TESTS[operator](_column(table, name), value))


def _column(table: pl.DataFrame, name: str) -> pl.Series:
    values = table[name]
    if isinstance(values.dtype, pl.Enum | pl.Categorical):
        return values.cast(pl.String)
    # NaN would be above every number.
    return values.fill_nan(None) if values.dtype.is_float() else values


def _bools(values: pl.Series) -> BoolArray:
    return np.asarray(values.fill_null(value=False).to_numpy(), np.bool_)


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of a table's items, read once.

    Attributes:
        code: int32 [I], which of the distinct texts an item has; D where it has none.
        n_distinct: D.
        entries: by name of an attribute: texts that have it, with its value.
    """

    code: Int32Array
    n_distinct: int
    entries: Mapping[str, Mapping[int, object]]
    _typed: dict[str, "_Typed"] = field(default_factory=dict)

    def value(self, number: int, name: str) -> object:
        """An item's value of an attribute; None where it is missing."""
        return self.entries.get(name, {}).get(int(self.code[number]))

    def present(self, name: str) -> BoolArray:
        """bool [I], items that have an attribute."""
        have = np.zeros(self.n_distinct + 1, np.bool_)
        have[np.fromiter(self.entries.get(name, {}), np.int32)] = True
        return have[self.code]

    def texts(self, name: str) -> list[str | None]:
        """[I] items' values of an attribute as text, whole lists as JSON; None where missing."""
        text: list[str | None] = [None] * self.n_distinct
        for number, value in self.entries.get(name, {}).items():
            text[number] = value if isinstance(value, str) else json.dumps(value)
        return [text[number] for number in self.code]

    def meeting(self, name: str, operator: str, value: Value) -> BoolArray:
        """bool [I], items of whose values of an attribute one passes a test.

        Text is held against text only, numbers against numbers, yes or no against yes or no.
        """
        met = np.zeros(self.n_distinct + 1, np.bool_)
        if name in self.entries:
            if name not in self._typed:
                self._typed[name] = _Typed.of(self.entries[name])
            self._typed[name].mark(met, operator, value)
        return met[self.code]


@dataclass(frozen=True, slots=True)
class _Typed:
    """The values of one attribute, by type; the parts of a list are values of their own.

    Attributes:
        parts: for str, float and bool: int32 [N] distinct texts, and their values [N].
    """

    parts: Mapping[type, tuple[Int32Array, pl.Series]]

    @classmethod
    def of(cls, entries: Mapping[int, object]) -> "_Typed":
        texts: dict[type, list[int]] = {str: [], float: [], bool: []}
        values: dict[type, list[object]] = {str: [], float: [], bool: []}
        for text, whole in entries.items():
            for value in whole if isinstance(whole, list) else [whole]:
                if type(value) in texts:
                    texts[type(value)].append(text)
                    values[type(value)].append(value)
        types = {str: pl.String, float: pl.Float64, bool: pl.Boolean}
        return cls(
            {
                kind: (np.array(texts[kind], np.int32), pl.Series(values[kind], dtype=dtype))
                for kind, dtype in types.items()
            }
        )

    def mark(self, met: BoolArray, operator: str, value: Value) -> None:
        """Set the distinct texts with a value that passes a test, in `met` [D + 1]."""
        for kind, (text, values) in self.parts.items():
            given = value if isinstance(value, tuple) else (value,)
            fitting = tuple(part for part in given if type(part) is kind)
            if fitting:
                asked = fitting if operator == "in" else fitting[0]
                met[text[_bools(_TESTS[operator](values, asked))]] = True


_READ: dict[int, tuple[weakref.ref[pl.DataFrame], Attributes]] = {}
"""Attributes of tables that are still in use, by identity: a table never changes."""


def attributes_of(table: pl.DataFrame) -> Attributes:
    """The attributes of a table's items; read once a table.

    What is no JSON object counts as no attributes. Values that are null, empty or no finite
    number are missing.

    Cost: a few µs a distinct text, the first time a table is given.
    """
    key = id(table)
    found = _READ.get(key)
    if found is None:
        gone = weakref.ref(table, lambda _: _READ.pop(key, None))
        found = _READ[key] = (gone, _read(table))
    return found[1]


def _read(table: pl.DataFrame) -> Attributes:
    column = table[c.ATTRIBUTES].to_list() if c.ATTRIBUTES in table.columns else [None] * len(table)
    distinct: dict[str | None, int] = {}
    code = np.array([distinct.setdefault(text, len(distinct)) for text in column], np.int32)
    entries: dict[str, dict[int, object]] = {}
    for text, number in distinct.items():
        for name, value in _object(text).items():
            entries.setdefault(_encodable(name), {})[number] = value
    return Attributes(code, len(distinct), entries)


def _object(text: str | None) -> dict[str, object]:
    """The values of a JSON object that are not missing; none where the text is no such thing."""
    try:
        value = _known(json.loads(text or "null"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _known(value: object) -> object:
    """A value of JSON with numbers as floats; None where it is missing."""
    if isinstance(value, dict):
        known_of = {name: _known(part) for name, part in value.items()}
        return {name: part for name, part in known_of.items() if part is not None} or None
    if isinstance(value, list):
        return [known for part in value if (known := _known(part)) is not None] or None
    if isinstance(value, str):
        return _encodable(value) or None
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None


def _encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and a table cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
