"""Texts, numbers and times of any writing as the types of `columns.py`.

A cell that cannot be read becomes empty, and what it held is kept beside it in a column
`BAD + name`, so that a cleaning rule can reject the row and say why.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import polars as pl

from tailrec.columns import CATEGORY_SEPARATOR
from tailrec.data.jsonlines import ROW
from tailrec.errors import SchemaError

BAD = "_bad_"

_UTC = pl.Datetime("us", "UTC")
_CLOCKS = ("%H:%M:%S%.f%:z", "%H:%M:%S%.f", "%H:%M")
TIME_FORMATS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "iso": (*(f"%Y-%m-%d {clock}" for clock in _CLOCKS), "%Y-%m-%d"),
        "month-first": (*(f"%m-%d-%Y {clock}" for clock in _CLOCKS), "%m-%d-%Y"),
        "day-first": (*(f"%d-%m-%Y {clock}" for clock in _CLOCKS), "%d-%m-%Y"),
        "words": ("%m %d, %Y", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y"),
    }
)
"""Ways to write a time as text; dates may be written with '-', '/' or '.'."""

EPOCHS: Final[Mapping[str, float]] = MappingProxyType(
    {"epoch-s": 1e6, "epoch-ms": 1e3, "epoch-us": 1.0, "epoch-ns": 1e-3}
)
"""Ways to write a time as a number since 1970, with microseconds a unit."""

_TRUE = ("true", "t", "yes", "y", "1", "1.0")
_FALSE = ("false", "f", "no", "n", "0", "0.0")


def to_type(values: pl.Series, dtype: pl.DataType, *, time_format: str) -> pl.Series:
    """A column in one of our types; what cannot be read is null.

    Args:
        values: [N], of any type.
        dtype: a type of `columns.py`.
        time_format: a key of `TIME_FORMATS` or `EPOCHS`, for times written as text or number.
    """
    if values.dtype == dtype:
        return values
    if isinstance(dtype, pl.Datetime):
        return to_time(values, time_format)
    if isinstance(dtype, pl.String):
        return _as_text(values)
    if isinstance(dtype, pl.Boolean):
        return _as_flag(values)
    return to_number(values).cast(dtype, strict=False)


def to_number(values: pl.Series) -> pl.Series:
    """float64 [N]; '£1,299.00', '12,99' and '1e3' are read, infinities are not."""
    if values.dtype == pl.String:
        bare = values.str.strip_chars().str.replace(r"^[^\d\s.,\-]{1,3}\s?|\s?[€£$¥]$", "")
        grouped = bare.str.contains(r"^-?\d{1,3}(,\d{3})+(\.\d+)?$")
        whole = bare.str.replace_all(",", "", literal=True)
        decimal = bare.str.replace(r"^(-?\d+),(\d+)$", "${1}.${2}")
        values = whole.zip_with(grouped.fill_null(value=False), decimal)
    number = values.cast(pl.Float64, strict=False)
    return number.set(~number.is_finite(), None)


def to_time(values: pl.Series, time_format: str) -> pl.Series:
    """Timestamps [N] in UTC; times without a zone are taken as UTC."""
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        return values.dt.convert_time_zone("UTC").cast(_UTC)
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if time_format in EPOCHS:
        since = to_number(values) * EPOCHS[time_format]
        since = since.set(~(since.abs() < 2**62), None)
        return since.cast(pl.Int64, strict=False).cast(_UTC)
    return _from_text(_as_text(values), time_format)


def time_format_of(values: pl.Series, origin: str) -> str:
    """The way a column writes its times, as far as its values tell.

    Args:
        values: [N], any type; a sample is enough.
        origin: file and column, for messages.

    Returns:
        A key of `TIME_FORMATS` or `EPOCHS`.

    Raises:
        SchemaError: month and day could be either way round, and both ways differ.
    """
    sample = values.drop_nulls().unique(maintain_order=True).head(10_000)
    number = to_number(sample).drop_nulls() if not sample.dtype.is_temporal() else sample.head(0)
    if len(number) and len(number) * 2 > len(sample):
        size = float(number.abs().median())  # type: ignore[arg-type]
        bounds = zip(EPOCHS, (1e11, 1e14, 1e17, float("inf")), strict=True)
        return next(name for name, bound in bounds if size < bound)
    texts = _as_text(sample)
    read = {name: _from_text(texts, name) for name in TIME_FORMATS}
    counts = {name: len(times) - times.null_count() for name, times in read.items()}
    best = max(counts, key=lambda name: counts[name])
    either = counts["month-first"] == counts["day-first"] == counts[best] > 0
    if either and not read["month-first"].equals(read["day-first"]):
        raise SchemaError(
            f"{origin}: dates like {texts[0]!r} may begin with the day or the month; "
            "set time_format to 'day-first' or 'month-first' in the cleaning options"
        )
    return best


def check_type(
    frame: pl.DataFrame, read: pl.Series, column: str, *, most: float, origin: str
) -> None:
    """Refuse a column most of whose values are not of its type.

    Args:
        frame: has the column as it was, and `ROW`.
        read: the same column after `to_type`.
        column: its name in the frame.
        most: share of unreadable values, among those present, up to which rows are at fault.
        origin: file, and what the column is taken for, for messages.

    Raises:
        SchemaError: names file, row, column and value.
    """
    present = frame[column].is_not_null()
    bad = present & read.is_null()
    n_bad, n_present = int(bad.sum()), int(present.sum())
    if n_bad > most * n_present:
        first = frame.filter(bad).select(ROW, column).row(0)
        kind = "a time" if read.dtype.is_temporal() else "a number"
        kind = "yes or no" if read.dtype == pl.Boolean else kind
        raise SchemaError(
            f"{origin}, row {first[0]}, column {column!r}: {str(first[1])[:60]!r} is not {kind}, "
            f"nor are {n_bad} of {n_present} values; is it the right column? See --map"
        )


def _from_text(values: pl.Series, time_format: str) -> pl.Series:
    plain = (
        values.str.strip_chars()
        .str.replace(r"^(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})", "${1}-${2}-${3}")
        .str.replace(r"^(\S{8,10})[T_](\d)", "${1} ${2}")
        .str.replace(r"\s*(Z|UTC|GMT)$", "+00:00")
        .str.replace(r"(:[\d.]+)\s?([+-]\d\d):?(\d\d)$", "${1}${2}:${3}")
    )
    # The parser takes '3' for a year; ours have four digits.
    year = r"^\d{4}-" if time_format == "iso" else r"[-\s]\d{4}( |$)"
    plain = plain.set(~plain.str.contains(year), None)
    times = pl.Series(values.name, [None], _UTC).new_from_index(0, len(values))
    for pattern in TIME_FORMATS[time_format]:
        kind = _UTC if pattern.endswith("%:z") else pl.Datetime("us")
        found = plain.str.strptime(kind, pattern, strict=False)
        found = found if pattern.endswith("%:z") else found.dt.replace_time_zone("UTC")
        times = times.zip_with(times.is_not_null(), found.cast(_UTC))
        if not times.null_count():
            break
    return times


def _as_text(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.List):
        return values.cast(pl.List(pl.String)).list.join(CATEGORY_SEPARATOR, ignore_nulls=True)
    if isinstance(values.dtype, pl.Struct):
        return values.struct.json_encode()
    return values.cast(pl.String)


def _as_flag(values: pl.Series) -> pl.Series:
    lower = _as_text(values).str.strip_chars().str.to_lowercase()
    known = lower.is_in([*_TRUE, *_FALSE])
    return lower.is_in(_TRUE).set(~known.fill_null(value=False), None)
