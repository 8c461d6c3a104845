"""The slate that goals and its own value agree on, found row by row in machine code.

In all of them a row's places are ordered by worth + rho · price, ties in the order of the pool;
attention falls from place to place, so that no other order of any items has a larger sum. Along
rho the worth of the slate falls and its sum of prices rises.
"""

from typing import Final

import numpy as np

from tailrec.items import PADDING, Array
from tailrec.kernels import compiled

STEPS: Final = 12
"""Halvings of the range of rho: it is found to 1 / 4096."""
SAMPLED: Final = 16
"""Mean prices of a walk are those at every so-many-th row."""


@compiled
def steer(
    rows: tuple[Array, Array], item_price: Array, attention: Array, cost: float, places: Array
) -> None:
    """Fill places [B, k] (positions in the pools, `PADDING` at the end).

    rows: ids int32 [B, P] and worth float32 [B, P].
    """
    ids, worth = rows
    price = np.zeros(ids.shape[1])
    for row in range(len(ids)):
        size = length(ids[row])
        for at in range(size):
            price[at] = item_price[ids[row, at]]
        choose(worth[row, :size], price[:size], attention, cost, places[row])


@compiled
def bound(
    rows: tuple[Array, Array], item_price: Array, attention: Array, cost: float, out: Array
) -> None:
    """Fill out [B] with what worth and prices of a row's slate add up to, at most.

    This holds for every mixture of slates whose worth is at least 1 - cost of the best: it is
    the Lagrangian with multiplier 1 / rho - 1 of that condition.
    """
    ids, worth = rows
    price, blend = np.zeros(ids.shape[1]), np.zeros(ids.shape[1])
    places = np.empty(len(attention), np.int64)
    for row in range(len(ids)):
        size = length(ids[row])
        for at in range(size):
            price[at] = item_price[ids[row, at]]
        own, prices = worth[row, :size], price[:size]
        low, high, best = choose(own, prices, attention, cost, places)
        out[row] = np.inf
        for rho in (low, high):
            if rho > 0:
                for at in range(size):
                    blend[at] = own[at] + rho * prices[at]
                n = top(blend[:size], places)
                value = total(blend, places[:n], attention) - (1 - rho) * (1 - cost) * best
                out[row] = min(out[row], value / rho)


@compiled
def walk(
    rows: tuple[Array, Array, Array],
    goals: tuple[Array, Array],
    state: tuple[Array, Array, Array],
    attention: Array,
    knobs: tuple[float, float, float, float],
) -> None:
    """Rows one after the other, each answering to what the goals got so far.

    Rows end with their slates, places [B, k]: one that has items gives their exposure back
    first. State: targets float64 [6, G] (what is owed, the step and the start of its price;
    what is allowed, the step and the start of its price), given float64 [G], and the sums of
    prices float64 [G] over every 16th row. Knobs: cost, the highest price, how many rows came
    before, and how many there will have been when targets are due (0: they are due).
    """
    (ids, worth, places), (ptr, goal), (targets, given, price_sums) = rows, goals, state
    cost, ceiling, before, due = knobs
    price = np.zeros(ids.shape[1])
    for row in range(len(ids)):
        size = length(ids[row])
        hand_out(ids[row], places[row], attention, (ptr, goal, given), -1.0)
        part = min((before + row) / due, 1.0) if due else 1.0
        for at in range(size):
            item = ids[row, at]
            price[at] = 0.0
            for entry in range(ptr[item], ptr[item + 1]):
                price[at] += price_of(targets, given, goal[entry], part, ceiling)
        choose(worth[row, :size], price[:size], attention, cost, places[row])
        hand_out(ids[row], places[row], attention, (ptr, goal, given), 1.0)
        if row % SAMPLED == 0:
            for one in range(len(given)):
                price_sums[one] += price_of(targets, given, one, part, ceiling)


@compiled
def price_of(targets: Array, given: Array, one: int, part: float, ceiling: float) -> float:
    """The price of a goal: the floor's less the cap's, each from 0 to the highest."""
    floor = targets[2, one] + targets[1, one] * (targets[0, one] * part - given[one])
    cap = targets[5, one] + targets[4, one] * (given[one] - targets[3, one] * part)
    price: float = min(max(floor, 0.0), ceiling)
    if targets[4, one] > 0:
        price -= min(max(cap, 0.0), ceiling)
    return price


