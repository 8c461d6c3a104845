"""From the messages of a stream to events in the store, whatever carries the messages.

A message is JSON: one event, a list of events, or `{"events": [...]}`, with the fields of
`POST /v1/events`. It counts whole or not at all. An event without a timestamp happened when its
message was sent, so that a message that comes twice makes the same event twice, which is stored
once.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from typing import Final

from pydantic import ValidationError
from pydantic_core import from_json

from tailrec.data.store import Store
from tailrec.errors import DataError, StoreError
from tailrec.serving.event_rows import AHEAD, event_rows
from tailrec.wire import Event, Events

MOST_BYTES: Final = 1 << 20
"""Length of a message, at most."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream.

    Attributes:
        body: JSON as it came; None where the message has none.
        moment: when it was sent; None where the stream does not say.
    """

    body: bytes | None
    moment: datetime | None


@dataclass(slots=True)
class Counts:
    """What became of the messages read so far.

    Attributes:
        messages: taken, the rejected ones included.
        events: in the messages that were not rejected.
        new: events that the store did not know.
        rejected: messages that are no events.
        claimed: messages taken over from a consumer that did not come back.
        lost: messages that were trimmed from the stream before they were read.
    """

    messages: int = 0
    events: int = 0
    new: int = 0
    rejected: int = 0
    claimed: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is not kept: its place in the batch, and why."""

    place: int
    reason: str


@dataclass(slots=True)
class Intake:
    """Writes batches of messages; may be told to stop, from a signal or another thread."""

    store: Store
    counts: Counts = field(default_factory=Counts)
    stopped: Flag = field(default_factory=Flag)

    def take(self, messages: Sequence[Message]) -> list[Rejected] | None:
        """Store the events of a batch, in one transaction; wait for the store where it fails.

        Returns:
            The messages that are no events, once all others are durable; None where it was told
            to stop before they were: then nothing of the batch may be acknowledged.
        """
        events: list[Event] = []
        moments: list[datetime | None] = []
        rejected: list[Rejected] = []
        for place, message in enumerate(messages):
            try:
                told = events_of(message)
            except DataError as error:
                rejected.append(Rejected(place, str(error)))
            else:
                events += told
                moments += [message.moment] * len(told)
        new = self._written(events, moments)
        if new is None:
            return None
        self.counts.messages += len(messages)
        self.counts.events += len(events)
        self.counts.new += new
        self.counts.rejected += len(rejected)
        if rejected:
            log.warning("%d of %d messages rejected", len(rejected), len(messages))
        return rejected

    def _written(self, events: Sequence[Event], moments: Sequence[datetime | None]) -> int | None:
        rows = event_rows(events, moments)
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return self.store.write("events", rows)
            except StoreError as error:
                log.warning("%d events wait for the store: %s", len(rows), error)
            if self.stopped.wait(wait_s):
                return None
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def events_of(message: Message) -> list[Event]:
    """The events of one message.

    Raises:
        DataError: it is no JSON, too large, holds something else than events or one that is not
            valid, or an event has no time, or one that is yet to come.
    """
    if message.body is None:
        raise DataError("the message has no body")
    if len(message.body) > MOST_BYTES:
        raise DataError(f"{len(message.body):,} bytes; a message has {MOST_BYTES:,} at most")
    try:
        value = from_json(message.body, allow_inf_nan=False)
    except ValueError as error:
        raise DataError(f"no JSON: {error}") from error
    if isinstance(value, dict) and "events" not in value:
        value = {"events": [value]}
    try:
        events = Events.model_validate({"events": value} if isinstance(value, list) else value)
    except ValidationError as error:
        raise DataError(_first_fault(error)) from error
    latest = datetime.now(UTC) + AHEAD
    for place, event in enumerate(events.events):
        moment = event.timestamp or message.moment
        if moment is None:
            raise DataError(f"events.{place} has no timestamp, and its message tells no time")
        if moment > latest:
            raise DataError(f"events.{place} lies more than {AHEAD.days} day ahead of the clock")
    return events.events


def moment_of(milliseconds: int, number: int) -> datetime | None:
    """When a message was sent.

    Args:
        milliseconds: since 1970.
        number: of the message, which tells those of one millisecond apart.

    Returns:
        The moment, to the microsecond; None where it lies outside the years of dates.
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds, microseconds=number % 1000)
    except OverflowError:  # Redis takes ids by hand
        return None
    return moment if milliseconds >= 0 else None  # Kafka says -1


def _first_fault(error: ValidationError) -> str:
    """Where the first fault is, and what it is; the message itself is kept beside it."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where or 'the message'}: {fault['msg']}{more}"
