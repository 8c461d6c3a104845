import numpy as np
import pytest
from tests.reranking.pools import by_method, generic, greedy, pools_of

from tailrec.items import PADDING
from tailrec.reranking.categories import Categories
from tailrec.reranking.pool import scaled


def chosen(code: list[int], scores: list[float], strength: float, n: int) -> list[int]:
    made = Categories(np.array([code], np.int32), n)
    slates = made.slates(scaled(pools_of([scores])), np.array([[strength]]), n)
    return [int(at) for at in slates[0, 0] if at != PADDING]


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("window", [1, 2, 12])
def test_the_choice_is_the_one_of_a_plain_reading(strength: float, window: int) -> None:
    world = generic(8, n_rows=5, size=12)
    made = Categories(world.sides.code[world.pools.ids], window)
    got = made.slates(scaled(world.pools), np.full((5, 1), strength), 12)[:, 0]
    for row, slate in enumerate(got):
        gain = by_method(world, row, "categories", strength, window)
        assert slate.tolist() == greedy(world.pools.scores[row], 12, gain)


def at_floor(floor: float) -> float:
    """The strength whose floor of relevance this is."""
    return float(1 - np.cbrt(floor))


def test_a_slate_shows_as_many_categories_as_the_floor_allows() -> None:
    code, scores = [0, 0, 1, 0, 2, 3], [1.0, 0.9, 0.8, 0.7, 0.5, 0.0]
    # Item 3 stands below the floor: it is taken where nothing else is left.
    assert chosen(code, scores, at_floor(0.75), 4) == [0, 2, 1, 3]
    assert chosen(code, scores, at_floor(0.45), 4) == [0, 2, 4, 1]
    assert chosen(code, scores, 1.0, 4) == [0, 2, 4, 5]


def test_below_the_floor_there_is_no_choice() -> None:
    assert chosen([0, 0, 0, 1], [1.0, 0.3, 0.2, 0.0], at_floor(0.5), 4) == [0, 1, 2, 3]


def test_items_without_a_category_are_no_new_one() -> None:
    assert chosen([-1, -1, 0, 0], [4.0, 3.0, 2.0, 1.0], 1.0, 4) == [2, 0, 1, 3]
    assert chosen([-1, -1, -1, -1], [4.0, 3.0, 2.0, 1.0], 1.0, 4) == [0, 1, 2, 3]


def test_items_of_one_score_are_all_above_the_floor() -> None:
    assert chosen([0, 0, 1], [2.0, 2.0, 2.0], 1 / 32, 3) == [0, 2, 1]


def test_categories_are_counted_once_and_anew_behind_a_window() -> None:
    code = np.array([[0, 0, 1, -1]], np.int32)
    slates = np.array([[[0, 1, 2, 3], [0, 2, 1, 3], [3, PADDING, PADDING, PADDING]]], np.int32)
    assert Categories(code, 4).measure(slates).tolist() == [[2, 2, 0]]
    assert Categories(code, 1).measure(slates).tolist() == [[2, 3, 0]]
