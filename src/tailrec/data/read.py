"""Reads CSV, Parquet, JSON Lines and SQL queries, whole or some rows at a time.

CSV fields stay text ('00123' is an id, not a number); types are found where the columns get
their meaning. Every frame has a column `ROW`, so that a complaint can name the line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from tailrec.data.jsonlines import ROW, json_batches
from tailrec.data.plaintext import (
    UTF8,
    check_readable,
    first_line,
    flaw,
    header_of,
    plain_text,
    separator_of,
)
from tailrec.errors import DataError, MissingExtra

BATCH_ROWS = 250_000

_CSV = (".csv", ".tsv", ".txt", ".dat", ".data")
_JSON = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT on a database.

    Attributes:
        url: SQLAlchemy URL, for example ``sqlite:///old.db``.
        sql: one SELECT (or WITH ... SELECT).
    """

    url: str
    sql: str

    def __str__(self) -> str:
        return make_url(self.url).render_as_string(hide_password=True)


def source_of(given: str | Path | Query) -> Path | Query:
    """What a word on the command line names: a file, or ``URL SELECT ...``.

    Raises:
        DataError: a database URL stands without a SELECT.
    """
    if not isinstance(given, str) or "://" not in given:
        return given if isinstance(given, Query) else Path(given)
    url, _, sql = given.partition(" ")
    if not re.match(r"\s*(select|with)\b", sql, re.IGNORECASE):
        raise DataError(
            f"{given.split('://')[0]}://...: a database needs a query: give 'URL SELECT ...' in one"
        )
    return Query(url, sql.strip())


def read_table(
    source: str | Path | Query, *, encoding: str = UTF8, names: Sequence[str] | None = None
) -> pl.DataFrame:
    """A whole source as one table.

    Args:
        source: a file (CSV, Parquet, JSON Lines; CSV and JSON may be ``.gz``) or a query.
        encoding: of text files.
        names: columns of a CSV without header.

    Returns:
        The columns of the source and `ROW`.

    Raises:
        DataError: the source is missing, empty, damaged or in another encoding; names file and,
            where it can be known, line and column.
        SchemaError: the header names a column twice.
    """
    frames = list(read_batches(source, encoding=encoding, names=names))
    return pl.concat(frames, how="diagonal_relaxed")


def read_batches(
    source: str | Path | Query,
    *,
    encoding: str = UTF8,
    names: Sequence[str] | None = None,
    rows: int = BATCH_ROWS,
) -> Iterator[pl.DataFrame]:
    """The same as `read_table`, at most about `rows` rows at a time, in constant memory."""
    given = source_of(source)
    batches = (
        _sql_batches(given, rows)
        if isinstance(given, Query)
        else _file_batches(given, encoding, names, rows)
    )
    empty = True
    for frame in batches:
        empty = empty and frame.is_empty()
        if not frame.is_empty():
            yield frame
    if empty:
        raise DataError(f"{given}: holds no rows; nothing was read")


def _file_batches(
    path: Path, encoding: str, names: Sequence[str] | None, rows: int
) -> Iterator[pl.DataFrame]:
    check_readable(path)
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind in _PARQUET:
        yield from _parquet_batches(path, rows)
    elif kind in (*_CSV, *_JSON):
        with plain_text(path, encoding=encoding) as plain:
            if kind in _JSON:
                yield from json_batches(plain, origin=str(path), rows=rows)
            else:
                yield from _csv_batches(plain, path, names, rows)
    else:
        known = " ".join((*_CSV, *_JSON, *_PARQUET))
        raise DataError(f"{path}: the ending {kind!r} is unknown; expected one of {known}")


def _csv_batches(
    plain: Path, path: Path, names: Sequence[str] | None, rows: int
) -> Iterator[pl.DataFrame]:
    separator = separator_of(first_line(plain))
    header = header_of(plain, separator, str(path)) if names is None else list(names)
    lazy = pl.scan_csv(
        plain,
        separator=separator,
        has_header=names is None,
        new_columns=header,
        infer_schema=False,
        quote_char=None if names is not None else '"',
    )
    broken = 0  # line breaks inside fields of earlier frames
    first = 1 if names is not None else 2
    try:
        for frame in lazy.with_row_index(ROW, offset=first).collect_batches(
            chunk_size=rows, maintain_order=True
        ):
            breaks = frame.select(
                pl.sum_horizontal(pl.col(header).str.count_matches("\n", literal=True)).cum_sum()
            ).to_series()
            lines = pl.col(ROW).cast(pl.Int64) + breaks.shift(1, fill_value=0) + broken
            broken += int(breaks[-1]) if len(breaks) else 0
            blank = pl.all_horizontal(pl.col(header).is_null())
            yield frame.with_columns(lines).filter(~blank)
    except PolarsError as error:
        raise DataError(f"{path}, {flaw(plain, separator, len(header))}") from error


def _parquet_batches(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    try:
        lazy = pl.scan_parquet(path).with_row_index(ROW, offset=1)
        yield from (
            frame.with_columns(pl.col(ROW).cast(pl.Int64))
            for frame in lazy.collect_batches(chunk_size=rows, maintain_order=True)
        )
    except PolarsError as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def _sql_batches(query: Query, rows: int) -> Iterator[pl.DataFrame]:
    done = 0
    try:
        engine = create_engine(query.url)
        with engine.connect().execution_options(stream_results=True) as connection:
            result = connection.execute(text(query.sql))
            names = list(result.keys())
            for block in result.partitions(rows):
                records = [tuple(record) for record in block]
                frame = pl.DataFrame(records, names, orient="row", infer_schema_length=None)
                yield frame.with_row_index(ROW, offset=done + 1).cast({ROW: pl.Int64})
                done += len(records)
        engine.dispose()
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{query}: the query failed: {reason}") from error
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{query}: needs the driver {error.name!r}; install it") from error
