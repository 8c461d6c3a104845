"""What may enter the store: rows brought to the columns of `columns.TABLES`, and their ids."""

from hashlib import blake2b

import polars as pl

from tailrec import columns as c
from tailrec.errors import DataError, SchemaError

_DIGEST_BYTES = 12
"""96 bits: two of 10 million events of one microsecond meet with a chance of 1 in 10^15."""


def conform(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with exactly the columns and types of a table.

    Missing optional columns become null, times without a zone are read as UTC, NaN becomes null.

    Args:
        table: a name in `columns.TABLES`.
        rows: any of the table's columns, at least the required ones.

    Raises:
        SchemaError: a column is unknown, missing or of a type that does not fit.
        DataError: a required value is null, an event's type is unknown, or a text holds a NUL.
    """
    schema = schema_of(table)
    unknown = [name for name in rows.columns if name not in schema]
    if unknown:
        raise SchemaError(f"{table} has no column {unknown}; it has {list(schema)}")
    missing = [name for name in c.REQUIRED[table] if name not in rows.columns]
    if missing:
        raise SchemaError(f"{table} needs {missing}, but the rows have only {rows.columns}")
    frame = pl.DataFrame(
        {
            name: _cast(rows[name], dtype, table)
            if name in rows.columns
            else pl.repeat(None, len(rows), dtype=dtype, eager=True)
            for name, dtype in schema.items()
        },
        schema=dict(schema),
    )
    _check_values(table, frame)
    return frame


def schema_of(table: str) -> dict[str, pl.DataType]:
    """Columns and types of a table.

    Raises:
        SchemaError: there is no such table.
    """
    if table not in c.TABLES:
        raise SchemaError(f"there is no table {table!r}; there are {list(c.TABLES)}")
    return dict(c.TABLES[table])


def with_event_ids(events: pl.DataFrame) -> pl.DataFrame:
    """Events with an id each: their own, or one made of their content.

    An id is the event's microsecond followed by a hash of all its values, so ids sort by time
    and the same row gets the same id in every process, on every machine and in every version.
    Call it before user or item ids are rewritten: the file then keeps its ids when it comes again.

    Args:
        events: columns of `columns.EVENTS`; `event_id` may be missing or partly null.

    Returns:
        The events in the same order, with every column of `columns.EVENTS`.

    Raises:
        DataError: as `conform`.
    """
    frame = conform("events", events)
    nameless = frame[c.EVENT_ID].is_null()
    if not nameless.any():
        return frame
    made = frame.filter(nameless)
    texts = content(made.drop(c.EVENT_ID)).to_list()
    times = made[c.TIMESTAMP].to_physical().to_list()
    # hashlib has no call for many rows; at 1 µs a row this costs less than storing the row.
    ids = [
        f"{time:014x}{blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()}"
        for time, text in zip(times, texts, strict=True)
    ]
    return frame.with_columns(frame[c.EVENT_ID].clone().scatter(nameless.arg_true(), ids))


def content(frame: pl.DataFrame) -> pl.Series:
    """One text a row that tells rows apart: equal exactly where all values are.

    Each value is written as `name=length:value;` and nulls are left out, so that a column added
    later changes no text. Floats are written as their bits: printing them is not stable.
    """
    said = frame.select(column.name for column in frame if column.null_count() < len(column))
    # In one chunk: polars 2.1's format panics on the empty chunks that a filter leaves.
    said = said.rechunk()
    if said.is_empty():
        return pl.repeat("", len(frame), dtype=pl.String, eager=True)
    plain = said.with_columns(_bits(column) for column in said if column.dtype.is_float())
    plain = plain.select(pl.all().to_physical().cast(pl.String))
    parts = [
        pl.format(f"{name}={{}}:{{}};", pl.col(name).str.len_bytes(), pl.col(name))
        for name in plain.columns
    ]
    return plain.select(pl.concat_str(parts, ignore_nulls=True).alias("content")).to_series()


def latest(frame: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """One row a key: of each column the last value that is not null."""
    if not frame.select(keys).is_duplicated().any():
        return frame
    others = pl.exclude(keys).drop_nulls().last()
    return frame.group_by(keys, maintain_order=True).agg(others)


def _bits(column: pl.Series) -> pl.Series:
    # Adding zero turns -0.0 into 0.0, which compares equal and must be written equal.
    values = column.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0
    bits = pl.Series(column.name, values.view("int64"))
    return bits.set(column.is_null(), None)


def _cast(column: pl.Series, dtype: pl.DataType, table: str) -> pl.Series:
    given = column.dtype
    expected = f"{table}.{column.name} must be {dtype}, but the rows hold {given}"
    if dtype == pl.String and given.is_float():
        raise SchemaError(f"{expected}: ids and texts read as numbers with a fraction; cast them")
    if isinstance(dtype, pl.Datetime):
        if not (given.is_temporal() or given == pl.Null) or given in (pl.Time, pl.Duration):
            raise SchemaError(f"{expected}; parse the times first")
        if isinstance(given, pl.Datetime) and given.time_zone is not None:
            column = column.dt.convert_time_zone("UTC")
        elif given != pl.Null:
            column = column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    try:
        cast = column.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{expected}: {str(error).splitlines()[0]}") from error
    return cast.fill_nan(None) if dtype.is_float() else cast


def _check_values(table: str, frame: pl.DataFrame) -> None:
    for name in c.REQUIRED[table]:
        if name != c.EVENT_ID and (n_null := frame[name].null_count()):
            raise DataError(f"{table}.{name} is empty in {n_null} of {len(frame)} rows; drop them")
    for column in frame.select(pl.col(pl.String)):
        if column.str.contains("\0", literal=True).any():
            raise DataError(f"{table}.{column.name} holds a NUL character; remove it")
    if table == "events":
        strange = frame.filter(~pl.col(c.TYPE).is_in(c.EVENT_TYPES))[c.TYPE].unique().sort()
        if len(strange):
            raise DataError(f"no event type {strange.to_list()[:5]}; known are {c.EVENT_TYPES}")
