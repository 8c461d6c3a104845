import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tests.search.small import TITLES, catalog_of, found, index_of, meaningless, put

from tailrec.errors import DataError
from tailrec.search.index import SearchIndex, SearchRecipe


def test_a_new_item_is_found_by_a_word_nobody_had(index: SearchIndex) -> None:
    later = put(index, {8: "Qwertish teapot"}, 9)
    assert found(later, "qwertish").items.ids.tolist() == [8]
    assert not len(found(index, "qwertish").items)


def test_a_changed_item_is_found_by_its_new_words_alone(index: SearchIndex) -> None:
    later = put(index, {2: "watering can"}, 8)
    assert 2 in found(index, "hose").items.ids
    assert not len(found(later, "hose").items)
    assert found(later, "watering").items.ids.tolist() == [2]
    assert found(later, "garden").items.ids.tolist() == [3]


def test_putting_an_item_again_replaces_it(index: SearchIndex) -> None:
    twice = put(put(index, {8: "alpha", 9: "beta"}, 10), {8: "gamma"}, 10)
    assert not len(found(twice, "alpha").items)
    assert found(twice, "gamma").items.ids.tolist() == [8]
    assert found(twice, "beta").items.ids.tolist() == [9]


def test_an_item_without_words_is_not_found(index: SearchIndex) -> None:
    assert 0 not in found(put(index, {0: ""}, 8), "red ceramic mug").items.ids


def test_numbers_nobody_described_match_nothing(index: SearchIndex) -> None:
    later = put(index, {11: "teapot"}, 12)
    assert found(later, "teapot").items.ids.tolist() == [11]
    assert later.read("red mug").fit[8:11].tolist() == [0, 0, 0]


def test_everything_put_again_scores_as_the_fit(index: SearchIndex) -> None:
    """The statistics are those of the fit, and so is every score."""
    again = put(index, dict(enumerate(TITLES)), len(TITLES))
    for words in ("red", "red mug", "lipstik", "ceramic garden", "creme", "clo"):
        assert_array_equal(again.read(words).fit, index.read(words).fit)
        assert again.read(words).corrected == index.read(words).corrected


def test_an_item_put_later_scores_as_one_fitted() -> None:
    """A word that half of the items have is as rare among half of them as among all."""
    titles = ["red mug", "blue bowl"] * 40
    whole = index_of(titles)
    half = put(index_of(titles[:40]), {n: titles[n] for n in range(40, 80)}, 80)
    for words in ("red mug", "mug", "blue", "bowls"):
        assert_allclose(half.read(words).fit, whole.read(words).fit, rtol=1e-6)


def test_a_new_word_is_as_rare_as_it_is_among_new_items(index: SearchIndex) -> None:
    one = put(index, {8: "novelty mug"}, 9)
    many = put(index, {8 + at: "novelty mug" for at in range(4)}, 12)
    rarity = [part.overlay.postings.rarity_of_term("novelty") for part in (one, many)]
    assert_allclose(rarity, np.log1p((8 - np.array([1, 4]) + 0.5) / (np.array([1, 4]) + 0.5)))


def test_one_by_one_or_together_is_the_same(index: SearchIndex) -> None:
    titles = {8: "novel teapot", 3: "garden chair", 9: "novel mug", 1: "bowl"}
    together = put(index, titles, 10)
    single = index
    for number, title in titles.items():
        single = put(single, {number: title}, 10)
    for words in ("novel", "novel mug", "garden chair", "bowl", "teapto"):
        assert_array_equal(single.read(words).fit, together.read(words).fit)


def test_nothing_of_the_fit_is_copied_or_changed(index: SearchIndex) -> None:
    before = index.read("red mug").fit
    later = put(index, {0: "pan", 8: "pot"}, 9)
    assert later.postings is index.postings
    assert later.dense is index.dense
    assert_array_equal(index.read("red mug").fit, before)


def test_the_meaning_of_a_changed_item_is_its_new_one() -> None:
    dense = np.eye(3, dtype=np.float32)
    index = SearchRecipe().fit(catalog_of(["mug", "bowl", "pan"]), dense)
    later = index.put(catalog_of(["cup", "jar"]), np.array([0, 3], np.int32), dense[[1, 0]], 4)
    reading, counts = later.read("thing"), np.zeros(4, np.int64)
    first = later.search(reading, dense[0], k=4, counts=counts)
    second = later.search(reading, dense[1], k=4, counts=counts)
    assert first.items.ids.tolist() == [3]
    assert second.items.ids.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("numbers", "dim", "n_items"),
    [([0], 0, 9), ([0, 0], 0, 9), ([0, 9], 0, 9), ([0, -1], 0, 9), ([0, 1], 2, 9), ([0, 1], 0, 7)],
)
def test_what_does_not_fit_is_refused(
    index: SearchIndex, numbers: list[int], dim: int, n_items: int
) -> None:
    dense = np.zeros((2, dim), np.float32)
    with pytest.raises(DataError, match="do not fit an index of 8 items"):
        index.put(catalog_of(["a", "b"]), np.array(numbers, np.int32), dense, n_items)


def test_putting_nothing_changes_nothing(index: SearchIndex) -> None:
    same = index.put(catalog_of([]), np.zeros(0, np.int32), meaningless(0), 8)
    assert_array_equal(same.read("red mug").fit, index.read("red mug").fit)
