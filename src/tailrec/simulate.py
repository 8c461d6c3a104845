"""A shop whose truth is known: files like a real shop's, and the tastes behind them.

``simulate(Simulation(n_users=1500, n_items=2000), seed=7)`` gives items, people and events in
the shop's own tables, and `Truth`, which says how likely every response was. One seed gives
one shop.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.simulate_orders import draw_log
from tailrec.simulate_tables import events_table, items_table, users_table
from tailrec.simulate_visits import draw_slates, draw_steps, draw_visits
from tailrec.simulate_world import Simulation, Truth, build_world

__all__ = ["SimulatedShop", "Simulation", "Truth", "simulate"]

_CRAWLED: Final = 5000


@dataclass(frozen=True, slots=True)
class SimulatedShop:
    """A shop's tables and the truth behind them.

    Attributes:
        items: columns of `columns.ITEMS`, rising by arrival; row i is item i of the truth.
        users: columns of `columns.USERS`; row u is user u of the truth.
        events: columns of `columns.EVENTS`, rising by time.
        truth: hidden tastes and the chances of every response.
        seed: what the shop was drawn with.
    """

    items: pl.DataFrame
    users: pl.DataFrame
    events: pl.DataFrame
    truth: Truth
    seed: int

    def write(self, folder: Path, *, dirty: bool = False) -> list[Path]:
        """Write raw files as a shop would export them.

        Args:
            folder: made where it is missing; files of the same names are replaced.
            dirty: add what real exports hold: rows that stand twice, cancelled orders (a
                purchase of the negative amount, its event_id starting with C), events without a
                user, malformed prices, texts in a broken encoding or with markup, a stock code
                that is no product, and one visitor who is a machine.

        Returns:
            Paths of items.csv, users.jsonl and events.parquet.
        """
        items, events = self.items, self.events
        if dirty:
            rng = np.random.default_rng([self.seed, 1])
            items, events = _dirty_items(items, rng), _dirty_events(events, rng)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in ("items.csv", "users.jsonl", "events.parquet")]
        items.write_csv(paths[0])
        self.users.write_ndjson(paths[1])
        events.write_parquet(paths[2])
        return paths


def simulate(recipe: Simulation, *, seed: int) -> SimulatedShop:
    """Draw a shop: products, people, and what they did.

    Args:
        recipe: how large it is and how its people behave.
        seed: at least 0; the same recipe and seed give the same shop. Whether impressions are
            logged changes nothing else.

    Returns:
        Tables and truth. No event is earlier than its item's created_at.

    Cost:
        Time and memory grow with the slots shown (visits times slate_size) and the products
        looked at (visits times steps); they hardly depend on the number of products.
    """
    streams = np.random.default_rng(seed).spawn(8)
    world = build_world(recipe, streams[0])
    items = items_table(world, streams[1])
    visits = draw_visits(world, recipe, streams[2])
    did = draw_slates(world.truth, visits, streams[3]), draw_steps(world, visits, streams[4])
    log = draw_log(world, items[c.PRICE].to_numpy(), visits, did, streams[5])
    events = events_table(world, log, visits, streams[6])
    return SimulatedShop(items, users_table(world, streams[7]), events, world.truth, seed)


def _dirty_items(items: pl.DataFrame, rng: Generator) -> pl.DataFrame:
    """Broken encodings, markup, notes, malformed prices, and a code that is no product."""
    accented = [text for text in items[c.BRAND].unique().sort() if not text.isascii()]
    broken = {text: text.encode().decode("cp1252") for text in accented}
    chance = pl.Series(rng.random(len(items)))
    described = pl.col(c.DESCRIPTION)
    spoilt = items.with_columns(
        pl.when(chance < 0.5)
        .then(pl.col(name).str.replace_many(broken) if broken else pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in (c.TITLE, c.DESCRIPTION, c.BRAND)
    ).with_columns(
        pl.when(chance > 0.9).then(pl.format("<p>{}</p>&nbsp;", described)).otherwise(described),
        pl.when(pl.Series(rng.random(len(items))) < 0.01)
        .then(pl.lit("n/a"))
        .otherwise(pl.col(c.PRICE).cast(pl.String))
        .alias(c.PRICE),
    )
    notes = _some(spoilt, 0.01, rng).with_columns(
        pl.lit("damaged?").alias(c.TITLE), pl.lit("").alias(c.DESCRIPTION)
    )
    post = pl.DataFrame({c.ITEM_ID: ["POST"], c.TITLE: ["POSTAGE"], c.PRICE: ["3.90"]})
    return pl.concat([spoilt, notes, post], how="diagonal")


def _dirty_events(events: pl.DataFrame, rng: Generator) -> pl.DataFrame:
    """Rows twice, cancelled orders, no user, postage, and a machine that looks at everything."""
    bought = events.filter(pl.col(c.TYPE) == "purchase")
    cancelled = _some(bought, 0.03, rng)
    later = pl.lit(pl.Series(rng.integers(10, 4000, len(cancelled))))
    cancelled = cancelled.with_columns(
        pl.format("C{}", c.EVENT_ID).alias(c.EVENT_ID),
        -pl.col(c.VALUE),
        pl.col(c.TIMESTAMP) + pl.duration(minutes=later),
    )
    postage = _some(bought, 0.05, rng).with_columns(
        pl.format("{}P", c.EVENT_ID).alias(c.EVENT_ID),
        pl.lit("POST").alias(c.ITEM_ID),
        pl.lit(3.9).alias(c.VALUE),
    )
    looked = events.filter(pl.col(c.TYPE) == "view")
    n_crawled = min(_CRAWLED, len(looked))
    crawled = looked[rng.choice(len(looked), n_crawled, replace=False)].with_columns(
        pl.format("{}B", c.EVENT_ID).alias(c.EVENT_ID),
        pl.lit("U-CRAWLER").alias(c.USER_ID),
        pl.lit("V-CRAWLER").alias(c.SESSION_ID),
        (pl.lit(events[c.TIMESTAMP][-1]) + pl.duration(milliseconds=700 * pl.int_range(pl.len())))
        .cast(c.EVENTS[c.TIMESTAMP])
        .alias(c.TIMESTAMP),
    )
    nameless = pl.when(pl.Series(rng.random(len(events))) < 0.02).then(None)
    spoilt = events.with_columns(nameless.otherwise(pl.col(c.USER_ID)).alias(c.USER_ID))
    parts = [spoilt, _some(spoilt, 0.01, rng), cancelled, postage, crawled]
    return pl.concat(parts).sort(c.TIMESTAMP, maintain_order=True)


def _some(table: pl.DataFrame, share: float, rng: Generator) -> pl.DataFrame:
    return table.filter(pl.Series(rng.random(len(table)) < share))
