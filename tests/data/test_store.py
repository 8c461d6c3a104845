"""The contract of a store, the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import delete, text

from tailrec import columns as c
from tailrec.data.backend import Connection
from tailrec.data.schema import TABLES
from tailrec.data.store import Store
from tailrec.errors import DataError, SchemaError, StoreError

START = datetime(2024, 1, 1, tzinfo=UTC)


def events(n: int, *, start: int = 0, users: int = 3) -> pl.DataFrame:
    """Purchases of `users` people, one a minute."""
    numbers = range(start, start + n)
    return pl.DataFrame(
        {
            "user_id": [f"u{i % users}" for i in numbers],
            "item_id": [f"i{i % 7}" for i in numbers],
            "type": ["purchase"] * n,
            "timestamp": [START + timedelta(minutes=i) for i in numbers],
        },
        schema_overrides={"timestamp": c.EVENTS[c.TIMESTAMP]},
    )


def full_event() -> pl.DataFrame:
    """One event with every column filled, each in a way that a type could spoil."""
    row = {
        "event_id": "e1",
        "user_id": "007",
        "item_id": "12.0",
        "type": "impression",
        "value": 0.1,
        "timestamp": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        "session_id": "",
        "text": "naïve 商品 'quoted' \"twice\"; DROP TABLE events; --\n🛒",
        "slate_id": "null",
        "position": 2**31 - 1,
        "propensity": 5e-324,
        "arm": "a",
        "platform": "web",
    }
    return pl.DataFrame([row], schema=dict(c.EVENTS))


def test_what_is_written_is_read(store: Store) -> None:
    event = full_event()
    item = pl.DataFrame(
        [["i1", "Tea", "d", "b", "A > B", 1.5, 0.5, 3.0, "s", "[]", "{}", START, False]],
        schema=dict(c.ITEMS),
        orient="row",
    )
    user = pl.DataFrame([["u", '{"age": 7}', START]], schema=dict(c.USERS), orient="row")
    alias = pl.DataFrame([["web", "x@y", "u"]], schema=dict(c.ALIASES), orient="row")
    for table, rows in {"events": event, "items": item, "users": user, "aliases": alias}.items():
        assert store.write(table, rows) == 1
        assert_frame_equal(store.read(table), rows)


def test_missing_optional_columns_are_null(store: Store) -> None:
    store.write("events", events(1))
    read = store.read("events")
    assert read.schema == dict(c.EVENTS)
    given = [*events(1).columns, "event_id"]
    assert read.drop(given).null_count().row(0) == (1,) * (len(c.EVENTS) - 5)


def test_types_hold_where_a_column_starts_with_many_nulls(store: Store) -> None:
    """A driver that guesses types from the first rows sees only nulls there."""
    rows = events(3000).with_columns(
        pl.when(pl.int_range(3000) == 2999).then(pl.lit(value)).alias(name)
        for name, value in {"text": "good", "value": 2.5, "position": 4}.items()
    )
    store.write("events", rows)
    last = store.read("events").filter(pl.col("text").is_not_null())
    assert last.select("text", "value", "position").row(0) == ("good", 2.5, 4)
    assert pl.concat(store.stream("events", batch_rows=1000))["value"].sum() == 2.5
    assert store.history("u2", limit=2000)["position"].to_list() == [None] * 999 + [4]


def test_events_come_ordered_and_in_a_window(store: Store) -> None:
    rows = events(60)
    assert store.write("events", rows.sample(fraction=1, shuffle=True, seed=1)) == 60
    read = store.read("events")
    assert_frame_equal(read.select(rows.columns), rows.sort("user_id", "timestamp"))
    window = store.read(
        "events",
        columns=["item_id", "timestamp"],
        since=START + timedelta(minutes=10),
        until=(START + timedelta(minutes=20)).replace(tzinfo=None),
    )
    assert window.columns == ["item_id", "timestamp"]
    assert sorted(window["timestamp"]) == [START + timedelta(minutes=i) for i in range(10, 20)]
    assert store.span() == (START, START + timedelta(minutes=59))


def test_ids_order_by_bytes(store: Store) -> None:
    """A database's language must not change the order: here 'B' comes before 'a'."""
    rows = events(4).with_columns(
        user_id=pl.Series(["a", "B", "ä", "a"]), event_id=pl.Series(["x", "y", "z", "X"])
    )
    store.write("events", rows.with_columns(timestamp=pl.lit(START)))
    assert store.read("events")["event_id"].to_list() == ["y", "X", "x", "z"]
    assert store.history("a")["event_id"].to_list() == ["X", "x"]
    assert store.history("a", limit=1)["event_id"].to_list() == ["x"]


