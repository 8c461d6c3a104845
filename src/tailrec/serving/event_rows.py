"""Events as they came over the wire, made rows of the store."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final

import polars as pl

from tailrec import columns as c
from tailrec.wire import Event

AHEAD: Final = timedelta(days=1)
"""How far a timestamp may lie ahead of the clock; "now" is the newest event's."""
NAMELESS: Final = "session:"
"""Begins the user id of somebody who is known by a session alone."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIELDS: Final = attrgetter(*c.EVENTS)
_USER, _TIME, _SESSION = (list(c.EVENTS).index(n) for n in (c.USER_ID, c.TIMESTAMP, c.SESSION_ID))


def event_rows(
    events: Sequence[Event], moments: datetime | Sequence[datetime | None]
) -> pl.DataFrame:
    """Rows of the table `events`.

    Somebody without a user id is `session:` and the session's id.

    Args:
        events: checked ones, so each has a user or a session.
        moments: when an event without a timestamp happened: one for all, or one an event, which
            may be None where the event has its own.

    Returns:
        [E], every column of `columns.EVENTS`; events without an id have none yet.

    Raises:
        ValueError: there are more or fewer moments than events.
    """
    if not isinstance(moments, datetime) and len(moments) != len(events):
        raise ValueError(f"{len(moments)} moments were given for {len(events)} events")
    # Column by column: a dictionary an event takes half as long again.
    values = [list(column) for column in zip(*map(_FIELDS, events), strict=True)]
    if not values:
        return pl.DataFrame(schema=dict(c.EVENTS))
    values[_USER] = _people(values[_USER], values[_SESSION])
    if None in values[_TIME]:
        told = [moments] * len(events) if isinstance(moments, datetime) else moments
        values[_TIME] = [own or given for own, given in zip(values[_TIME], told, strict=True)]
    # As numbers: every event may tell its time in another zone.
    values[_TIME] = [(moment - _EPOCH) // _MICROSECOND for moment in values[_TIME]]
    columns = zip(c.EVENTS.items(), values, strict=True)
    return pl.DataFrame([_column(name, dtype, column) for (name, dtype), column in columns])


def _people(user_ids: list[str | None], session_ids: list[str | None]) -> list[str | None]:
    if None not in user_ids:
        return user_ids
    both = zip(user_ids, session_ids, strict=True)
    return [f"{NAMELESS}{session}" if user is None else user for user, session in both]


def _column(name: str, dtype: pl.DataType, values: list[object]) -> pl.Series:
    if isinstance(dtype, pl.Datetime):
        return pl.Series(name, values, pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype)
