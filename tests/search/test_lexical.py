import bm25s
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tests.search.small import catalog_of

from tailrec.search.lexical import Bm25, Postings
from tailrec.search.vocabulary import words_of

NAMES = ["mug", "bowl", "cup", "tea", "red", "blue", "steel", "for", "the", "of", "set"]


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.6, 0.3), (2.0, 1.0), (1.5, 0.0)])
def test_one_field_is_the_bm25_of_others(rng: np.random.Generator, k1: float, b: float) -> None:
    titles = [" ".join(rng.choice(NAMES, rng.integers(1, 12))) for _ in range(60)]
    ours = Bm25(k1=k1, b=b).fit(catalog_of(titles))
    theirs = bm25s.BM25(k1=k1, b=b, method="lucene")
    theirs.index([words_of(title) for title in titles], show_progress=False)
    for asked in (["mug"], ["red", "tea"], NAMES):
        mine = ours.scores([{word: 1.0} for word in asked])
        assert_allclose(mine, theirs.get_scores(asked), rtol=1e-5, atol=1e-6)


def test_a_word_in_two_fields_is_no_two_words() -> None:
    """Counts of fields are added up before they are weighed."""
    catalog = catalog_of(["acme", "acme", "mug"], brand=["acme", None, "other"])
    k1, b = 1.2, 0.0
    scores = Bm25(k1=k1, b=b, brand=0.5).fit(catalog).scores([{"acme": 1.0}])
    rarity = np.log1p((3 - 2 + 0.5) / (2 + 0.5))
    assert_allclose(scores, [rarity * 1.5 / (k1 + 1.5), rarity / (k1 + 1), 0], rtol=1e-6)


def test_a_field_without_weight_is_not_read() -> None:
    catalog = catalog_of(["mug", "bowl"], brand=["acme", "acme"])
    found = Bm25(brand=0).fit(catalog)
    assert not found.scores([{"acme": 1.0}]).any()
    assert found.vocabulary.find("acme") == -1


def test_a_field_is_long_beside_those_that_have_it() -> None:
    """One item of ten has a description of usual length: its words count as they are."""
    described = [None] * 9 + ["soft green felt"]
    catalog = catalog_of(["x"] * 10, description=described)
    scores = Bm25(k1=1.0, description=1.0).fit(catalog).scores([{"felt": 1.0}])
    assert_allclose(scores[9], np.log1p(9.5 / 1.5) / 2, rtol=1e-6)


def test_of_terms_for_one_word_the_best_counts() -> None:
    postings = Bm25(b=0).fit(catalog_of(["mug cup", "mug", "cup", "jar"]))
    mug, cup = (postings.scores([{term: 1.0}]) for term in ("mug", "cup"))
    together = postings.scores([{"mug": 1.0, "cup": 0.5, "nothing": 1.0}])
    assert_array_equal(together, np.maximum(mug, np.float32(0.5) * cup))
    assert_array_equal(postings.scores([{"mug": 1.0}, {"cup": 1.0}]), mug + cup)


def test_what_a_term_counts_in_one_item() -> None:
    postings = Bm25().fit(catalog_of(["red mug", "red red bowl", "mug"]))
    for term in ("red", "mug", "bowl", "nothing"):
        scores = postings.scores([{term: 1.0}])
        assert_array_equal([postings.weight(term, row) for row in range(3)], scores)
        assert postings.n_having(term) == (scores > 0).sum()
    assert postings.n_having_both("red", "mug") == 1
    assert postings.n_having_both("mug", "bowl") == 0


@pytest.mark.parametrize("titles", [[], ["", " !"], ["mug", ""]])
def test_catalogues_with_few_words(titles: list[str]) -> None:
    postings = Bm25().fit(catalog_of(titles))
    assert len(postings.scores([{"mug": 1.0}])) == len(titles)


def test_saved_and_loaded_it_scores_alike_and_copies_nothing() -> None:
    postings = Bm25().fit(catalog_of(["red mug", "紅茶 tea", "mug"]))
    arrays = postings.arrays()
    assert {array.dtype.name for array in arrays.values()} <= {
        "uint8",
        "int32",
        "int64",
        "float32",
    }
    again = Postings.from_arrays(arrays)
    for term in ("red", "紅", "紅 茶", "mug"):
        assert_array_equal(again.scores([{term: 1.0}]), postings.scores([{term: 1.0}]))
    assert np.shares_memory(again.weights, arrays["weights"])
    assert np.shares_memory(again.rows, arrays["rows"])
