"""Events over HTTP: durable when they are acknowledged, and known to the next request."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.data.store import Store

if TYPE_CHECKING:
    from tests.running import Running

_names = (f"events-person-{number}" for number in count())


@pytest.fixture(scope="module")
def writer(served: "Running") -> Iterator[httpx.Client]:
    with served.client("write") as client:
        yield client


@pytest.fixture(scope="module")
def store(served: "Running") -> Iterator[Store]:
    with Store.open(served.folders[0] / "store.db") as opened:
        yield opened


def send(client: httpx.Client, *events: dict[str, Any]) -> httpx.Response:
    return client.post("/v1/events", json={"events": list(events)})


def event(user: str, item: str = "P000001", **more: Any) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "type": "purchase", **more}


def stored(store: Store, user: str) -> pl.DataFrame:
    return store.history(user, limit=2_000)


def test_an_event_is_durable_once_it_is_acknowledged(writer: httpx.Client, store: Store) -> None:
    for _ in range(20):
        user = next(_names)
        answer = send(writer, event(user), event(user, "P000002"))
        assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
        assert set(stored(store, user)[c.ITEM_ID]) == {"P000001", "P000002"}


def test_all_that_is_told_is_kept(writer: httpx.Client, store: Store) -> None:
    user = next(_names)
    told: dict[str, Any] = {
        "event_id": f"order-{user}",
        "value": 24.5,
        "timestamp": "2026-05-04T12:00:00.123456+02:00",
        "session_id": "a tab",
        "text": "schön \U0001f600 '; DROP TABLE events; --",
        "slate_id": "s1",
        "position": 3,
        "propensity": 0.25,
        "arm": "b",
        "platform": "web",
    }
    assert send(writer, event(user, **told)).status_code == 202
    kept = stored(store, user).row(0, named=True)
    when = datetime(2026, 5, 4, 10, 0, 0, 123456, tzinfo=UTC)
    assert kept == event(user, **{**told, "timestamp": when})


def test_events_are_kept_once(writer: httpx.Client, store: Store) -> None:
    user = next(_names)
    named = event(user, event_id=f"id-{user}")
    told = event(user, "P000002", timestamp="2026-05-04T10:00:00Z")
    for _ in range(2):
        assert send(writer, named, told, named).json() == {"accepted": 3}
    assert len(stored(store, user)) == 2
    # An id says that it is the same event, whatever else is told of it.
    assert send(writer, {**named, "item_id": "P000009"}).status_code == 202
    assert set(stored(store, user)[c.ITEM_ID]) == {"P000001", "P000002"}


def test_without_a_timestamp_it_happened_now(writer: httpx.Client, store: Store) -> None:
    user = next(_names)
    before = datetime.now(UTC)
    assert send(writer, event(user)).status_code == 202
    (when,) = stored(store, user)[c.TIMESTAMP]
    assert before <= when <= datetime.now(UTC)


def test_a_batch_is_a_thousand_at_most(writer: httpx.Client, store: Store) -> None:
    user = next(_names)
    many = [event(user, f"P{number:06}", event_id=f"{user}-{number}") for number in range(1_001)]
    refused = send(writer, *many)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["path"] == "body.events"
    assert stored(store, user).is_empty()
    assert send(writer, *many[:1_000]).json() == {"accepted": 1_000}
    assert len(stored(store, user)) == 1_000
    assert send(writer).status_code == 422


TOMORROW = (datetime.now(UTC) + timedelta(days=2)).isoformat()


@pytest.mark.parametrize(
    ("fault", "path"),
    [
        ({"type": "stare"}, "body.events[1].type"),
        ({"type": None}, "body.events[1].type"),
        ({"timestamp": TOMORROW}, "body.events[1].timestamp"),
        ({"timestamp": "2026-05-04T10:00:00"}, "body.events[1].timestamp"),
        ({"timestamp": "yesterday"}, "body.events[1].timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "body.events[1].timestamp"),
        ({"timestamp": "1066-10-14T09:00:00Z"}, "body.events[1].timestamp"),
        ({"item_id": ""}, "body.events[1].item_id"),
        ({"item_id": "x" * 513}, "body.events[1].item_id"),
        ({"item_id": 3}, "body.events[1].item_id"),
        ({"value": "NaN"}, "body.events[1].value"),
        ({"position": 0}, "body.events[1].position"),
        ({"propensity": 0}, "body.events[1].propensity"),
        ({"colour": "red"}, "body.events[1].colour"),
        ({"user_id": None}, "body.events[1]"),
    ],
)
def test_one_fault_and_none_is_kept(
    writer: httpx.Client, store: Store, fault: dict[str, Any], path: str
) -> None:
    user = next(_names)
    answer = send(writer, event(user), event(user, "P000002") | fault)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["path"] == path
    assert stored(store, user).is_empty()


def test_the_next_slate_knows_it_whichever_worker_makes_it(served: "Running") -> None:
    with served.each_worker("write") as workers:
        assert len(workers) == 2
        for turn in range(12):
            user = next(_names)
            one, other = workers if turn % 2 else workers[::-1]
            bought: list[str] = []
            for step in range(3):
                body = {"user_id": user, "n": 12}
                top = other.post("/v1/recommend", json=body).json()["items"]
                item = top[step]["item_id"]
                assert not {row["item_id"] for row in top} & set(bought)
                assert send(one, event(user, item)).status_code == 202
                bought.append(item)
                for worker in (other, one):
                    later = worker.post("/v1/recommend", json=body).json()["items"]
                    assert not {row["item_id"] for row in later} & set(bought)
                    assert [row["item_id"] for row in later] != [row["item_id"] for row in top]
                    assert later[0]["source"] == "model"


def test_somebody_without_a_name_is_known_by_the_session(
    writer: httpx.Client, store: Store
) -> None:
    session = next(_names)
    deed = {"item_id": "P000005", "type": "view", "session_id": session}
    assert send(writer, deed).status_code == 202
    kept = stored(store, f"session:{session}").row(0, named=True)
    assert (kept[c.SESSION_ID], kept[c.ITEM_ID]) == (session, "P000005")
    found = writer.post("/v1/recommend", json={"session_id": session, "n": 5}).json()["items"]
    assert found[0]["source"] == "model"


def test_reading_keys_write_nothing(served: "Running", store: Store) -> None:
    user = next(_names)
    with served.client("read") as reader:
        answer = send(reader, event(user))
    assert answer.status_code == 403
    assert "role write" in answer.json()["detail"]
    assert stored(store, user).is_empty()
