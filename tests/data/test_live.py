"""What a service reads for a request, on SQLite and PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.data.live import MOST_EVENTS, MOST_SLATES, Live, Moment, impressions, slate_rows
from tailrec.data.store import Store
from tailrec.errors import DataError, UnknownItem

START = datetime(2024, 1, 1, tzinfo=UTC)
US = 1_000_000


def events(times: list[int], user_id: str = "u") -> pl.DataFrame:
    """Views of item `i<n>` n seconds after the start."""
    return pl.DataFrame(
        {
            "user_id": [user_id] * len(times),
            "item_id": [f"i{n}" for n in times],
            "type": ["view"] * len(times),
            "timestamp": [START + timedelta(seconds=n) for n in times],
            "value": [None if n % 2 else float(n) for n in times],
            "session_id": [f"s{n}" if n % 2 else None for n in times],
        },
        schema_overrides={"timestamp": c.EVENTS[c.TIMESTAMP], "value": pl.Float64},
    )


def items(ids: list[str]) -> pl.DataFrame:
    """Items with a title and a price."""
    return pl.DataFrame({"item_id": ids, "title": [f"title of {i}" for i in ids], "price": 1.0})


def slate(number: int, **values: object) -> dict[str, object]:
    """A slate served `number` seconds after the start."""
    return {
        "slate_id": f"slate{number:03}",
        "user_id": "u",
        "timestamp": START + timedelta(seconds=number),
        "item_ids": f'["i{number}", "x"]',
        **values,
    }


def test_a_moment_holds_the_person_and_the_clock(store: Store) -> None:
    store.write("events", events([3, 1, 2]))
    store.write("events", events([9], user_id="somebody else"))
    store.write("items", items(["a", "b"]))
    store.write("slates", slate_rows([slate(1), slate(2), slate(3, user_id="v")]))
    moment = Live(store).moment("u")
    start = int(START.timestamp()) * US
    assert moment.revision == 1
    assert moment.now == start + 9 * US
    assert moment.item_ids == ["i1", "i2", "i3"]
    assert moment.types == ["view"] * 3
    assert moment.times.tolist() == [start + n * US for n in (1, 2, 3)]
    assert moment.values == [None, 2.0, None]
    assert moment.session_ids == ["s1", None, "s3"]
    assert moment.shown == [["i2", "x"], ["i1", "x"]]
    assert moment.shown_at.tolist() == [start + n * US for n in (2, 1)]


def test_an_awaited_moment_is_the_same(store: Store) -> None:
    store.write("events", events([3, 1, 2]))
    store.write("events", events([4], user_id="somebody else"))
    store.write("items", items(["a"]))
    store.write("slates", slate_rows([slate(1), slate(2, item_ids='["é", "x"]')]))
    live = Live(store)

    async def awaited(*user_ids: str | None) -> list[Moment]:
        try:
            return await asyncio.gather(*map(live.awaited_moment, user_ids))
        finally:
            live.close()

    asked = ("u", "somebody else", "' OR 1=1 --", None) * 10
    for user_id, told in zip(asked, asyncio.run(awaited(*asked)), strict=True):
        expected = live.moment(user_id)
        for name in Moment.__slots__:
            assert np.array_equal(getattr(told, name), getattr(expected, name)), name


def test_a_moment_of_an_empty_store(store: Store) -> None:
    for user_id in ("' OR 1=1 --", None):
        moment = Live(store).moment(user_id)
        assert (moment.revision, moment.now) == (0, 0)
        assert (moment.item_ids, moment.shown) == ([], [])


def test_a_moment_is_bounded(store: Store) -> None:
    store.write("events", events(list(range(MOST_EVENTS + 5))))
    store.write("slates", slate_rows([slate(n) for n in range(MOST_SLATES + 3)]))
    moment = Live(store).moment("u")
    assert moment.item_ids[0] == "i5"
    assert len(moment.item_ids) == MOST_EVENTS
    assert len(moment.shown) == MOST_SLATES
    assert moment.shown[0][0] == f"i{MOST_SLATES + 2}"


def test_changes_are_told_once_and_in_order(store: Store) -> None:
    live = Live(store)
    store.write("items", items(["a", "b"]))
    changed, gone, revision = live.changes(0)
    assert (sorted(changed["item_id"]), gone, revision) == (["a", "b"], [], 1)
    assert live.changes(revision)[0].is_empty()
    store.write("items", items(["b", "c"]))
    live.delete_item("a")
    changed, gone, newest = live.changes(revision)
    assert sorted(changed["item_id"]) == ["b", "c"]
    assert (gone, newest) == (["a"], 3)
    assert newest == live.revision() == live.moment("u").revision
    assert live.gone() == ["a"]
    store.write("items", items(["a"]))
    assert live.gone() == []


def test_an_item_that_gets_another_id_is_gone_under_the_old_one(store: Store) -> None:
    store.write("items", items(["a", "b"]))
    store.rewrite_items(pl.DataFrame({"old": ["a"], "new": ["b"]}))
    changed, gone, _ = Live(store).changes(1)
    assert (changed["item_id"].to_list(), gone) == (["b"], ["a"])


def test_columns_of_an_item_are_set_and_emptied(store: Store) -> None:
    live = Live(store)
    store.write("items", items(["a"]))
    after = live.change_item("a", {"price": None, "stock": 3.0, "available": False})
    assert after["price"] is None
    assert (after["stock"], after["available"], after["title"]) == (3.0, False, "title of a")
    assert live.item("a") == after
    assert live.change_item("a", {})["stock"] == 3.0


def test_unknown_items_and_bad_values_are_refused(store: Store) -> None:
    live = Live(store)
    for act in (live.item, live.delete_item, lambda i: live.change_item(i, {"price": 1.0})):
        with pytest.raises(UnknownItem, match="'ghost'"):
            act("ghost")
    store.write("items", items(["a"]))
    with pytest.raises(DataError, match="title"):
        live.change_item("a", {"title": None})
    assert live.item("a")["title"] == "title of a"


def test_a_deleted_item_keeps_its_events(store: Store) -> None:
    store.write("items", items(["i1"]))
    store.write("events", events([1]))
    Live(store).delete_item("i1")
    assert store.count("items") == 0
    assert store.count("events") == 1


def test_attributes_of_a_person(store: Store) -> None:
    assert Live(store).user("u") is None
    store.write("users", pl.DataFrame({"user_id": ["u"], "attributes": ['{"a": 1}']}))
    assert Live(store).user("u") == {"user_id": "u", "attributes": '{"a": 1}', "created_at": None}


def test_slates_become_impressions(store: Store) -> None:
    told = [slate(1, arm="a", propensities="[1.0, 0.25]"), slate(2), slate(3, user_id=None)]
    store.write("slates", slate_rows(told))
    shown = impressions(store.read("slates"))
    assert shown.schema == dict(c.EVENTS)
    assert shown["event_id"].to_list() == [f"slate00{n}-{p}" for n in (1, 2) for p in (1, 2)]
    assert shown["item_id"].to_list() == ["i1", "x", "i2", "x"]
    assert shown["position"].to_list() == [1, 2, 1, 2]
    assert shown["propensity"].to_list() == [1.0, 0.25, 1.0, 1.0]
    assert shown["arm"].to_list() == ["a", "a", None, None]
    assert set(shown["type"]) == {"impression"}
    store.write("events", shown)
    assert store.count("events") == 4


def test_slates_are_logged_once_and_erased_with_the_person(store: Store) -> None:
    rows = slate_rows([slate(1), slate(2, user_id="v")])
    assert store.write("slates", rows) == 2
    assert store.write("slates", rows) == 0
    assert store.delete_user("u")["slates"] == 1
    assert store.read("slates")["user_id"].to_list() == ["v"]
