"""Sums that many processes add to, and clicks that are charged once, on SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tailrec.data.counters import Counters
from tailrec.data.counting import today
from tailrec.data.store import Store

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def amounts(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    """Rows of kind, name, day, amount."""
    return pl.DataFrame(rows, schema=["kind", "name", "day", "amount"], orient="row")


def totals(store: Store) -> dict[tuple[str, str, str], float]:
    """Every counter."""
    rows, _ = Counters(store).since()
    return {(kind, name, day): amount for kind, name, day, amount, _ in rows.iter_rows()}


def click(event_id: str, slate_id: str | None, item_id: str, **values: object) -> pl.DataFrame:
    """One event."""
    event = {"event_id": event_id, "user_id": "u", "item_id": item_id, "type": "click"}
    event |= {"timestamp": NOW, "slate_id": slate_id} | values
    return pl.DataFrame([event], schema_overrides={"slate_id": pl.String})


def place(store: Store, slate_id: str, item_id: str, charge: float, at: datetime = NOW) -> None:
    """Log one sponsored place."""
    row = {"slate_id": slate_id, "item_id": item_id, "campaign": "spring", "charge": charge}
    store.write("placements", pl.DataFrame([row | {"timestamp": at}]))


def test_amounts_add_up(store: Store) -> None:
    counters = Counters(store)
    counters.add(amounts(("exposure", "a", "2026-05-04", 1.5), ("exposure", "a", "2026-05-04", 1)))
    counters.add(amounts(("exposure", "a", "2026-05-04", 0.25), ("exposure", "é", "2026-05-05", 2)))
    counters.add(amounts(("impressions", "a", "2026-05-04", 1)).clear())
    assert totals(store) == {
        ("exposure", "a", "2026-05-04"): 2.75,
        ("exposure", "é", "2026-05-05"): 2.0,
    }


def test_only_changes_are_told(store: Store) -> None:
    counters = Counters(store)
    counters.add(amounts(("exposure", "a", "d", 1), ("exposure", "b", "d", 1)))
    rows, revision = counters.since()
    assert (len(rows), revision) == (2, 1)
    counters.add(amounts(("exposure", "b", "d", 4)))
    rows, revision = counters.since(revision)
    assert rows.select("name", "amount").rows() == [("b", 5.0)]
    assert counters.since(revision)[0].is_empty()
    assert counters.since(revision)[1] == revision == counters.revision() == 2


def test_what_is_old_is_forgotten(store: Store) -> None:
    counters = Counters(store)
    counters.add(amounts(("exposure", "a", "2026-05-04", 1), ("exposure", "a", "2026-05-05", 2)))
    counters.forget(datetime(2026, 5, 5, tzinfo=UTC).date())
    assert totals(store) == {("exposure", "a", "2026-05-05"): 2.0}


def test_adding_at_once_loses_nothing(store: Store) -> None:
    counters = Counters(store)
    seen = []

    def work(worker: int) -> None:
        for turn in range(20):
            names = ("a", "b") if worker % 2 else ("b", "a")
            counters.add(amounts(*(("exposure", name, "d", 1) for name in names)))
            seen.append(counters.since()[1] if turn % 5 == 0 else 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert totals(store) == {("exposure", "a", "d"): 80.0, ("exposure", "b", "d"): 80.0}
    assert counters.revision() == 80
    assert max(seen) <= 80


def test_a_reader_that_follows_misses_nothing(store: Store) -> None:
    """Revisions become visible in their order, or a follower would skip some."""
    counters = Counters(store)
    known: dict[str, float] = {}

    def follow(_: int) -> None:
        revision = 0
        while revision < 60:
            rows, revision = counters.since(revision)
            known.update(rows.select("name", "amount").iter_rows())

    def work(worker: int) -> None:
        for turn in range(20):
            counters.add(amounts(("exposure", f"{worker}-{turn}", "d", turn + 1)))

    with ThreadPoolExecutor(4) as pool:
        following = pool.submit(follow, 0)
        list(pool.map(work, range(3)))
        following.result(timeout=60)
    assert known == {f"{worker}-{turn}": turn + 1 for worker in range(3) for turn in range(20)}


def test_a_click_on_a_sponsored_place_is_charged_once(store: Store) -> None:
    place(store, "s1", "a", 0.4)
    place(store, "s2", "a", 0.3)
    place(store, "s3", "b", 0.2, at=NOW + timedelta(days=1))
    counters = Counters(store)
    assert counters.spent(NOW.date()) == {}
    store.write("events", click("e1", "s1", "a"))
    store.write("events", click("e1", "s1", "a"))  # sent again
    store.write("events", click("e2", "s1", "a"))  # clicked again
    store.write("events", click("e3", "s1", "b"))  # not the sponsored item
    store.write("events", click("e4", None, "a"))
    store.write("events", click("e5", "s2", "a", type="view"))
    assert counters.spent(NOW.date()) == {"spring": pytest.approx(0.4)}
    store.write("events", pl.concat([click("e6", "s2", "a"), click("e7", "s3", "b")]))
    assert counters.spent(NOW.date()) == {"spring": pytest.approx(0.7)}
    assert counters.spent(NOW.date() + timedelta(days=1)) == {"spring": pytest.approx(0.2)}


def test_a_logged_place_stays_as_it_was(store: Store) -> None:
    place(store, "s1", "a", 0.4)
    store.write("events", click("e1", "s1", "a"))
    place(store, "s1", "a", 9.0)  # the log is written again
    assert Counters(store).spent(NOW.date()) == {"spring": pytest.approx(0.4)}


def test_clicks_on_slates_are_counted_once(store: Store) -> None:
    store.write("events", click("e1", "s1", "a"))
    assert totals(store) == {("clicks", "a", today()): 1.0}
    more = pl.concat([click("e1", "s1", "a"), click("e2", "s1", "a"), click("e3", "s1", "b")])
    store.write("events", more)
    store.write("events", click("e4", "s1", "c", type="purchase"))
    store.write("events", click("e5", None, "c"))
    assert totals(store) == {("clicks", "a", today()): 2.0, ("clicks", "b", today()): 1.0}
