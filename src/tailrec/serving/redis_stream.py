"""Events from a Redis stream, by a consumer group: at least once, and stored once.

Written on redis-py and not on FastStream, whose stream subscriber (0.7) cannot promise this: it
makes the group at the end of the stream, so what was sent before the first start is lost; a batch
whose write failed is not read again by the same consumer; and what a dead consumer left is taken
over one message at a time, by a second subscriber.

A message is acknowledged after the transaction with its events. One that is no event goes to
`<stream>.rejected` in the same step that acknowledges it, so it is never lost between the two.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from tailrec.errors import DataError, ProviderError
from tailrec.serving.intake import MOST_BYTES, Counts, Intake, Message, Rejected, moment_of

BODY: Final = b"data"
"""The field of a stream's entry that holds the message."""
BATCH: Final = 500
"""Messages of one transaction, at most; fewer are not waited for."""
KEPT_REJECTED: Final = 100_000
"""Rejected messages kept, about; the oldest go first."""
_BLOCK_MS: Final = 500
"""A stop is noticed, and left messages are looked for, about this often."""
_LONGEST_WAIT_S: Final = 30.0

Entry = tuple[bytes, dict[bytes, bytes]]
"""Id and fields; there are none where the entry was trimmed from the stream."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RedisStream:
    """One consumer of one group on one stream.

    Attributes:
        client: gives bytes.
        stream: its key; made where it is missing.
        group: shares the stream's messages out to its consumers.
        consumer: name in the group; at a start, what was left under this name comes first.
        idle_s: messages another consumer has held for so long are taken over.
    """

    client: redis.Redis
    stream: str
    group: str
    consumer: str
    idle_s: float

    def run(self, intake: Intake, *, once: bool) -> None:
        """Take messages until told to stop.

        Args:
            intake: where they go.
            once: stop when no message is left that this consumer may have.

        Raises:
            ProviderError: Redis refuses; or it cannot be reached, at the start or with `once`.
        """
        self._reach()
        wait_s = 1.0
        while not intake.stopped.is_set():
            try:
                for entries in self._batches(intake, once=once):
                    if not self._settled(entries, intake):
                        return
                    wait_s = 1.0
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if once:
                    raise ProviderError(f"Redis went away: {error}") from error
                log.warning("waiting for Redis: %s", error)
                intake.stopped.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            except redis.RedisError as error:
                if "NOGROUP" not in str(error):
                    raise ProviderError(f"Redis refuses stream {self.stream!r}: {error}") from error
                log.warning("group %s is gone from stream %s; made anew", self.group, self.stream)
                self._reach()
            else:
                if once:
                    return

    def _reach(self) -> None:
        """Make sure of the group; it begins with the oldest message there is."""
        try:
            self.client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except redis.RedisError as error:
            if "BUSYGROUP" not in str(error):
                raise ProviderError(f"no stream {self.stream!r} in Redis: {error}") from error

    def _batches(self, intake: Intake, *, once: bool) -> Iterator[Sequence[Entry]]:
        """Entries to settle: what this consumer left, what others left, what is new."""
        yield from self._own()
        looked = -self.idle_s
        while not intake.stopped.is_set():
            if time.monotonic() - looked >= self.idle_s / 2:
                yield from self._left(intake.counts)
                looked = time.monotonic()
            found = self.client.xreadgroup(
                self.group,
                self.consumer,
                {self.stream: ">"},
                count=BATCH,
                block=None if once else _BLOCK_MS,
            )
            entries = _entries(found)
            if entries:
                yield entries
            elif once:
                return

    def _own(self) -> Iterator[Sequence[Entry]]:
        """What this consumer took and did not acknowledge, before it was stopped."""
        after: bytes = b"0"
        while entries := _entries(
            self.client.xreadgroup(self.group, self.consumer, {self.stream: after}, count=BATCH)
        ):
            yield entries
            after = entries[-1][0]

    def _left(self, counts: Counts) -> Iterator[Sequence[Entry]]:
        """What other consumers have held for too long."""
        cursor: bytes = b"0-0"
        while True:
            cursor, entries, trimmed = self.client.xautoclaim(
                self.stream,
                self.group,
                self.consumer,
                min_idle_time=int(1000 * self.idle_s),
                start_id=cursor,
                count=BATCH,
            )
            counts.lost += len(trimmed)
            if entries:
                counts.claimed += len(entries)
                yield entries
            if cursor == b"0-0":
                return

    def _settled(self, entries: Sequence[Entry], intake: Intake) -> bool:
        """Whether a batch is stored and acknowledged; otherwise it stays with this consumer."""
        there = [(entry_id, fields) for entry_id, fields in entries if fields]
        intake.counts.lost += len(entries) - len(there)
        rejected = intake.take([_message(entry_id, fields) for entry_id, fields in there])
        if rejected is None:
            return False
        with self.client.pipeline(transaction=True) as step:
            for bad in rejected:
                self._set_aside(step, *there[bad.place], bad)
            step.xack(self.stream, self.group, *(entry_id for entry_id, _ in entries))
            step.execute()
        return True

    def _set_aside(
        self, step: Any, entry_id: bytes, fields: dict[bytes, bytes], bad: Rejected
    ) -> None:
        told: dict[str | bytes, str | bytes] = {"id": entry_id, "reason": bad.reason}
        if BODY in fields:
            told[BODY] = fields[BODY][:MOST_BYTES]
        step.xadd(f"{self.stream}.rejected", told, maxlen=KEPT_REJECTED, approximate=True)


def redis_client(url: str) -> redis.Redis:
    """A client that gives bytes; it tries again by itself for a few seconds.

    Args:
        url: `redis://`, `rediss://` or `unix://`; a password in it is never shown.

    Raises:
        DataError: the address cannot be read.
    """
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), retries=3)
    try:
        return redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=30, retry=retry)
    except ValueError:
        # What it says may hold a part of the password.
        raise DataError("the stream's address cannot be read; write redis://HOST:PORT/0") from None


def _entries(found: Any) -> list[Entry]:
    """Entries of the one stream that was read; none where nothing came."""
    if not found:
        return []
    streams = found.values() if isinstance(found, dict) else [entries for _, entries in found]
    return [entry for entries in streams for entry in entries]


def _message(entry_id: bytes, fields: dict[bytes, bytes]) -> Message:
    """The message of an entry; its id is the millisecond it was added in, and a number in it.

    The number counts as microseconds, so that equal messages of a millisecond stay two.
    """
    milliseconds, _, number = entry_id.partition(b"-")
    return Message(fields.get(BODY), moment_of(int(milliseconds), int(number)))
