"""Events of the wire as rows: nothing is lost, people without a name are known by the session."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.data.rows import conform, with_event_ids
from tailrec.serving.event_rows import event_rows
from tailrec.wire import Event

NOW = datetime(2026, 5, 4, 10, tzinfo=UTC)
IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
TIMES = st.datetimes(
    datetime(1678, 1, 2),
    datetime(2261, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)


def optional(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


def event(**values: Any) -> Event:
    return Event(**{"user_id": "ada", "item_id": "mug", "type": "view", **values})


EVENTS = st.builds(
    lambda whole, some: Event(**whole, **some),
    st.fixed_dictionaries({"item_id": IDS, "user_id": IDS, "type": st.sampled_from(c.EVENT_TYPES)}),
    optional(
        session_id=IDS,
        event_id=IDS,
        timestamp=TIMES,
        value=st.floats(allow_nan=False, allow_infinity=False),
        text=IDS,
        slate_id=IDS,
        position=st.integers(1, 2**31 - 1),
        propensity=st.floats(0, 1, exclude_min=True),
        arm=IDS,
        platform=IDS,
    ),
)


@given(st.lists(EVENTS, max_size=5))
def test_rows_say_what_the_events_say(events: list[Event]) -> None:
    rows = event_rows(events, NOW)
    assert dict(rows.schema) == dict(c.EVENTS)
    told = [{**one.model_dump(), "timestamp": one.timestamp or NOW} for one in events]
    assert rows.to_dicts() == [{name: one[name] for name in c.EVENTS} for one in told]
    assert conform("events", rows).equals(rows)


def test_a_moment_an_event() -> None:
    later = NOW + timedelta(microseconds=7)
    own = datetime(2026, 1, 1, tzinfo=UTC)
    rows = event_rows([event(), event(timestamp=own), event()], [NOW, None, later])
    assert rows[c.TIMESTAMP].to_list() == [NOW, own, later]


def test_the_session_stands_for_somebody_without_a_name() -> None:
    rows = event_rows([event(user_id=None, session_id="s1"), event(session_id="s2")], NOW)
    assert rows[c.USER_ID].to_list() == ["session:s1", "ada"]
    assert rows[c.SESSION_ID].to_list() == ["s1", "s2"]


def test_the_same_event_gets_the_same_id_in_every_zone() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    rows = event_rows([event(timestamp=NOW), event(timestamp=east)], NOW)
    assert with_event_ids(rows)[c.EVENT_ID].n_unique() == 1


def test_every_event_needs_its_moment() -> None:
    with pytest.raises(ValueError, match="2 moments were given for 1 events"):
        event_rows([event()], [NOW, NOW])


def test_no_events_no_rows() -> None:
    rows = event_rows([], NOW)
    assert rows.is_empty()
    assert rows.equals(pl.DataFrame(schema=dict(c.EVENTS)))
