"""A shop that listens to a stream of events until it is told to stop."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from tailrec.data.store import Store
from tailrec.errors import DataError, MissingExtra
from tailrec.serving.intake import Counts, Intake

IDLE_S: Final = 60.0
"""Messages that a consumer has held for so long without a word are taken over."""


class Place(Protocol):
    """Where messages come from."""

    def run(self, intake: Intake, *, once: bool) -> None:
        """Take messages until told to stop; `once`: until none is left."""


def consume(
    store: Store,
    source: str,
    stream: str,
    *,
    group: str = "tailrec",
    consumer: str | None = None,
    idle_s: float = IDLE_S,
    once: bool = False,
) -> Counts:
    """Store the events of a stream until SIGTERM or SIGINT; the batch in hand is finished.

    Runs in the main thread. Where the store or the stream fails, it waits and tries again, and
    acknowledges nothing meanwhile.

    Args:
        store: of the shop.
        source: `redis://HOST:PORT/DB`, `rediss://`, `unix://`, or `kafka://HOST:PORT,...`.
        stream: the stream's key, or the topic.
        group: consumers of one group share the messages.
        consumer: name in the group, this machine's where None. Give each process on one machine
            its own; keep it over restarts.
        idle_s: Redis only; Kafka's brokers notice a dead consumer themselves.
        once: stop when the stream is drained.

    Returns:
        What became of the messages.

    Raises:
        DataError: the address cannot be read.
        ProviderError: the stream cannot be reached at the start, or refuses.
        MissingExtra: the packages for streams are not installed.
    """
    name = consumer or socket.gethostname()
    intake = Intake(store)
    with _place(source, stream, group, name, idle_s=idle_s) as place, _until_told(intake):
        place.run(intake, once=once)
    return intake.counts


@contextmanager
def _place(
    source: str, stream: str, group: str, consumer: str, *, idle_s: float
) -> Iterator[Place]:
    """One consumer; the packages of the other kind of stream are not loaded."""
    scheme = source.partition("://")[0]
    if scheme in ("redis", "rediss", "unix"):
        with _installed():
            from tailrec.serving.redis_stream import RedisStream, redis_client
        with redis_client(source) as client:
            yield RedisStream(client, stream, group, consumer, idle_s)
    elif scheme == "kafka":
        with _installed():
            from tailrec.serving.kafka_stream import KafkaStream, kafka_servers
        yield KafkaStream(kafka_servers(source), stream, group, consumer)
    else:
        raise DataError("no stream is read there; write redis://HOST:PORT/0 or kafka://HOST:PORT")


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        message = "a stream needs more packages: pip install 'tailrec[streams]'"
        raise MissingExtra(message) from error


@contextmanager
def _until_told(intake: Intake) -> Iterator[None]:
    """SIGTERM and SIGINT stop the intake, which is looked at between two batches."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: intake.stopped.set()) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
