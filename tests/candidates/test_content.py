"""Text neighbours: the kernel by hand, and items nobody had."""

import numpy as np
from tests.worlds import cold_twin, ring, shop, words_of

from tailrec.candidates.content import Content, ContentModel
from tailrec.dataset import Dataset, Features


def fitted(recipe: Content, data: Dataset, features: Features | None = None) -> ContentModel:
    """The recipe's model."""
    return recipe.fit(data, features or words_of(data), rng=np.random.default_rng(0))


def test_an_item_nobody_had_is_found_by_its_words() -> None:
    data = cold_twin()
    batch = fitted(Content(), data).candidates(data.queries(), 3)
    assert [batch[row].ids.tolist() for row in range(4)] == [[3], [3], [], [3]]


def test_words_and_meaning_add_up_by_hand() -> None:
    """Words give 1/2 between the first two; meaning .8, cubed; opposite meanings give nothing."""
    data = shop([], ["red tea", "red pot", "blue cup"])
    dense = np.array([[1, 0], [0.8, 0.6], [-1, 0]], np.float32)
    features = Features(words_of(data).words, dense)
    matrix = fitted(Content(words=2, meaning=3), data, features).matrix.toarray()
    both = 2 * 0.5 + 3 * 0.8**3
    np.testing.assert_allclose(matrix, [[0, both, 0], [both, 0, 0], [0, 0, 0]], rtol=1e-5)


def test_the_latest_item_counts_most() -> None:
    data = shop([[0, 1]], ["tea", "pot", "tea", "pot"])
    slates = fitted(Content(), data).candidates(data.queries(), 2)
    assert slates.ids.tolist() == [[3, 2]]
    np.testing.assert_allclose(slates.scores, [[1, 0.7]], rtol=1e-6)


def test_nothing_in_common_means_no_candidate() -> None:
    data = ring()
    assert np.all(fitted(Content(), data).candidates(data.queries(), 5).ids == -1)
