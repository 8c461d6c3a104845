"""Who comes to a simulated shop after its history ends, and how they answer what they are shown.

Chance is common to all that is compared: the uniform number that decides on a click depends on
the seed, the day, the visitor, the visit and the item, and on nothing that an arm does.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.errors import DataError
from tailrec.items import Array, BoolArray, Float64Array, Int32Array, Int64Array
from tailrec.reranking.attention import power
from tailrec.simulate import SimulatedShop
from tailrec.simulate_world import DAY_S
from tailrec.tail.segments import is_tail

_KNOWN_FOR: Final = 14.0
"""Days; who came once, yesterday, does not come every day."""
_CLICKS, _PURCHASES = 1, 2  # streams of chance


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A simulated shop from one day of its history on; items and people are rows of its tables.

    Attributes:
        shop: with the truth.
        cut: days of the history that have passed.
        seed: of the visits and of all chance.
        history: events before the cut, without impressions.
        visitors: int32 [B] by day, who comes, in the order of time.
        seconds: int64 [B] by day, when, since the first day of the history.
        tail: bool [I], items of the tail (`pareto`) at the cut; items that come later are not.
        new: bool [I], items that come later.
    """

    shop: SimulatedShop
    cut: int
    seed: int
    history: pl.DataFrame
    visitors: list[Int32Array]
    seconds: list[Int64Array]
    tail: BoolArray
    new: BoolArray

    @classmethod
    def of(cls, shop: SimulatedShop, days: int, *, traffic: float, seed: int) -> "Stage":
        """The shop before the last days of its history.

        Args:
            shop: its impressions are not used.
            days: how many are taken back.
            traffic: visits a person makes for one in the history.
            seed: at least 0.

        Raises:
            DataError: the history is not longer than `days`, or nothing happened in it.
        """
        world = shop.truth.recipe
        cut = world.n_days - days
        starts = world.start + timedelta(days=cut)
        history = shop.events.filter(
            (pl.col(c.TIMESTAMP) < starts) & (pl.col(c.TYPE) != "impression")
        )
        if cut < 1 or history.is_empty():
            raise DataError(
                f"{days} days were asked for and the shop's history has {world.n_days}; some of "
                f"it must be left to learn from"
            )
        rows = history[c.ITEM_ID].cast(pl.Enum(shop.items[c.ITEM_ID])).to_physical()
        counts = np.bincount(rows.to_numpy(), minlength=len(shop.items)).astype(np.int64)
        new = shop.truth.born_s >= cut * DAY_S
        tail = np.zeros(len(new), np.bool_)
        tail[~new] = is_tail(counts[~new], "pareto")
        rng = np.random.default_rng([seed, 0])
        visitors, seconds = _visits(shop, history, (cut, days), traffic, rng)
        return cls(shop, cut, seed, history, visitors, seconds, tail, new)

    def known(self, day: int) -> Int64Array:
        """Rows of the items that had come when a day began; day 0 is that after the cut."""
        return np.flatnonzero(self.shop.truth.born_s <= (self.cut + day) * DAY_S)

    def answers(self, day: int, rows: Int32Array) -> "Answers":
        """How the visitors of a day answer to their slates.

        Args:
            day: from 0.
            rows: int32 [B, K], items shown, below 0 where a slate is short.
        """
        truth, visitors = self.shop.truth, self.visitors[day]
        there = rows >= 0
        item = np.maximum(rows, 0)
        user = np.broadcast_to(visitors[:, None], rows.shape)
        looked = np.where(there, power(rows.shape[1], truth.recipe.attention), 0.0)
        click, purchase = (
            truth.probability(user.ravel(), item.ravel(), of=kind).reshape(rows.shape)
            for kind in ("click", "purchase")
        )
        key = (np.array([day]), user, _nth_visit(visitors)[:, None], item)
        clicked = uniform(self.seed, _CLICKS, *key) < looked * click
        bought = clicked & (uniform(self.seed, _PURCHASES, *key) < purchase)
        return Answers(rows, looked, clicked, bought, looked * click * purchase)

    def events(self, day: int, answers: "Answers") -> pl.DataFrame:
        """Clicks and purchases of a day as a table like the history."""
        visit, place = np.nonzero(answers.clicked)
        second = self.seconds[day][visit] + 2 + 3 * place
        start = self.shop.truth.recipe.start
        clicks = pl.DataFrame(
            {
                c.USER_ID: self.shop.users[c.USER_ID].gather(self.visitors[day][visit]),
                c.ITEM_ID: self.shop.items[c.ITEM_ID].gather(answers.rows[visit, place]),
                c.VALUE: self.shop.items[c.PRICE].gather(answers.rows[visit, place]),
                "second": second,
                c.SESSION_ID: [f"F{day}-{row}" for row in visit.tolist()],
            }
        )
        bought = clicks.filter(pl.Series(answers.bought[visit, place]))
        kinds = {
            "click": clicks.with_columns(pl.lit(None, pl.Float64).alias(c.VALUE)),
            "purchase": bought.with_columns(pl.col("second") + 15),
        }
        both = pl.concat(
            [own.with_columns(pl.lit(kind).alias(c.TYPE)) for kind, own in kinds.items()]
        )
        instant = pl.lit(start).cast(c.EVENTS[c.TIMESTAMP]) + pl.duration(seconds="second")
        named = both.with_columns(
            pl.format("{}-{}-{}", c.SESSION_ID, c.ITEM_ID, c.TYPE).alias(c.EVENT_ID),
            instant.cast(c.EVENTS[c.TIMESTAMP]).alias(c.TIMESTAMP),
        )
        return pl.concat([self.history.clear(), named.drop("second")], how="diagonal")


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What came of the slates of a day; each [B, K].

    Attributes:
        rows: int32, items; below 0 where a slate is short.
        looked: float64, chance that the place is looked at.
        clicked: bool.
        bought: bool.
        expected: float64, the true chance of a sale.
    """

    rows: Int32Array
    looked: Float64Array
    clicked: BoolArray
    bought: BoolArray
    expected: Float64Array


def uniform(seed: int, stream: int, *keys: Array) -> Float64Array:
    """Uniform numbers in [0, 1) that are a function of the seed, the stream and the keys alone.

    Args:
        seed: at least 0.
        stream: numbers of one stream say nothing of those of another.
        keys: whole numbers, shapes that go together.

    Source:
        The finaliser of SplitMix64: Steele et al. 2014, doi:10.1145/2660193.2660195.
    """
    state = np.zeros(1, np.uint64)
    for key in (np.array([seed]), np.array([stream]), *keys):
        state = state + np.uint64(0x9E3779B97F4A7C15) ^ key.astype(np.uint64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)) * 2.0**-53, np.float64)


def _nth_visit(visitors: Int32Array) -> Int64Array:
    """int64 [B], which visit of the day it is for its visitor, from 0."""
    order = np.argsort(visitors, kind="stable")
    starts = np.flatnonzero(np.diff(visitors[order], prepend=-1))
    nth = np.empty(len(visitors), np.int64)
    nth[order] = np.arange(len(visitors)) - np.repeat(starts, np.diff(starts, append=len(visitors)))
    return nth


def _visits(
    shop: SimulatedShop,
    history: pl.DataFrame,
    span: tuple[int, int],
    traffic: float,
    rng: Generator,
) -> tuple[list[Int32Array], list[Int64Array]]:
    """Who comes on each day, and when: rows of users and seconds, in the order of time.

    People come at the rate they came at before the cut; who joins after it at the mean rate.
    """
    cut, days = span
    joined = (shop.users[c.CREATED_AT] - shop.truth.recipe.start).dt.total_seconds() / DAY_S
    came = history.group_by(c.USER_ID).agg(pl.col(c.SESSION_ID).n_unique().alias("visits"))
    users = shop.users.with_columns(joined=joined).join(
        came, on=c.USER_ID, how="left", maintain_order="left"
    )
    since = users["joined"].to_numpy()
    rate = users["visits"].fill_null(0).to_numpy() / np.maximum(cut - since, _KNOWN_FOR)
    rate = np.where(since < cut, rate, rate[since < cut].mean())
    n_visits = rng.poisson(traffic * rate, (days, len(users)))
    n_visits[since > np.arange(cut, cut + days)[:, None]] = 0
    visitors, seconds = [], []
    for day in range(days):
        own = np.repeat(np.arange(len(users), dtype=np.int32), n_visits[day])
        second = np.sort(rng.integers(0, DAY_S, len(own)))
        visitors.append(rng.permutation(own))
        seconds.append(second + (cut + day) * DAY_S)
    return visitors, seconds
