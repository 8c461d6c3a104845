"""Two databases behind one door: connections, transactions and Arrow in and out.

SQLAlchemy Core writes every statement and ADBC runs it, single rows and bulk alike. One
driver is a matter of safety, not of taste: `sqlite3` and ADBC each bring their own SQLite,
and two of them in one process drop each other's file locks (sqlite.org/howtocorrupt.html,
section 2.2.1). So never open a store's file with `sqlite3` in a process that has it open here.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
from adbc_driver_manager import dbapi
from sqlalchemy import Dialect, Select, TableClause, column, table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import CompilerElement

from tailrec.data.prompt import Prompt
from tailrec.errors import StoreError

DRIVER_ERRORS = (dbapi.Error, pa.ArrowException, OSError, pl.exceptions.ComputeError)

Schema = Mapping[str, pl.DataType]
Insert = sqlite.Insert | postgresql.Insert


@dataclass(frozen=True, slots=True)
class Query:
    """A statement in the words of one database, and its parameters in order."""

    sql: str
    names: tuple[str, ...]
    values: Mapping[str, object]

    def bind(self, given: Mapping[str, object]) -> tuple[object, ...] | None:
        """The parameters, those given here instead of the statement's own."""
        return tuple(given.get(name, self.values[name]) for name in self.names) or None


class Connection:
    """One open connection; one thread at a time may use it."""

    def __init__(self, raw: dbapi.Connection, database: "Database") -> None:
        self._raw = raw
        self._database = database
        self._kept: dict[str, dbapi.Cursor] = {}

    def run(self, statement: CompilerElement) -> None:
        """Run a statement that gives no rows."""
        query = self._database.compiled(statement)
        with self._raw.cursor() as cursor:
            cursor.execute(query.sql, query.bind({}))

    def changed(self, statement: CompilerElement) -> int:
        """Run a statement without parameters; returns how many rows it wrote.

        PostgreSQL's driver does not count where there are parameters; use RETURNING there.
        """
        query = self._database.compiled(statement)
        with self._raw.cursor() as cursor:
            cursor.execute(query.sql)
            n_changed = int(cursor.rowcount)
        asked = self._database.changes
        return n_changed if asked is None else int(self.rows(asked).item())

    def rows(
        self, statement: CompilerElement | Query, *, at_most: int = 1000, **values: object
    ) -> pl.DataFrame:
        """The rows of a statement that gives `at_most` of them."""
        query = self._database.compiled(statement)
        with self._cursor(query, keep=query is statement) as cursor:
            cursor.adbc_statement.set_options(**self._database.chunks(at_most))
            cursor.execute(query.sql, _as_batch(query.bind(values)))
            # The Arrow stream itself: a detour by pyarrow costs more than finding the rows.
            return pl.DataFrame(cursor.fetch_arrow())

    def batches(
        self, statement: CompilerElement, batch_rows: int, skip: int
    ) -> Iterator[pl.DataFrame]:
        """The rows of a statement after the first `skip`, `batch_rows` at a time."""
        query = self._database.compiled(statement)
        with self._raw.cursor() as cursor:
            cursor.adbc_statement.set_options(**self._database.chunks(batch_rows))
            cursor.execute(query.sql, query.bind({}))
            held: list[pa.RecordBatch] = []
            n_held = 0
            for batch in cursor.fetch_record_batch():
                part = batch.slice(skip)
                skip = max(0, skip - len(batch))
                held.append(part)
                n_held += len(part)
                if n_held >= batch_rows:
                    whole = pa.Table.from_batches(held)
                    n_out = n_held - n_held % batch_rows
                    for start in range(0, n_out, batch_rows):
                        yield pl.DataFrame(whole.slice(start, batch_rows))
                    held = whole.slice(n_out).to_batches()
                    n_held -= n_out
            if n_held:
                yield pl.DataFrame(pa.Table.from_batches(held))

    def stage(self, name: str, frame: pl.DataFrame) -> TableClause:
        """Put a frame into a new temporary table that only this connection sees."""
        with self._raw.cursor() as cursor:
            data = self._database.outgoing(frame)
            cursor.adbc_ingest(name, data, mode="create", temporary=True)
        return table(name, *(column(key) for key in frame.columns))

    def drop(self, staged: TableClause) -> None:
        """Remove a temporary table."""
        self.run(text(f'DROP TABLE "{staged.name}"'))

    def close(self) -> None:
        """Close the connection; what was not committed is rolled back."""
        for cursor in self._kept.values():
            cursor.close()
        self._raw.close()

    @contextmanager
    def _cursor(self, query: Query, *, keep: bool) -> Generator[dbapi.Cursor]:
        """A cursor; that of a query compiled once is kept, and the statement with it prepared."""
        if not keep:
            with self._raw.cursor() as cursor:
                yield cursor
            return
        if query.sql not in self._kept:
            self._kept[query.sql] = self._raw.cursor()
        yield self._kept[query.sql]


