"""Novelty and serendipity by hand, and what must always hold of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.rows import ragged, slates

from tailrec.evaluation.accuracy import accuracy
from tailrec.evaluation.novelty import novelty, popularity_strength, serendipity
from tailrec.hits import count_targets, find_hits


def test_novelty_by_hand() -> None:
    n_having = np.array([8, 4, 1, 0])
    ids = slates([[0, 1], [1, 2], [3], []], k=2)
    figures = novelty(ids, n_having, 8, at=(1, 2))
    np.testing.assert_array_equal(figures["novelty@1"], [0, 1, 3, np.nan])
    # An item that nobody has is as novel as one that a single person has.
    np.testing.assert_array_equal(figures["novelty@2"], [0.5, 2, 3, np.nan])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_rarest_items_are_the_most_novel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_having = rng.integers(0, 30, 12)
    rarest = np.argsort(n_having)[None].astype(np.int32)
    best = novelty(rarest, n_having, 30, at=(4,))["novelty@4"][0]
    other = novelty(rng.permutation(12)[None].astype(np.int32), n_having, 30, at=(4,))
    # Sums of the same numbers in another order differ by rounding.
    assert 0 <= other["novelty@4"][0] <= best + 1e-12
    assert best <= np.log2(30) + 1e-12


def test_popularity_gives_items_their_strength() -> None:
    # Two items share the second place; the last has no events, and no strength.
    assert popularity_strength(np.array([5, 9, 5, 1, 0])).tolist() == [4 / 5, 1, 4 / 5, 2 / 5, 0]


def test_serendipity_by_hand() -> None:
    counts = np.array([9, 5, 1, 0])
    ids = slates([[0, 2], [3, 1], [2, 0], [1]], k=2)
    ptr, target = ragged([[0, 2], [3, 1], [], [0]])
    hits, n_targets = find_hits(ids, ptr, target), count_targets(ptr, target)
    figures = serendipity(ids, hits, n_targets, counts, at=(1, 2))
    # Strengths by place: 1, 3/4; by popularity of items 0..3: 1, 3/4, 1/2, 0.
    np.testing.assert_array_equal(figures["serendipity@1"], [0, 1, np.nan, 0])
    np.testing.assert_array_equal(figures["serendipity@2"], [1 / 8, 1 / 2, np.nan, 0])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_serendipity_is_a_part_of_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, 15)
    ids = rng.permuted(np.tile(np.arange(15, dtype=np.int32), (5, 1)), axis=1)[:, :6]
    ptr, target = ragged([rng.permutation(15)[:3].tolist() for _ in range(5)])
    hits, n_targets = find_hits(ids, ptr, target), count_targets(ptr, target)
    own = serendipity(ids, hits, n_targets, counts, at=(6,))["serendipity@6"]
    assert (own >= 0).all()
    assert (own <= accuracy(hits, n_targets, (6,))["precision@6"]).all()
    # Slates by popularity alone never surprise.
    popular = np.tile(np.argsort(-counts, kind="stable").astype(np.int32), (5, 1))
    found = find_hits(popular, ptr, target)
    plain = serendipity(popular, found, n_targets, np.maximum(counts, 1), at=(15,))
    assert plain["serendipity@15"] == pytest.approx(np.zeros(5))
