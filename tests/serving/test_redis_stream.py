"""A real Redis and real processes: everything arrives once, whoever dies."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import polars as pl
import pytest
import redis
from tests.serving.redis_server import free_port, redis_server, send, url_of

from tailrec import columns as c
from tailrec.data.store import Store
from tailrec.errors import ProviderError, StoreError
from tailrec.serving.intake import MOST_BYTES, Intake
from tailrec.serving.redis_stream import RedisStream, redis_client

GROUP = "tailrec"
_numbers = count()

CONSUME = """
import json, os, signal, sys
from dataclasses import asdict
from tailrec.data.store import Store
from tailrec.serving.stream import consume

path, url, stream, consumer, idle_s, once, dies_after = sys.argv[1:]


class Dying(Store):
    # Killed after a transaction, before its messages are acknowledged: the worst moment.
    writes = 0

    def write(self, table, rows):
        n_new = super().write(table, rows)
        self.writes += 1
        if self.writes == int(dies_after):
            os.kill(os.getpid(), signal.SIGKILL)
        return n_new


with Dying.open(path) as store:
    print("reading", flush=True)
    counts = consume(
        store, url, stream, consumer=consumer, idle_s=float(idle_s), once=once == "once"
    )
print(json.dumps(asdict(counts)))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A running Redis."""
    with redis_server(tmp_path_factory.mktemp("redis"), free_port()) as client:
        yield client


@pytest.fixture
def stream() -> str:
    """Name of a stream that no other test has."""
    return f"events-{next(_numbers)}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """File of a new, empty store."""
    Store.open(tmp_path / "store.db", create=True).close()
    return tmp_path / "store.db"


def view(number: int) -> dict[str, object]:
    """An event of its own, without id and time."""
    return {"user_id": f"u{number % 70}", "item_id": f"i{number}", "type": "view"}


def reader(client: redis.Redis, stream: str, name: str = "a", idle_s: float = 60.0) -> RedisStream:
    return RedisStream(client, stream, GROUP, name, idle_s)


@contextmanager
def started(
    path: Path,
    client: redis.Redis,
    stream: str,
    consumer: str = "a",
    *,
    idle_s: float = 60.0,
    once: bool = False,
    dies_after: int = 0,
) -> Iterator["subprocess.Popen[str]"]:
    """A consumer in a process of its own, at the moment it begins to read."""
    how = (stream, consumer, str(idle_s), "once" if once else "", str(dies_after))
    words = [sys.executable, "-c", CONSUME, str(path), url_of(client), *how]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "reading\n"
            yield process
        finally:
            process.kill()


def pending(client: redis.Redis, stream: str) -> int:
    """Messages that were given out and not acknowledged."""
    n_pending: int = client.xpending(stream, GROUP)["pending"]
    return n_pending


def unread(client: redis.Redis, stream: str) -> int:
    """Messages that were not given out yet."""
    (group,) = client.xinfo_groups(stream)
    n_unread: int = group["lag"]
    return n_unread


def test_every_form_of_message_arrives(server: redis.Redis, stream: str, store: Store) -> None:
    timed = {**view(4), "timestamp": "2026-05-04T12:00:00+02:00", "event_id": "own"}
    send(server, stream, [view(0), [view(1), view(2)], {"events": [view(3), timed]}])
    intake = Intake(store)
    reader(server, stream).run(intake, once=True)
    rows = store.read("events")
    assert sorted(rows[c.ITEM_ID]) == ["i0", "i1", "i2", "i3", "i4"]
    own = rows.filter(pl.col(c.EVENT_ID) == "own")
    assert own[c.TIMESTAMP].dt.to_string("iso").to_list() == ["2026-05-04 10:00:00.000000+00:00"]
    (first, *_), milliseconds = server.xrange(stream), pl.col(c.TIMESTAMP).dt.epoch("ms")
    sent = rows.filter(pl.col(c.ITEM_ID) == "i0").select(milliseconds).item()
    assert sent == int(first[0].split(b"-")[0])
    assert (intake.counts.messages, intake.counts.events, intake.counts.new) == (3, 5, 5)
    assert pending(server, stream) == 0


def test_a_message_that_comes_again_adds_nothing(
    server: redis.Redis, stream: str, store: Store
) -> None:
    send(server, stream, map(view, range(10)))
    reader(server, stream).run(Intake(store), once=True)
    server.xgroup_destroy(stream, GROUP)
    again = Intake(store)
    reader(server, stream).run(again, once=True)
    assert (again.counts.events, again.counts.new, store.count("events")) == (10, 0, 10)


def test_equal_messages_of_one_millisecond_are_two_events(
    server: redis.Redis, stream: str, store: Store
) -> None:
    for number in range(3):
        server.xadd(stream, {"data": json.dumps(view(0))}, id=f"1777888999000-{number}")
    reader(server, stream).run(Intake(store), once=True)
    assert store.count("events") == 3


def test_an_id_by_hand_that_is_no_time(server: redis.Redis, stream: str, store: Store) -> None:
    server.xadd(stream, {"data": json.dumps(view(0))}, id=f"{2**64 - 1}-{2**64 - 1}")
    intake = Intake(store)
    reader(server, stream).run(intake, once=True)
    assert (intake.counts.rejected, store.count("events")) == (1, 0)


def test_bad_messages_are_set_aside_with_the_reason(
    server: redis.Redis, stream: str, store: Store
) -> None:
    bad = {
        b"{no json": "no JSON",
        json.dumps({**view(0), "type": "stare"}).encode(): "events.0.type",
        json.dumps([view(1), {"item_id": "i", "type": "view"}]).encode(): "user_id",
        b" " * (MOST_BYTES + 1): "bytes",
        b'{"user_id": "\\ud800", "item_id": "i", "type": "view"}': "no JSON",
        b"[]": "events",
        b"7": "the message",
    }
    send(server, stream, [view(8), *bad, view(9)])
    server.xadd(stream, {"body": json.dumps(view(3))})
    intake = Intake(store)
    reader(server, stream).run(intake, once=True)
    assert sorted(store.read("events")[c.ITEM_ID]) == ["i8", "i9"]
    assert (intake.counts.messages, intake.counts.rejected) == (10, 8)
    aside = [fields for _, fields in server.xrange(f"{stream}.rejected")]
    for fields, (body, reason) in zip(aside, [*bad.items(), (None, "no body")], strict=True):
        assert fields.get(b"data") == (body and body[:MOST_BYTES])
        assert reason in fields[b"reason"].decode()
    ids = [entry_id for entry_id, _ in server.xrange(stream)]
    assert [fields[b"id"] for fields in aside] == ids[1:8] + ids[-1:]
    assert pending(server, stream) == 0


def test_killed_before_it_acknowledged(server: redis.Redis, stream: str, path: Path) -> None:
    send(server, stream, map(view, range(2_000)))
    with started(path, server, stream, dies_after=2) as dying:
        assert dying.wait(30) == -signal.SIGKILL
    assert (pending(server, stream), unread(server, stream)) == (500, 1_000)
    with Store.open(path) as store:
        assert store.count("events") == 1_000
        heir = Intake(store)
        time.sleep(0.1)
        reader(server, stream, "b", idle_s=0.05).run(heir, once=True)
        assert (heir.counts.claimed, heir.counts.messages, heir.counts.new) == (500, 1_500, 1_000)
        assert store.count("events") == 2_000
        assert store.read("events")[c.ITEM_ID].n_unique() == 2_000
    assert pending(server, stream) == 0


def test_its_own_messages_come_first_after_a_restart(
    server: redis.Redis, stream: str, path: Path
) -> None:
    send(server, stream, map(view, range(600)))
    with started(path, server, stream, dies_after=1) as dying:
        assert dying.wait(30) == -signal.SIGKILL
    with Store.open(path) as store:
        same = Intake(store)
        reader(server, stream, "a").run(same, once=True)
        assert (same.counts.claimed, same.counts.messages, same.counts.new) == (0, 600, 100)


@pytest.mark.slow
def test_killed_again_and_again(server: redis.Redis, stream: str, path: Path) -> None:
    """Three consumers are killed at any moment of 5,000 events; the fourth finishes."""
    send(server, stream, map(view, range(5_000)))
    with Store.open(path) as store:
        for name in "abc":
            before = store.count("events")
            with started(path, server, stream, name, idle_s=0.05) as process:
                while store.count("events") == before:
                    time.sleep(0.001)
                process.kill()
        assert pending(server, stream) + unread(server, stream) > 0
        time.sleep(0.1)
        reader(server, stream, "d", idle_s=0.05).run(Intake(store), once=True)
        assert store.count("events") == 5_000
        assert store.read("events")[c.ITEM_ID].n_unique() == 5_000
    assert (pending(server, stream), unread(server, stream)) == (0, 0)


def test_two_consumers_share_a_stream(server: redis.Redis, stream: str, path: Path) -> None:
    send(server, stream, map(view, range(4_000)))
    with Store.open(path) as store:
        intakes, gate = [Intake(store), Intake(store)], threading.Barrier(2)

        def read(name: str, intake: Intake) -> None:
            gate.wait()
            reader(server, stream, name).run(intake, once=True)

        pairs = zip("ab", intakes, strict=True)
        threads = [threading.Thread(target=read, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = [intake.counts.messages for intake in intakes]
        assert sum(taken) == 4_000
        assert min(taken) > 0
        assert store.count("events") == sum(intake.counts.new for intake in intakes) == 4_000


def test_a_stop_finishes_the_batch_in_hand(server: redis.Redis, stream: str, path: Path) -> None:
    stop = threading.Event()

    def feed() -> None:
        for number in range(100_000):
            if stop.is_set():
                return
            send(server, stream, [view(number)])

    feeder = threading.Thread(target=feed)
    with started(path, server, stream) as process, Store.open(path) as store:
        feeder.start()
        while not store.count("events"):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=30)
        stop.set()
        feeder.join()
        assert process.returncode == 0
        counts = json.loads(told)
        assert counts["new"] == counts["messages"] == store.count("events")
        assert pending(server, stream) == 0
        assert counts["messages"] + unread(server, stream) == server.xlen(stream)


class Failing(Store):
    """A store whose next writes fail."""

    fails = 0

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Fail, or write."""
        if self.fails:
            self.fails -= 1
            raise StoreError("no room on the disk")
        return super().write(table, rows)


