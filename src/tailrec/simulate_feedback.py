"""What a way of making slates does to a shop: days in which people answer and models learn.

`feedback` takes a simulated shop at a day of its history and lets several arms go on from
there, each in a world of its own: people come, get slates, click and buy by the shop's truth,
products arrive, and what happened is what models are fitted on next. People and chance are the
same in all worlds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.data.histories import build_dataset
from tailrec.dataset import Dataset
from tailrec.engine import Engine, EngineRecipe
from tailrec.errors import DataError
from tailrec.features.build import FeatureRecipe
from tailrec.items import (
    PADDING,
    BoolArray,
    Float64Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
)
from tailrec.simulate import SimulatedShop
from tailrec.simulate_answers import Answers, Stage
from tailrec.simulate_outcome import Milestones, Outcome, figures_of, joined, numbered
from tailrec.simulate_world import DAY_S
from tailrec.tail.segments import tiers

_REMEMBERED: Final = 7


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Slates of a day before and what came of them.

    Attributes:
        slates: [B, k], numbered by the engine of the day that asks.
        clicked: bool [B, k].
    """

    slates: ItemsBatch
    clicked: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """What an arm knows when it makes the slates of a day; items numbered as by the engine.

    Attributes:
        number: days since the start, from 0.
        engine: fitted at most `refit_days` ago; knows every product that had come.
        queries: B visits of the day in the order of time, from histories up to the day before.
            They exclude what the person has, and hide what is not for sale.
        visitors: int32 [B], rows of the users' table.
        k: places of a slate.
        impressions: float64 [I], showings of each item since the start.
        exposure: float64 [I], the same, each weighed by the attention its place gets.
        clicks: float64 [I].
        looks: float64 [I], views and clicks since the history began.
        purchases: float64 [I], likewise.
        age_days: float64 [I], since the item came; infinite where it was there at the start.
        tail: bool [I], items of the tail (`pareto`) at the start.
        table: columns of `columns.ITEMS` and `tier`, by the events that the engine was fitted on.
        past: slates of the last seven days, oldest first.
        rng: the same for every arm.
    """

    number: int
    engine: Engine
    queries: QueryBatch
    visitors: Int32Array
    k: int
    impressions: Float64Array
    exposure: Float64Array
    clicks: Float64Array
    looks: Float64Array
    purchases: Float64Array
    age_days: Float64Array
    tail: BoolArray
    table: pl.DataFrame
    past: tuple[Shown, ...]
    rng: Generator


Arm = Callable[[Day], ItemsBatch]
"""Makes the slates of a day: one row a visit, at most `Day.k` items, none twice."""

WORDS_ALONE: Final = EngineRecipe(features=FeatureRecipe(encode=False))
"""The recipe of the engines where none is given: it needs no language model."""


def feedback(
    shop: SimulatedShop,
    arms: Mapping[str, Arm],
    *,
    days: int = 30,
    k: int = 20,
    refit_days: int = 7,
    traffic: float = 1.0,
    milestone: int = 100,
    recipe: EngineRecipe = WORDS_ALONE,
    seed: int = 0,
) -> Outcome:
    """Let several ways of making slates run the same shop for some days.

    The last days of the shop's history are taken back; the products that came in them come
    again. People come at the rates of the history, and every visit gets one slate. Place p is
    looked at with chance p ** -attention; what is looked at is clicked, and what is clicked
    bought, by `Truth.probability`. Clicks and purchases join the histories, and the engine is
    fitted anew every `refit_days`; a product is known to it from the day after it came.

    Whether a visitor clicks or buys depends on the arm by what is shown and where alone: the
    uniform numbers that decide are those of (seed, day, visitor, visit, item).

    Args:
        shop: whose history is longer than `days`; impressions in its events are not used.
        arms: by name; each has a world of its own.
        days: how many.
        k: places of a slate.
        refit_days: days between two fits.
        traffic: visits a person makes for one in the history.
        milestone: impressions to which new items are timed.
        recipe: of the engines.
        seed: of the visits and of all chance, at least 0.

    Returns:
        What came of each visit in each world.

    Raises:
        DataError: a number is not above 0, there is no arm, the history is too short, or an
            arm's slates are not what they must be.

    Cost:
        Arms times days, each with a pass over all events, and a fit for every `refit_days`.
    """
    if not arms or min(days, refit_days, k, milestone) < 1 or not traffic > 0:
        raise DataError(
            f"{len(arms)} arms, days={days}, refit_days={refit_days}, k={k}, traffic={traffic} "
            f"and milestone={milestone} were given; all must be above 0"
        )
    stage = Stage.of(shop, days, traffic=traffic, seed=seed)
    start = recipe.fit(_dataset(stage, stage.history, 0, recipe))
    figures, launches = {}, []
    for name, arm in arms.items():
        world = _World(stage, name, start, Milestones(stage, milestone))
        figures[name] = joined(
            [world.live(day, arm, k, refit=day % refit_days == 0) for day in range(days)]
        )
        launches.append(world.milestones.table().select(pl.lit(name).alias("arm"), pl.all()))
    return Outcome(*numbered(stage), figures, pl.concat(launches))


