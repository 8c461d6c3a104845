"""A real Redis in a process of its own."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def redis_server(folder: Path, port: int) -> Iterator[redis.Redis]:
    """A client of a server that keeps nothing on disk; it is killed at the end."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine; install it to test streams")
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port) as client:
                _wait_for(client)
                yield client
        finally:
            process.kill()


def url_of(client: redis.Redis) -> str:
    """Address of the server a client talks to."""
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def send(client: redis.Redis, stream: str, messages: Iterable[object]) -> None:
    """Put messages on a stream; bytes as they are, all else as JSON."""
    with client.pipeline(transaction=False) as pipe:
        for message in messages:
            body = message if isinstance(message, bytes) else json.dumps(message)
            pipe.xadd(stream, {"data": body})
        pipe.execute()


def _wait_for(client: redis.Redis) -> None:
    for _ in range(100):
        try:
            client.ping()
        except redis.ConnectionError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the Redis server did not start within 5 s")