def test_an_event_is_stored_once(store: Store) -> None:
    rows = events(100)
    assert store.write("events", rows) == 100
    assert store.write("events", rows.reverse()) == 0
    assert store.write("events", pl.concat([rows, events(10, start=100)] * 2)) == 10
    named = full_event()
    assert store.write("events", named) == 1
    assert store.write("events", named.with_columns(value=pl.lit(9.0))) == 0
    assert store.count("events") == 111
    assert store.history("007")["value"].to_list() == [0.1]


def test_an_update_keeps_what_it_does_not_name(store: Store) -> None:
    store.write("items", pl.DataFrame({"item_id": ["a"], "title": ["Tea"], "price": [2.0]}))
    rows = pl.DataFrame(
        {
            "item_id": ["a", "b", "b"],
            "title": ["Green tea", "Mug", "Cup"],
            "price": [None, 5.0, None],
            "brand": ["X", None, None],
        }
    )
    assert store.write("items", rows) == 1
    read = store.read("items", columns=["item_id", "title", "price", "brand"])
    assert read.rows() == [("a", "Green tea", 2.0, "X"), ("b", "Cup", 5.0, None)]


def test_aliases_are_keyed_by_platform(store: Store) -> None:
    rows = pl.DataFrame({"platform": ["web", "app"], "alias": ["x", "x"], "user_id": ["u", "v"]})
    assert store.write("aliases", rows) == 2
    assert store.write("aliases", rows.with_columns(user_id=pl.lit("w"))) == 0
    assert store.read("aliases")["user_id"].to_list() == ["w", "w"]


