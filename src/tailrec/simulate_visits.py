"""What people do in a simulated shop: visits, slates shown, products looked at and bought.

A visit opens with a slate of popular products; what is clicked there follows examination by
position times taste. Then the person walks on from product to product: to what goes together
with the last one, more of the same, or to another interest; within a type of product the
choice falls by popularity, taste, and likeness to the last product.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tailrec.items import (
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
)
from tailrec.simulate_world import DAY_S, Simulation, Truth, World

_CHOICE = 32  # products weighed against each other at each step
_CHUNK = 8192  # people at a time: bounds the memory of a step
_LOOSE = 0.25  # share of the looser companions
_START = (0.35, 0.2, 0.4)  # first step of a later visit: the last type, its companion, an interest
_GO_ON = (0.3, 0.5, 0.15)  # any other step; what is left of 1 is a random type


@dataclass(frozen=True, slots=True)
class Visits:
    """Visits in the order of user, then time; each int64 [V].

    Attributes:
        user: row of the user.
        second: start, seconds since the first day.
        n_steps: products looked at after the slate.
    """

    user: Int64Array
    second: Int64Array
    n_steps: Int64Array


@dataclass(frozen=True, slots=True)
class Slates:
    """What was shown and clicked, one row a product in a slate; each [V x slate_size].

    Attributes:
        visit: int64.
        item: int32.
        position: int32, from 0.
        propensity: float64, chance that the policy puts the item at this position.
        clicked: bool.
    """

    visit: Int64Array
    item: Int32Array
    position: Int32Array
    propensity: Float64Array
    clicked: BoolArray


@dataclass(frozen=True, slots=True)
class Steps:
    """Products looked at, in the order of their visits; each [S].

    Attributes:
        visit: int64.
        second: int64, since the first day.
        item: int32.
    """

    visit: Int64Array
    second: Int64Array
    item: Int32Array


def draw_visits(world: World, recipe: Simulation, rng: Generator) -> Visits:
    """When people come: some often, most rarely; more on weekends and in the afternoon."""
    keen = rng.gamma(0.8, 1 / 0.8, recipe.n_users)
    n_visits = 1 + rng.poisson((recipe.visits - 1) * keen)
    user = np.repeat(np.arange(recipe.n_users), n_visits)
    week = np.array([0.9, 0.9, 0.95, 1.0, 1.1, 1.3, 1.2])
    weight = week[(recipe.start.weekday() + np.arange(recipe.n_days)) % 7]
    cumulated = np.concatenate([[0], np.cumsum(weight) / weight.sum()])
    since = cumulated[world.people.joined_day[user]]
    day = np.searchsorted(cumulated, since + rng.random(len(user)) * (1 - since), "right") - 1
    hour = np.clip(rng.normal(15, 4, len(user)), 0, 23.9)
    second = np.minimum(day, recipe.n_days - 1) * DAY_S + (hour * 3600).astype(np.int64)
    order = np.lexsort((second, user))
    return Visits(user, second[order], rng.geometric(1 / recipe.steps, len(user)))


def draw_slates(truth: Truth, visits: Visits, rng: Generator) -> Slates:
    """One slate a visit, from the policy of its day, and the clicks on it.

    Products are drawn by systematic sampling and put in random order, which gives distinct
    products and makes `Truth.display` the exact chance of each at each position.
    """
    size = truth.recipe.slate_size
    shown = np.empty((len(visits.user), size), np.int32)
    propensity = np.empty(shown.shape)
    day = visits.second // DAY_S
    by_day = np.argsort(day, kind="stable")
    for own in np.split(by_day, np.flatnonzero(np.diff(day[by_day])) + 1):
        chance = truth.display(int(day[own[0]]))
        shelf = rng.permutation(np.flatnonzero(chance))
        edges = np.cumsum(chance[shelf]) * size
        points = rng.random((len(own), 1)) + np.arange(size)
        places = np.searchsorted(edges * (size / edges[-1]), points, "right")
        shown[own] = rng.permuted(shelf[np.minimum(places, len(shelf) - 1)], axis=1)
        propensity[own] = chance[shown[own]]
    item = shown.ravel()
    visit = np.repeat(np.arange(len(visits.user)), size)
    position = np.tile(np.arange(size, dtype=np.int32), len(visits.user))
    click = truth.attention[position] * truth.probability(visits.user[visit].astype(np.int32), item)
    return Slates(visit, item, position, propensity.ravel(), rng.random(len(item)) < click)


def draw_steps(world: World, visits: Visits, rng: Generator) -> Steps:
    """Walk every person through all of their visits, one step of everybody at a time."""
    visit = np.repeat(np.arange(len(visits.user)), visits.n_steps)
    first = np.cumsum(visits.n_steps) - visits.n_steps
    pause = np.cumsum(rng.integers(20, 120, len(visit)))
    second = visits.second[visit] + 60 + pause - pause[first][visit]
    user = visits.user[visit]
    ptr = np.searchsorted(user, np.arange(len(world.people.age) + 1))
    is_first = np.zeros(len(visit), np.bool_)
    is_first[first] = True
    item = np.empty(len(visit), np.int32)
    shelves = _Shelves.of(world)
    longest_first = np.argsort(-np.diff(ptr), kind="stable")
    lengths = np.diff(ptr)[longest_first]
    for step in range(int(lengths[0])):
        n = int(np.searchsorted(-lengths, -step, "left"))
        for start in range(0, n, _CHUNK):
            people = longest_first[start : min(start + _CHUNK, n)]
            at = ptr[people] + step
            moment = _Moment(people, second[at], is_first[at], item[at - 1] if step else None)
            item[at] = _choose(world.truth, shelves, moment, _next_kind(world, moment, rng), rng)
    return Steps(visit, second, item)


@dataclass(frozen=True, slots=True)
class _Moment:
    """Some people about to look at their next product; each [P]."""

    people: Int64Array
    second: Int64Array
    is_first: BoolArray  # of a visit
    last: Int32Array | None  # the product before; None at the very first step


def _next_kind(world: World, moment: _Moment, rng: Generator) -> Int32Array:
    """int32 [P], the type of product that each person looks at next."""
    people, n = moment.people, len(moment.people)
    cumulated = np.cumsum(world.people.interest_share[people], 1)
    place = (rng.random((n, 1)) > cumulated[:, :-1]).sum(1)
    interest = world.people.interest[people, place]
    if moment.last is None:
        return np.asarray(interest, np.int32)
    now = world.products.kind[moment.last]
    match = world.kinds.companion[now, (rng.random(n) < _LOOSE).astype(int)]
    stroll = np.searchsorted(np.cumsum(world.kinds.demand), rng.random(n))
    stroll = np.minimum(stroll, len(world.kinds.name) - 1)
    bounds = np.where(moment.is_first[:, None], np.cumsum(_START), np.cumsum(_GO_ON))
    choice = (rng.random((n, 1)) >= bounds).sum(1)
    return np.asarray(np.choose(choice, [now, match, interest, stroll]), np.int32)


@dataclass(frozen=True, slots=True)
class _Shelves:
    """Products by type, then arrival, with running sums of appeal to draw from."""

    item: Int32Array  # [I]
    key: Int64Array  # [I], type x span + arrival
    span: int
    start: Int64Array  # [T]
    appeal: Float64Array  # [I + 1], running sum
    style: Float32Array  # [I, D] of the style half

    @classmethod
    def of(cls, world: World) -> "_Shelves":
        kind, born = world.products.kind.astype(np.int64), world.truth.born_s
        span = int(born.max()) + 2 * DAY_S * world.truth.recipe.n_days
        item = np.lexsort((born, kind))
        key = kind[item] * span + born[item]
        start = np.searchsorted(key, np.arange(len(world.kinds.name)) * span)
        appeal = np.concatenate([[0], np.cumsum(world.truth.appeal[item])])
        half = world.truth.item_factors.shape[1] // 2
        return cls(
            item.astype(np.int32), key, span, start, appeal, world.truth.item_factors[:, half:]
        )


def _choose(
    truth: Truth, shelves: _Shelves, moment: _Moment, kind: Int32Array, rng: Generator
) -> Int32Array:
    """int32 [P], one product of each person's type that has arrived by then."""
    low = shelves.start[kind]
    arrived = kind.astype(np.int64) * shelves.span + moment.second
    high = np.searchsorted(shelves.key, arrived, "right")
    floor, top = shelves.appeal[low][:, None], shelves.appeal[high][:, None]
    drawn = floor + rng.random((len(kind), _CHOICE)) * (top - floor)
    place = np.searchsorted(shelves.appeal, drawn, "right") - 1
    options = shelves.item[np.clip(place, low[:, None], high[:, None] - 1)]
    wish = truth.recipe.taste * truth.user_factors[moment.people][:, shelves.style.shape[1] :]
    if moment.last is not None:
        wish = wish + truth.recipe.drift * shelves.style[moment.last]
    pull = np.einsum("pcd,pd->pc", shelves.style[options], wish).astype(np.float64)
    pull += np.log(truth.freshness(moment.second[:, None] - truth.born_s[options]))
    pull += rng.gumbel(size=pull.shape)
    if moment.last is not None:  # nobody goes to where they are, if there is more to see
        pull[options == moment.last[:, None]] = -np.inf
    return np.asarray(options[np.arange(len(kind)), pull.argmax(1)], np.int32)
