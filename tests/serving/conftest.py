"""A running server, and what talks to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.data.keys import ROLES, Keys
from tailrec.shop import Shop

START_S = 90
"""A worker imports, loads a model and compiles: on a busy machine that takes a while."""
SOUTHERN = "Zqsouthern"
"""A word in every id of the shop `south`, and nowhere else."""
HUSHED = "Qzhushed"
"""A word in what that shop says of its items and people, which no request ever names."""
_numbers = count()


@dataclass
class Running:
    """A server in processes of its own.

    Attributes:
        url: where it listens.
        process: the first process; it starts the workers.
        keys: a key of each role, by shop folder.
        log: what it says.
    """

    url: str
    process: subprocess.Popen[bytes]
    keys: dict[Path, dict[str, str]]
    log: Path

    def client(self, role: str = "admin", shop: Path | None = None) -> httpx.Client:
        """A plain client with the key of a role."""
        folder = shop or next(iter(self.keys))
        headers = {"X-API-Key": self.keys[folder][role]}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    @property
    def folders(self) -> list[Path]:
        """The shops."""
        return list(self.keys)

    @contextmanager
    def each_worker(self, role: str = "admin") -> Iterator[list[httpx.Client]]:
        """A client of each worker: its connection is kept, and a connection has one worker."""
        wanted, reached = set(self.workers()), dict[int, httpx.Client]()
        with ExitStack() as stack:
            for _ in range(400):
                client = stack.enter_context(self.client(role))
                reached.setdefault(self.answering(client), client)
                if set(reached) >= wanted:
                    break
            assert set(reached) >= wanted
            yield list(reached.values())

    def answering(self, client: httpx.Client) -> int:
        """Process id of the worker that answers a client, as the log has it."""
        name, start = f"probe-{next(_numbers)}", self.log.stat().st_size
        client.get("/v1/health/live", headers={"X-Request-ID": name})
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with self.log.open("rb") as log:
                log.seek(start)
                for line in log.read().splitlines():
                    if name.encode() in line and line.endswith(b"}"):
                        return int(json.loads(line)["process"])
            time.sleep(0.005)
        raise AssertionError(f"request {name} is not in the log")

    def workers(self) -> list[int]:
        """Process ids of the workers; the first process itself where it works alone."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "spawn_main"],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(line) for line in found.stdout.split()]

    def stop(self) -> int:
        """End it as a supervisor would; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


Serve = Callable[..., Running]


def keys_of(folder: Path) -> dict[str, str]:
    """A new key of each role."""
    with Shop.open(folder) as shop:
        return {role: Keys(shop.store).create(role) for role in ROLES}


def start(folders: list[Path], log: Path, *, workers: int = 1, ready: bool = True) -> Running:
    """Start `tailrec serve` and wait until it is ready."""
    keys = {folder: keys_of(folder) for folder in folders}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tailrec", "serve", *map(str, folders)]
    command += ["--port", str(port), "--workers", str(workers)]
    with log.open("wb") as out:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(command, stderr=out, stdout=out, env=environment)
    running = Running(f"http://127.0.0.1:{port}", process, keys, log)
    until = time.monotonic() + START_S
    path = "/v1/health/ready" if ready else "/v1/health/live"
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text("utf-8")
        try:
            if httpx.get(running.url + path, timeout=5).status_code == 200:
                return running
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after {START_S} s:\n{log.read_text('utf-8')}")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, and stops them at the end."""
    begun: list[Running] = []

    def run(*folders: Path, workers: int = 1, ready: bool = True) -> Running:
        log = tmp_path / f"server{len(begun)}.log"
        begun.append(start(list(folders), log, workers=workers, ready=ready))
        return begun[-1]

    yield run
    for running in begun:
        running.stop()


@pytest.fixture(scope="session")
def served(fitted_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The simulated shop, served by two workers; tests may add to it and not count its rows."""
    folder = shutil.copytree(
        fitted_folder, tmp_path_factory.mktemp("served") / "shop", symlinks=True
    )
    running = start([folder], folder.parent / "server.log", workers=2)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def mall(fitted_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three shops behind one address, served by one worker.

    `north` is the simulated shop with scenes. `south` is small, its model has a prior, and what
    it holds is marked by `SOUTHERN` and `HUSHED`. `strict` is its twin that limits requests.
    """
    folder = tmp_path_factory.mktemp("mall")
    north = shutil.copytree(fitted_folder, folder / "north", symlinks=True)
    with (north / "tailrec.toml").open("a", encoding="utf-8") as recipe:
        recipe.write(SCENES)
    south = folder / "south"
    fill_south(south)
    strict = shutil.copytree(south, folder / "strict")
    with (strict / "tailrec.toml").open("a", encoding="utf-8") as recipe:
        recipe.write("[serve]\nrequests_per_s = 4\nburst = 6\n")
    running = start([north, south, strict], folder / "server.log")
    yield running
    running.stop()


SCENES = """
[scenes.corner]
n = 3
filter = { category = { under = "Home" } }

[scenes.again]
n = 200
seen = "show"

[scenes.fixed.rules]
pin = [{ item = "P000001", position = 2 }]
"""


def fill_south(folder: Path) -> None:
    """A small shop in which one thing sells better than all others."""
    ids = [f"{SOUTHERN}-{number}" for number in range(30)]
    words = ["amber", "birch", "copper", "denim", "ember", "flint"]
    with Shop.create(folder) as shop:
        titles = [f"{HUSHED} {words[number % 6]} lamp {number}" for number in range(30)]
        table = {c.ITEM_ID: ids, c.TITLE: titles, c.BRAND: [HUSHED] * 30}
        shop.store.write("items", pl.DataFrame(table))
        people = [f"{SOUTHERN}-u{number}" for number in range(20)]
        bought = [(user, ids[0]) for user in people[5:]]
        bought += [(user, ids[1 + row]) for row, user in enumerate(people)]
        bought += [(user, ids[2 + row]) for row, user in enumerate(people)]
        rows = pl.DataFrame(bought, schema=[c.USER_ID, c.ITEM_ID], orient="row")
        attributes = [f'{{"name": "{HUSHED}"}}'] * len(people)
        shop.store.write("users", pl.DataFrame({c.USER_ID: people, c.ATTRIBUTES: attributes}))
        shop.store.write(
            "events",
            rows.with_row_index("at").select(
                c.USER_ID,
                c.ITEM_ID,
                pl.lit("purchase").alias(c.TYPE),
                (pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(hours="at")).alias(
                    c.TIMESTAMP
                ),
            ),
        )
    (folder / "tailrec.toml").write_text(
        '[source]\nkind = "linear"\nprior = 0.05\n[features]\nencode = false\n', "utf-8"
    )
    with Shop.open(folder) as shop:
        shop.fit()
