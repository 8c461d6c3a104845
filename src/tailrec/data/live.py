"""What a running service asks of the store: one person at this moment, and what changed since."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from sqlalchemy import (
    BigInteger,
    Select,
    bindparam,
    cast,
    delete,
    extract,
    func,
    literal_column,
    select,
    union_all,
    update,
)

from tailrec import columns as c
from tailrec.data.backend import Connection, typed
from tailrec.data.put import mark_items
from tailrec.data.rows import conform
from tailrec.data.schema import ITEM_REVISIONS, REVISIONS, TABLES
from tailrec.data.store import Store
from tailrec.errors import UnknownItem
from tailrec.items import Int64Array

MOST_EVENTS: Final = 1_000
"""Newest events of a person that a request knows."""
MOST_SLATES: Final = 10
"""Newest slates of a person that a request knows."""

_CLOCK, _EVENT, _SLATE = range(3)


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of a person when they ask, seen at one instant.

    Attributes:
        revision: of the catalogue; it grows with every change of an item.
        now: microseconds since 1970 of the shop's newest event; 0 without events.
        item_ids: [E], of the person's events, oldest first.
        types: [E], of the events.
        times: int64 [E], microseconds since 1970.
        values: [E], amounts and ratings; None where there are none.
        session_ids: [E]; None where there are none.
        shown: [S], item ids of each of the person's newest slates, newest first.
        shown_at: int64 [S], microseconds since 1970.
    """

    revision: int
    now: int
    item_ids: list[str]
    types: list[str]
    times: Int64Array
    values: list[float | None]
    session_ids: list[str | None]
    shown: list[list[str]]
    shown_at: Int64Array


