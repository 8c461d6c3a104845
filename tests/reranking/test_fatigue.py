"""What was shown in vain steps back, and nothing else moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.items import PADDING, Int32Array, ItemsBatch
from tailrec.reranking.fatigue import rested

N_ITEMS = 12


def pools(*rows: dict[int, float]) -> ItemsBatch:
    """Pools of items with their scores, and where each stood as a column."""
    width = max(map(len, rows))
    ids = np.full((len(rows), width), PADDING, np.int32)
    scores = np.full((len(rows), width), -np.inf, np.float32)
    for n, row in enumerate(rows):
        ids[n, : len(row)], scores[n, : len(row)] = list(row), list(row.values())
    stood = np.tile(np.arange(width, dtype=np.int8), (len(rows), 1))
    return ItemsBatch(ids, scores, {"stood": stood})


def shown(*pairs: tuple[int, int]) -> tuple[Int32Array, Int32Array]:
    """Rows and items of showings."""
    flat = np.array(pairs, np.int32).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]


def naive(
    pool: ItemsBatch, row: int, times: dict[int, int], fatigue: float
) -> list[tuple[int, float, int]]:
    """Item, score and former place, one row at a time and by Python's own stable sort."""
    told = []
    for place, (item, score) in enumerate(zip(pool.ids[row], pool.scores[row], strict=True)):
        new = float(score)
        if item != PADDING and new > 0:
            new = float(np.float32(new * (1 - fatigue) ** times.get(int(item), 0)))
        told.append((int(item), new, place))
    return sorted(told, key=lambda one: -one[1])


def test_every_showing_takes_its_share() -> None:
    pool = pools({0: 1.0, 1: 0.9, 2: 0.5})
    slates = rested(pool, *shown((0, 0), (0, 0), (0, 2)), 0.1)
    assert slates.ids.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(slates.scores, [[0.9, 0.81, 0.45]], rtol=1e-6)
    assert slates.columns["stood"].tolist() == [[1, 0, 2]]


def test_a_showing_is_that_persons_alone() -> None:
    """Number 3 shown to the first is not number 0 shown to the second, nor padding to anybody."""
    pool = pools({0: 1.0, 3: 0.9}, {0: 1.0, 1: 0.9, 2: 0.8})
    slates = rested(pool, *shown((0, 3), (0, 0), (0, 0), (0, 9)), 0.5)
    assert slates.ids.tolist() == [[3, 0, PADDING], [0, 1, 2]]
    np.testing.assert_allclose(slates.scores[1], [1.0, 0.9, 0.8])


def test_what_only_fills_up_stays_below_and_in_order() -> None:
    pool = pools({0: 0.4, 1: 0.2, 2: -1.0, 3: -2.0, 4: -3.0})
    for fatigue in (0.05, 0.5, 1.0):
        times = [(0, item) for item in (0, 0, 0, 1, 2, 2, 2, 3)]
        slates = rested(pool, *shown(*times), fatigue)
        assert set(slates.ids[0, :2].tolist()) == {0, 1}
        assert slates.ids[0, 2:].tolist() == [2, 3, 4]
        assert slates.scores[0, 2:].tolist() == [-1.0, -2.0, -3.0]


def test_equals_stay_in_the_order_they_came_in() -> None:
    pool = pools({5: 0.5, 2: 0.5, 7: 0.5, 1: 0.25})
    assert rested(pool, *shown((0, 5)), 0.5).ids.tolist() == [[2, 7, 5, 1]]
    order = np.argsort(-pool.scores, axis=1, kind="stable")
    assert pool.ordered(order).ids.tolist() == pool.ids.tolist()


@pytest.mark.parametrize(("times", "fatigue"), [([], 0.5), ([(0, 0)], 0.0)])
def test_without_showings_or_fatigue_the_pools_stay(
    times: list[tuple[int, int]], fatigue: float
) -> None:
    pool = pools({0: 1.0, 1: 0.9}, {})
    assert rested(pool, *shown(*times), fatigue) is pool


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.lists(
            st.tuples(
                st.integers(0, N_ITEMS - 1),
                st.sampled_from([1.0, 0.9, 0.5, 0.5, 0.25, 1e-30, 0.0, -1.0, -2.0]),
            ),
            max_size=8,
            unique_by=lambda one: one[0],
        ),
        min_size=1,
        max_size=4,
    ).filter(lambda rows: any(rows)),
    told=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2 * N_ITEMS)), max_size=25),
    fatigue=st.sampled_from([0.05, 0.3, 0.5, 1.0]),
)
def test_the_pools_of_the_plain_reading(
    rows: list[list[tuple[int, float]]], told: list[tuple[int, int]], fatigue: float
) -> None:
    pool = pools(*(dict(sorted(row, key=lambda one: -one[1])) for row in rows))
    told = [(row, item) for row, item in told if row < len(rows)]
    slates = rested(pool, *shown(*told), fatigue)
    for row in range(len(rows)):
        times = {item: told.count((row, item)) for _, item in told}
        expected = naive(pool, row, times, fatigue)
        assert slates.ids[row].tolist() == [item for item, _, _ in expected]
        np.testing.assert_allclose(slates.scores[row], [s for _, s, _ in expected], rtol=1e-6)
        assert slates.columns["stood"][row].tolist() == [place for _, _, place in expected]
