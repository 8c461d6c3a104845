"""Popularity, counted by hand."""

from dataclasses import replace

import numpy as np
from tests.worlds import shop, words_of

from tailrec.candidates.popular import Popular, PopularModel
from tailrec.dataset import Dataset
from tailrec.items import PADDING


def fitted(recipe: Popular, data: Dataset) -> PopularModel:
    """The recipe's model."""
    return recipe.fit(data, words_of(data), rng=np.random.default_rng(0))


def test_items_are_listed_by_count_and_those_without_are_not() -> None:
    data = shop([[2, 0], [2, 1], [2]], ["a", "b", "c", "d"])
    model = fitted(Popular(), data)
    assert model.ids.tolist() == [2, 0, 1]
    assert model.scores.tolist() == [3, 1, 1]


def test_the_excluded_make_room_for_the_next() -> None:
    data = shop([[2, 0], [2, 1], [2]], ["a", "b", "c", "d"])
    batch = fitted(Popular(), data).candidates(data.queries(), 2)
    assert batch.ids.tolist() == [[1, PADDING], [0, PADDING], [0, 1]]


def test_weights_count() -> None:
    data = shop([[0], [1]], ["a", "b"])
    weighted = replace(data, weight=np.array([0.3, 1.0], np.float32))
    assert fitted(Popular(), weighted).ids.tolist() == [1, 0]


def test_an_event_counts_half_after_a_half_life() -> None:
    """Item 0 twice, long ago; item 1 once, lately. Now is day 4; the days are 0, 1 and 3."""
    data = shop([[0, 0, 2, 1]], ["a", "b", "c"])
    model = fitted(Popular(half_life_days=1.0), data)
    # Ages in days: 4 and 3 for item 0, 2 for item 2, 1 for item 1.
    assert model.ids.tolist() == [1, 2, 0]
    np.testing.assert_allclose(model.scores, [0.5, 0.25, 0.0625 + 0.125])
    assert fitted(Popular(), data).ids.tolist() == [0, 1, 2]
