import re
from itertools import permutations
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec.errors import DataError
from tailrec.items import PADDING, Float32Array, ItemsBatch
from tailrec.reranking.attention import dcg
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_prices import (
    CEILING,
    START,
    STEP,
    WORTH,
    Controller,
    ExposureSums,
    goal_prices,
    steered,
)

N_ITEMS = 12


def goals(n_items: int, *given: dict[str, Any]) -> CompiledGoals:
    table = pl.DataFrame({"item_id": [str(n) for n in range(n_items)]})
    return Exposure.parse({"goals": given}).compiled(table, np.ones(n_items, np.bool_))


def pools_of(worth: list[list[float]]) -> tuple[ItemsBatch, Float32Array]:
    """Pools of items 0, 1, ... with a worth each."""
    values = np.array(worth, np.float32)
    ids = np.tile(np.arange(values.shape[1], dtype=np.int32), (len(values), 1))
    return ItemsBatch(ids, values), values


@st.composite
def drawn(draw: st.DrawFn) -> tuple[ItemsBatch, Float32Array, Float32Array, int]:
    """Pools with ties and padding, their worth, prices of the items, and places."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_rows, width = draw(st.integers(1, 4)), draw(st.integers(1, N_ITEMS))
    ids = np.stack([rng.permutation(N_ITEMS)[:width] for _ in range(n_rows)]).astype(np.int32)
    worth = rng.choice([0, 0.25, 0.5, 0.9, 1, 3], ids.shape).astype(np.float32)
    padded = np.arange(width) >= rng.integers(0, width + 1, n_rows)[:, None]
    ids[padded] = PADDING
    scores = np.where(padded, -np.inf, -np.arange(width)).astype(np.float32)
    prices = rng.choice([-1, 0, 0, 0.1, 0.5, 4], N_ITEMS).astype(np.float32)
    column = np.tile(np.arange(width), (n_rows, 1))
    return ItemsBatch(ids, scores, {"at": column}), worth, prices, draw(st.integers(1, 6))


def value(slates: ItemsBatch, k: int) -> np.ndarray:
    """Worth of each slate, weighted by attention."""
    total: np.ndarray = slates.columns[WORTH].astype(float) @ dcg(k)[: slates.ids.shape[1]]
    return total


@given(drawn(), st.floats(0, 1))
def test_slates_are_of_the_pool_and_never_cost_more_than_allowed(
    world: tuple[ItemsBatch, Float32Array, Float32Array, int], cost: float
) -> None:
    pools, worth, prices, k = world
    slates = steered(pools, worth, prices, k, attention=dcg(k), cost=cost)
    best = steered(pools, worth, prices, k, attention=dcg(k), cost=0)
    for row in range(len(pools)):
        shown, pool = slates.ids[row], pools.ids[row]
        size = (pool != PADDING).sum()
        filled = shown[: min(k, size)]
        assert (shown[len(filled) :] == PADDING).all()
        assert len(set(filled.tolist())) == len(filled)
        assert set(filled.tolist()) <= set(pool.tolist()) - {PADDING}
        at = slates.columns["at"][row, : len(filled)]
        assert (pool[at] == filled).all()
        assert (slates.columns[WORTH][row, : len(filled)] == worth[row, at]).all()
        assert (slates.scores[row, : len(filled)] == pools.scores[row, at]).all()
    # Rounding of a sum of at most six terms.
    assert (value(slates, k) >= (1 - cost) * value(best, k) - 1e-12).all()


@given(drawn(), st.floats(0, 1))
def test_a_row_alone_is_served_as_in_a_batch(
    world: tuple[ItemsBatch, Float32Array, Float32Array, int], cost: float
) -> None:
    pools, worth, prices, k = world
    together = steered(pools, worth, prices, k, attention=dcg(k), cost=cost)
    for row in range(len(pools)):
        one = ItemsBatch(pools.ids[[row]], pools.scores[[row]])
        alone = steered(one, worth[[row]], prices, k, attention=dcg(k), cost=cost)
        assert alone.ids[0].tolist() == together.ids[row].tolist()


@given(drawn())
def test_without_prices_slates_are_by_worth_and_ties_by_pool(
    world: tuple[ItemsBatch, Float32Array, Float32Array, int],
) -> None:
    pools, worth, _, k = world
    for cost in (0.0, 1.0):
        nothing = np.zeros(N_ITEMS, np.float32)
        slates = steered(pools, worth, nothing, k, attention=dcg(k), cost=cost)
        weighed = np.where(pools.ids == PADDING, -np.inf, worth)
        order = np.argsort(-weighed, axis=1, kind="stable")[:, :k]
        assert (slates.ids == np.take_along_axis(pools.ids, order, axis=1)).all()


@given(drawn())
def test_at_any_cost_no_order_has_more_worth_and_price(
    world: tuple[ItemsBatch, Float32Array, Float32Array, int],
) -> None:
    pools, worth, prices, _ = world
    k = 3
    slates = steered(pools, worth, prices, k, attention=dcg(k), cost=1)
    for row in range(len(pools)):
        kept = pools.ids[row] != PADDING
        gain = worth[row][kept].astype(float) + prices[pools.ids[row][kept]]
        attention = dcg(k)[: kept.sum()]
        most = max(
            gain[list(order)] @ attention
            for order in permutations(range(len(gain)), len(attention))
        )
        shown = slates.ids[row][slates.ids[row] != PADDING]
        taken = [pools.ids[row][kept].tolist().index(item) for item in shown]
        assert gain[taken] @ attention == pytest.approx(most)


def test_what_may_be_lost_decides_how_far_a_slate_leans() -> None:
    pools, worth = pools_of([[1.0, 0.9, 0.8, 0.5, 0.2]])
    prices = np.array([0, 0, 0, 0, 9], np.float32)
    attention = np.array([1.0, 0.5])

    def shown(cost: float) -> list[int]:
        slates = steered(pools, worth, prices, 2, attention=attention, cost=cost)
        return slates.ids[0].tolist()

    # The best is 1 + .45. Item 4 below item 0 takes .35 of it, above item 0 takes .75.
    assert shown(0.24) == [0, 1]
    assert shown(0.2414) == [0, 4]
    assert shown(0.51) == [0, 4]
    assert shown(0.52) == [4, 0]


def test_what_is_left_of_the_cost_goes_to_exchanges() -> None:
    """Both dear items together lose too much at every rho; one of them does not."""
    pools, worth = pools_of([[1.0, 1.0, 0.5, 0.5]])
    prices = np.array([0, 0, 1, 1], np.float32)
    slates = steered(pools, worth, prices, 2, attention=np.ones(2), cost=0.3)
    assert sorted(slates.ids[0].tolist()) == [1, 2]


@given(drawn())
def test_more_cost_never_shows_less_of_what_has_a_price(
    world: tuple[ItemsBatch, Float32Array, Float32Array, int],
) -> None:
    """With one item that has a price, its place only rises along the cost."""
    pools, worth, _, k = world
    prices = np.zeros(N_ITEMS, np.float32)
    prices[0] = 10
    seen = np.zeros(len(pools))
    for cost in (0.0, 0.05, 0.2, 0.5, 1.0):
        slates = steered(pools, worth, prices, k, attention=dcg(k), cost=cost)
        now = (slates.ids == 0) @ dcg(k)[: slates.ids.shape[1]]
        assert (now >= seen).all()
        seen = now


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"worth": np.ones((1, 2), np.float32)}, "worth is (1, 2) for pools of (1, 3)"),
        ({"worth": -np.ones((1, 3), np.float32)}, "worth goes from -1.0 to -1.0"),
        ({"worth": np.full((1, 3), np.nan, np.float32)}, "worth goes from nan"),
        ({"item_price": np.ones(2, np.float32)}, "item number 2; there are prices of 2"),
        ({"k": 0}, "attention is of 2 places for slates of 0"),
        ({"k": 3}, "attention is of 2 places for slates of 3"),
        ({"attention": np.array([0.5, 1.0])}, "must not rise"),
        ({"attention": np.array([0.5, -1.0])}, "nor fall below 0"),
        ({"cost": 1.1}, "cost is 1.1"),
        ({"cost": float("nan")}, "cost is nan"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], fault: str) -> None:
    pools, worth = pools_of([[3, 2, 1]])
    given = {"worth": worth, "item_price": np.ones(3, np.float32), "k": 2}
    with pytest.raises(DataError, match=re.escape(fault)):
        steered(pools, **(given | {"attention": np.ones(2), "cost": 0.1} | change))


def test_prices_by_the_formula() -> None:
    two = goals(4, {"items": ["0"], "floor": 0.36}, {"items": ["1"], "cap": 0.25})
    sums = ExposureSums(np.array([30.0, 31.0, 39.0, 0]), 50.0)  # mean worth 0.5
    floor = START * 0.5 + STEP * 0.5 * (36 - 30) / 6
    cap = START * 0.5 + STEP * 0.5 * (31 - 25) / 5
    np.testing.assert_allclose(goal_prices(two, sums), [floor, -cap])
    known = goal_prices(two, sums, start=np.array([0.1, -0.2]))
    np.testing.assert_allclose(known, [0.1 + floor - 0.25, -(0.2 + cap - 0.25)])


def test_prices_stay_between_nothing_and_the_highest() -> None:
    two = goals(3, {"items": ["0"], "floor": 0.9}, {"items": ["1"], "floor": 0.05})
    sums = ExposureSums(np.array([0.0, 1e6, 0.0]), 1e6)
    assert goal_prices(two, sums).tolist() == [CEILING, 0]


def test_budgets_are_owed_evenly_over_time() -> None:
    budget = goals(2, {"items": ["0"], "floor": 100, "unit": "budget"})
    sums = ExposureSums(np.array([50.0, 50.0]), 100.0)
    early, due, late = (goal_prices(budget, sums, days=d)[0] for d in (0.25, 0.5, 0.75))
    assert early < due == START < late


def test_prices_before_anything_was_shown_are_nothing_or_what_is_known() -> None:
    one = goals(2, {"items": ["0"], "floor": 0.5})
    assert goal_prices(one, ExposureSums.none(2)).tolist() == [0]
    assert goal_prices(one, ExposureSums.none(2), start=np.array([0.3])).tolist() == [0.3]
    with pytest.raises(DataError, match="2 prices to start from were given for 1 goals"):
        goal_prices(one, ExposureSums.none(2), start=np.ones(2))


def test_sums_of_two_workers_add_up_to_those_of_one() -> None:
    rng = np.random.default_rng(0)
    pools, worth = pools_of(rng.random((6, 5)).tolist())
    attention = np.array([1, 0.5, 0.25])  # sums of these are exact
    slates = steered(pools, worth, np.zeros(5, np.float32), 3, attention=attention, cost=0)
    columns = slates.columns[WORTH]
    parts = [
        ItemsBatch(slates.ids[rows], slates.scores[rows], {WORTH: columns[rows]})
        for rows in (slice(0, 2), slice(2, 6))
    ]
    one, two = (ExposureSums.of(part, attention, 5) for part in parts)
    both = ExposureSums.of(slates, attention, 5)
    assert (one + two).exposure.tolist() == both.exposure.tolist()
    assert (one + two).worth == pytest.approx(both.worth)
    assert both.total == 6 * 1.75


def test_padding_is_not_exposure() -> None:
    ids = np.array([[1, PADDING], [PADDING, PADDING]], np.int32)
    slates = ItemsBatch(ids, np.zeros((2, 2), np.float32), {WORTH: np.ones((2, 2), np.float32)})
    sums = ExposureSums.of(slates, np.array([1.0, 0.5]), 3)
    assert sums.exposure.tolist() == [0, 1, 0]
    assert sums.worth == 1


@pytest.mark.parametrize("weak", [0.9, 0.6, 0.1])
@pytest.mark.parametrize("between", [1, 50])
def test_a_floor_is_met_on_a_stream_that_stays_the_same(weak: float, between: int) -> None:
    """One place, worth 1 against `weak`: the price of the plan is their difference.

    Once the weak item's price passes it, every row shows the weak item. That is at the latest
    when what it is short of times the step has made up for what the start lacks; the rows until
    prices are next looked at come on top.
    """
    n_rows, floor = 2_000, 0.3
    pools, worth = pools_of([[1, weak]] * n_rows)
    one = goals(2, {"items": ["1"], "floor": floor})
    control = Controller(one, np.ones(1), cost=1, between=between)
    slates, sums = control.run(pools, worth, ExposureSums.none(2))
    mean = sums.worth / sums.total
    short = max((1 - weak) / mean - START, 0) / STEP * np.sqrt(floor * n_rows)
    assert sums.exposure[1] >= floor * n_rows - short - between
    assert sums.exposure[1] <= floor * n_rows + START / STEP * np.sqrt(floor * n_rows) + between
    assert slates.ids.shape == (n_rows, 1)
    again, _ = control.run(pools, worth, ExposureSums.none(2))
    assert (again.ids == slates.ids).all()


def test_a_cap_holds_and_known_prices_hold_it_at_once() -> None:
    n_rows, most = 1_000, 0.25
    pools, worth = pools_of([[1, 0.2]] * n_rows)
    one = goals(2, {"items": ["0"], "cap": most})
    plain = Controller(one, np.ones(1), cost=1, between=1)
    _, sums = plain.run(pools, worth, ExposureSums.none(2))
    mean = sums.worth / n_rows
    over = max(0.8 / mean - START, 0) / STEP * np.sqrt(most * n_rows)
    assert most * n_rows <= sums.exposure[0] <= most * n_rows + over + 1
    told = Controller(one, np.ones(1), cost=1, between=1, start=np.array([-0.8]))
    _, sums = told.run(pools, worth, ExposureSums.none(2))
    assert abs(sums.exposure[0] - most * n_rows) <= 1


def test_work_goes_on_from_the_sums_of_before() -> None:
    pools, worth = pools_of([[1, 0.5]] * 400)
    one = goals(2, {"items": ["1"], "floor": 0.4})
    control = Controller(one, np.ones(1), cost=1, between=10)
    whole, end = control.run(pools, worth, ExposureSums.none(2))
    half = ItemsBatch(pools.ids[:200], pools.scores[:200])
    first, sums = control.run(half, worth[:200], ExposureSums.none(2))
    second, sums = control.run(half, worth[200:], sums)
    assert np.concatenate([first.ids, second.ids]).tolist() == whole.ids.tolist()
    assert sums.exposure.tolist() == end.exposure.tolist()


def test_no_pools_and_empty_pools_are_no_error() -> None:
    one = goals(2, {"items": ["1"], "floor": 0.4})
    control = Controller(one, np.ones(3), cost=1)
    for shape in ((0, 2), (2, 0), (0, 0)):
        pools = ItemsBatch(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
        slates, sums = control.run(pools, pools.scores, ExposureSums.none(2))
        assert slates.ids.shape == shape
        assert sums.total == 0
