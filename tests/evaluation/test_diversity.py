"""Distance and categories of slates: by hand, and pair by pair."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.rows import slates, unit

from tailrec.evaluation.diversity import distinct_categories, intra_list_distance


def test_distances_by_hand() -> None:
    # Items 0 and 1 are alike, 2 shares nothing with them, 3 is half of each, 4 has no words.
    words = unit(np.array([[1.0, 0], [2, 0], [0, 1], [1, 1], [0, 0]]))
    ids = slates([[0, 1, 2], [0, 4, 3], [4, 2], [2], []], k=3)
    figures = intra_list_distance(ids, words, at=(1, 2, 3))
    half = 1 - np.sqrt(0.5)
    np.testing.assert_array_equal(figures["ild@1"], [np.nan] * 5)
    np.testing.assert_allclose(figures["ild@2"], [0, np.nan, np.nan, np.nan, np.nan], atol=1e-7)
    expected = [2 / 3, half, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(figures["ild@3"], expected, atol=1e-7)


def test_one_slate_leaves_nothing_behind_for_the_next() -> None:
    words = unit(np.eye(3))
    figures = intra_list_distance(slates([[0, 1], [0, 2], [0, 1]], k=2), words, at=(2,))
    assert figures["ild@2"].tolist() == [1, 1, 1]


@settings(deadline=None)  # the first call compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    n_slates=st.integers(1, 6),
    k=st.integers(1, 8),
    n_words=st.integers(1, 12),
)
def test_distances_are_those_of_all_pairs(seed: int, n_slates: int, k: int, n_words: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.poisson(0.4, (12, n_words)) * rng.random((12, n_words))
    shown = [rng.permutation(12)[: rng.integers(0, k + 1)].tolist() for _ in range(n_slates)]
    words = unit(vectors)
    got = intra_list_distance(slates(shown, k), words, at=(k,))[f"ild@{k}"]
    dense = words.toarray().astype(float)
    for row, slate in enumerate(shown):
        with_words = [item for item in slate if vectors[item].any()]
        pairs = [1 - dense[a] @ dense[b] for a, b in combinations(with_words, 2)]
        expected = np.mean(pairs) if pairs else np.nan
        assert got[row] == pytest.approx(expected, abs=1e-6, nan_ok=True)


@settings(deadline=None)  # the first call compiles
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_a_slate_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = unit(rng.random((8, 5)) * (rng.random((8, 5)) < 0.5))
    ids = rng.permutation(8)[None].astype(np.int32)
    both = [intra_list_distance(own, words, at=(8,))["ild@8"] for own in (ids, ids[:, ::-1].copy())]
    np.testing.assert_allclose(*both, rtol=1e-6, atol=1e-7)


def test_categories_by_hand() -> None:
    category = np.array([0, 0, 1, 2, -1], np.int32)
    ids = slates([[0, 1, 2], [4, 3, 0], [4], []], k=3)
    figures = distinct_categories(ids, category, at=(1, 2, 3, 9))
    assert figures["categories@1"].tolist() == [1, 0, 0, 0]
    assert figures["categories@2"].tolist() == [1, 1, 0, 0]
    assert figures["categories@3"].tolist() == [2, 2, 0, 0]
    assert figures["categories@9"].tolist() == [2, 2, 0, 0]
