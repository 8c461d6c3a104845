"""Types: many writings of a number or time give one value, nonsense gives none."""

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from tailrec.data.coerce import time_format_of, to_number, to_time, to_type
from tailrec.errors import SchemaError

NOON = datetime(2011, 3, 14, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12.5", 12.5),
        ("£1,299.00", 1299.0),
        ("12,99 €", 12.99),
        ("-3", -3.0),
        ("1e3", 1000.0),
        ("12-15", None),
        ("abc", None),
        ("inf", None),
        ("1,2,3", None),
    ],
)
def test_numbers(text: str, number: float | None) -> None:
    assert to_number(pl.Series([text])).to_list() == [number]


@pytest.mark.parametrize(
    "text",
    [
        "2011-03-14 12:00",
        "2011-03-14T12:00:00Z",
        "2011-03-14 12:00:00.000 UTC",
        "2011/03/14 12:00:00",
        "2011-03-14T14:00:00+0200",
        "3/14/2011 12:00",
        "14.03.2011 12:00",
        "1300104000",
        "1300104000000",
    ],
)
def test_times_find_their_format(text: str) -> None:
    values = pl.Series([text])
    assert to_time(values, time_format_of(values, "f")).to_list() == [NOON]


def test_times_that_are_times_already() -> None:
    east = pl.Series([NOON.astimezone(timezone(timedelta(hours=2)))])
    naive = pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ms"))
    for values in (east, naive):
        assert to_time(values, "iso").to_list() == [NOON]
    assert to_time(pl.Series([date(2011, 3, 14)]), "iso").to_list() == [NOON.replace(hour=0)]


def test_one_telling_date_settles_the_order_of_day_and_month() -> None:
    values = pl.Series(["3/4/2011", "25/4/2011"])
    assert time_format_of(values, "f") == "day-first"
    with pytest.raises(SchemaError, match=r"f: dates like '3/4/2011'.*day-first"):
        time_format_of(values[:1], "f")


def test_a_column_of_one_day_in_one_month_is_not_ambiguous() -> None:
    assert time_format_of(pl.Series(["3/3/2011"]), "f") in ("day-first", "month-first")


def test_flags_and_lists() -> None:
    flags = to_type(pl.Series(["Yes", "0", "maybe", None]), pl.Boolean(), time_format="iso")
    assert flags.to_list() == [True, False, None, None]
    paths = to_type(pl.Series([["A", "B"], None]), pl.String(), time_format="iso")
    assert paths.to_list() == ["A > B", None]
