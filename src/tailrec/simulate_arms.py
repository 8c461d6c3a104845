"""Ways of making slates to compare by `feedback`: the model's own, popularity, and launches."""

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from tailrec.items import Float32Array, ItemsBatch
from tailrec.reranking.attention import dcg
from tailrec.reranking.launch import Course, Launch, launched
from tailrec.reranking.response import RESPONSE, ResponseCurve, fit_response
from tailrec.simulate_feedback import Day

_OFFERS: Final = 50
_UNKNOWN: Final = 0.05
"""Chance of a response before there is enough to learn it from."""


def by_model(day: Day) -> ItemsBatch:
    """What the engine recommends."""
    return day.engine.recommend(day.queries, day.k)


def by_popularity(day: Day) -> ItemsBatch:
    """What most people turned to lately, less what the person has."""
    return day.engine.newcomers.candidates(day.queries, day.k)


@dataclass(frozen=True, slots=True)
class WithLaunches:
    """The model's slates, with promised impressions for items that came after the start.

    Of the items that wait, each visit is offered the 50 that the engine likes best for it. How
    likely a click is follows from the last days' slates, with the attention that DCG assumes.

    Attributes:
        recipe: what is promised.
    """

    recipe: Launch = field(default_factory=lambda: Launch(impressions=100))

    def __call__(self, day: Day) -> ItemsBatch:
        """The slates of a day."""
        slates = day.engine.recommend(day.queries, day.k)
        waiting = self.recipe.waiting(day.impressions, day.age_days)
        assert day.queries.hidden is not None  # a Day always hides what is not for sale
        asked = replace(day.queries, hidden=day.queries.hidden | ~waiting)
        offers = day.engine.recommend(asked, _OFFERS)
        offers = replace(offers, columns={RESPONSE: responses(day, offers)})
        course = Course(day.impressions, day.exposure, day.clicks, day.age_days)
        return launched(slates, offers, course, recipe=self.recipe, rng=day.rng)


def responses(day: Day, pools: ItemsBatch) -> Float32Array:
    """The chance of a click on every item of pools, as the slates of the last days tell.

    Args:
        day: with what was shown and clicked before.
        pools: [B, P], scored by the day's engine, best first.

    Returns:
        float32 [B, P]; the same for all until enough was clicked to tell.
    """
    curve = response_curve(day)
    if curve is None:
        return np.full(pools.ids.shape, _UNKNOWN, np.float32)
    return curve.probability(pools)


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
