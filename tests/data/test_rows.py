"""Rows are brought to a table's columns or refused; ids come from content alone."""

from datetime import UTC, date, datetime, timedelta, timezone
from hashlib import blake2b

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.data.rows import conform, content, latest, with_event_ids
from tailrec.errors import DataError, SchemaError

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENT = {"user_id": "u", "item_id": "i", "type": "view", "timestamp": NOON}


def event(**changes: object) -> pl.DataFrame:
    """One event; a change to None leaves the column out."""
    row = {**EVENT, **changes}
    return pl.DataFrame({name: [value] for name, value in row.items() if value is not None})


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=5))),
        pl.Series([NOON]).dt.cast_time_unit("ms")[0],
    ],
)
def test_times_become_utc(moment: datetime) -> None:
    assert conform("events", event(timestamp=moment))["timestamp"][0] == NOON


def test_a_zone_keeps_the_moment() -> None:
    local = pl.Series([NOON]).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")
    read = conform("events", event().with_columns(timestamp=local))["timestamp"]
    assert read.dtype == c.EVENTS[c.TIMESTAMP]
    assert read[0] == NOON
    assert conform("events", event(timestamp=date(2024, 5, 1)))["timestamp"][0].hour == 0


def test_types_are_cast() -> None:
    row = conform("events", event(user_id=17, value=3, position="4"))
    assert row.schema == dict(c.EVENTS)
    assert row.select("user_id", "value", "position").row(0) == ("17", 3.0, 4)
    assert conform("events", event(value=float("nan")))["value"][0] is None


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        (event(colour="red"), SchemaError, r"no column \['colour'\]"),
        (event(item_id=None), SchemaError, r"needs \['item_id'\]"),
        (event(timestamp="2024-05-01"), SchemaError, "timestamp must be .* parse the times"),
        (event(timestamp=timedelta(1)), SchemaError, "parse the times"),
        (event(user_id=17850.0), SchemaError, "user_id must be String, but the rows hold Float64"),
        (event(value="dear"), SchemaError, "value must be Float64, but the rows hold String"),
        (event(position=2**40), SchemaError, "position must be Int32"),
        (event(type="bought"), DataError, r"no event type \['bought'\]"),
        (event(text="a\0b"), DataError, "text holds a NUL"),
        (pl.concat([event(), event(user_id=None)], how="diagonal"), DataError, "empty in 1 of 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    rows: pl.DataFrame, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        conform("events", rows)


def test_an_id_is_the_time_and_a_hash_of_the_content() -> None:
    """Written out from the documentation: this id must never change."""
    given_row = event(value=1.5, text="gut 好")
    time = int(NOON.timestamp()) * 1_000_000
    bits = 0x3FF8000000000000  # of 1.5
    text = f"user_id=1:u;item_id=1:i;type=4:view;value=19:{bits};timestamp=16:{time};text=7:gut 好;"
    digest = blake2b(text.encode(), digest_size=12).hexdigest()
    assert with_event_ids(given_row)["event_id"][0] == f"{time:014x}{digest}"


def test_own_ids_are_kept_beside_made_ones() -> None:
    rows = pl.concat([event(user_id=user) for user in "abcd"])
    made = with_event_ids(rows)["event_id"].to_list()
    assert len(set(made)) == 4
    mixed = with_event_ids(rows.with_columns(event_id=pl.Series(["x", None, "y", None])))
    assert mixed["event_id"].to_list() == ["x", made[1], "y", made[3]]
    one_chunk = rows.rechunk()
    assert with_event_ids(one_chunk)["event_id"].to_list() == made
    assert with_event_ids(rows.clear()).schema == dict(c.EVENTS)


def test_equal_values_have_one_id() -> None:
    assert _id(event(value=0.0)) == _id(event(value=-0.0))
    assert _id(event(value=3)) == _id(event(value=3.0))
    assert _id(event(text="")) != _id(event())
    assert _id(event(text="x")) != _id(event(session_id="x"))


texts = st.one_of(st.none(), st.text(alphabet="ab=;:1ä", max_size=4))


@given(st.lists(st.tuples(texts, texts, st.one_of(st.none(), st.integers(0, 3))), min_size=1))
def test_contents_are_equal_only_where_rows_are(
    rows: list[tuple[str | None, str | None, int | None]],
) -> None:
    schema = {"session_id": pl.String(), "text": pl.String(), "position": pl.Int32()}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    assert content(frame).n_unique() == len(set(rows))
    # A column that is null throughout says nothing, so one added later changes no id.
    more = frame.with_columns(arm=pl.lit(None, pl.String))
    assert content(more).equals(content(frame))


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 9))), max_size=12
    )
)
def test_latest_keeps_the_last_value_of_a_key(rows: list[tuple[str, int | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"key": pl.String, "value": pl.Int64}, orient="row")
    expected: dict[str, int | None] = {}
    for key, value in rows:
        expected[key] = expected.get(key) if value is None else value
    assert dict(latest(frame, ("key",)).rows()) == expected


def _id(rows: pl.DataFrame) -> str:
    return str(with_event_ids(rows)["event_id"][0])
