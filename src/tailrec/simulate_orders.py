"""What follows a look at a product: carts, purchases, buying again, reviews."""

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.items import Float64Array, Int32Array, Int64Array
from tailrec.simulate_visits import Slates, Steps, Visits
from tailrec.simulate_words import DEPARTMENTS, REVIEWS
from tailrec.simulate_world import DAY_S, Truth, World

VISIT, USER, ITEM, SECOND = "visit", "user", "item", "second"
"""Columns of the log: rows of visits, users and items, and seconds since the first day."""

_SEEN_IN_CART = 0.8  # share of purchases that go through the cart
_LEFT_IN_CART = 0.05
_REVIEWED = 0.12
_AGAIN_DAYS = 30.0  # a consumable product lasts about so long
_AGAIN_AT_MOST = 3


def draw_log(
    world: World, price: Float64Array, visits: Visits, did: tuple[Slates, Steps], rng: Generator
) -> pl.DataFrame:
    """Everything that happened, in numbers, rising by time.

    Args:
        world: products and people.
        price: float64 [I].
        visits: who came when.
        did: what was shown and clicked, and what was looked at.
        rng: random numbers.

    Returns:
        One row an event: type, visit (null for reviews), user, item, second, position (from
        1), propensity, value, text; what did not come out of a slate has no position.
    """
    slates, steps = did
    shown = _rows(visits, slates.visit, slates.item, visits.second[slates.visit]).with_columns(
        pl.Series(c.POSITION, slates.position + 1), pl.Series(c.PROPENSITY, slates.propensity)
    )
    clicks = shown.filter(pl.Series(slates.clicked)).with_columns(
        pl.col(SECOND) + 2 + 3 * pl.col(c.POSITION)
    )
    views = _rows(visits, steps.visit, steps.item, steps.second)
    looks = pl.concat([clicks, views], how="diagonal")
    carts, orders = _orders(world.truth, looks, rng)
    again = _again(world, orders, len(visits.user), rng)
    orders = pl.concat([orders, again], how="diagonal")
    orders = orders.with_columns(pl.Series(c.VALUE, price[orders[ITEM].to_numpy()]))
    parts = {
        "impression": shown,
        "click": clicks,
        "view": views,
        "cart": carts,
        "purchase": orders,
        "review": _reviews(world.truth, orders, rng),
    }
    named = [rows.with_columns(pl.lit(kind).alias(c.TYPE)) for kind, rows in parts.items()]
    return pl.concat(named, how="diagonal").sort(SECOND, USER, maintain_order=True)


def _rows(visits: Visits, visit: Int64Array, item: Int32Array, second: Int64Array) -> pl.DataFrame:
    return pl.DataFrame({VISIT: visit, USER: visits.user[visit], ITEM: item, SECOND: second})


def _orders(truth: Truth, looks: pl.DataFrame, rng: Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What went into the cart, and what was bought."""
    user = looks[USER].to_numpy().astype(np.int32)
    chance = truth.probability(user, looks[ITEM].to_numpy(), of="purchase")
    bought = rng.random(len(looks)) < chance
    carted = rng.random(len(looks)) < np.where(bought, _SEEN_IN_CART, _LEFT_IN_CART)
    carts = looks.filter(pl.Series(carted)).with_columns(pl.col(SECOND) + 5)
    return carts, looks.filter(pl.Series(bought)).with_columns(pl.col(SECOND) + 15)


def _again(world: World, orders: pl.DataFrame, n_visits: int, rng: Generator) -> pl.DataFrame:
    """The same people buying the same consumables about a month later, and again."""
    recipe = world.truth.recipe
    consumable = np.array([DEPARTMENTS[name].consumable for name in world.kinds.department])
    used_up = consumable[world.products.kind[orders[ITEM].to_numpy()]]
    rows = orders.filter(pl.Series(used_up)).select(USER, ITEM, SECOND)
    rounds = []
    for _ in range(_AGAIN_AT_MOST):
        rows = rows.filter(pl.Series(rng.random(len(rows)) < recipe.repeat))
        pause = np.clip(rng.normal(_AGAIN_DAYS, 7, len(rows)), 7, None) * DAY_S
        rows = rows.with_columns(pl.col(SECOND) + pl.Series(pause.astype(np.int64)))
        rows = rows.filter(pl.col(SECOND) < recipe.n_days * DAY_S)
        rounds.append(rows)
    again = pl.concat(rounds)
    return again.with_columns(pl.Series(VISIT, n_visits + np.arange(len(again))))


def _reviews(truth: Truth, orders: pl.DataFrame, rng: Generator) -> pl.DataFrame:
    """Some buyers say days later how they like it, in stars and words."""
    told = orders.filter(pl.Series(rng.random(len(orders)) < _REVIEWED))
    item, user = told[ITEM].to_numpy(), told[USER].to_numpy().astype(np.int32)
    liking = 3.2 + 0.8 * truth.quality[item] + 0.3 * truth.affinity(user, item)
    stars = np.clip(np.round(rng.normal(liking, 0.7)), 1, 5).astype(np.int64)
    later = rng.integers(2 * DAY_S, 12 * DAY_S, len(told))
    said = np.asarray(REVIEWS)[stars - 1, rng.integers(len(REVIEWS[0]), size=len(told))]
    rows = told.select(
        USER,
        ITEM,
        pl.col(SECOND) + pl.Series(later),
        pl.Series(c.VALUE, stars.astype(np.float64)),
        pl.Series(c.TEXT, said),
    )
    return rows.filter(pl.col(SECOND) < truth.recipe.n_days * DAY_S)
