"""A shop whose truth is known: files like a real shop's, and the tastes behind them.

``simulate(Simulation(n_users=1500, n_items=2000), seed=7)`` gives items, people and events in
the shop's own tables, and `Truth`, which says how likely every response was. One seed gives
one shop, on every machine.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.items import Array, Float64Array, Int32Array, Int64Array
from tailrec.simulate_visits import Slates, Steps, Visits, draw_slates, draw_steps, draw_visits
from tailrec.simulate_words import COLOURS, DEPARTMENTS, DESCRIPTIONS, REVIEWS, STYLES
from tailrec.simulate_world import (
    AGES,
    DAY_S,
    Simulation,
    Truth,
    World,
    brand_names,
    build_world,
)

__all__ = ["SimulatedShop", "Simulation", "Truth", "simulate"]

ARM: Final = "popular"
"""The name of the policy that chose the slates: `Truth.display`."""

_REGIONS: Final = ("north", "east", "south", "west", "capital")


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
    rng = np.random.default_rng(seed)
    world = build_world(recipe, rng)
    visits = draw_visits(world, recipe, rng)
    slates = draw_slates(world.truth, visits, rng)
    steps = draw_steps(world, visits, rng)
    log = _log(world, visits, slates, steps, rng)
    return SimulatedShop(
        items=_items_table(world, rng),
        users=_users_table(world, rng),
        events=_events_table(world, visits, log, rng),
        truth=world.truth,
        seed=seed,
    )


def _log(world: World, visits: Visits, slates: Slates, steps: Steps, rng: Generator) -> pl.DataFrame:
    """All events as numbers: kind, visit, user, item, second, place in a slate, value."""
    clicked = slates.clicked
    shown_at = visits.second[slates.visit]
    looks = pl.DataFrame(
        {
            "visit": np.concatenate([slates.visit[clicked], steps.visit]),
            "item": np.concatenate([slates.item[clicked], steps.item]),
            "second": np.concatenate(
                [shown_at[clicked] + 2 + 4 * slates.position[clicked], steps.second]
            ),
        }
    ).with_columns(pl.Series("user", visits.user).gather(pl.col("visit")))
    return looks


