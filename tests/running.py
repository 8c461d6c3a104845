"""A running server in processes of its own, and what talks to it."""

import json
import os
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

from tailrec.data.keys import ROLES, Keys
from tailrec.shop import Shop

START_S = 90
"""A worker imports, loads a model and compiles: on a busy machine that takes a while."""
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

    def key(self, role: str, shop: Path | None = None) -> str:
        """The key of a role to a shop; to the first where none is named."""
        return self.keys[shop or next(iter(self.keys))][role]

    def client(self, role: str = "admin", shop: Path | None = None) -> httpx.Client:
        """A plain client with the key of a role."""
        headers = {"X-API-Key": self.key(role, shop)}
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
