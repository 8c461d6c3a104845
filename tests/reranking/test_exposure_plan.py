import re
from itertools import permutations, product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from tailrec.errors import DataError
from tailrec.items import PADDING, Array, Float32Array, Float64Array, ItemsBatch
from tailrec.reranking import exposure_plan
from tailrec.reranking.attention import dcg
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_linear import linear_plan
from tailrec.reranking.exposure_plan import Plan, plan
from tailrec.reranking.exposure_prices import WORTH

DEAR = 50.0


def goals(n_items: int, *given: dict[str, Any]) -> CompiledGoals:
    table = pl.DataFrame({"item_id": [str(n) for n in range(n_items)]})
    return Exposure.parse({"goals": given}).compiled(table, np.ones(n_items, np.bool_))


def world(
    seed: int, n_rows: int, width: int, n_items: int, *, short: bool = False
) -> tuple[ItemsBatch, Float32Array]:
    """Pools of random items, the first of them the most popular, in random worths."""
    rng = np.random.default_rng(seed)
    keys = rng.random((n_rows, n_items)) ** (1 / np.linspace(3, 1, n_items))
    ids = np.argsort(-keys, axis=1)[:, :width].astype(np.int32)
    worth = (rng.random(ids.shape) * np.linspace(1, 0.5, n_items)[ids]).astype(np.float32)
    if short:
        ids[np.arange(width) >= rng.integers(0, width + 1, n_rows)[:, None]] = PADDING
    return ItemsBatch(ids, worth), worth


def every_slate(pools: ItemsBatch, worth: Float32Array, k: int, n_items: int) -> list[Array]:
    """For each row its slates: what each gives to the items, and last what it is worth."""
    found = []
    for ids, values in zip(pools.ids, worth.astype(float), strict=True):
        size = int((ids != PADDING).sum())
        rows = []
        for order in permutations(range(size), min(k, size)):
            attention, at = dcg(k)[: len(order)], list(order)
            exposure = np.bincount(ids[at], weights=attention, minlength=n_items)
            rows.append(np.append(exposure, values[at] @ attention))
        found.append(np.array(rows))
    return found


def by_slates(slates: list[Array], own: CompiledGoals, least: Float64Array, cost: float) -> float:
    """The worth of the best mixture, less what is missing at `DEAR`, by a chance a slate."""
    member = np.stack([own.given(one) for one in np.eye(own.n_items)])
    worth = np.concatenate([rows[:, -1] for rows in slates])
    row = np.repeat(np.arange(len(slates)), [len(rows) for rows in slates])
    exposed = np.concatenate([rows[:, :-1] for rows in slates]) @ member
    kept = -worth * (row == np.arange(len(slates))[:, None])
    best = np.array([rows[:, -1].max() for rows in slates])
    slack = -np.eye(len(own))
    answer = optimize.linprog(
        np.concatenate([-worth, np.full(len(own), DEAR)]),
        A_ub=np.block([[-exposed.T, slack], [kept, np.zeros((len(slates), len(own)))]]),
        b_ub=np.concatenate([-least, -(1 - cost) * best]),
        A_eq=np.hstack(
            [(row == np.arange(len(slates))[:, None]) * 1.0, np.zeros((len(slates), len(own)))]
        ),
        b_eq=np.ones(len(slates)),
    )
    return -float(answer.fun)


