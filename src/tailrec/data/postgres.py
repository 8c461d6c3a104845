"""A store in a PostgreSQL database."""

from collections.abc import Iterator
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, Final

import polars as pl
from adbc_driver_manager import dbapi
from sqlalchemy import Select, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL

from tailrec.data.backend import Connection, Database, Insert, Query, Schema, aware, typed
from tailrec.data.prompt import Prompt, driver


class PostgresDatabase(Database):
    """A PostgreSQL database that belongs to one shop; instants are timestamptz.

    Texts compare by their bytes (`COLLATE "C"`), so that order is the same as in SQLite.
    """

    dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    words: ClassVar = MappingProxyType(
        {
            "text": 'TEXT COLLATE "C"',
            "real": "DOUBLE PRECISION",
            "whole": "BIGINT",
            "instant": "TIMESTAMPTZ",
            "boolean": "BOOLEAN",
            "strict": "",
        }
    )
    _begin = "BEGIN"
    _SCHEMA_LOCK: Final = 7_214_905_315
    """Any number that no one else in the database locks on."""

    def __init__(self, url: URL) -> None:
        url = url.set(drivername="postgresql")
        super().__init__(url.render_as_string(hide_password=True))
        self._uri = url.render_as_string(hide_password=False)

    def _connect(self) -> dbapi.Connection:
        module = driver("adbc_driver_postgresql.dbapi")
        connection: dbapi.Connection = module.connect(self._uri, autocommit=True)
        return connection

    def prompt(self, query: Query) -> Prompt:
        """A statement to be awaited."""
        return Prompt(self._uri, self.name, query.sql)

    def insert_into(self, target: Any) -> Insert:
        """An insert that knows `ON CONFLICT`."""
        return postgresql.insert(target)

    def has_table(self, connection: Connection, name: str) -> bool:
        """Whether a table exists on the search path."""
        return connection.rows(select(func.to_regclass(name).is_not(None))).item() is True

    def lock_schema(self, connection: Connection) -> None:
        """Wait until no one else migrates; lasts as long as the transaction."""
        connection.rows(select(func.pg_advisory_xact_lock(self._SCHEMA_LOCK)))

    def outgoing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """As it is: every type has its counterpart."""
        return frame

    def instant(self, moment: datetime) -> object:
        """The moment with its zone."""
        return aware(moment)

    def chunks(self, batch_rows: int) -> dict[str, str]:  # noqa: ARG002
        """None: the driver's batches are bounded by bytes."""
        return {}

    def scan(
        self, connection: Connection, statement: Select[Any], schema: Schema, batch_rows: int
    ) -> Iterator[pl.DataFrame]:
        """Many rows, `batch_rows` at a time, in the types of `schema`."""
        for batch in connection.batches(statement, batch_rows, skip=0):
            yield typed(batch, schema)

    def scrub(self, connection: Connection) -> None:
        """Nothing at once: the server's vacuum removes dead rows."""

    def problems(self, connection: Connection) -> list[str]:
        """Whether the server answers; a silent one has raised before."""
        standby = connection.rows(select(func.pg_is_in_recovery())).item()
        return [f"{self.name} is a standby and takes no writes"] if standby else []
