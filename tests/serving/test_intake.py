"""Messages: what is an event is stored, what is none is told apart, whatever it is."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.data.store import Store
from tailrec.errors import DataError
from tailrec.serving.intake import MOST_BYTES, Intake, Message, events_of
from tailrec.wire import MOST_ROWS, Event

NOW = datetime(2026, 5, 4, 10, tzinfo=UTC)
GOOD = {"user_id": "ada", "item_id": "mug", "type": "view"}

TEXTS = st.text(max_size=6) | st.sampled_from(["\0", "\ud800", "x" * 513, "", "View"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -0.0, 2**31, 1e308])
TIMES = st.sampled_from(
    [
        "2026-05-04T10:00:00Z",
        "1677-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "2026-05-04T10:00:00",
        "0001-01-01T00:00:00+14:00",
        1.5e300,
        -1,
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([*Event.model_fields, "colour"])
ODD = st.builds(lambda some: {**GOOD, **some}, st.dictionaries(FIELDS, ANYTHING, max_size=4))
BODIES = (
    st.binary(max_size=60)
    | (ODD | ANYTHING | st.lists(ODD, max_size=3)).map(lambda value: json.dumps(value).encode())
    | st.lists(ODD, max_size=3).map(lambda events: json.dumps({"events": events}).encode())
)


def message(value: Any, moment: datetime | None = NOW) -> Message:
    return Message(json.dumps(value).encode(), moment)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(BODIES, max_size=4))
@example([json.dumps({**GOOD, "timestamp": "0001-01-01T00:00:00+14:00"}).encode()])
@example([json.dumps({**GOOD, "timestamp": "9999-12-31T23:59:59-14:00"}).encode()])
def test_any_message_is_stored_or_rejected(store: Store, bodies: list[bytes]) -> None:
    intake = Intake(store)
    rejected = intake.take([Message(body, NOW) for body in bodies])
    assert rejected is not None
    places = {bad.place for bad in rejected}
    for place, body in enumerate(bodies):
        if place not in places:
            assert all(isinstance(event, Event) for event in events_of(Message(body, NOW)))
    assert intake.counts.messages == len(bodies)
    assert intake.counts.rejected == len(rejected)
    assert all(bad.reason for bad in rejected)


def test_a_message_counts_whole_or_not_at_all(store: Store) -> None:
    messages = [message([GOOD, {**GOOD, "type": "stare"}]), message({**GOOD, "item_id": "pot"})]
    rejected = Intake(store).take(messages)
    assert rejected is not None
    assert [(bad.place, bad.reason[:13]) for bad in rejected] == [(0, "events.1.type")]
    assert store.read("events")[c.ITEM_ID].to_list() == ["pot"]


def test_the_same_content_at_another_moment_is_another_event(store: Store) -> None:
    intake = Intake(store)
    later = NOW + timedelta(milliseconds=1)
    intake.take([message(GOOD), message(GOOD, later), message(GOOD)])
    assert (intake.counts.events, intake.counts.new) == (3, 2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Message(None, NOW), "no body"),
        (Message(b" " * (MOST_BYTES + 1), NOW), r"1,048,577 bytes; a message has 1,048,576"),
        (Message(b'{"user_id": NaN}', NOW), "no JSON"),
        (message([GOOD] * (MOST_ROWS + 1)), "1000"),
        (message({**GOOD, "colour": "red"}), r"events\.0\.colour"),
        (message({**GOOD, "type": "stare", "value": "x"}), r"and 1 more"),
        (message({"events": [GOOD], "more": 1}), "more"),
        (message({**GOOD, "user_id": None}), "needs a user_id or a session_id"),
        (message(GOOD, None), "tells no time"),
        (message({**GOOD, "timestamp": "2200-01-01T00:00:00Z"}), "more than 1 day ahead"),
        (message(GOOD, NOW.replace(year=2200)), "more than 1 day ahead"),
    ],
)
def test_the_reason_says_what_is_wrong(given: Message, says: str) -> None:
    with pytest.raises(DataError, match=says):
        events_of(given)
