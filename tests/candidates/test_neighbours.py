"""ItemKNN against cosines by hand."""

import numpy as np
import pytest
from tests.worlds import crowd, ring, shop, words_of

from tailrec.candidates import neighbours as module
from tailrec.candidates.neighbours import ItemKnn, ItemKnnModel
from tailrec.dataset import Dataset


def fitted(recipe: ItemKnn, data: Dataset) -> ItemKnnModel:
    """The recipe's model."""
    return recipe.fit(data, words_of(data), rng=np.random.default_rng(0))


def test_cosines_by_hand() -> None:
    """Item 0 has 2 people, item 1 has 3, item 2 has 1; repeats do not count."""
    data = shop([[0, 1, 0], [1, 0], [1, 2, 2]], ["a", "b", "c"])
    s, t = 2 / np.sqrt(6), 1 / np.sqrt(3)
    plain = [[0, s, 0], [s, 0, t], [0, t, 0]]
    np.testing.assert_allclose(fitted(ItemKnn(), data).matrix.toarray(), plain, rtol=1e-6)
    s, t = 2 / (np.sqrt(6) + 1), 1 / (np.sqrt(3) + 1)
    shrunk = [[0, s, 0], [s, 0, t], [0, t, 0]]
    model = fitted(ItemKnn(shrinkage=1), data)
    np.testing.assert_allclose(model.matrix.toarray(), shrunk, rtol=1e-6)


def test_only_the_nearest_are_kept() -> None:
    data = shop([[0, 1, 0], [1, 0], [1, 2, 2]], ["a", "b", "c"])
    matrix = fitted(ItemKnn(neighbours=1), data).matrix.toarray()
    assert (matrix > 0).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, True, False],
    ]


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    data = crowd(rng)
    whole = fitted(ItemKnn(), data).matrix.toarray()
    monkeypatch.setattr(module, "_ROWS_PER_BLOCK", 7)
    np.testing.assert_array_equal(fitted(ItemKnn(), data).matrix.toarray(), whole)


def test_recency_finds_the_way_forward() -> None:
    """Round a ring, what lies ahead of the last stop wins only where the past fades."""
    data = ring()
    ahead = (np.arange(data.n_users) + 4) % data.n_items
    behind = (np.arange(data.n_users) - 1) % data.n_items
    fading = fitted(ItemKnn(decay=0.5), data).candidates(data.queries(), 2)
    np.testing.assert_array_equal(fading.ids[:, 0], ahead)
    plain = fitted(ItemKnn(), data).candidates(data.queries(), 2)
    np.testing.assert_allclose(plain.scores[:, 0], plain.scores[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(
        np.sort(plain.ids, axis=1), np.sort(np.column_stack([ahead, behind]), axis=1)
    )