@pytest.mark.parametrize("cost", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_linear_programme_finds_the_best_mixture_of_slates(seed: int, cost: float) -> None:
    pools, worth = world(seed, 3, 4, 6, short=seed == 3)
    own = goals(6, {"each": "item_id", "floor": 0.6, "unit": "even"})
    total = sum(dcg(2)[: (ids != PADDING).sum()].sum() for ids in pools.ids)
    least = own.least(total, 1)
    limits = least, own.most(total, 1), DEAR
    found = linear_plan((pools.ids, worth), own, dcg(2), cost, limits)
    slates = every_slate(pools, worth, 2, 6)
    expected = by_slates(slates, own, least, cost)
    assert found.value - DEAR * found.missing.sum() == pytest.approx(expected, abs=1e-6)
    # Chances: one item a place that is filled, no item more than once.
    filled = np.minimum((pools.ids != PADDING).sum(1), 2)
    np.testing.assert_allclose(found.chance.sum(1), np.arange(2) < filled[:, None], atol=1e-9)
    assert (found.chance.sum(2) <= 1 + 1e-9).all()


def test_prices_of_the_linear_programme_are_what_goals_cost() -> None:
    """One place, two rows: a floor is bought where the weak item loses least."""
    ids = np.tile(np.arange(2, dtype=np.int32), (2, 1))
    worth = np.array([[1, 0.75], [1, 0.5]], np.float32)
    for floor, price in ((0.25, 0.25), (0.75, 0.5)):
        own = goals(2, {"items": ["1"], "floor": floor})
        limits = own.least(2, 1), own.most(2, 1), DEAR
        found = linear_plan((ids, worth), own, np.ones(1), 1.0, limits)
        assert found.prices == pytest.approx([price])
        own = goals(2, {"items": ["0"], "cap": 1 - floor})
        limits = own.least(2, 1), own.most(2, 1), DEAR
        found = linear_plan((ids, worth), own, np.ones(1), 1.0, limits)
        assert found.prices == pytest.approx([-price])


def check(made: Plan, pools: ItemsBatch, worth: Float32Array, own: CompiledGoals, k: int) -> None:
    """What holds of every plan, read from its slates."""
    exposure = np.zeros(own.n_items)
    value = 0.0
    for row, (ids, pool) in enumerate(zip(made.slates.ids, pools.ids, strict=True)):
        shown = ids[ids != PADDING]
        assert len(shown) == min(k, (pool != PADDING).sum())
        assert len(np.unique(shown)) == len(shown)
        at = [pool.tolist().index(item) for item in shown]
        exposure[shown] += dcg(k)[: len(shown)]
        value += worth[row, at] @ dcg(k)[: len(shown)]
    assert made.value == pytest.approx(value)
    np.testing.assert_allclose(made.given, own.given(exposure), atol=1e-9)
    least, most = own.least(exposure.sum(), 1), own.most(exposure.sum(), 1)
    short = np.maximum(least - made.given, 0) + np.maximum(made.given - most, 0)
    np.testing.assert_allclose(made.shortfall, short, atol=1e-6)
    assert made.value <= made.bound + 1e-9 <= made.best + 2e-9
    assert (made.given <= made.attainable + 1e-9).all()
    assert made.feasible == (not made.shortfall.any())


@pytest.mark.parametrize("small", [0, 20_000])
@pytest.mark.parametrize("cost", [0.1, 1.0])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_plans_and_their_bounds_against_all_slates(small: int, cost: float, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposure_plan, "SMALL", small)
        patch.setattr(exposure_plan, "ANSWERS", 300)
        pools, worth = world(seed, 3, 4, 5, short=True)
        own = goals(5, {"each": "item_id", "floor": 0.5, "unit": "even"})
        made = plan(pools, worth, own, 2, attention=dcg(2), cost=cost)
        check(made, pools, worth, own, 2)
        slates = every_slate(pools, worth, 2, 5)
        allowed = [rows[rows[:, -1] >= (1 - cost) * rows[:, -1].max() - 1e-9] for rows in slates]
        totals = [sum(choice) for choice in product(*allowed)]
        given = np.array([own.given(total[:-1]) for total in totals])
        least = own.least(totals[0][:-1].sum(), 1)
        as_good = (given >= least - made.shortfall - 1e-9).all(1)
        best = max(total[-1] for total, fits in zip(totals, as_good, strict=True) if fits)
        assert made.value <= best + 1e-6 <= made.bound + 2e-6


@pytest.mark.parametrize("small", [0, 10**6])
def test_a_plan_of_many_rows_meets_its_goals_near_the_bound(
    monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    """A linear programme leaves as many rows mixed as goals press, 20 of 100 here at most; a
    slate that is not mixed loses no more than the price of what it shows instead.
    """
    monkeypatch.setattr(exposure_plan, "SMALL", small)
    pools, worth = world(1, 100, 15, 20)
    own = goals(20, {"each": "item_id", "floor": 0.7, "cap": 2, "unit": "even"})
    made = plan(pools, worth, own, 5, attention=dcg(5), cost=1)
    check(made, pools, worth, own, 5)
    assert made.feasible
    assert made.gap < 0.02
    again = plan(pools, worth, own, 5, attention=dcg(5), cost=1)
    assert (again.slates.ids == made.slates.ids).all()


def test_the_dual_of_many_rows_is_the_linear_programme(monkeypatch: pytest.MonkeyPatch) -> None:
    pools, worth = world(2, 200, 12, 20)
    own = goals(20, {"each": "item_id", "floor": 0.8, "unit": "even"})
    total = 200 * dcg(4).sum()
    for cost in (0.1, 1.0):
        limits = own.least(total, 1), own.most(total, 1), DEAR
        exact = linear_plan((pools.ids, worth), own, dcg(4), cost, limits)
        monkeypatch.setattr(exposure_plan, "SMALL", 0)
        made = plan(pools, worth, own, 4, attention=dcg(4), cost=cost)
        assert not exact.missing.any()
        assert made.feasible
        # Prices of an answer in 20,000 are off by about a percent, which the dual feels squared.
        assert exact.value - 1e-6 <= made.bound <= exact.value * 1.002


def test_a_plan_keeps_what_each_row_may_lose() -> None:
    pools, worth = world(3, 60, 15, 20)
    own = goals(20, {"each": "item_id", "floor": 0.95, "unit": "even"})
    made = plan(pools, worth, own, 5, attention=dcg(5), cost=0.02)
    best = -np.sort(-worth, axis=1)[:, :5] @ dcg(5)
    assert not made.feasible
    assert (made.slates.columns[WORTH] @ dcg(5) >= 0.98 * best - 1e-6).all()


def test_what_no_pool_holds_is_missing_and_named_so() -> None:
    pools, worth = world(4, 50, 6, 8)
    own = goals(10, {"items": ["9"], "floor": 0.1}, {"items": ["7"], "floor": 0.2})
    made = plan(pools, worth, own, 3, attention=dcg(3), cost=1)
    total = 50 * dcg(3).sum()
    np.testing.assert_allclose(made.shortfall, [0.1 * total, 0], atol=1e-9)
    assert made.attainable.tolist() == [0, (pools.ids == 7).sum()]


def test_what_goals_can_attain() -> None:
    ids = np.array([[0, 1, 2], [2, 3, PADDING]], np.int32)
    pools = ItemsBatch(ids, np.zeros((2, 3), np.float32))
    own = goals(4, {"items": ["1", "2"], "floor": 0.1}, {"items": ["3"], "floor": 0.1})
    made = plan(pools, np.ones((2, 3), np.float32), own, 2, attention=np.array([1, 0.5]), cost=1)
    assert made.attainable.tolist() == [2.5, 1]


def test_without_goals_a_plan_is_the_best_slates() -> None:
    pools, worth = world(5, 30, 6, 8, short=True)
    made = plan(pools, worth, goals(8), 3, attention=dcg(3), cost=0.1)
    assert made.value == pytest.approx(made.best)
    assert made.bound == pytest.approx(made.best)
    assert made.gap == pytest.approx(0)
    assert made.feasible


def test_budgets_cover_the_days_of_a_plan() -> None:
    pools, worth = world(6, 100, 6, 8)
    budget = goals(8, {"items": ["7"], "floor": 10, "cap": 12, "unit": "budget"})
    for days in (1.0, 2.0):
        made = plan(pools, worth, budget, 3, attention=dcg(3), cost=1, days=days)
        assert made.feasible
        assert 10 * days <= made.given[0] <= 12 * days


def test_no_rows_are_no_error() -> None:
    pools = ItemsBatch(np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32))
    made = plan(pools, pools.scores, goals(3, {"floor": 1.0}), 2, attention=dcg(2), cost=1)
    assert made.slates.ids.shape == (0, 2)
    assert (made.value, made.gap, made.feasible) == (0, 0, True)


def test_items_the_goals_do_not_know_are_named() -> None:
    pools, worth = world(7, 5, 6, 8)
    with pytest.raises(DataError, match=re.escape("the goals were compiled for 2 items")):
        plan(pools, worth, goals(2, {"floor": 1.0}), 3, attention=dcg(3), cost=1)