@pytest.mark.parametrize("batch_rows", [1, 7, 100, 1000])
def test_a_stream_holds_every_row_once(store: Store, batch_rows: int) -> None:
    store.write("events", events(100))
    parts = list(store.stream("events", batch_rows=batch_rows))
    assert [len(part) for part in parts[:-1]] == [batch_rows] * ((100 - 1) // batch_rows)
    assert_frame_equal(pl.concat(parts).sort(pl.all()), store.read("events").sort(pl.all()))


def test_an_abandoned_stream_leaves_the_store_usable(store: Store) -> None:
    store.write("events", events(100))
    stream = store.stream("events", batch_rows=10)
    assert len(next(stream)) == 10
    assert store.write("events", events(1, start=100)) == 1
    del stream
    assert store.count("events") == 101


def test_history_is_the_newest_oldest_first(store: Store) -> None:
    store.write("events", events(300))
    minutes = [(t - START) // timedelta(minutes=1) for t in store.history("u1")["timestamp"]]
    assert minutes == list(range(1, 300, 3))[-50:]
    assert store.history("u1", limit=2).schema == dict(c.EVENTS)
    # The statement is kept prepared; others in between must not change what it does.
    assert len(store.read("events", since=START + timedelta(minutes=290))) == 10
    assert len(store.history("u1", limit=7)) == 7
    assert store.history("nobody").is_empty()
    assert store.history("' OR 1=1 --").is_empty()
    with pytest.raises(ValueError, match="limit is 0"):
        store.history("u1", limit=0)


def test_an_empty_store(store: Store) -> None:
    assert store.span() is None
    assert store.read("events").schema == dict(c.EVENTS)
    assert list(store.stream("items")) == []
    assert store.write("events", events(0)) == 0
    assert store.delete_user("u") == {"events": 0, "users": 0, "aliases": 0, "slates": 0}
    assert store.check() == []


def test_a_person_is_erased(store: Store) -> None:
    store.write("events", events(9))
    store.write("users", pl.DataFrame({"user_id": ["u1", "u2"], "attributes": ["{}", "{}"]}))
    store.write("aliases", pl.DataFrame({"platform": ["web"], "alias": ["one"], "user_id": ["u1"]}))
    assert store.delete_user("u1") == {"events": 3, "users": 1, "aliases": 1, "slates": 0}
    assert store.read("events")["user_id"].unique().sort().to_list() == ["u0", "u2"]
    assert store.read("users")["user_id"].to_list() == ["u2"]
    assert store.count("aliases") == 0


def test_users_become_one(store: Store) -> None:
    store.write("events", events(9))
    store.write(
        "users",
        pl.DataFrame(
            {
                "user_id": ["u0", "u1", "u2"],
                "attributes": ['{"a": 0}', '{"a": 1}', None],
                "created_at": [None, START, None],
            },
            schema_overrides={"created_at": c.USERS[c.CREATED_AT]},
        ),
    )
    store.write("aliases", pl.DataFrame({"platform": ["w"], "alias": ["x"], "user_id": ["u1"]}))
    before = store.read("events")["event_id"].sort()
    mapping = pl.DataFrame({"old": ["u1", "u2", "u0"], "new": ["u0", "u9", "u0"]})
    assert store.rewrite_users(mapping) == 6
    assert store.count("events") == 9
    assert len(store.history("u0")) == 6
    assert store.read("events")["event_id"].sort().equals(before)
    assert store.read("users").rows() == [("u0", '{"a": 0}', START), ("u9", None, None)]
    assert store.read("aliases")["user_id"].to_list() == ["u0"]
    assert store.rewrite_users(mapping) == 0


def test_items_become_one(store: Store) -> None:
    store.write("events", events(14))
    rows = {"item_id": ["i1", "i2"], "title": ["Old", "New"], "price": [3.0, None]}
    store.write("items", pl.DataFrame(rows))
    assert store.rewrite_items(pl.DataFrame({"old": ["i1"], "new": ["i2"]})) == 2
    assert store.read("events")["item_id"].value_counts().filter(item_id="i2")["count"][0] == 4
    items = store.read("items", columns=["item_id", "title", "price"])
    assert items.rows() == [("i2", "New", 3.0)]


@pytest.mark.parametrize(
    "pairs", [{"old": ["a", "a"], "new": ["b", "c"]}, {"old": ["a", "b"], "new": ["b", "c"]}]
)
def test_a_mapping_must_lead_straight_to_its_end(store: Store, pairs: dict[str, list[str]]) -> None:
    with pytest.raises(SchemaError, match="straight to its last one"):
        store.rewrite_users(pl.DataFrame(pairs))


def test_a_bad_row_keeps_its_whole_batch_out(store: Store) -> None:
    rows = events(10)
    bad = rows.with_columns(type=pl.Series(["purchase"] * 9 + ["bought"]))
    with pytest.raises(DataError, match="bought"):
        store.write("events", bad)
    assert store.count("events") == 0
    assert store.write("events", rows) == 10


def _erase_and(store: Store, then: Callable[[Connection], None]) -> None:
    with store.database.transaction() as connection:
        connection.run(delete(TABLES["events"]))
        then(connection)


def test_a_failure_inside_the_transaction_undoes_it(store: Store) -> None:
    """Whether the database or the caller fails after the first statement, nothing is done."""

    def give_up(_: Connection) -> None:
        raise RuntimeError("half-way")

    store.write("events", events(5))
    with pytest.raises(StoreError, match="no_such_column"):
        _erase_and(store, lambda connection: connection.run(text("SELECT no_such_column")))
    with pytest.raises(RuntimeError, match="half-way"):
        _erase_and(store, give_up)
    assert store.count("events") == 5


def test_the_fingerprint_follows_the_content(url: str, tmp_path: Path) -> None:
    item = pl.DataFrame({"item_id": ["i1"], "title": ["Tea"], "price": [2.0]})
    with Store.open(url, create=True) as one, Store.open(tmp_path / "b.db", create=True) as two:
        one.write("items", item)
        one.write("events", events(10))
        for part in events(10).reverse().iter_slices(3):
            two.write("events", part)
        two.write("items", item)
        first = one.fingerprint()
        assert two.fingerprint() == first
        two.write("items", item.with_columns(price=pl.lit(3.0)))
        assert two.fingerprint() != first
        one.write("events", events(1, start=10))
        second = one.fingerprint()
        assert second != first
        one.rewrite_users(pl.DataFrame({"old": ["u0"], "new": ["u1"]}))
        assert one.fingerprint() != second


def test_unknown_names_are_refused(store: Store) -> None:
    with pytest.raises(SchemaError, match="no table 'orders'"):
        store.count("orders")
    with pytest.raises(SchemaError, match="colour"):
        store.read("items", columns=["colour"])
    with pytest.raises(SchemaError, match="for events, not for items"):
        store.read("items", since=START)
    with pytest.raises(ValueError, match="batch_rows is 0"):
        store.stream("events", batch_rows=0)