@compiled
def hand_out(
    ids: Array, places: Array, attention: Array, goals: tuple[Array, Array, Array], sign: float
) -> None:
    """Add a slate's exposure, or take it back, to what the goals of its items got."""
    ptr, goal, given = goals
    for place in range(len(places)):
        if places[place] == PADDING:
            break
        item = ids[places[place]]
        for entry in range(ptr[item], ptr[item + 1]):
            given[goal[entry]] += sign * attention[place]


@compiled
def attain(ids: Array, ptr: Array, goal: Array, upto: Array, out: Array) -> None:
    """Add to out [G] what goals get where every row shows their items first.

    upto float64 [k + 1]: attention of the first so many places.
    """
    count = np.zeros(len(out), np.int64)
    for row in range(len(ids)):
        size = length(ids[row])
        for at in range(size):
            for entry in range(ptr[ids[row, at]], ptr[ids[row, at] + 1]):
                count[goal[entry]] += 1
        for at in range(size):
            for entry in range(ptr[ids[row, at]], ptr[ids[row, at] + 1]):
                out[goal[entry]] += upto[min(count[goal[entry]], len(upto) - 1)]
                count[goal[entry]] = 0


@compiled
def choose(
    worth: Array, price: Array, attention: Array, cost: float, places: Array
) -> tuple[float, float, float]:
    """Fill places [k] at the largest rho in 0..1 that keeps 1 - cost of the best worth.

    Returns:
        That rho, one that is too large (0 where 1 is not), and the best worth.
    """
    size = len(worth)
    places[:] = PADDING
    n = top(worth, places)
    best = total(worth, places[:n], attention)
    if not price.any():
        return 1.0, 0.0, best
    least = (1 - cost) * best
    blend = np.empty(size)
    tried = np.empty(len(places), np.int64)
    low, high, rho = 0.0, 0.0, 1.0
    for _ in range(STEPS + 1):
        for at in range(size):
            blend[at] = worth[at] + rho * price[at]
        top(blend, tried)
        if total(worth, tried[:n], attention) >= least:
            places[:n] = tried[:n]
            low = rho
            if rho == 1:
                break
        else:
            high = rho
        rho = (low + high) / 2
    if low < 1:
        exchange(worth, price, attention, least, places[:n])
    return low, high, best


@compiled
def exchange(worth: Array, price: Array, attention: Array, least: float, places: Array) -> None:
    """Spend what a slate may still lose: the exchange that wins most, again and again.

    An exchange puts an item of the pool at a place, or two items of the slate at each other's;
    it wins worth plus price. No more are made than there are places.
    """
    n, size = len(places), len(worth)
    inside = np.zeros(size, np.bool_)
    inside[places] = True
    for _ in range(n):
        slack = total(worth, places, attention) - least
        most, here, there = 0.0, -1, -1
        for place in range(n):
            now = places[place]
            for at in range(size):
                if not inside[at]:
                    lost = (worth[now] - worth[at]) * attention[place]
                    won = (price[at] - price[now]) * attention[place] - lost
                    if won > most and lost <= slack:
                        most, here, there = won, place, at
            for other in range(place):
                weight = attention[other] - attention[place]
                lost = (worth[places[other]] - worth[now]) * weight
                won = (price[now] - price[places[other]]) * weight - lost
                if won > most and lost <= slack:
                    most, here, there = won, place, places[other]
        if here < 0:
            break
        swapped = places[here]
        for place in range(n):
            if places[place] == there:
                places[place] = swapped
        places[here] = there
        inside[swapped] = inside[there]
        inside[there] = True


@compiled
def top(values: Array, places: Array) -> int:
    """Fill places with the positions of the largest values, falling, ties by position."""
    n = 0
    for at in range(len(values)):
        value = values[at]
        if n == len(places):
            if value <= values[places[n - 1]]:
                continue
            n -= 1
        slot = n
        while slot > 0 and value > values[places[slot - 1]]:
            places[slot] = places[slot - 1]
            slot -= 1
        places[slot] = at
        n += 1
    return n


@compiled
def total(values: Array, places: Array, attention: Array) -> float:
    """The values at the places, weighted by attention."""
    summed = 0.0
    for place in range(len(places)):
        summed += values[places[place]] * attention[place]
    return summed


@compiled
def length(ids: Array) -> int:
    """Items of a row before its padding."""
    size = 0
    while size < len(ids) and ids[size] != PADDING:
        size += 1
    return size
