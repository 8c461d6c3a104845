"""Kafka through FastStream's own test broker: the real subscriber, no cluster."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiokafka import ConsumerRecord
from faststream.kafka import KafkaBroker, TestKafkaBroker
from faststream.kafka.annotations import KafkaMessage

from tailrec import columns as c
from tailrec.data.store import Store
from tailrec.errors import DataError, ProviderError, StoreError
from tailrec.serving.intake import Intake
from tailrec.serving.kafka_stream import KafkaStream, kafka_servers

STREAM = KafkaStream(["127.0.0.1:9092"], "events", "tailrec", "a")
SENT = datetime(2026, 5, 4, 10, tzinfo=UTC)
GOOD = b'{"user_id": "ada", "item_id": "mug", "type": "view"}'


class Places:
    """What a group does with its place in the topic: commits it, or takes it back."""

    def __init__(self, store: Store) -> None:
        self.store, self.steps = store, list[tuple[str, int]]()

    async def commit(self) -> None:
        """Offsets are committed; notes how many events are durable then."""
        self.steps.append(("commit", self.store.count("events")))

    def seek(self, partition: Any, offset: int) -> None:
        """The group reads again from here."""
        del partition
        self.steps.append(("again from", offset))


def record(body: bytes | None, offset: int, **other: Any) -> "ConsumerRecord[Any, Any]":
    values = {"topic": "events", "partition": 0, "timestamp_type": 0, "headers": (), **other}
    values.setdefault("timestamp", int(SENT.timestamp() * 1000))
    return ConsumerRecord(
        value=body,
        offset=offset,
        key=None,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        **values,
    )


def fed(intake: Intake, *batches: Sequence[Any]) -> tuple[list[tuple[str, int]], list[Any]]:
    """Steps of the group and rejected messages, after batches went through the subscriber."""
    places, aside = Places(intake.store), []

    async def run() -> None:
        broker = STREAM.broker(intake)
        (subscriber,) = broker.subscribers
        watcher = broker.subscriber("events.rejected", decoder=_as_bytes)

        @watcher
        async def watch(message: KafkaMessage) -> None:
            aside.append((message.body, message.headers["id"], message.headers["reason"]))

        async with TestKafkaBroker(broker) as tested:
            assert isinstance(tested, KafkaBroker)
            subscriber.parser._setup(places)
            for batch in batches:
                await subscriber.consume(tuple(batch))

    asyncio.run(run())
    return places.steps, aside


async def _as_bytes(message: KafkaMessage) -> Any:
    return message.body


def test_committed_after_the_events_are_durable(store: Store) -> None:
    intake = Intake(store)
    first = [record(GOOD, 0), record(b'[{"session_id": "s", "item_id": "i", "type": "cart"}]', 1)]
    steps, aside = fed(intake, first, [record(GOOD, 2, timestamp=1), *first])
    assert steps == [("commit", 2), ("commit", 3)]
    assert aside == []
    assert (intake.counts.messages, intake.counts.events, intake.counts.new) == (5, 5, 3)
    sent = sorted(store.read("events")[c.TIMESTAMP])
    assert sent[1:] == [SENT, SENT + timedelta(microseconds=1)]


def test_bad_messages_are_set_aside(store: Store) -> None:
    headers = (("content-type", b"application/json"), ("\u00fc", b"\xff\xfe"))
    bad = [record(b"{no json", 0, headers=headers), record(None, 1), record(GOOD, 2, timestamp=-1)]
    steps, aside = fed(Intake(store), [*bad, record(GOOD, 3)])
    assert steps == [("commit", 1)]
    assert [(body, place) for body, place, _ in aside] == [
        (b"{no json", "0-0"),
        (b"", "0-1"),
        (GOOD, "0-2"),
    ]
    for (_, _, reason), says in zip(aside, ["no JSON", "no body", "tells no time"], strict=True):
        assert says in reason


class Failing(Store):
    """A store that never takes a write."""

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Fail."""
        raise StoreError(f"no room for {len(rows)} {table}")


def test_a_batch_that_is_not_stored_is_read_again(tmp_path: Path) -> None:
    with Failing.open(tmp_path / "store.db", create=True) as store:
        intake = Intake(store)
        threading.Timer(0.1, intake.stopped.set).start()
        steps, _ = fed(intake, [record(GOOD, 7), record(GOOD, 8)])
        assert steps == [("again from", 7)]
        assert intake.counts.messages == 0


@pytest.mark.parametrize("server", ["127.0.0.1:9", "127.0.0.1", "a.invalid:x"])
def test_kafka_that_is_not_there(store: Store, server: str) -> None:
    stream = KafkaStream([server], "events", "tailrec", "a")
    with pytest.raises(ProviderError, match=f"no Kafka at {server}: "):
        stream.run(Intake(store), once=True)


def test_addresses() -> None:
    assert kafka_servers("kafka://a:9092,b:9093/") == ["a:9092", "b:9093"]
    for bad in ("kafka://", "kafka://user:secret@a:9092", "kafka://a:9092/topic"):
        with pytest.raises(DataError, match="write kafka://HOST:PORT") as told:
            kafka_servers(bad)
        assert "secret" not in str(told.value)
