"""Events from a Kafka topic through FastStream: at least once, and stored once.

The group's offset is committed after the transaction with a batch's events, and after messages
that are no events went to `<topic>.rejected`. A batch that fails before is read again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

from tailrec.errors import DataError, ProviderError
from tailrec.serving.intake import MOST_BYTES, Intake, Message, moment_of

BATCH: Final = 500
"""Messages of one transaction, at most; fewer are not waited for."""
QUIET_S: Final = 10.0
"""A topic that was silent for so long counts as drained."""
_BLOCK_MS: Final = 200
_STOP_S: Final = 60.0
"""A batch in hand gets so long to be finished at a stop."""

log = logging.getLogger(__name__)

Records = tuple[Any, ...]
"""Of aiokafka's `ConsumerRecord`."""


class _UnfinishedError(Exception):
    """The batch is not stored; FastStream takes the group's place in the topic back."""


@dataclass(frozen=True, slots=True)
class KafkaStream:
    """One consumer of one group on one topic.

    Attributes:
        servers: `host:port` of some brokers.
        topic: its name.
        group: shares the topic's partitions out to its consumers.
        consumer: name that brokers show.
    """

    servers: list[str]
    topic: str
    group: str
    consumer: str

    def run(self, intake: Intake, *, once: bool) -> None:
        """Take messages until told to stop.

        Args:
            intake: where they go.
            once: stop when nothing came for `QUIET_S` seconds.

        Raises:
            ProviderError: Kafka cannot be reached at the start.
        """
        asyncio.run(self._run(intake, once=once))

    def broker(self, intake: Intake) -> KafkaBroker:
        """A FastStream broker whose one subscriber fills the store."""
        broker = KafkaBroker(
            self.servers,
            client_id=self.consumer,
            logger=log,
            log_level=logging.DEBUG,
            graceful_timeout=_STOP_S,
        )
        subscriber = broker.subscriber(
            self.topic,
            batch=True,
            group_id=self.group,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.NACK_ON_ERROR,
            max_records=BATCH,
            batch_timeout_ms=_BLOCK_MS,
            parser=_without_headers,
            decoder=_as_it_came,
        )

        @subscriber
        async def take(batch: KafkaMessage) -> None:
            records: Any = batch.raw_message
            # In a thread: while the store makes it wait, the group must hear of this consumer.
            # The place counts as microseconds, so that equal messages of a millisecond stay two.
            messages = [
                Message(record.value, moment_of(record.timestamp, record.offset))
                for record in records
            ]
            rejected = await asyncio.to_thread(intake.take, messages)
            if rejected is None:
                raise _UnfinishedError
            for bad in rejected:
                body = records[bad.place].value or b""
                place = f"{records[bad.place].partition}-{records[bad.place].offset}"
                about = {"id": place, "reason": bad.reason}
                await broker.publish(body[:MOST_BYTES], f"{self.topic}.rejected", headers=about)

        return broker

    async def _reach(self) -> None:
        """Fail where no broker listens; FastStream would leave its producer open behind it."""
        said: object = ""
        for server in self.servers:
            host, _, port = server.rpartition(":")
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except (OSError, ValueError) as error:
                said = error
            else:
                writer.close()
                return
        raise ProviderError(f"no Kafka at {', '.join(self.servers)}: {said}")

    async def _run(self, intake: Intake, *, once: bool) -> None:
        await self._reach()
        broker = self.broker(intake)
        try:
            await broker.start()
            n_known, changed = 0, time.monotonic()
            while not intake.stopped.is_set():
                await asyncio.sleep(_BLOCK_MS / 1000)
                if intake.counts.messages != n_known:
                    n_known, changed = intake.counts.messages, time.monotonic()
                if once and time.monotonic() - changed > QUIET_S:
                    return
        except (KafkaError, OSError) as error:
            raise ProviderError(f"Kafka at {', '.join(self.servers)}: {error}") from error
        finally:
            await broker.stop()


def kafka_servers(url: str) -> list[str]:
    """Brokers of `kafka://HOST:PORT,HOST:PORT`.

    Raises:
        DataError: the address names none, or a user: only plain listeners are known.
    """
    servers = [server for server in url.removeprefix("kafka://").rstrip("/").split(",") if server]
    if not servers or "@" in url or "/" in "".join(servers):
        raise DataError(
            "the stream's address cannot be read; write kafka://HOST:PORT,HOST:PORT, without user"
        )
    return servers


async def _without_headers(
    records: Records, parse: Callable[[Records], Awaitable[KafkaMessage]]
) -> KafkaMessage:
    """FastStream decodes every header, and one that is no UTF-8 would cost the whole batch."""
    return await parse(tuple(replace(record, headers=()) for record in records))


async def _as_it_came(batch: KafkaMessage) -> Any:
    """Bodies stay bytes: one that is no JSON is a matter of its message, not of the batch."""
    return batch.body
