"""A store in one SQLite file."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

import adbc_driver_sqlite.dbapi
import polars as pl
from adbc_driver_manager import dbapi
from sqlalchemy import Select, column, func, literal_column, select, table, text, union_all
from sqlalchemy.dialects import sqlite

from tailrec.data.backend import (
    DRIVER_ERRORS,
    Connection,
    Database,
    Insert,
    Query,
    Schema,
    aware,
    typed,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = pl.Datetime("us", "UTC")


class SqliteDatabase(Database):
    """A SQLite file in WAL mode: readers never wait, writers take turns.

    Instants are int64 microseconds since 1970, booleans 0 and 1.
    """

    dialect = sqlite.dialect(paramstyle="qmark")
    words: ClassVar = MappingProxyType(
        {
            "text": "TEXT",
            "real": "REAL",
            "whole": "INTEGER",
            "instant": "INTEGER",
            "boolean": "INTEGER",
            "strict": "STRICT",
        }
    )
    changes = Query("SELECT changes()", (), {})
    _begin = "BEGIN IMMEDIATE"
    # FULL: a commit is on the disk when it returns, which an answered request relies on.
    # secure_delete: what is erased is overwritten with zeros, not only forgotten.
    _PRAGMAS: Final = (
        "busy_timeout=60000",
        "journal_mode=WAL",
        "synchronous=FULL",
        "cache_size=-65536",
        "main.secure_delete=ON",
    )

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def _connect(self) -> dbapi.Connection:
        raw = adbc_driver_sqlite.dbapi.connect(str(self._path), autocommit=True)
        try:
            for pragma in self._PRAGMAS:
                Connection(raw, self).run(text(f"PRAGMA {pragma}"))
        except DRIVER_ERRORS:
            raw.close()
            raise
        return raw

    def insert_into(self, target: Any) -> Insert:
        """An insert that knows `ON CONFLICT`."""
        return sqlite.insert(target)

    def has_table(self, connection: Connection, name: str) -> bool:
        """Whether a table exists."""
        found = select(func.count()).select_from(table("sqlite_master", column("name")))
        return bool(connection.rows(found.where(column("name") == name)).item())

    def lock_schema(self, connection: Connection) -> None:
        """Nothing to do: an immediate transaction has the only write lock."""

    def outgoing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Instants as microseconds: the driver would write them as text."""
        return frame.with_columns(pl.col(_INSTANT).cast(pl.Int64), pl.col(pl.Boolean).cast(pl.Int8))

    def instant(self, moment: datetime) -> object:
        """Microseconds since 1970."""
        return (aware(moment) - _EPOCH) // timedelta(microseconds=1)

    def chunks(self, batch_rows: int) -> dict[str, str]:
        """Rows of one Arrow batch."""
        return {"adbc.sqlite.query.batch_rows": str(batch_rows)}

    def scan(
        self, connection: Connection, statement: Select[Any], schema: Schema, batch_rows: int
    ) -> Iterator[pl.DataFrame]:
        """Many rows, `batch_rows` at a time, in the types of `schema`.

        The driver guesses a column's type from the first batch and fails when a later one
        differs, as where the first batch is null. A first row of the right types, cut
        off again here, settles the guess.
        """
        zero = {name: "''" if dtype == pl.String else "0" for name, dtype in schema.items()}
        zero |= {name: "0.0" for name, dtype in schema.items() if dtype.is_float()}
        head = select(*[literal_column(value).label(name) for name, value in zero.items()])  # type: ignore[var-annotated]
        for batch in connection.batches(union_all(head, statement), batch_rows, skip=1):
            yield typed(batch, schema)

    def scrub(self, connection: Connection) -> None:
        """Fold the write-ahead log, which still holds the old pages, into the file.

        A long read keeps the log alive; it is then folded in when that reader is done.
        """
        connection.run(text("PRAGMA busy_timeout=1000"))
        connection.rows(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        connection.run(text(f"PRAGMA {self._PRAGMAS[0]}"))

    def problems(self, connection: Connection) -> list[str]:
        """Damage that SQLite's own check finds, and a journal that would block readers."""
        found = connection.rows(text("PRAGMA quick_check(10)")).to_series().to_list()
        wrong = [f"{self.name} is damaged: {line}" for line in found if line != "ok"]
        mode = connection.rows(text("PRAGMA journal_mode")).item()
        if mode != "wal":
            wrong.append(f"{self.name} has journal mode {mode}, not wal: readers will wait")
        return wrong
