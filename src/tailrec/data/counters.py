"""Sums that all processes of a shop add to and read: what was shown, and what it brought."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl
from sqlalchemy import delete, func, select

from tailrec import columns as c
from tailrec.data.backend import typed
from tailrec.data.counting import ADDED, add
from tailrec.data.schema import COUNTERS, REVISIONS, TABLES
from tailrec.data.store import Store

_SCHEMA: Final = {"kind": pl.String(), "name": pl.String(), "day": pl.String()} | {
    "amount": pl.Float64(),
    "changed": pl.Int64(),
}
_BATCH_ROWS: Final = 100_000


class Counters:
    """The counters of one shop. What was added is durable; a process that dies loses nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, amounts: pl.DataFrame) -> None:
        """Add amounts in one transaction.

        Args:
            amounts: kind, name, day (ISO) and amount; a counter may stand in several rows.

        Raises:
            StoreError: the store fails; nothing was added, unless it failed in answering.
        """
        if amounts.is_empty():
            return
        keys = list(ADDED[:-1])
        # In one order everywhere, which rules out deadlocks.
        whole = amounts.group_by(keys).agg(pl.col("amount").sum()).sort(keys)
        database = self._store.database
        with database.transaction() as connection:
            add(database, connection, whole)

    def since(self, revision: int = 0) -> tuple[pl.DataFrame, int]:
        """Counters that changed after a revision, as they are now, and the newest revision.

        Args:
            revision: as the last call gave it; 0 gives all of them.

        Returns:
            kind, name, day, amount, changed; and what to ask with next time.
        """
        database, own = self._store.database, COUNTERS.c
        changed = select(*own).where(own.changed > revision)
        with database.connection() as connection:
            parts = database.scan(connection, changed, _SCHEMA, _BATCH_ROWS)
            rows = pl.concat([pl.DataFrame(schema=_SCHEMA), *parts])
        newest = rows["changed"].max()
        return rows, revision if newest is None else int(newest)  # type: ignore[arg-type]

    def revision(self) -> int:
        """Of the counters, now: it grows with everything added."""
        asked = select(REVISIONS.c.value).where(REVISIONS.c.name == "counters")
        with self._store.database.connection() as connection:
            return int(connection.rows(asked).item())

    def forget(self, before: date) -> None:
        """Drop what was counted before a day."""
        old = delete(COUNTERS).where(COUNTERS.c.day < before.isoformat())
        with self._store.database.transaction() as connection:
            connection.run(old)

    def spent(self, day: date) -> Mapping[str, float]:
        """What each campaign owes for clicks on its places of one day, in UTC."""
        placed, database = TABLES["placements"].c, self._store.database
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        sums = (
            select(placed.campaign, func.sum(placed.charge).label(c.CHARGE))
            .where(placed.clicked.is_not(None))
            .where(placed.timestamp >= database.instant(start))
            .where(placed.timestamp < database.instant(start + timedelta(days=1)))
            .group_by(placed.campaign)
        )
        with database.connection() as connection:
            found = connection.rows(sums, at_most=10_000)
        rows = typed(found, {c.CAMPAIGN: pl.String(), c.CHARGE: pl.Float64()})
        return dict(rows.iter_rows())