@dataclass(eq=False)
class _World:
    """One arm's world as it goes on."""

    stage: Stage
    name: str
    engine: Engine
    milestones: Milestones
    events: pl.DataFrame = field(init=False)
    sums: Float64Array = field(init=False)  # [3, I]: impressions, exposure, clicks
    past: list[tuple[Int32Array, ItemsBatch, BoolArray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events = self.stage.history
        self.sums = np.zeros((3, len(self.stage.new)))

    def live(self, number: int, arm: Arm, k: int, *, refit: bool) -> dict[str, Float64Array]:
        """One day; returns the figures of its visits."""
        data = _dataset(self.stage, self.events, number, self.engine.recipe)
        if refit and number:
            self.engine = self.engine.recipe.fit(data)
        self.engine = self.engine.with_items(data.catalog)
        own = _shop_rows(self.stage, self.engine)
        day = self._day(number, data, own, k)
        slates = arm(day)
        rows = np.append(own, PADDING)[self._checked(slates, day)].astype(np.int32)
        answers = self.stage.answers(number, rows)
        self._remember(slates, answers)
        self.events = pl.concat([self.events, self.stage.events(number, answers)])
        self.milestones.count(number, rows)
        return figures_of(self.stage, answers)

    def _day(self, number: int, data: Dataset, own: Int64Array, k: int) -> Day:
        """What the arm is told; `own` [I] are the shop's rows of the engine's items."""
        stage = self.stage
        visitors = stage.visitors[number]
        names = stage.shop.users[c.USER_ID].gather(visitors).to_list()
        people = np.array([data.user_index.get(name, PADDING) for name in names], np.int32)
        hidden = ~stage.shop.items[c.AVAILABLE].to_numpy()[own]
        age = (stage.cut + number) - stage.shop.truth.born_s[own] / DAY_S
        back = np.full(len(stage.new) + 1, PADDING, np.int32)  # the last is that of padding
        back[own] = np.arange(len(own), dtype=np.int32)
        past = tuple(
            Shown(ItemsBatch(back[rows], slates.scores, slates.columns), clicked)
            for rows, slates, clicked in self.past
        )
        impressions, exposure, clicks = self.sums[:, own]
        looks, purchases = self._counted("view", "click"), self._counted("purchase")
        tier = np.array(c.TIERS)[tiers(self.engine.counts, "pareto")]
        return Day(
            number=number,
            engine=self.engine,
            queries=self.engine.queries(data, people, hidden=hidden),
            visitors=visitors,
            k=k,
            impressions=impressions,
            exposure=exposure,
            clicks=clicks,
            looks=looks[own],
            purchases=purchases[own],
            age_days=np.where(stage.new[own], age, np.inf),
            tail=stage.tail[own],
            table=stage.shop.items[own].with_columns(pl.Series(c.TIER, tier, pl.String)),
            past=past,
            rng=np.random.default_rng([stage.seed, 1, number]),
        )

    def _counted(self, *types: str) -> Float64Array:
        """float64 [I], events of some types since the history began, by rows of the shop."""
        ids = self.events.filter(pl.col(c.TYPE).is_in(types))[c.ITEM_ID]
        rows = ids.cast(pl.Enum(self.stage.shop.items[c.ITEM_ID])).to_physical().to_numpy()
        return np.bincount(rows, minlength=len(self.stage.new)).astype(np.float64)

    def _checked(self, slates: ItemsBatch, day: Day) -> Int32Array:
        """The ids of slates that are what they must be."""
        ids, n_items = slates.ids, len(day.engine.ids)
        if len(ids) != len(day.queries) or ids.shape[1] > day.k:
            what = f"slates of {ids.shape} for {len(day.queries)} visits and {day.k} places"
        elif not PADDING <= ids.min(initial=0) <= ids.max(initial=0) < n_items:
            what = f"items {ids.min()} to {ids.max()}, and the engine knows {n_items}"
        else:
            in_order = np.sort(ids, axis=1)
            twice = (np.diff(in_order, axis=1) == 0) & (in_order[:, 1:] != PADDING)
            if not twice.any():
                return ids
            what = f"{int(twice.any(axis=1).sum())} slates with an item twice"
        raise DataError(f"arm {self.name!r} gave {what} on day {day.number}")

    def _remember(self, slates: ItemsBatch, answers: Answers) -> None:
        kept = answers.rows >= 0
        for sums, values in zip(self.sums, (kept, answers.looked, answers.clicked), strict=True):
            sums += np.bincount(answers.rows[kept], values[kept].astype(np.float64), len(sums))
        self.past.append((answers.rows, slates, answers.clicked))
        del self.past[:-_REMEMBERED]


def _dataset(stage: Stage, events: pl.DataFrame, day: int, recipe: EngineRecipe) -> Dataset:
    """Histories up to the beginning of a day, over the items that had come."""
    until = stage.shop.truth.recipe.start + timedelta(days=stage.cut + day)
    return build_dataset(events, stage.shop.items[stage.known(day)], recipe.histories, until=until)


def _shop_rows(stage: Stage, engine: Engine) -> Int64Array:
    """int64 [I], rows of the shop's table by the engine's number."""
    ids = pl.Series(engine.ids.tolist(), dtype=pl.Enum(stage.shop.items[c.ITEM_ID]))
    return ids.to_physical().to_numpy().astype(np.int64)