def test_a_store_that_fails_is_waited_for(server: redis.Redis, stream: str, path: Path) -> None:
    send(server, stream, map(view, range(3)))
    with Failing.open(path) as store:
        store.fails = 1
        intake = Intake(store)
        reader(server, stream).run(intake, once=True)
        assert (store.fails, intake.counts.new, pending(server, stream)) == (0, 3, 0)


def test_nothing_is_acknowledged_that_is_not_stored(
    server: redis.Redis, stream: str, path: Path
) -> None:
    send(server, stream, map(view, range(3)))
    with Failing.open(path) as store:
        store.fails = 1
        intake = Intake(store)
        threading.Timer(0.1, intake.stopped.set).start()
        reader(server, stream).run(intake, once=True)
        assert (store.fails, store.count("events"), pending(server, stream)) == (0, 0, 3)


def test_messages_trimmed_before_they_were_read_are_counted(
    server: redis.Redis, stream: str, path: Path
) -> None:
    send(server, stream, map(view, range(10)))
    server.xgroup_create(stream, GROUP, id="0")
    server.xreadgroup(GROUP, "dead", {stream: ">"}, count=4)
    server.xreadgroup(GROUP, "a", {stream: ">"}, count=3)
    server.xtrim(stream, maxlen=1, approximate=False)
    with Store.open(path) as store:
        intake = Intake(store)
        reader(server, stream, idle_s=0.0).run(intake, once=True)
        assert (intake.counts.lost, intake.counts.messages) == (7, 1)
    assert pending(server, stream) == 0


def test_another_servers_refusal_is_told(server: redis.Redis, stream: str, path: Path) -> None:
    server.set(stream, "no stream")
    with Store.open(path) as store, pytest.raises(ProviderError, match=stream):
        reader(server, stream).run(Intake(store), once=True)


@pytest.mark.slow
def test_a_server_that_went_away_is_waited_for(tmp_path: Path, path: Path) -> None:
    port = free_port()
    with Store.open(path) as store:
        intake = Intake(store)
        with redis_server(tmp_path, port) as client:
            send(client, "events", map(view, range(5)))
            own = reader(redis_client(url_of(client)), "events")
            thread = threading.Thread(target=own.run, args=(intake,), kwargs={"once": False})
            thread.start()
            _until(lambda: store.count("events") == 5)
        # It comes back empty: the group is made anew, too.
        with redis_server(tmp_path, port) as client:
            send(client, "events", map(view, range(5, 9)))
            _until(lambda: store.count("events") == 9)
            intake.stopped.set()
            thread.join(10)
            assert not thread.is_alive()


def _until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen within 30 s")
