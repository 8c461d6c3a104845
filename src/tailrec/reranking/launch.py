"""First impressions of new items: a promised number of showings, by Thompson sampling.

A new item has no behaviour that would carry it into slates. Until it has had its promised
impressions it may take a place away from the top; of several that could, chance picks one by
how well each may do: a draw from what is believed of its response, which starts at the predicted
one and narrows with every showing.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from pydantic import Field

from tailrec import columns as c
from tailrec.errors import DataError
from tailrec.items import PADDING, Array, BoolArray, Float64Array, Int32Array, ItemsBatch
from tailrec.kernels import compiled, kernel_view
from tailrec.recipe import Recipe
from tailrec.reranking.response import RESPONSE

LAUNCHED: Final = "launched"
"""The column of a slate that says which places are a launch's, bool."""

_DRAWS: Final = 64
"""Draws of what every offer may be worth; the one that counts is drawn from these."""
_CELLS: Final = 400_000
"""Draws held at once: 3 MB."""
_LEAST: Final = 1e-3
"""The smallest parameter of a Beta distribution: one of 0 has no draws."""


class Launch(Recipe):
    """What new items are promised.

    Attributes:
        impressions: showings each is promised; 0: nothing is.
        places: of a slate that launches may take, at most.
        position: the highest place that a launch may take, 1 the top. A slate shorter than that
            holds it at its end.
        strength: impressions that the predicted response counts as.
        days: after which the promise ends; None: when it is kept. Items that are behind an
            even course towards it come before all others.
    """

    impressions: int = Field(default=0, ge=0)
    places: int = Field(default=1, ge=1)
    position: int = Field(default=5, ge=1)
    strength: float = Field(default=20.0, gt=0.0)
    days: float | None = Field(default=30.0, gt=0.0)

    def waiting(self, shown: Float64Array, age_days: Float64Array) -> BoolArray:
        """Which items the promise is still to be kept for.

        Args:
            shown: float64 [I], impressions so far.
            age_days: float64 [I], days since each item came; infinite where it was always
                there.

        Returns:
            bool [I]. Without `days` an item waits however old it is, unless it was always there.
        """
        young = np.isfinite(age_days) if self.days is None else age_days < self.days
        return np.asarray((shown < self.impressions) & young)


@dataclass(frozen=True, slots=True)
class Course:
    """How far launches have come; each float64 [I] by catalogue number.

    Attributes:
        shown: impressions so far.
        looked: the same, each weighed by the attention that its place gets.
        clicks: responses to them.
        age_days: days since the item came, at least 0; infinite where it was always there.

    Raises:
        DataError: lengths differ, or an item has more clicks than impressions.
    """

    shown: Float64Array
    looked: Float64Array
    clicks: Float64Array
    age_days: Float64Array

    def __post_init__(self) -> None:
        names = ("shown", "looked", "clicks", "age_days")
        shapes = {name: getattr(self, name).shape for name in names}
        if len(set(shapes.values())) > 1:
            raise DataError(f"the course of launches is {shapes}; each has an entry an item")
        if (self.clicks > self.shown).any() or self.clicks.min(initial=0) < 0:
            item = int(np.argmax((self.clicks > self.shown) | (self.clicks < 0)))
            raise DataError(
                f"item {item} has {self.clicks[item]:g} clicks on {self.shown[item]:g} "
                f"impressions; clicks lie between 0 and the impressions"
            )


