"""Gives the columns of a file their meaning: which of ours each one is, in which type."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self

import polars as pl

from tailrec import columns as c
from tailrec.data.coerce import BAD, check_type, time_format_of, to_type
from tailrec.data.jsonlines import ROW
from tailrec.errors import SchemaError

QUANTITY: Final = "quantity"

WORKING: Final = MappingProxyType(
    {QUANTITY: pl.Float64(), c.PRICE: pl.Float64(), c.TITLE: pl.String()}
)
"""Columns an events file may have besides those of the table; cleaning uses them."""

_NOTHING = ("", "null", "none", "nan", "nat", "na", "n/a", r"\n", "-")
_WITH_ATTRIBUTES = ("items", "users")


def parse_pairs(text: str) -> dict[str, str]:
    """``a=x,b=y`` as a mapping, as `--map` and `--fill` take it.

    Raises:
        SchemaError: a part has no '=', or names a column twice.
    """
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        ours, equals, theirs = (word.strip() for word in part.partition("="))
        if not (ours and equals and theirs):
            raise SchemaError(f"{part!r} is no pair; write OURS=THEIRS, as in user_id=CustomerID")
        if ours in pairs:
            raise SchemaError(f"{ours!r} is given twice: {pairs[ours]!r} and {theirs!r}")
        pairs[ours] = theirs
    return pairs


@dataclass(frozen=True)
class Layout:
    """How the columns of a file become those of a table.

    Attributes:
        table: a key of `columns.TABLES`.
        mapping: our column → theirs; ``a+b`` joins texts by a blank, ``a>b`` by ' > '. A column
            of ours that is not mapped is taken from the column of the same name.
        fill: our column → constant, for columns the file lacks.
        attributes: their columns kept as attributes; all that have no other use where None.
        extra: further columns that pass through cleaning, as text (presets use them).
        time_formats: our time column → how it is written; found by `learn`.
        most_unreadable: share of unreadable values from which a column is of the wrong type.
    """

    table: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, str] = field(default_factory=dict)
    attributes: Sequence[str] | None = None
    extra: Sequence[str] = ()
    time_formats: Mapping[str, str] = field(default_factory=dict)
    most_unreadable: float = 0.5

    def __post_init__(self) -> None:
        if self.table not in c.TABLES:
            raise SchemaError(f"table {self.table!r} is unknown; expected one of {list(c.TABLES)}")
        unknown = sorted({*self.mapping, *self.fill} - {*self.types, *self.extra})
        if unknown:
            raise SchemaError(
                f"{self.table} has no column {unknown}; give one of {list(self.types)}"
            )

    @property
    def types(self) -> dict[str, pl.DataType]:
        """Columns a file may have, and their types."""
        working = WORKING if self.table == "events" else {}
        return {**c.TABLES[self.table], **working}

    def timed(self, time_format: str) -> Self:
        """The same layout with one way to write times; '' leaves it to be found."""
        if not time_format:
            return self
        times = [name for name, dtype in self.types.items() if isinstance(dtype, pl.Datetime)]
        return replace(self, time_formats=dict.fromkeys(times, time_format))

    def learn(self, frame: pl.DataFrame, origin: str) -> Self:
        """The same layout, knowing how the file writes its times."""
        times = [name for name, dtype in self.types.items() if isinstance(dtype, pl.Datetime)]
        named = self._named(frame, origin)
        found = {
            name: time_format_of(named[name], f"{origin}, column {name!r}")
            for name in times
            if name in named.columns and name not in self.time_formats
        }
        return replace(self, time_formats={**found, **self.time_formats})

    def apply(self, frame: pl.DataFrame, origin: str) -> pl.DataFrame:
        """A raw frame with our columns and types.

        Args:
            frame: columns of the file and `ROW`.
            origin: the file's name, for messages.

        Returns:
            Same rows; `ROW`, the columns found or filled, and a column ``BAD + name`` with the
            original text wherever a cell could not be read.

        Raises:
            SchemaError: a column is missing or of the wrong type.
        """
        named = _emptied(self._named(frame, origin), self.types)
        columns = [named[ROW]]
        for name, dtype in self.types.items():
            if name not in named.columns:
                continue
            read = to_type(named[name], dtype, time_format=self.time_formats.get(name, "iso"))
            check_type(named, read, name, most=self.most_unreadable, origin=origin)
            columns.append(read)
            bad = named[name].is_not_null() & read.is_null()
            if bad.any():
                raw = named[name].cast(pl.String, strict=False)
                columns.append(raw.set(~bad, None).alias(BAD + name))
        columns += [named[name].cast(pl.String) for name in self.extra if name in named.columns]
        return self._with_attributes(pl.DataFrame(columns), frame)

    def _named(self, frame: pl.DataFrame, origin: str) -> pl.DataFrame:
        """The file's columns under our names, untyped; constants where it has none."""
        wanted = [*self.types, *self.extra]
        sources = {name: self.mapping.get(name, name) for name in wanted}
        found = {}
        for name, source in sources.items():
            if source in frame.columns:
                found[name] = pl.col(source)
            elif name in self.mapping:
                found[name] = _joined(source, frame, origin, name)
            elif name in self.fill:
                found[name] = pl.lit(self.fill[name])
        missing = [name for name in c.REQUIRED[self.table] if name not in found]
        if missing:
            have = ", ".join(name for name in frame.columns if name != ROW)
            raise SchemaError(
                f"{origin}: {self.table} need {', '.join(missing)}, but the columns are {have}; "
                f"name it with --map {missing[0]}=COLUMN or set it with --fill {missing[0]}=VALUE"
            )
        return frame.select(ROW, **found)

    def _with_attributes(self, ours: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
        """Columns without another use, as JSON under the names they had."""
        if self.table not in _WITH_ATTRIBUTES:
            return ours
        parts = {part for source in self.mapping.values() for part in _parts(source, frame)}
        used = {ROW, *parts, *(self.types.keys() - self.mapping.keys())}
        rest = [name for name in frame.columns if name not in used]
        kept = rest if self.attributes is None else [n for n in self.attributes if n in rest]
        if not kept:
            return ours
        text = json_object(frame.select(kept))
        if c.ATTRIBUTES in ours.columns:
            own = ours.select(c.ATTRIBUTES)
            text = json_object(frame.select(kept).with_columns(own.to_series()))
        return ours.with_columns(text.alias(c.ATTRIBUTES))


def _emptied(named: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Words for 'nothing' as null, where a number, a time or a flag is expected."""
    expected = [name for name, dtype in types.items() if dtype != pl.String()]
    texts = [n for n in expected if n in named.columns and named.schema[n] == pl.String]
    nothing = pl.col(texts).str.strip_chars().str.to_lowercase().is_in(_NOTHING)
    return named.with_columns(pl.when(~nothing).then(pl.col(texts))) if texts else named


def json_object(frame: pl.DataFrame) -> pl.Series:
    """One JSON object a row, without empty values; null where nothing is left."""
    pairs = [
        pl.when(_says_something(name, dtype)).then(
            pl.struct(name).struct.json_encode().str.slice(1).str.head(-1)
        )
        for name, dtype in frame.schema.items()
    ]
    body = pl.concat_str(pairs, separator=",", ignore_nulls=True)
    whole = pl.when(body != "").then(pl.lit("{") + body + pl.lit("}"))
    return frame.select(whole.alias(c.ATTRIBUTES)).to_series()


def _says_something(name: str, dtype: pl.DataType) -> pl.Expr:
    present = pl.col(name).is_not_null()
    return present & (pl.col(name) != "") if dtype == pl.String else present


def _parts(source: str, frame: pl.DataFrame) -> list[str]:
    return [source] if source in frame.columns else re.split(r"\s*[+>]\s*", source)


def _joined(source: str, frame: pl.DataFrame, origin: str, name: str) -> pl.Expr:
    """An expression for 'a', 'a+b' or 'a>b'; empty parts leave no separator behind."""
    parts = _parts(source, frame)
    missing = [part for part in parts if part not in frame.columns]
    if missing:
        have = ", ".join(column for column in frame.columns if column != ROW)
        raise SchemaError(
            f"{origin}: has no column {missing[0]!r} (mapped to {name}); its columns are {have}"
        )
    separator = c.CATEGORY_SEPARATOR if ">" in source else " "
    texts = [pl.col(part).cast(pl.String).str.strip_chars().replace("", None) for part in parts]
    text = pl.concat_str(texts, separator=separator, ignore_nulls=True)
    return pl.when(text != "").then(text)