class Live:
    """The store, as a service reads it for every request: few rows, one round trip."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Compiled once: writing the statement anew takes longer than finding the rows.
        self._moment = store.database.compiled(_moment_statement(store.database.dialect.name))
        self._prompt = store.database.prompt(self._moment)

    def close(self) -> None:
        """Close what `awaited_moment` opened; call it in its event loop."""
        if self._prompt is not None:
            self._prompt.close()

    def moment(self, user_id: str | None) -> Moment:
        """What is known of a person now.

        Args:
            user_id: anybody, known or not; None: somebody without a name.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._store.database.connection() as connection:
            rows = connection.rows(
                self._moment, at_most=1 + MOST_EVENTS + MOST_SLATES, user_id=user_id or ""
            )
        # Column by column: every other way of polars' costs more than finding the rows.
        return _as_moment([column.to_list() for column in rows.get_columns()])

    async def awaited_moment(self, user_id: str | None) -> Moment:
        """As `moment`, in an event loop: it waits for a server and never for a thread.

        A file is read at once, which takes less time than waiting for it would.
        """
        if self._prompt is None:
            return self.moment(user_id)
        rows = await self._prompt.rows(user_id or "")
        return _as_moment([list(column) for column in zip(*rows, strict=True)])

    def revision(self) -> int:
        """Of the catalogue, now."""
        with self._store.database.connection() as connection:
            return int(connection.rows(_revision()).item())

    def changes(self, since: int) -> tuple[pl.DataFrame, list[str], int]:
        """Items that changed after a revision.

        Args:
            since: a revision seen before.

        Returns:
            the items as they are now (`columns.ITEMS`), ids of those that were deleted, and the
            newest revision among them (`since` where nothing changed).
        """
        items, marks = TABLES["items"], ITEM_REVISIONS.c
        newer = marks.revision > since
        told = select(marks.item_id, marks.revision, marks.gone).where(newer)
        now = select(*items.c).join(ITEM_REVISIONS, items.c.item_id == marks.item_id).where(newer)
        schema = {c.ITEM_ID: pl.String(), "revision": pl.Int64(), "gone": pl.Int64()}
        database = self._store.database
        with database.connection() as connection:
            # Marks first: an item that changes in between is seen new, and told again next time.
            seen = pl.concat(
                [pl.DataFrame(schema=schema), *database.scan(connection, told, schema, 100_000)]
            )
            parts = database.scan(connection, now, dict(c.ITEMS), 100_000)
            changed = pl.concat([pl.DataFrame(schema=dict(c.ITEMS)), *parts])
        gone = seen.filter(pl.col("gone") > 0)[c.ITEM_ID].to_list()
        newest = seen["revision"].max()
        return changed, gone, since if newest is None else int(newest)  # type: ignore[arg-type]

    def gone(self) -> list[str]:
        """Ids of all items that were deleted and not put again."""
        deleted = select(ITEM_REVISIONS.c.item_id).where(ITEM_REVISIONS.c.gone > 0)
        with self._store.database.connection() as connection:
            found = connection.rows(deleted, at_most=100_000)
        return typed(found, {c.ITEM_ID: pl.String()}).to_series().to_list()

    def item(self, item_id: str) -> dict[str, Any]:
        """One item, by column.

        Raises:
            UnknownItem: the shop has none of this id.
        """
        with self._store.database.connection() as connection:
            return _item(connection, item_id)

    def change_item(self, item_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """Set some columns of an item; None empties one.

        Args:
            item_id: of the item.
            values: by column, in the types of `columns.ITEMS`.

        Returns:
            The item as it now is.

        Raises:
            UnknownItem: the shop has none of this id.
            DataError: a value does not fit, or the title would be empty.
        """
        items, database = TABLES["items"], self._store.database
        with database.transaction() as connection:
            _item(connection, item_id)
            whole = {c.ITEM_ID: item_id, **values}
            schema = {name: dtype for name, dtype in c.ITEMS.items() if name in whole}
            row = pl.DataFrame([whole], schema=schema)
            if c.TITLE not in row.columns:
                row = row.with_columns(pl.lit("as it is").alias(c.TITLE))
            fitting = database.outgoing(conform("items", row).select(list(schema)))
            given = fitting.drop(c.ITEM_ID).row(0, named=True)
            if given:
                changed = update(items).where(items.c.item_id == item_id).values(given)
                connection.run(changed)
            mark_items(database, connection, _only(item_id), gone=False)
            return _item(connection, item_id)

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the catalogue; its events stay.

        Raises:
            UnknownItem: the shop has none of this id.
        """
        items, database = TABLES["items"], self._store.database
        with database.transaction() as connection:
            _item(connection, item_id)
            mark_items(database, connection, _only(item_id), gone=True)
            connection.run(delete(items).where(items.c.item_id == item_id))

    def n_events(self, user_id: str) -> int:
        """How many events of a person are stored."""
        events = TABLES["events"]
        own = select(func.count()).select_from(events).where(events.c.user_id == user_id)
        with self._store.database.connection() as connection:
            return int(connection.rows(own).item())

    def user(self, user_id: str) -> dict[str, Any] | None:
        """Attributes of a person and when they were created; None where nothing is stored."""
        users = TABLES["users"]
        with self._store.database.connection() as connection:
            found = connection.rows(select(*users.c).where(users.c.user_id == user_id))
        rows = typed(found, c.USERS).to_dicts()
        return rows[0] if rows else None


def slate_rows(slates: list[dict[str, Any]]) -> pl.DataFrame:
    """Served slates as rows of the table `slates`; their lists become JSON."""
    return pl.DataFrame(slates, schema=dict(c.SLATES))


def impressions(slates: pl.DataFrame) -> pl.DataFrame:
    """Served slates as events, one a place: what was shown to whom, where, and how likely.

    Slates of people without a name are left out: an event has a user.

    Args:
        slates: table of `columns.SLATES`.

    Returns:
        Events of `columns.EVENTS`, of type impression; the propensity is 1 where none was noted.
    """
    ids = pl.col(c.ITEM_IDS).str.json_decode(pl.List(pl.String))
    chances = pl.col(c.PROPENSITIES).str.json_decode(pl.List(pl.Float64))
    certain = pl.lit(1.0).repeat_by(pl.col(c.ITEM_ID).list.len())
    rows = (
        slates.drop_nulls(c.USER_ID)
        .with_columns(ids.alias(c.ITEM_ID), chances.alias(c.PROPENSITY))
        .with_columns(pl.coalesce(c.PROPENSITY, certain).alias(c.PROPENSITY))
        .with_columns(pl.int_ranges(1, pl.col(c.ITEM_ID).list.len() + 1).alias(c.POSITION))
        .explode(c.ITEM_ID, c.PROPENSITY, c.POSITION)
        .drop_nulls(c.ITEM_ID)
    )
    told = rows.with_columns(
        pl.format("{}-{}", c.SLATE_ID, c.POSITION).alias(c.EVENT_ID),
        pl.lit("impression").alias(c.TYPE),
    )
    return conform("events", told.select(name for name in told.columns if name in c.EVENTS))


def _as_moment(columns: Sequence[list[Any]]) -> Moment:
    """The columns of `_moment_statement`, taken apart by the kind of their rows."""
    kind, ids, types, times, values, session_ids = columns
    n_events = kind.count(_EVENT)
    own, slates = slice(1, 1 + n_events), slice(1 + n_events, None)
    time = np.array(times, np.int64)
    return Moment(
        revision=int(values[0]),
        now=int(time[0]),
        item_ids=ids[own],
        types=types[own],
        times=time[own],
        values=values[own],
        session_ids=session_ids[own],
        shown=json.loads(f"[{','.join(ids[slates])}]"),
        shown_at=time[slates],
    )


def _moment_statement(dialect: str) -> Select[Any] | Any:
    """One table of three kinds of rows: the clock, the person's events, the person's slates."""
    events, slates = TABLES["events"].c, TABLES["slates"].c
    newest = select(func.max(events.timestamp)).scalar_subquery()
    blank: Any = literal_column("''")
    # The driver takes a column's type from its first values, so the clock's row has some.
    clock = select(
        _number(_CLOCK).label("kind"),
        blank.label(c.ITEM_ID),
        blank.label(c.TYPE),
        func.coalesce(_microseconds(newest, dialect), _number(0)).label(c.TIMESTAMP),
        cast(_revision().scalar_subquery(), TABLES["events"].c.value.type).label(c.VALUE),
        blank.label(c.SESSION_ID),
    )
    asked: Any = bindparam("user_id")
    known = select(
        events.item_id, events.type, events.timestamp, events.value, events.session_id,
        events.event_id,
    ).where(events.user_id == asked)  # fmt: skip
    known = known.order_by(events.timestamp.desc(), events.event_id.desc())
    known = _first(known, MOST_EVENTS)
    last = known.subquery()
    own = select(
        _number(_EVENT).label("kind"), last.c.item_id, last.c.type,
        _microseconds(last.c.timestamp, dialect), last.c.value, last.c.session_id,
    ).order_by(last.c.timestamp, last.c.event_id)  # fmt: skip
    last_slates = select(slates.item_ids, slates.timestamp).where(slates.user_id == asked)
    shown = _first(last_slates.order_by(slates.timestamp.desc()), MOST_SLATES).subquery()
    nothing: Any = literal_column("NULL" if dialect == "sqlite" else "NULL::double precision")
    shown_at = _microseconds(shown.c.timestamp, dialect)
    told = select(_number(_SLATE), shown.c.item_ids, blank, shown_at, nothing, blank)
    return union_all(clock, select(own.subquery()), told)


def _microseconds(instant: Any, dialect: str) -> Any:
    """Microseconds since 1970, as SQLite keeps them anyway."""
    if dialect == "sqlite":
        return instant
    return cast(func.round(extract("epoch", instant) * _number(1_000_000)), BigInteger)


def _first(statement: Select[Any], n_rows: int) -> Select[Any]:
    """The first rows, without a parameter: each one takes time in every request."""
    return statement.limit(_number(n_rows)).offset(_number(0))


def _number(value: int) -> Any:
    return literal_column(str(value))


def _revision() -> Select[Any]:
    return select(REVISIONS.c.value).where(REVISIONS.c.name == literal_column("'items'"))


def _only(item_id: str) -> Select[Any]:
    items = TABLES["items"].c
    return select(items.item_id).where(items.item_id == item_id)


def _item(connection: Connection, item_id: str) -> dict[str, Any]:
    items = TABLES["items"]
    found = connection.rows(select(*items.c).where(items.c.item_id == item_id))
    rows = typed(found, c.ITEMS).to_dicts()
    if not rows:
        raise UnknownItem(f"item {item_id!r} is not in this shop; put it first")
    return rows[0]
