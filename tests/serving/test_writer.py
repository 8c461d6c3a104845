"""Writers keep what they are given: many requests together, none at another's cost."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import text

from tailrec import columns as c
from tailrec.data.store import Store
from tailrec.errors import DataError, StoreError
from tailrec.serving.writer import EventWriter, SlateWriter, write_patiently

START = datetime(2024, 1, 1, tzinfo=UTC)
SOON_S = 20
"""Longer than any write takes, also on a busy machine."""


def events(ids: Sequence[str], *, kind: str = "view", item: str = "i") -> pl.DataFrame:
    """Events of these ids, every column there, as requests give them."""
    n = len(ids)
    told = {
        c.EVENT_ID: list(ids),
        c.USER_ID: ["u"] * n,
        c.ITEM_ID: [item] * n,
        c.TYPE: [kind] * n,
        c.TIMESTAMP: [START + timedelta(seconds=place) for place in range(n)],
    }
    return pl.DataFrame(told | {name: [None] * n for name in c.EVENTS if name not in told}).select(
        pl.col(name).cast(dtype) for name, dtype in c.EVENTS.items()
    )


def slate(number: int, **changes: object) -> dict[str, object]:
    told = {c.SLATE_ID: f"s{number:05}", c.USER_ID: "u", c.TIMESTAMP: START, c.ITEM_IDS: '["i"]'}
    return dict.fromkeys(c.SLATES) | told | changes


@contextmanager
def away(store: Store, table: str) -> Iterator[None]:
    """For a while, everything that asks for a table fails."""
    _run(store, f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        _run(store, f"ALTER TABLE {table}_away RENAME TO {table}")


def _run(store: Store, sql: str) -> None:
    with store.database.transaction() as connection:
        connection.run(text(sql))


def faults(futures: Sequence["Future[None]"]) -> list[BaseException | None]:
    wait(futures, SOON_S)
    return [future.exception(0) for future in futures]


class CountedStore(Store):
    """A store that counts its transactions of writing."""

    writes = 0

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """As any store."""
        self.writes += 1
        return super().write(table, rows)


@pytest.fixture
def writer(store: Store) -> Iterator[EventWriter]:
    writer = EventWriter(store)
    yield writer
    writer.close()


# ---------------------------------------------------------------------------- events


def test_what_many_threads_hand_in_is_durable_when_they_are_told(
    store: Store, writer: EventWriter
) -> None:
    """Each thread sees its own event stored as soon as its future is done."""
    n_threads, n_each = 8, 12

    def work(thread: int) -> list[bool]:
        seen = []
        for place in range(n_each):
            event_id = f"t{thread}-{place}"
            user = f"u{event_id}"
            rows = events([event_id]).with_columns(pl.lit(user).alias(c.USER_ID))
            writer.write(rows).result(SOON_S)
            seen.append(store.history(user)[c.EVENT_ID].to_list() == [event_id])
        return seen

    with ThreadPoolExecutor(n_threads) as pool:
        seen = list(pool.map(work, range(n_threads)))
    assert seen == [[True] * n_each] * n_threads
    assert store.count("events") == n_threads * n_each


def test_what_waits_together_is_committed_together(tmp_path: Path) -> None:
    with CountedStore.open(tmp_path / "store.db", create=True) as store:
        writer = EventWriter(store)
        with store.database.transaction():  # nobody else can write
            futures = [writer.write(events(["first"]))]
            deadline = time.monotonic() + SOON_S
            while not store.writes and time.monotonic() < deadline:
                time.sleep(0.001)
            futures += [writer.write(events([f"e{place}"])) for place in range(50)]
            assert not any(future.done() for future in futures)
        assert faults(futures) == [None] * 51
        assert store.writes == 2
        assert store.count("events") == 51
        writer.close()


def test_a_transaction_is_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrec.serving.writer.MOST_TOGETHER", 10)
    with CountedStore.open(tmp_path / "store.db", create=True) as store:
        writer = EventWriter(store)
        with store.database.transaction():
            futures = [writer.write(events(["first"]))]
            deadline = time.monotonic() + SOON_S
            while not store.writes and time.monotonic() < deadline:
                time.sleep(0.001)
            futures += [
                writer.write(events([f"{size}-{n}" for n in range(size)]))
                for size in (4, 6, 1, 25, 10)  # together: 4 + 6, 1, 25 alone, 10
            ]
        assert faults(futures) == [None] * 6
        assert (store.writes, store.count("events")) == (5, 47)
        writer.close()


BAD = {
    "a NUL": events(["bad"], item="i\0"),
    "an unknown type": events(["bad"], kind="glance"),
    "no item": events(["bad"]).with_columns(pl.lit(None, pl.String).alias(c.ITEM_ID)),
    "an unknown column": events(["bad"]).with_columns(pl.lit(1).alias("colour")),
    "a column of another type": events(["bad"]).with_columns(pl.lit("x").alias(c.VALUE)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_frame_fails_alone(tmp_path: Path, bad: pl.DataFrame) -> None:
    with Store.open(tmp_path / "store.db", create=True) as store:
        writer = EventWriter(store)
        with store.database.transaction():
            first = writer.write(events(["first"]))  # the others wait behind it, in one group
            time.sleep(0.05)
            frames = [events(["a"]), events(["b", "c"]), bad, events(["d"])]
            futures = [writer.write(frame) for frame in frames]
        told = faults([first, *futures])
        assert isinstance(told[3], DataError)
        assert told[:3] + told[4:] == [None] * 4
        assert sorted(store.read("events")[c.EVENT_ID]) == ["a", "b", "c", "d", "first"]
        alone = writer.write(bad)
        assert isinstance(faults([alone])[0], DataError)
        writer.write(events(["later"])).result(SOON_S)
        writer.close()


def test_an_event_is_kept_once_however_often_it_comes(store: Store, writer: EventWriter) -> None:
    futures = [writer.write(events(["same", "same", f"own{n}"])) for n in range(5)]
    assert faults(futures) == [None] * 5
    assert store.count("events") == 6


def test_who_gives_up_waiting_stops_nobody(store: Store, writer: EventWriter) -> None:
    """A request that is cancelled must not end the thread that serves all others."""
    future = writer.write(events(["given up"]))
    future.cancel()
    writer.write(events(["next"])).result(SOON_S)
    assert store.count("events") == 2


def test_a_store_that_comes_back_soon_is_waited_for(store: Store, writer: EventWriter) -> None:
    with away(store, "events"):
        future = writer.write(events(["a"]))
        time.sleep(0.2)
        assert not future.done()
    assert faults([future]) == [None]
    assert store.count("events") == 1


def test_a_store_that_is_away_is_told_to_everybody_at_once(
    store: Store, writer: EventWriter
) -> None:
    """A hundred requests wait for a store about as long as one does."""
    with away(store, "events"):
        started = time.monotonic()
        one = writer.write(events(["one"]))
        futures = [writer.write(events([f"e{n}"])) for n in range(100)]
        told = faults([one, *futures])
        seconds = time.monotonic() - started
    assert all(isinstance(fault, StoreError) for fault in told)
    assert seconds < 15  # 100 patient ones would wait 55 seconds
    # They were told no, and none was stored behind their backs; sent again, they are.
    assert store.count("events") == 0
    assert faults([writer.write(events([f"e{n}"])) for n in range(3)]) == [None] * 3


def test_closing_writes_what_waits_and_takes_no_more(store: Store) -> None:
    writer = EventWriter(store)
    futures = [writer.write(events([f"e{n}"])) for n in range(40)]
    writer.close()
    assert all(future.done() for future in futures)
    assert store.count("events") == 40
    with pytest.raises(StoreError, match="send the events again"):
        writer.write(events(["late"]))
    writer.close()


def test_writing_patiently_gives_up_in_the_end(store: Store) -> None:
    assert write_patiently(store, "events", events(["a", "b"])) == 2
    assert write_patiently(store, "events", events(["b", "c"])) == 1
    with away(store, "events"), pytest.raises(StoreError):
        write_patiently(store, "events", events(["d"]))
    with pytest.raises(DataError):
        write_patiently(store, "events", events(["e"], kind="glance"))


# ---------------------------------------------------------------------------- slates


def test_no_slate_is_lost_on_close(store: Store) -> None:
    writer = SlateWriter(store)
    n_threads, n_each = 4, 250

    def work(thread: int) -> None:
        for place in range(n_each):
            writer.write(slate(thread * n_each + place))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert store.count("slates") == n_threads * n_each
    assert writer.lost == 0


def test_slates_are_logged_without_being_closed(store: Store) -> None:
    writer = SlateWriter(store)
    writer.write(slate(1, item_ids='["i", "j"]'))
    _until(lambda: store.count("slates") == 1)
    assert store.read("slates")[c.ITEM_IDS].to_list() == ['["i", "j"]']
    writer.close()


def test_slates_wait_for_a_store_that_is_away(store: Store) -> None:
    writer = SlateWriter(store)
    with away(store, "slates"):
        for number in range(30):
            writer.write(slate(number))
        time.sleep(1.0)
        for number in range(30, 40):
            writer.write(slate(number))
    _until(lambda: store.count("slates") == 40)
    assert writer.lost == 0
    writer.close()


def test_the_oldest_slates_are_given_up_and_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlateWriter, "MOST_KEPT", 10)
    writer = SlateWriter(store)
    with away(store, "slates"):
        for number in range(25):
            writer.write(slate(number))
        _until(lambda: writer.lost == 15)
    _until(lambda: store.count("slates") == 10)
    assert store.read("slates")[c.SLATE_ID].to_list() == [f"s{n:05}" for n in range(15, 25)]
    writer.close()
    assert writer.lost == 15


def test_slates_that_wait_when_it_ends_are_counted(store: Store) -> None:
    writer = SlateWriter(store)
    with away(store, "slates"):
        for number in range(7):
            writer.write(slate(number))
        writer.close()
    assert (store.count("slates"), writer.lost) == (0, 7)


@pytest.mark.parametrize("bad", [{c.USER_ID: "u\0"}, {c.ITEM_IDS: None}, {c.TIMESTAMP: "noon"}])
def test_a_bad_slate_is_counted_and_stops_no_other(store: Store, bad: dict[str, object]) -> None:
    writer = SlateWriter(store)
    for number in range(3):
        writer.write(slate(number))
    writer.write(slate(99, **bad))
    for number in range(3, 6):
        writer.write(slate(number))
    _until(lambda: store.count("slates") == 6)
    writer.write(slate(6))
    _until(lambda: store.count("slates") == 7)
    writer.close()
    assert writer.lost == 1


def _until(true: object) -> None:
    """Wait for something that is to come true soon."""
    assert callable(true)
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
