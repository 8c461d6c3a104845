"""A small plan as a linear programme over mixtures of slates, solved exactly."""

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, sparse

from tailrec.errors import DataError
from tailrec.items import PADDING, Float32Array, Float64Array, Int32Array, Int64Array
from tailrec.reranking.exposure_goals import CompiledGoals


class LinearPlan(NamedTuple):
    """The best mixture of slates.

    Attributes:
        chance: float64 [B, P, K], of each item to stand at each place.
        prices: float64 [G], of a unit of exposure of each goal, a cap's below 0.
        value: worth of the mixture, weighted by attention.
        missing: float64 [G], exposure missing to floors or above caps.
    """

    chance: Float64Array
    prices: Float64Array
    value: float
    missing: Float64Array


def linear_plan(
    rows: tuple[Int32Array, Float32Array],
    goals: CompiledGoals,
    attention: Float64Array,
    cost: float,
    limits: tuple[Float64Array, Float64Array, float],
) -> LinearPlan:
    """The mixture of slates with the most worth at which the goals are met.

    A mixture gives each item a chance to stand at each place: no item twice in a row, one item
    a place. Every such table of chances is one of whole slates (Birkhoff 1946). A goal that
    cannot be met at the dearest price is missed by as little as that price allows.

    Args:
        rows: ids int32 [B, P], padded at the end, and worth float32 [B, P].
        goals: G goals.
        attention: float64 [k], falling.
        cost: 0..1, share of its worth a row may lose, in the mean over its mixture.
        limits: least and most exposure float64 [G], and the dearest price.

    Raises:
        DataError: the solver gave up, saying why.

    Source:
        Singh and Joachims 2018, doi:10.1145/3219819.3220088.

    Cost:
        Seconds for 20,000 chances; more than linear beyond.
    """
    least, most, dearest = limits
    chances = _chances(rows, goals, attention)
    floors, caps = np.flatnonzero(least > 0), np.flatnonzero(np.isfinite(most))
    slack = len(floors) + len(caps)
    under = [chances.items, -chances.exposed[floors], chances.exposed[caps], -chances.worth]
    n_items, n_rows = under[0].shape[0], under[3].shape[0]
    upper = np.concatenate(
        [np.ones(n_items), -least[floors], most[caps], -(1 - cost) * _best(rows, attention)]
    )
    loose = sparse.vstack(
        [_nothing(n_items, slack), -sparse.eye_array(slack), _nothing(n_rows, slack)]
    )
    seats = chances.seats.shape[0]
    within: Any = sparse.hstack([sparse.vstack(under), loose], format="csr")
    exactly: Any = sparse.hstack([chances.seats, _nothing(seats, slack)], format="csr")
    answer = optimize.linprog(
        np.concatenate([-chances.gain, np.full(slack, dearest)]),
        A_ub=within,
        b_ub=upper,
        A_eq=exactly,
        b_eq=np.ones(seats),
        method="highs",
    )
    if answer.status != 0 or answer.x is None or answer.ineqlin.marginals is None:
        raise DataError(f"the linear programme of the plan was not solved: {answer.message}")
    pressed = -answer.ineqlin.marginals[n_items : n_items + slack]
    prices, missing = np.zeros(len(goals)), np.zeros(len(goals))
    np.add.at(prices, floors, pressed[: len(floors)])
    np.add.at(prices, caps, -pressed[len(floors) :])
    np.add.at(missing, np.concatenate([floors, caps]), answer.x[len(chances.gain) :])
    chance = np.zeros((*rows[0].shape, min(rows[0].shape[1], len(attention))))
    chance[chances.at] = answer.x[: len(chances.gain)]
    value = float(chances.gain @ answer.x[: len(chances.gain)])
    return LinearPlan(chance, prices, value, missing)


class _Chances(NamedTuple):
    """The unknowns: n chances of an item to stand at a place, and sums over them, a row each."""

    at: tuple[Int64Array, Int64Array, Int64Array]
    gain: Float64Array
    items: sparse.csr_array
    seats: sparse.csr_array
    exposed: sparse.csr_array
    worth: sparse.csr_array


def _chances(
    rows: tuple[Int32Array, Float32Array], goals: CompiledGoals, attention: Float64Array
) -> _Chances:
    ids, worth = rows
    width = min(ids.shape[1], len(attention))
    kept = ids != PADDING
    filled = np.arange(width) < kept.sum(1, keepdims=True)
    row, at, place = np.nonzero(kept[:, :, None] & filled[:, None, :])
    weight = attention[place]
    gain = worth[row, at] * weight
    member = sparse.csr_array(
        (np.ones(len(goals.goal)), goals.goal, goals.ptr), shape=(goals.n_items, len(goals))
    )
    exposed = member[ids[row, at]].T.tocsr() * weight
    return _Chances(
        (row, at, place),
        gain,
        _sums(row * ids.shape[1] + at, np.ones(len(row))),
        _sums(row * width + place, np.ones(len(row))),
        sparse.csr_array(exposed),
        _sums(row, gain),
    )


def _sums(code: Int64Array, weight: Float64Array) -> sparse.csr_array:
    """Weighted sums of the unknowns with one code, a row each in the order of the codes."""
    codes, number = np.unique(code, return_inverse=True)
    return sparse.csr_array((weight, (number, np.arange(len(code)))), shape=(len(codes), len(code)))


def _nothing(n_rows: int, n_columns: int) -> sparse.csr_array:
    return sparse.csr_array((n_rows, n_columns))


def _best(rows: tuple[Int32Array, Float32Array], attention: Float64Array) -> Float64Array:
    """float64 [B'], the largest worth of a slate, of each row with items."""
    ids, worth = rows
    falling = -np.sort(-np.where(ids != PADDING, worth, np.float32(0)), axis=1)
    falling = falling[(ids != PADDING).any(1), : len(attention)]
    return np.asarray(falling @ attention[: falling.shape[1]], np.float64)
