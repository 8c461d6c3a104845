"""What steers slates now: prices of exposure, launches and bids, from sums all workers share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.arrange import Arrangement, Launching, Selling, Steering, Worth
from tailrec.assortment import Assortment
from tailrec.data.counters import Counters
from tailrec.data.counting import Kind
from tailrec.dataset import DAY_US
from tailrec.errors import RecipeError
from tailrec.items import (
    PADDING,
    Array,
    BoolArray,
    Float64Array,
    Int32Array,
    Int64Array,
    StrArray,
)
from tailrec.reranking.auction import CompiledSponsored
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_prices import ExposureSums, goal_prices
from tailrec.reranking.launch import Course, Launch
from tailrec.shop_recipe import ShopRecipe

KEPT_DAYS: Final = 90
"""Days that counters are kept: launches are counted from their first day on."""


class Ledger:
    """The shop's counters in memory, by day; `read` brings them up to date."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._slot: dict[str, int] = {}
        self._amount: dict[tuple[str, str], Float64Array] = {}
        self._revision = 0

    def read(self) -> None:
        """Take in what was added since the last time.

        Raises:
            StoreError: the store cannot be read.
        """
        rows, self._revision = self._counters.since(self._revision)
        for (kind, day), own in rows.group_by("kind", "day"):
            slots = [self._slot.setdefault(name, len(self._slot)) for name in own["name"].to_list()]
            amount = self._amount.get((str(kind), str(day)), np.zeros(0))
            grown = np.zeros(max(len(self._slot), len(amount)))
            grown[: len(amount)] = amount
            grown[slots] = own["amount"].to_numpy()
            self._amount[str(kind), str(day)] = grown
        if len(rows):
            newest = date.fromisoformat(self.days()[-1])
            oldest = (newest - timedelta(days=KEPT_DAYS)).isoformat()
            self._amount = {key: own for key, own in self._amount.items() if key[1] >= oldest}

    def slots(self, ids: StrArray) -> Int64Array:
        """int64 [I], where items are in the amounts; `PADDING` where nothing was counted."""
        return np.array([self._slot.get(name, PADDING) for name in ids.tolist()], np.int64)

    def amount(self, kind: Kind, slots: Int64Array, days: Iterable[str]) -> Float64Array:
        """float64 [I], what was counted on some days."""
        summed = np.zeros(len(slots))
        for day in days:
            amount = self._amount.get((kind, day))
            if amount is not None:
                there = (slots != PADDING) & (slots < len(amount))
                summed[there] += amount[slots[there]]
        return summed

    def worth(self, days: Iterable[str]) -> float:
        """What was shown on some days was expected to bring."""
        slot = np.array([self._slot.get("", PADDING)], np.int64)
        return float(self.amount("worth", slot, days)[0])

    def days(self, kind: Kind | None = None) -> list[str]:
        """Days with any count, or with one of a kind, rising."""
        return sorted({day for own, day in self._amount if kind in (None, own)})

    def size(self) -> int:
        """How many names were counted so far; `slots` made before it grew are out of date."""
        return len(self._slot)