class Database(ABC):
    """Where a store lies: opens connections and keeps idle ones for the next caller.

    Attributes:
        name: the address as it may be shown, without a password.
        dialect: how SQLAlchemy writes statements.
        words: types and phrases of the `schema.STEPS`.
        changes: asks how many rows the last write changed, where the driver does not say.
    """

    dialect: ClassVar[Dialect]
    words: ClassVar[Mapping[str, str]]
    changes: ClassVar[Query | None] = None
    _begin: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.name = name
        self._idle: deque[Connection] = deque()
        self._closed = False

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """A connection for reading; every statement sees what is committed when it starts.

        Raises:
            StoreError: the database refuses or fails.
        """
        connection: Connection | None = None
        try:
            connection = self._taken()
            yield connection
        except DRIVER_ERRORS as error:
            # A server that went away leaves every idle connection dead, so none is kept.
            self._drop_idle()
            reason = str(error).splitlines()[0]
            raise StoreError(f"store at {self.name}: {reason}") from error
        else:
            self._idle.append(connection)
            connection = None
        finally:
            # What failed or was left half-way is closed, which also rolls it back.
            if connection is not None:
                connection.close()
            if self._closed:
                self._drop_idle()

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """A connection for writing: all that is done on it counts at the end, or nothing.

        Raises:
            StoreError: the database refuses or fails.
        """
        with self.connection() as connection:
            connection.run(text(self._begin))
            yield connection
            connection.run(text("COMMIT"))

    def compiled(self, statement: CompilerElement | Query) -> Query:
        """A statement in this database's words; what is compiled already stays as it is."""
        if isinstance(statement, Query):
            return statement
        compiler = statement.compile(dialect=self.dialect)
        # DDL and plain text are compiled without parameters.
        names = compiler.positiontup if isinstance(compiler, SQLCompiler) else None
        return Query(str(compiler), tuple(names or ()), compiler.params or {})

    def close(self) -> None:
        """Close every connection; those in use follow when they are given back."""
        self._closed = True
        self._drop_idle()

    def _taken(self) -> Connection:
        if self._closed:
            raise StoreError(f"the store at {self.name} was closed; open it again")
        try:
            return self._idle.pop()
        except IndexError:
            return Connection(self._connect(), self)

    def _drop_idle(self) -> None:
        # Another thread may take the last one between a look and a pop.
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def prompt(self, query: Query) -> Prompt | None:  # noqa: ARG002
        """A statement to be awaited; None where its rows are at hand, as in a file here."""
        return None

    @abstractmethod
    def _connect(self) -> dbapi.Connection: ...

    @abstractmethod
    def insert_into(self, target: Any) -> Insert:
        """An insert that knows `ON CONFLICT`."""

    @abstractmethod
    def has_table(self, connection: Connection, name: str) -> bool:
        """Whether a table exists."""

    @abstractmethod
    def lock_schema(self, connection: Connection) -> None:
        """Wait until no one else migrates; lasts as long as the transaction."""

    @abstractmethod
    def outgoing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A frame in types the database takes."""

    @abstractmethod
    def instant(self, moment: datetime) -> object:
        """A moment as a parameter; one without a zone is UTC."""

    @abstractmethod
    def chunks(self, batch_rows: int) -> dict[str, str]:
        """Driver options for reading in batches."""

    @abstractmethod
    def scan(
        self, connection: Connection, statement: Select[Any], schema: Schema, batch_rows: int
    ) -> Iterator[pl.DataFrame]:
        """Many rows, `batch_rows` at a time, in the types of `schema`."""

    @abstractmethod
    def scrub(self, connection: Connection) -> None:
        """Remove what deleted rows left in files, as far as it is done at once."""

    @abstractmethod
    def problems(self, connection: Connection) -> list[str]:
        """What is wrong with the files or the server, a sentence each."""


def _as_batch(parameters: tuple[object, ...] | None) -> pa.RecordBatch | None:
    """Parameters as the driver takes them; its own way there takes as long as a short query."""
    if parameters is None:
        return None
    arrays = [pa.array([value]) for value in parameters]
    return pa.RecordBatch.from_arrays(arrays, [str(place) for place in range(len(arrays))])


def typed(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The same frame, just read by the driver, in the types of a table."""
    # Column by column and in place: a cast of the frame wakes polars' threads, which takes
    # longer than a whole query for a few rows, and many times that on a busy machine.
    for number, (name, given) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        if given != schema[name]:
            frame.replace_column(number, frame.to_series(number).cast(schema[name]))
    return frame


def aware(moment: datetime) -> datetime:
    """A moment in UTC; one without a zone is UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
