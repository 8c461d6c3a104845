"""How rows get into the store's tables, and how ids in them are rewritten."""

from collections.abc import Sequence
from typing import Any, Final

import polars as pl
from sqlalchemy import (
    Select,
    TableClause,
    and_,
    delete,
    func,
    literal_column,
    select,
    true,
    update,
)

from tailrec import columns as c
from tailrec.data.backend import Connection, Database
from tailrec.data.counting import answered
from tailrec.data.rows import latest, schema_of
from tailrec.data.schema import ITEM_REVISIONS, REVISIONS, TABLES
from tailrec.errors import SchemaError

_STAGED: Final = "tailrec_staged"
_MOVES: Final = "tailrec_moves"
_BATCH_ROWS: Final = 100_000


def put(database: Database, connection: Connection, table: str, frame: pl.DataFrame) -> int:
    """Insert rows that conform to a table, or update those whose key is known.

    Args:
        database: where the connection leads.
        connection: in a transaction.
        table: a name in `columns.TABLES`; rows of `columns.LOGS` that are known stay as they are.
        frame: all columns of the table; rows of logs without repeated ids.

    Returns:
        How many rows are new.
    """
    own, keys = TABLES[table], list(c.KEYS[table])
    if table not in c.LOGS:
        frame = latest(frame, c.KEYS[table])
    staged = connection.stage(_STAGED, frame)
    # SQLite cannot tell ON CONFLICT from a join's ON unless the select has a WHERE.
    every = select(*staged.c).where(true())
    insert = database.insert_into(own).from_select(frame.columns, every)
    if table == "events":
        answered(database, connection, staged, frame)
    if table in c.LOGS:
        n_new = connection.changed(insert.on_conflict_do_nothing(index_elements=keys))
    else:
        same = and_(*(staged.c[key] == own.c[key] for key in keys))
        known = select(func.count()).select_from(staged.join(own, same))
        n_new = len(frame) - int(connection.rows(known).item())
        merged = {
            name: func.coalesce(insert.excluded[name], own.c[name])
            for name in frame.columns
            if name not in keys
        }
        connection.run(insert.on_conflict_do_update(index_elements=keys, set_=merged))
    if table == "items":
        mark_items(database, connection, select(staged.c.item_id), gone=False)
    connection.drop(staged)
    return n_new


def mark_items(
    database: Database, connection: Connection, chosen: Select[Any], *, gone: bool
) -> None:
    """Say that items changed, for those who hold the catalogue in memory.

    Args:
        database: where the connection leads.
        connection: in a transaction; until it ends, nobody else changes items.
        chosen: selects their ids.
        gone: they were deleted.
    """
    # The counter's row is locked to the end of the transaction, so revisions are seen in order.
    clock = REVISIONS.c
    connection.run(update(REVISIONS).where(clock.name == "items").values(value=clock.value + 1))
    now = select(clock.value).where(clock.name == "items").scalar_subquery()
    ids = chosen.subquery()
    marks = select(ids.c.item_id, now, literal_column(str(int(gone)))).where(true())
    insert = database.insert_into(ITEM_REVISIONS).from_select(ITEM_REVISIONS.c.keys(), marks)
    told = {name: insert.excluded[name] for name in ("revision", "gone")}
    connection.run(insert.on_conflict_do_update(index_elements=[c.ITEM_ID], set_=told))


def rewrite(
    database: Database,
    connection: Connection,
    table: str,
    moves: pl.DataFrame,
    *,
    pointers: Sequence[str],
) -> dict[str, int]:
    """Give rows of one table new keys, and let the rows that point at them follow.

    Args:
        database: where the connection leads.
        connection: in a transaction.
        table: users or items, whose key moves.
        moves: columns old and new, as `checked_moves` gives them.
        pointers: tables that hold the key.

    Returns:
        Rows changed, by the name of the pointing table.
    """
    (key,) = c.KEYS[table]
    staged = connection.stage(_MOVES, moves)
    changed = {
        name: connection.changed(
            update(TABLES[name])
            .values({key: staged.c.new})
            .where(TABLES[name].c[key] == staged.c.old)
        )
        for name in pointers
    }
    _fold(database, connection, table, staged)
    connection.drop(staged)
    return changed


def checked_moves(mapping: pl.DataFrame) -> pl.DataFrame:
    """A mapping without repeats and without ids that stay.

    Raises:
        SchemaError: other columns than old and new, or an old id that leads to two new ones or to
            another old one.
    """
    if set(mapping.columns) != {"old", "new"}:
        raise SchemaError(f"a mapping has the columns old and new, not {mapping.columns}")
    moves = mapping.select(pl.col("old", "new").cast(pl.String)).unique()
    moves = moves.filter(pl.col("old") != pl.col("new")).sort("old")
    twice = moves.filter(pl.col("old").is_duplicated())["old"].to_list()
    chained = moves.filter(pl.col("new").is_in(moves["old"].implode()))["new"].to_list()
    if twice or chained:
        raise SchemaError(
            f"a mapping leads each old id straight to its last one; ids with two new ids: "
            f"{twice[:3]}, new ids that are old ones as well: {chained[:3]}"
        )
    return moves


def _fold(database: Database, connection: Connection, table: str, moves: TableClause) -> None:
    """Merge the rows of old ids into the row of the new one, which wins."""
    own, schema = TABLES[table], schema_of(table)
    (key,) = c.KEYS[table]
    others = [column for column in own.c if column.name != key]
    old = select(moves.c.new.label(key), *others).where(own.c[key] == moves.c.old)
    new = select(own.c[key], *others).where(own.c[key].in_(select(moves.c.new)))
    order = {name: schema[name] for name in (key, *(column.name for column in others))}
    from_old, from_new = (
        pl.concat(
            [
                pl.DataFrame(schema=order),
                *database.scan(connection, statement, order, _BATCH_ROWS),
            ]
        )
        for statement in (old, new)
    )
    if from_old.is_empty():
        return
    connection.run(delete(own).where(own.c[key].in_(select(moves.c.old))))
    if table == "items":
        mark_items(database, connection, select(moves.c.old.label(c.ITEM_ID)), gone=True)
    put(database, connection, table, pl.concat([from_old.sort(pl.all()), from_new]))