def counted(
    slates: Iterable[tuple[list[str], Array]],
    attention: Float64Array,
    day: date,
    *,
    impressions: bool = True,
) -> pl.DataFrame:
    """What slates add to the counters.

    Args:
        slates: item ids from the top down, and what each is expected to bring.
        attention: float64 [k], of the places.
        day: they were shown on, in UTC.
        impressions: count them, too, as launches need it.

    Returns:
        kind, name, day and amount.
    """
    told = list(slates)
    ids = [name for names, _ in told for name in names]
    place = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(names)) for names, _ in told)])
    worth = np.concatenate([np.zeros(0), *(own for _, own in told)])
    looked = attention[np.minimum(place, len(attention) - 1)]
    items = pl.DataFrame({"name": pl.Series(ids, dtype=pl.String), "exposure": looked})
    if impressions:
        items = items.with_columns(impressions=pl.lit(1.0))
    rows = items.group_by("name").sum().unpivot(index="name", variable_name="kind")
    brought = pl.DataFrame({"name": [""], "kind": ["worth"], "value": [float(worth @ looked)]})
    return pl.concat([rows, brought.select(rows.columns)]).select(
        "kind", "name", pl.lit(day.isoformat()).alias("day"), pl.col("value").alias("amount")
    )


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """What bends slates now, over one state of the catalogue.

    Attributes:
        version: of the model whose numbers it speaks in.
        ids: object [I], the items by these numbers.
        worth: what items bring.
        goals: on exposure; None: there are none.
        sums: exposure in the window that counts.
        prices: float64 [G], of the goals.
        steering: the same by item.
        launch: what new items are promised, how far they have come and which wait.
        selling: campaigns and what they bid.
        spent: float64 [C], what they owe for this day's clicks.
        days: since the sums began.
    """

    version: str
    ids: StrArray
    worth: Worth
    goals: CompiledGoals | None = None
    sums: ExposureSums | None = None
    prices: Float64Array | None = None
    steering: Steering | None = None
    launch: tuple[Launch, Course, BoolArray] | None = None
    selling: tuple[CompiledSponsored, Float64Array] | None = None
    spent: Float64Array = field(default_factory=lambda: np.zeros(0))
    days: float = 1.0

    def on(self, how: Arrangement, rng: Generator, shown: Int32Array | None = None) -> Arrangement:
        """An arrangement with all of it.

        Args:
            how: the arrangement.
            rng: draws launches.
            shown: int32 [B, C], showings of the campaigns to each person this day.
        """
        launching = None if self.launch is None else Launching(*self.launch, rng)
        selling = None if self.selling is None else Selling(*self.selling, shown)
        return replace(
            how,
            worth=self.worth,
            steering=self.steering,
            launching=launching,
            selling=selling,
        )

    def covering(self, stand: Assortment) -> "Controls | None":
        """The same for an assortment that is a little newer or older; None for another numbering.

        What is new has no price yet, waits for no launch and is in no campaign.
        """
        ids, n_fitted = stand.engine.ids, len(stand.model.texts)
        n_items, n_common = len(ids), min(len(ids), len(self.ids))
        late = slice(n_fitted, n_common)
        if stand.model.version != self.version or not np.array_equal(ids[late], self.ids[late]):
            return None
        if n_items == len(self.ids):
            return self
        value, steering, launch, selling = (
            self.worth.value,
            self.steering,
            self.launch,
            self.selling,
        )
        if value is not None:
            value = _sized(value, n_items, value.mean())
        if steering is not None:
            steering = replace(steering, price=_sized(steering.price, n_items, 0))
        if launch is not None:
            launch = (launch[0], _course(launch[1], n_items), _sized(launch[2], n_items, 0))
        if selling is not None:
            terms, bids = selling
            ptr = _sized(terms.ptr, n_items + 1, terms.ptr[-1])
            selling = (replace(terms, ptr=ptr), bids)
        return replace(
            self,
            ids=ids,
            worth=replace(self.worth, value=value),
            steering=steering,
            launch=launch,
            selling=selling,
        )


