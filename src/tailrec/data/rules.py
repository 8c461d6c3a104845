"""Cleaning rules on ids, types and times.

A rule takes a frame and the options and returns the same rows, some values perhaps changed,
and a text for each row it rejects. It never drops or reorders a row.
"""

from datetime import UTC, datetime
from functools import reduce
from typing import NamedTuple

import polars as pl

from tailrec import columns as c
from tailrec.data.cleaning import Cleaning
from tailrec.data.coerce import BAD
from tailrec.data.jsonlines import ROW

SOURCE = "_source"
"""Position of the file a row came from, from 0."""

_NO_ID = ("", "nan", "null", "none", "n/a", "na", "undefined", "-", "?")
_LONGEST_ID = 200


class Verdict(NamedTuple):
    """What a rule says of a frame.

    Attributes:
        frame: the same rows in the same order, values perhaps changed.
        reason: String [rows], why a row is rejected; null where it stays. None: all stay.
    """

    frame: pl.DataFrame
    reason: pl.Series | None = None


def first_of(frame: pl.DataFrame, *cases: tuple[pl.Expr, pl.Expr]) -> pl.Series:
    """Per row the text of the first case whose condition holds; null where none does."""
    chain = reduce(
        lambda rest, case: pl.when(case[0]).then(case[1]).otherwise(rest),
        reversed(cases),
        pl.lit(None, pl.String),
    )
    return frame.select(chain.alias("reason")).to_series()


def quoted(name: str) -> pl.Expr:
    """A column's value as messages show it."""
    return pl.lit("'") + pl.col(name).cast(pl.String).str.slice(0, 60) + pl.lit("'")


def said(*parts: str | pl.Expr) -> pl.Expr:
    """A sentence made of words and columns."""
    return pl.concat_str([pl.lit(p) if isinstance(p, str) else p for p in parts])


def by_value(
    frame: pl.DataFrame, name: str, new: pl.Expr, *cases: tuple[pl.Expr, pl.Expr]
) -> Verdict:
    """A verdict that depends on one text column only, worked out once a distinct value.

    Args:
        frame: has the column.
        name: the column.
        new: what becomes of a value.
        cases: as for `first_of`.
    """
    values = frame.select(name).unique()
    outcome = values.with_columns(new.alias("_new"), first_of(values, *cases).alias("_reason"))
    joined = frame.select(name).join(
        outcome, on=name, how="left", nulls_equal=True, maintain_order="left"
    )
    return Verdict(frame.with_columns(joined["_new"].alias(name)), joined["_reason"])


def duplicates(frame: pl.DataFrame, _options: Cleaning) -> Verdict:
    """Rejects rows that repeat an earlier row in every column."""
    own = [name for name in frame.columns if name not in (ROW, SOURCE)]
    repeats = ~pl.struct(own).is_first_distinct()
    return Verdict(frame, first_of(frame, (repeats, pl.lit("repeats an earlier row exactly"))))


def types(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Writes event types as tailrec does; rejects those it does not know."""
    plain = pl.col(c.TYPE).str.strip_chars().str.to_lowercase().replace(options.event_types)
    known = plain.is_in(c.EVENT_TYPES)
    found = pl.when(known).then(plain).otherwise(c.TYPE)
    return by_value(
        frame,
        c.TYPE,
        found,
        (pl.col(c.TYPE).is_null(), pl.lit("type is missing")),
        (~known, said("type ", quoted(c.TYPE), " is unknown")),
    )


def times(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Rejects events without a time, or with one that cannot be.

    Of items and users, an impossible time of creation is only emptied.
    """
    name = c.TIMESTAMP if c.TIMESTAMP in frame.columns else c.CREATED_AT
    if name not in frame.columns:
        return Verdict(frame)
    last = datetime.now(UTC) if options.asof is None else options.asof
    zone = "" if last.tzinfo else "+00:00"
    bad = pl.col(BAD + name) if BAD + name in frame.columns else pl.lit(None, pl.String)
    early = pl.col(name) < datetime_of(options.earliest)
    late = pl.col(name) > datetime_of(last)
    shown = pl.col(name).dt.to_string("%Y-%m-%d %H:%M:%S")
    if name == c.CREATED_AT:
        emptied = frame.with_columns(pl.when(~(early | late)).then(name))
        return Verdict(emptied.drop(BAD + name, strict=False))
    reason = first_of(
        frame,
        (bad.is_not_null(), said("timestamp '", bad, "' cannot be read")),
        (pl.col(name).is_null(), pl.lit("timestamp is missing")),
        (early, said("timestamp ", shown, f" is before {options.earliest:%Y-%m-%d}")),
        (late, said("timestamp ", shown, f" is after {last:%Y-%m-%d %H:%M}{zone}")),
    )
    return Verdict(frame.drop(BAD + name, strict=False), reason)


def datetime_of(moment: datetime) -> pl.Expr:
    """An instant as polars compares it; without a zone it is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return pl.lit(aware).dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))


def items(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Tidies item ids; rejects rows without a usable one."""
    tidy = _tidy(c.ITEM_ID, options)
    return _ids(frame, c.ITEM_ID, tidy.str.to_uppercase() if options.upper_items else tidy)


def users(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Tidies user ids; rejects rows without a usable one."""
    return _ids(frame, c.USER_ID, _tidy(c.USER_ID, options))


def products(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Rejects rows whose item is no product: postage, fees, vouchers, corrections."""
    item = pl.col(c.ITEM_ID)
    never = [item.str.contains(f"^(?:{pattern})$") for pattern in options.no_product]
    still = [item.str.contains(f"^(?:{pattern})$") for pattern in options.product]
    no_product = pl.any_horizontal(pl.lit(value=False), *never)
    no_product &= ~pl.any_horizontal(pl.lit(value=False), *still)
    case = (no_product, said(quoted(c.ITEM_ID), " is no product"))
    return by_value(frame, c.ITEM_ID, item, case)


def keys(frame: pl.DataFrame, _options: Cleaning) -> Verdict:
    """Keeps one row a key, the fullest, then the first; events count only if they have an id."""
    name = next((key for key in (c.EVENT_ID, c.ITEM_ID) if key in frame.columns), c.USER_ID)
    if c.TIMESTAMP in frame.columns and name != c.EVENT_ID:
        return Verdict(frame)
    filled = pl.sum_horizontal(pl.all().is_not_null().cast(pl.Int32))
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    rank = (filled.cast(pl.Int64) * pl.len() - place).rank(descending=True).over(name)
    repeated = pl.col(name).is_not_null() & (rank > 1)
    return Verdict(
        frame, first_of(frame, (repeated, said(quoted(name), f" is the {name} of an earlier row")))
    )


def _tidy(name: str, options: Cleaning) -> pl.Expr:
    bare = pl.col(name).str.strip_chars().str.replace_all(r"[\x00-\x1f\x7f\u200b\ufeff]", "")
    return bare.str.replace(r"^(\d+)\.0$", "${1}") if options.decimal_ids else bare


def _ids(frame: pl.DataFrame, name: str, tidy: pl.Expr) -> Verdict:
    nothing = tidy.is_null() | tidy.str.to_lowercase().is_in(_NO_ID)
    return by_value(
        frame,
        name,
        tidy,
        (pl.col(name).is_null(), pl.lit(f"{name} is missing")),
        (nothing, said(f"{name} ", quoted(name), " names nothing")),
        (tidy.str.len_chars() > _LONGEST_ID, pl.lit(f"{name} is over {_LONGEST_ID} characters")),
    )
