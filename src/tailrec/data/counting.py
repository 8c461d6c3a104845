"""Adding to counters, and what a stored event answers: a sponsored place, a click on a slate."""

from datetime import UTC, datetime
from typing import Any, Final, Literal

import polars as pl
from sqlalchemy import (
    TableClause,
    and_,
    cast,
    distinct,
    exists,
    func,
    literal,
    select,
    true,
    tuple_,
    update,
)

from tailrec import columns as c
from tailrec.data.backend import Connection, Database
from tailrec.data.schema import COUNTERS, REVISIONS, TABLES

Kind = Literal["exposure", "worth", "impressions", "clicks"]
"""What is counted: attention an item's places got, its showings, clicks on them; and under no name
what all that was shown was expected to bring, weighted by attention."""

ADDED: Final = ("kind", "name", "day", "amount")
"""Columns of what is added to counters."""

_ADDING: Final = "tailrec_adding"


def today() -> str:
    """The day that counters count for now, in UTC."""
    return datetime.now(UTC).date().isoformat()


def add(database: Database, connection: Connection, amounts: pl.DataFrame) -> None:
    """Add to counters.

    Args:
        database: where the connection leads.
        connection: in a transaction.
        amounts: columns `ADDED`, each counter once.
    """
    staged = connection.stage(_ADDING, amounts.select(ADDED))
    _add(database, connection, select(*(staged.c[name] for name in ADDED)).where(true()))
    connection.drop(staged)


def answered(
    database: Database, connection: Connection, staged: TableClause, events: pl.DataFrame
) -> None:
    """Note what clicks answer: charge a sponsored place once, and count the click of the item.

    Args:
        database: where the connection leads.
        connection: in a transaction, before the events are stored.
        staged: the events, as the connection sees them.
        events: the same.
    """
    clicks = (pl.col(c.TYPE) == "click") & pl.col(c.SLATE_ID).is_not_null()
    if events.filter(clicks).is_empty():
        return
    given, known = staged.c, TABLES["events"].c
    is_click = and_(given.type == "click", given.slate_id.is_not(None))
    # An event that is stored already has been counted already.
    new = and_(is_click, ~exists().where(known.event_id == given.event_id))
    counted = select(
        literal("clicks"),
        given.item_id,
        literal(today()),
        cast(func.count(distinct(given.slate_id)), COUNTERS.c.amount.type),
    ).where(new)
    _add(database, connection, counted.group_by(given.item_id))
    placed = TABLES["placements"]
    # Found by their key: there are more of them every day.
    here = tuple_(placed.c.slate_id, placed.c.item_id).in_(
        select(given.slate_id, given.item_id).where(is_click)
    )
    connection.run(update(placed).where(placed.c.clicked.is_(None), here).values(clicked=true()))


def _add(database: Database, connection: Connection, amounts: Any) -> None:
    """Add rows of `ADDED`; until the transaction ends, nobody else adds."""
    # The counter of changes is locked to the end, so that readers see changes in order.
    clock = REVISIONS.c
    connection.run(update(REVISIONS).where(clock.name == "counters").values(value=clock.value + 1))
    now = select(clock.value).where(clock.name == "counters").scalar_subquery()
    names = [*ADDED, "changed"]
    insert = database.insert_into(COUNTERS).from_select(names, amounts.add_columns(now))
    more = {
        "amount": COUNTERS.c.amount + insert.excluded.amount,
        "changed": insert.excluded.changed,
    }
    keys = ["kind", "name", "day"]
    connection.run(insert.on_conflict_do_update(index_elements=keys, set_=more))