class Helm:
    """Makes controls of a shop's options and counters; what stays the same is made once.

    Args:
        recipe: of the shop.
        ledger: its counters.
    """

    def __init__(self, recipe: ShopRecipe, ledger: Ledger) -> None:
        self._recipe = recipe
        self._ledger = ledger
        self._stand: Assortment | None = None
        self._goals: CompiledGoals | None = None
        self._terms: CompiledSponsored | None = None
        self._slots = np.zeros(0, np.int64)
        self._n_counted = -1

    def controls(
        self, stand: Assortment, now: datetime, spent: Mapping[str, float]
    ) -> Controls | None:
        """What bends slates now.

        Args:
            stand: the shop's items, over a model.
            now: the instant.
            spent: what each campaign owes for this day's clicks.

        Returns:
            None where no option asks for any.

        Raises:
            RecipeError: the model does not know how slates are looked at, or a goal does not fit
                the catalogue.
        """
        recipe, looks = self._recipe, stand.model.looks
        if not recipe.needs_looks:
            return None
        if looks is None:
            raise RecipeError(
                f"model {stand.model.version} has not learnt how slates are answered, which "
                f"[exposure], [launch] and [sponsored] need; run `tailrec fit`"
            )
        self._prepare(stand)
        value = stand.value(recipe.slate.value)
        controls = Controls(
            stand.model.version, stand.engine.ids, Worth(looks.curve, looks.attention, value)
        )
        if self._goals is not None:
            controls = self._steered(controls, self._goals, now)
        elif value is not None:  # in the order of worth, without a price on anything
            nothing = np.zeros(len(stand.engine.ids), np.float32)
            controls = replace(controls, steering=Steering(nothing, recipe.exposure.cost))
        if recipe.launch.impressions:
            controls = replace(controls, launch=self._launches(stand, now))
        if self._terms is not None:
            owed = np.array([spent.get(name, 0.0) for name in self._terms.names])
            bids = self._terms.bids(_microseconds(now), owed)
            controls = replace(controls, selling=(self._terms, bids), spent=owed)
        return controls

    def _prepare(self, stand: Assortment) -> None:
        """What depends on the catalogue alone."""
        if stand is not self._stand:
            recipe = self._recipe
            self._goals, self._terms = None, None
            if recipe.exposure.goals:
                self._goals = recipe.exposure.compiled(stand.table, ~stand.hidden)
            if recipe.sponsored.campaigns:
                self._terms = recipe.sponsored.compiled(stand.table)
        if stand is not self._stand or self._ledger.size() != self._n_counted:
            self._slots = self._ledger.slots(stand.engine.ids)
            self._n_counted = self._ledger.size()
        self._stand = stand

    def _steered(self, controls: Controls, goals: CompiledGoals, now: datetime) -> Controls:
        n_days = int(np.ceil(self._recipe.exposure.window_days))
        window = [(now - timedelta(days=ago)).date().isoformat() for ago in range(2 * n_days)]
        before, lately = self._sums(window[n_days:]), self._sums(window[:n_days])
        start = None if not before.total else goal_prices(goals, before, days=n_days)
        known = [day for day in self._ledger.days("exposure") if day in window[:n_days]]
        first = datetime.fromisoformat(known[0] if known else window[0]).replace(tzinfo=UTC)
        days = (now - first) / timedelta(days=1)
        prices = goal_prices(goals, lately, days=days, start=start)
        steering = Steering(goals.item_prices(prices), self._recipe.exposure.cost)
        return replace(
            controls, goals=goals, sums=lately, prices=prices, steering=steering, days=days
        )

    def _sums(self, days: list[str]) -> ExposureSums:
        exposure = self._ledger.amount("exposure", self._slots, days)
        return ExposureSums(exposure, self._ledger.worth(days))

    def _launches(self, stand: Assortment, now: datetime) -> tuple[Launch, Course, BoolArray]:
        recipe, days = self._recipe.launch, self._ledger.days()
        shown, looked, clicks = (
            self._ledger.amount(kind, self._slots, days)
            for kind in ("impressions", "exposure", "clicks")
        )
        created = stand.table[c.CREATED_AT].dt.epoch("us").cast(pl.Float64).to_numpy()
        age = np.maximum((_microseconds(now) - created) / DAY_US, 0)
        # Clicks on what was shown before counting began are no clicks on what was counted.
        course = Course(shown, looked, np.minimum(clicks, shown), np.nan_to_num(age, nan=np.inf))
        return recipe, course, recipe.waiting(shown, course.age_days)


def _course(course: Course, n_items: int) -> Course:
    return Course(
        _sized(course.shown, n_items, 0),
        _sized(course.looked, n_items, 0),
        _sized(course.clicks, n_items, 0),
        _sized(course.age_days, n_items, np.inf),
    )


def _sized(values: Array, n: int, fill: float) -> Array:
    """The first n values; where there are fewer, filled up."""
    return np.append(values[:n], np.full(max(n - len(values), 0), fill, values.dtype))


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
