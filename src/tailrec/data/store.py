"""The store of a shop: its events, items, users and aliases, kept for good."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import polars as pl
from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    bindparam,
    delete,
    distinct,
    func,
    literal_column,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql.elements import CompilerElement

from tailrec import columns as c
from tailrec.data.backend import Connection, Database, typed
from tailrec.data.postgres import PostgresDatabase
from tailrec.data.put import checked_moves, put, rewrite
from tailrec.data.rows import conform, content, schema_of, with_event_ids
from tailrec.data.schema import TABLES, migrate, version_of
from tailrec.data.sqlite import SqliteDatabase
from tailrec.errors import SchemaError, StoreError

_ADDRESSES: Final = "write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
_ORDER: Final = {name: c.KEYS[name] for name in c.TABLES} | {
    "events": (c.USER_ID, c.TIMESTAMP, c.EVENT_ID)
}
_LEARNT: Final = ("events", "items", "users", "aliases")
"""Tables a model learns from, or might."""
_BATCH_ROWS: Final = 500_000


class Store:
    """Events, items, users, aliases and what was served of one shop, in SQLite or PostgreSQL.

    Threads may share a store. Readers never wait for a writer; a write counts whole or not at
    all, also where the process is killed in its middle. Close it, or use it in a `with`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        events = TABLES["events"].c
        newest = select(*events).where(events.user_id == bindparam("user_id"))
        newest = newest.order_by(events.timestamp.desc(), events.event_id.desc())
        rows = newest.limit(bindparam("n_rows")).subquery()
        # Compiled once: writing the statement anew takes longer than finding the rows.
        self._history = database.compiled(select(rows).order_by(rows.c.timestamp, rows.c.event_id))

    @classmethod
    def open(cls, where: str | Path, *, create: bool = False) -> Self:
        """Open a store and bring its tables to this version.

        Args:
            where: a file, `sqlite:///FILE`, or `postgresql://USER@HOST/DATABASE`; in PostgreSQL
                the database belongs to one shop.
            create: make the tables, and the file, where they are missing.

        Raises:
            StoreError: there is no store and `create` is not given, it is newer than this code,
                or it cannot be opened.
            MissingExtra: PostgreSQL is named, and its packages are not installed.
        """
        database = _database_at(where, create=create)
        try:
            migrate(database, create=create)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Add rows in one transaction: all of them or none.

        An event is stored once: one whose `event_id` is known already is ignored, and events
        without an id get one from their content (`rows.with_event_ids`). An item, user or alias
        that is known is updated; a null does not erase a stored value.

        Args:
            table: a name in `columns.TABLES`.
            rows: the table's columns, optional ones may be missing.

        Returns:
            How many rows are new.

        Raises:
            SchemaError: columns or types do not fit the table.
            DataError: a value does not fit.
            StoreError: the database fails.
        """
        frame = conform(table, rows)
        if table == "events":
            frame = with_event_ids(frame).unique(c.EVENT_ID, keep="first", maintain_order=True)
            # Made ids start with the time, so two of three indexes grow at their end; and
            # writers of the same events take them in one order, which rules out deadlocks.
            frame = frame.sort(c.EVENT_ID)
        elif table in c.LOGS:
            frame = frame.unique(c.KEYS[table], keep="first").sort(c.KEYS[table])
        if frame.is_empty():
            return 0
        with self.database.transaction() as connection:
            return put(self.database, connection, table, frame)

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> pl.DataFrame:
        """A whole table, or a window of the events.

        Args:
            table: a name in `columns.TABLES`.
            columns: those wanted, in this order; all of them where None.
            since: events from this moment on; a moment without a zone is UTC.
            until: events before this moment.

        Returns:
            Events by (user_id, timestamp, event_id), other tables by their key.

        Raises:
            SchemaError: an unknown table or column, or a window over a table without events.
        """
        schema = schema_of(table)
        wanted = list(schema) if columns is None else list(columns)
        if unknown := [name for name in wanted if name not in schema]:
            raise SchemaError(f"{table} has no column {unknown}; it has {list(schema)}")
        if table != "events" and not (since is None and until is None):
            raise SchemaError(f"since and until are for events, not for {table}")
        read = list(dict.fromkeys([*wanted, *_ORDER[table]]))
        statement = select(*(TABLES[table].c[name] for name in read))
        for condition in self._window(since, until):
            statement = statement.where(condition)
        parts = list(self._scan(statement, {name: schema[name] for name in read}, _BATCH_ROWS))
        empty = pl.DataFrame(schema={name: schema[name] for name in read})
        # Sorted here and not by the database: faster, and the same order everywhere.
        return pl.concat([empty, *parts]).sort(_ORDER[table]).select(wanted)

    def stream(self, table: str, *, batch_rows: int = _BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """A table in pieces, in no particular order, as it was when the first piece was read.

        Args:
            table: a name in `columns.TABLES`.
            batch_rows: rows of a piece, at least 1; the last piece may have fewer.

        Raises:
            SchemaError: an unknown table.
        """
        schema = schema_of(table)
        if batch_rows < 1:
            raise ValueError(f"batch_rows is {batch_rows}; it must be at least 1")
        return self._scan(select(*TABLES[table].c), schema, batch_rows)

    def history(self, user_id: str, *, limit: int = 50) -> pl.DataFrame:
        """A user's newest events, oldest first.

        Args:
            user_id: any id; an unknown one has no events.
            limit: most events returned, at least 1.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1")
        with self.database.connection() as connection:
            rows = connection.rows(self._history, at_most=limit, user_id=user_id, n_rows=limit)
        return typed(rows, c.EVENTS)

    def count(self, table: str) -> int:
        """How many rows a table has.

        Raises:
            SchemaError: an unknown table.
        """
        schema_of(table)
        with self.database.connection() as connection:
            return _count(connection, table)

    def span(self) -> tuple[datetime, datetime] | None:
        """Moments of the oldest and the newest event; None without events."""
        with self.database.connection() as connection:
            return self._span(connection)

    def delete_user(self, user_id: str) -> dict[str, int]:
        """Erase a person: events, slates, attributes and aliases.

        Returns:
            Rows erased by table; all 0 where the user is unknown.
        """
        tables = [name for name, schema in c.TABLES.items() if c.USER_ID in schema]
        with self.database.transaction() as connection:
            erased = {
                name: len(connection.rows(_delete_of(TABLES[name], user_id))) for name in tables
            }
        if any(erased.values()):
            with self.database.connection() as connection:
                self.database.scrub(connection)
        return erased

    def rewrite_users(self, mapping: pl.DataFrame) -> int:
        """Make one person of several ids: events, slates, aliases, attributes move to the new id.

        What the new id has stored wins over what comes with an old one. Events keep their ids.

        Args:
            mapping: columns old and new, each old once; no new id is itself an old one.

        Returns:
            How many events moved.

        Raises:
            SchemaError: the mapping has other columns, or leads from an old id to another.
        """
        return self._rewrite("users", mapping, pointers=("events", "aliases", "slates"))

    def rewrite_items(self, mapping: pl.DataFrame) -> int:
        """Make one product of several ids; as `rewrite_users`."""
        return self._rewrite("items", mapping, pointers=("events",))

    def fingerprint(self) -> str:
        """32 hex digits that change when what a model learns from changes.

        Made of the schema, the catalogue's content and the events' count, span, users and newest
        id; the order of writing does not matter. An event replaced by another of the same user
        within the span goes unseen: reading all of them would be the price.
        """
        events = TABLES["events"].c
        with self.database.connection() as connection:
            facts = {
                "schema": version_of(connection, self.database),
                # What was served is not learnt from.
                "rows": {name: _count(connection, name) for name in _LEARNT},
                "span": [str(moment) for moment in self._span(connection) or ()],
                "users": connection.rows(select(func.count(distinct(events.user_id)))).item(),
                "newest": connection.rows(select(func.max(events.event_id))).item(),
            }
        catalogue = blake2b("\n".join(content(self.read("items"))).encode()).hexdigest()
        text = json.dumps(facts | {"catalogue": catalogue}, sort_keys=True)
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def check(self) -> list[str]:
        """What is wrong with the store, a sentence each; empty where all is well.

        Cost: reads the whole file in SQLite.
        """
        with self.database.connection() as connection:
            wrong = self.database.problems(connection)
        for name, table in TABLES.items():
            try:
                with self.database.connection() as connection:
                    connection.rows(select(*table.c).limit(0))
            except StoreError as error:
                wrong.append(f"table {name} cannot be read; {error}")
        return wrong

    def _scan(
        self, statement: Select[Any], schema: dict[str, pl.DataType], batch_rows: int
    ) -> Iterator[pl.DataFrame]:
        with self.database.connection() as connection:
            yield from self.database.scan(connection, statement, schema, batch_rows)

    def _window(
        self, since: datetime | None, until: datetime | None
    ) -> Iterator[ColumnElement[bool]]:
        moment = TABLES["events"].c.timestamp
        if since is not None:
            yield moment >= self.database.instant(since)
        if until is not None:
            yield moment < self.database.instant(until)

    def _rewrite(self, table: str, mapping: pl.DataFrame, *, pointers: Sequence[str]) -> int:
        moves = checked_moves(mapping)
        if moves.is_empty():
            return 0
        with self.database.transaction() as connection:
            return rewrite(self.database, connection, table, moves, pointers=pointers)["events"]

    def _span(self, connection: Connection) -> tuple[datetime, datetime] | None:
        moment = TABLES["events"].c.timestamp
        # Two questions: SQLite answers either end from the index, both together by a scan.
        first, last = (
            connection.rows(select(end(moment))).to_series().cast(c.EVENTS[c.TIMESTAMP]).item()
            for end in (func.min, func.max)
        )
        return None if first is None else (first, last)


def _delete_of(table: Table, user_id: str) -> CompilerElement:
    return delete(table).where(table.c.user_id == user_id).returning(literal_column("1"))


def _count(connection: Connection, table: str) -> int:
    return int(connection.rows(select(func.count()).select_from(TABLES[table])).item())


def _database_at(where: str | Path, *, create: bool) -> Database:
    if isinstance(where, Path) or "://" not in where:
        return _file_at(Path(where), create=create)
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:
        # The address may hold a password, so it is not shown.
        raise StoreError(f"the store's address cannot be read; {_ADDRESSES}") from error
    if url.get_backend_name() == "postgresql":
        return PostgresDatabase(url)
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        raise StoreError(f"no store can be kept at {url.drivername}; {_ADDRESSES}")
    return _file_at(Path(str(url.database)), create=create)


def _file_at(path: Path, *, create: bool) -> Database:
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the store's file in it")
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        raise StoreError(f"no store at {path}; run `tailrec init`")
    return SqliteDatabase(path)
