"""Ways of making slates to compare by `feedback`: the model's own, popularity, and a service's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Final

import numpy as np

from tailrec.arrange import Arrangement, Launching, Steering, Worth, slates_of
from tailrec.items import PADDING, Float32Array, Float64Array, ItemsBatch
from tailrec.reranking.attention import dcg
from tailrec.reranking.conversion import conversion
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_prices import WORTH, ExposureSums, goal_prices
from tailrec.reranking.launch import Course, Launch
from tailrec.reranking.response import ResponseCurve, fit_response
from tailrec.simulate_feedback import Day

RENEWALS: Final = 12
"""Times a day at which an arm with controls looks at what it showed so far."""
_UNKNOWN: Final = ResponseCurve("score", np.zeros(1), np.full(1, 0.05), 0.05, {})
"""Of responses before there are enough to learn from."""

Value = Callable[[Day], Float32Array]
"""What a response to each item is worth on a day, float32 [I]."""


def by_model(day: Day) -> ItemsBatch:
    """What the engine recommends."""
    return day.engine.recommend(day.queries, day.k)


def by_popularity(day: Day) -> ItemsBatch:
    """What most people turned to lately, less what the person has."""
    return day.engine.newcomers.candidates(day.queries, day.k)


@dataclass(frozen=True, slots=True)
class Conversion:
    """How often a look at an item ends in a purchase, as far as is known: the value of a click.

    Attributes:
        optimism: see `reranking.conversion`.
    """

    optimism: float = 0.0

    def __call__(self, day: Day) -> Float32Array:
        """float32 [I]; 1 for all where nothing was bought yet."""
        return conversion(day.looks, day.purchases, optimism=self.optimism)


@dataclass(frozen=True, slots=True)
class WithExposure:
    """What a service does with exposure goals and launches: pools, worth and prices, arranged.

    Every two hours prices are made of the sums of what was shown, those of the window and those
    of the one before, as a service makes them. What an item brings follows from the last days'
    slates and clicks. Until there are enough of these nothing is steered.

    Attributes:
        exposure: goals; without any nothing is steered.
        launch: what new items are promised.
        value: what a response is worth; None: all the same.
    """

    exposure: Exposure = field(default_factory=Exposure)
    launch: Launch = field(default_factory=Launch)
    value: Value | None = None

    def __call__(self, day: Day) -> ItemsBatch:
        """The slates of a day."""
        curve = response_curve(day)
        value = None if self.value is None else self.value(day)
        worth = Worth(curve or _UNKNOWN, dcg(day.k), value)
        plain = Arrangement(min(day.k, len(day.engine.ids)), worth=worth)
        goals = self._goals(day) if self.exposure.goals and curve is not None else None
        edges = np.linspace(0, len(day.queries), RENEWALS + 1).astype(int).tolist()
        parts: list[ItemsBatch] = []
        for number, (start, stop) in enumerate(pairwise(edges)):
            queries = day.queries.rows(start, stop)
            how = replace(plain, launching=self._launching(day, parts))
            if goals is not None:
                prices = self._prices(day, goals, parts, day.number + number / RENEWALS)
                steering = Steering(goals.item_prices(prices), self.exposure.cost)
                how = replace(how, steering=steering)
            parts.append(slates_of(day.engine, queries, how))
        return ItemsBatch.concat(parts)

    def _goals(self, day: Day) -> CompiledGoals:
        assert day.queries.hidden is not None  # a Day always hides what is not for sale
        return self.exposure.compiled(day.table, ~day.queries.hidden)

    def _prices(
        self, day: Day, goals: CompiledGoals, parts: list[ItemsBatch], now: float
    ) -> Float64Array:
        """float64 [G], from the window's sums and those of the window before."""
        n_days = int(np.ceil(self.exposure.window_days))
        past = [one.slates for one in day.past]
        split = max(len(past) - (n_days - 1), 0)
        before, lately = past[max(split - n_days, 0) : split], past[split:]
        start = None
        if sums := _sums(day, before):
            start = goal_prices(goals, sums, days=len(before))
        days = now - (day.number - len(lately))
        sums = _sums(day, [*lately, *parts]) or ExposureSums.none(goals.n_items)
        return goal_prices(goals, sums, days=days, start=start)

    def _launching(self, day: Day, parts: list[ItemsBatch]) -> Launching | None:
        """Launches as far as they have come by now."""
        if not self.launch.impressions:
            return None
        n_items = len(day.engine.ids)
        shown, looked = day.impressions.copy(), day.exposure.copy()
        for part in parts:
            there = part.ids != PADDING
            at = np.broadcast_to(dcg(part.ids.shape[1]), part.ids.shape)[there]
            shown += np.bincount(part.ids[there], minlength=n_items)
            looked += np.bincount(part.ids[there], at, n_items)
        course = Course(shown, looked, day.clicks, day.age_days)
        return Launching(self.launch, course, self.launch.waiting(shown, day.age_days), day.rng)


def _sums(day: Day, slates: Sequence[ItemsBatch]) -> ExposureSums | None:
    """What slates that were steered add up to; None where none was."""
    steered = [one for one in slates if WORTH in one.columns and one.ids.size]
    sums = [ExposureSums.of(one, dcg(day.k), len(day.engine.ids)) for one in steered]
    return reduce(add, sums) if sums else None


def response_curve(day: Day) -> ResponseCurve | None:
    """The curve that the slates of the last days give, with the attention that DCG assumes.

    None where there are no more clicks than one slate has places.
    """
    width = max((one.slates.ids.shape[1] for one in day.past), default=0)
    full = [one for one in day.past if one.slates.ids.shape[1] == width]
    if sum(int(one.clicked.sum()) for one in full) <= width:
        return None
    slates = ItemsBatch.concat([one.slates for one in full])
    clicked = np.concatenate([one.clicked for one in full])
    return fit_response(slates, clicked, attention=dcg(width))
