"""A running server, and what talks to it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tailrec.data.keys import ROLES, Keys
from tailrec.shop import Shop

START_S = 90
"""A worker imports, loads a model and compiles: on a busy machine that takes a while."""


@dataclass
class Running:
    """A server in processes of its own.

    Attributes:
        url: where it listens.
        process: the first process; it starts the workers.
        keys: a key of each role, by shop folder.
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
    """The simulated shop, served by two workers. Tests may add to it; none may count on its size."""
    folder = shutil.copytree(
        fitted_folder, tmp_path_factory.mktemp("served") / "shop", symlinks=True
    )
    running = start([folder], folder.parent / "server.log", workers=2)
    yield running
    running.stop()