def launched(
    slates: ItemsBatch, offers: ItemsBatch, course: Course, *, recipe: Launch, rng: Generator
) -> ItemsBatch:
    """Slates in which new items have taken places, others moving down.

    For every offer chances are drawn from Beta(s·p + clicks, s·(1 - p) + looked - clicks), with p
    the predicted response and s the strength, 64 times over; one of the draws is picked, and
    its highest offers are launched. Once in 65 times all offers are alike. Each takes one of the
    places from `position` to the end, all as likely. What is launched counts at once: rows are
    taken in order, and no item gets more than it is promised.

    As long as slates are made that an item is offered to, it gets all it was promised: with M
    items waiting, after at most M times `impressions` of them.

    Args:
        slates: [B, K], best first.
        offers: [B, M], items that could be launched, with the column `RESPONSE`, in 0..1. Those
            that do not wait (`Launch.waiting`) or are in the slate already are passed over.
        course: how far the launches of all items have come.
        recipe: what is promised.
        rng: draws.

    Returns:
        [B, K] with the columns of the slates, `LAUNCHED`, and `columns.PROPENSITY`: the chance
        that the item stands at its place, given the request and the draws of what the offers may
        be worth, times what the slates held there. It is exact: weights of 1 / propensity are
        unbiased, those of launched items at most 65 M K. A launched item has its score and
        columns from the offers; of columns they lack, -1 in whole numbers, else 0, false or None.

    Raises:
        DataError: the offers have no `RESPONSE`, another number of rows, or an item without
            a course.

    Source:
        Chapelle and Li 2011, "An empirical evaluation of Thompson sampling", NeurIPS.
    """
    _check(slates, offers, course)
    waits = recipe.waiting(course.shown, course.age_days)
    at = np.tile(np.arange(slates.ids.shape[1]), (len(slates), 1))  # places in slates + offers
    propensity = np.ones(slates.ids.shape)
    if waits.any() and at.size and offers.ids.size:
        left = np.where(waits, recipe.impressions - course.shown, 0.0)
        behind = _behind(recipe, course) & waits
        size = max(_CELLS // (_DRAWS * offers.ids.shape[1]), 1)
        for start in range(0, len(slates), size):
            rows = slice(start, start + size)
            worth = _drawn(offers.ids[rows], offers.columns[RESPONSE][rows], course, recipe, rng)
            worth += behind[offers.ids[rows]][:, None]
            keys = rng.random((len(worth), 1 + at.shape[1] + offers.ids.shape[1]))
            _launch(
                (kernel_view(slates.ids[rows]), kernel_view(offers.ids[rows])),
                (worth, keys),
                left,
                (recipe.places, recipe.position),
                (at[rows], propensity[rows]),
            )
    return _carried(slates, offers, at, propensity)


def _behind(recipe: Launch, course: Course) -> BoolArray:
    """bool [I], items with fewer impressions than an even course would have given by now."""
    if recipe.days is None:
        return np.zeros(len(course.shown), np.bool_)
    return np.asarray(course.shown < recipe.impressions * course.age_days / recipe.days)


def _drawn(
    ids: Int32Array, response: Array, course: Course, recipe: Launch, rng: Generator
) -> Float64Array:
    """float64 [R, draws, M], draws of the chance of a response to every offer."""
    item = np.maximum(ids, 0)
    hits = recipe.strength * response + course.clicks[item]
    # Places that are hardly looked at may give more clicks than looks expected.
    passed = np.maximum(course.looked[item] - course.clicks[item], 0)
    misses = recipe.strength * (1 - response) + passed
    # A padded offer's response is anything; it is not looked at.
    hits, misses = (np.maximum(np.nan_to_num(side), _LEAST)[:, None] for side in (hits, misses))
    return rng.beta(hits, misses, (len(ids), _DRAWS, ids.shape[1]))


@compiled
def _launch(
    rows: tuple[Array, Array],
    chance: tuple[Float64Array, Float64Array],
    left: Float64Array,
    limits: tuple[int, int],
    out: tuple[Array, Array],
) -> None:
    """Fill `out`: places in slates + offers, and propensities, both [R, K]; lower `left` [I].

    `chance` holds worth [R, D, M] and uniform keys [R, 1 + K + M]: one that picks the draw, then
    one for every place and every offer.
    """
    (slates, offers), (worth, keys), (at, propensity) = rows, chance, out
    width, n_draws = slates.shape[1], worth.shape[1]
    open_, chosen = np.empty(offers.shape[1], np.int64), np.empty(limits[0], np.int64)
    for row in range(len(slates)):
        size = 0
        while size < width and slates[row, size] != PADDING:
            size += 1
        n_open = _waiting(offers[row], slates[row, :size], left, open_)
        first = min(limits[1], size + 1, width) - 1
        n = min(limits[0], n_open, width - first)
        room = min(size + n, width) - first  # places that a launch may take
        own, keys_of = open_[:n_open], keys[row, 1 + width :].copy()
        places = _lowest(keys[row, 1 + first : 1 + width], np.arange(room), chosen[:n])
        taken = np.zeros(width, np.bool_)
        for place in places:
            taken[first + place] = True
        which = int(keys[row, 0] * (n_draws + 1))
        value = keys_of if which == n_draws else -worth[row, which]
        picked = _lowest(value, own, chosen[:n]).copy()
        share = _shares(worth[row], own, picked, chosen[:n])
        order = np.argsort(keys_of[picked])  # which of them takes which place is chance, too
        _place((size, first, room), taken, picked[order] + width, at[row], propensity[row])
        done = 0
        for place in range(min(size + n, width)):
            if taken[place]:
                propensity[row, place] = share[order[done]] / room
                left[offers[row, picked[order[done]]]] -= 1
                done += 1
            else:
                left[slates[row, at[row, place]]] -= 1


@compiled
def _waiting(offers: Array, slate: Array, left: Array, open_: Array) -> int:
    """Write places of offers that may be launched; returns how many."""
    n_open = 0
    for place in range(len(offers)):
        item = offers[place]
        if item != PADDING and left[item] > 0:
            there = False
            for other in slate:
                there = there or other == item
            if not there:
                open_[n_open] = place
                n_open += 1
    return n_open


@compiled
def _lowest(value: Array, among: Array, best: Array) -> Array:
    """The len(best) entries of `among` with the lowest values, lowest first; in `best`."""
    size = 0
    for place in among:
        slot = size
        while slot > 0 and value[best[slot - 1]] > value[place]:
            slot -= 1
        if slot < len(best):
            for lower in range(min(size, len(best) - 1), slot, -1):
                best[lower] = best[lower - 1]
            best[slot] = place
            size = min(size + 1, len(best))
    return best


@compiled
def _shares(worth: Array, own: Array, picked: Array, scratch: Array) -> Array:
    """float64 [n], the chance of each picked offer to be picked, over all draws."""
    share = np.full(
        len(picked), len(picked) / max(len(own), 1)
    )  # of the one time that all are alike
    for draw in range(len(worth)):
        for place in _lowest(-worth[draw], own, scratch):
            for one in range(len(picked)):
                if picked[one] == place:
                    share[one] += 1
    return share / (len(worth) + 1)


@compiled
def _place(
    extent: tuple[int, int, int], taken: Array, launches: Array, at: Array, propensity: Array
) -> None:
    """Put launches in the places taken and the slate's own items in the others, in order.

    An own item of rank r stands at place p if p is not taken and p - r of the places above it
    are: a hypergeometric chance.
    """
    size, first, room = extent
    own, done, n = 0, 0, len(launches)
    for place in range(len(at)):
        if taken[place]:
            at[place] = launches[done]
            done += 1
        elif own < size:
            at[place] = own
            own += 1
            if place >= first:
                above = place - first
                ways = _ways(above, done) * _ways(room - above - 1, n - done)
                propensity[place] = ways / _ways(room, n)
        else:
            at[place] = own  # padding
            own += 1


@compiled
def _ways(n: int, k: int) -> float:
    """Ways to choose k of n."""
    ways = 1.0
    for step in range(k):
        ways *= (n - step) / (step + 1)
    return ways


def _carried(
    slates: ItemsBatch, offers: ItemsBatch, at: Array, propensity: Float64Array
) -> ItemsBatch:
    """Slates by places in slates + offers [B, K], with the columns of the slates."""
    width = slates.ids.shape[1]
    both = slates.beside(offers).ordered(at)
    before = slates.columns.get(c.PROPENSITY)
    if before is not None:
        own = np.where(at < width, at, 0)
        held = np.take_along_axis(before, own, axis=1)
        propensity = propensity * np.where(at < width, held, 1.0)
    return ItemsBatch(
        both.ids,
        both.scores,
        {**both.columns, LAUNCHED: at >= width, c.PROPENSITY: propensity},
    )


def _check(slates: ItemsBatch, offers: ItemsBatch, course: Course) -> None:
    if RESPONSE not in offers.columns:
        raise DataError(
            f"offers have the columns {sorted(offers.columns)}; {RESPONSE!r}, the predicted "
            f"response, is needed: ResponseCurve.probability gives it"
        )
    if len(slates) != len(offers):
        raise DataError(f"{len(slates)} slates and {len(offers)} rows of offers; a row each")
    highest = max(slates.ids.max(initial=-1), offers.ids.max(initial=-1))
    if highest >= len(course.shown):
        raise DataError(f"item {highest} has no course; there are {len(course.shown)}")
    response = offers.columns[RESPONSE][offers.ids != PADDING]
    if not ((response >= 0) & (response <= 1)).all():
        raise DataError(f"responses from {response.min()} to {response.max()}; they lie in 0..1")
