from datetime import UTC, datetime, timedelta, timezone

import pytest

from tailrec.cli.parse import instant, names, numbers, pairs, seconds
from tailrec.errors import DataError


@pytest.mark.parametrize(
    ("text", "value"),
    [("60s", 60), ("10m", 600), ("1h", 3600), ("0", 0), ("1.5m", 90), (" 2 s ", 2), ("45", 45)],
)
def test_seconds(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-1", "1d", "1m30s", "nan", "1e9"])
def test_no_seconds(text: str) -> None:
    with pytest.raises(DataError, match="is no time"):
        seconds(text)


def test_instants_are_utc_where_they_name_no_zone() -> None:
    assert instant(None) is None
    assert instant("2011-09-01") == datetime(2011, 9, 1, tzinfo=UTC)
    assert instant("2011-09-01T12:00Z") == datetime(2011, 9, 1, 12, tzinfo=UTC)
    east = timezone(timedelta(hours=2))
    assert instant("2011-09-01T12:00+02:00") == datetime(2011, 9, 1, 12, tzinfo=east)
    with pytest.raises(DataError, match="'1/9/2011' is no time"):
        instant("1/9/2011")


def test_slate_lengths_rise_and_stand_once() -> None:
    assert numbers("20, 10,20") == [10, 20]
    for text in ("", "ten", "0", "10,", "-5", "1.5", "²"):
        with pytest.raises(DataError, match="no slate lengths"):
            numbers(text)


def test_names_stand_between_commas() -> None:
    assert names("ease,als") == ["ease", "als"]
    assert names(" ease , , als,") == ["ease", "als"]
    assert names("") == names(" , ") == []


def test_pairs_have_a_name_and_a_value() -> None:
    assert pairs([]) == {}
    assert pairs(["a=x.parquet", " b = y=z "]) == {"a": "x.parquet", "b": "y=z"}
    for words in (["a"], ["=x"], ["a="], [" =x"], ["a= "], ["a=x", "b=x", "a =y"]):
        with pytest.raises(DataError, match=f"{words[-1]!r} is no name=FILE, or names a second"):
            pairs(words)
