"""Selection against the same thing written plainly, in NumPy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tests.worlds import crowd, shop

from tailrec.candidates.heap import csr_over, csr_view
from tailrec.candidates.select import (
    Weights,
    history_weights,
    padded_to_csr,
    pair_strengths,
    sparse_candidates,
    strongest,
    top_k,
)
from tailrec.dataset import Dataset
from tailrec.items import PADDING, Array, QueryBatch

seeds = st.integers(0, 2**32 - 1)


def best_plainly(scores: Array, excluded: Array, k: int) -> list[int]:
    """Numbers of the best k positive scores of one row, ties in the order of the catalogue."""
    order = np.lexsort((np.arange(len(scores)), -scores))
    return [item for item in order if scores[item] > 0 and item not in excluded][:k]


def requests(rng: np.random.Generator, n_requests: int, n_items: int) -> QueryBatch:
    """Requests with random exclusions, some none, some with repeats, and no history."""
    lengths = rng.integers(0, n_items, n_requests)
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    none = np.zeros(0, np.float32)
    return QueryBatch(
        np.zeros(n_requests + 1, np.int64),
        none.astype(np.int32),
        none.astype(np.int32),
        none,
        none,
        bounds,
        rng.integers(0, n_items, bounds[-1]).astype(np.int32),
    )


@settings(deadline=None, max_examples=60)
@given(seed=seeds, n_items=st.integers(1, 40), k=st.integers(1, 50))
def test_top_k_is_a_full_sort_cut_short(seed: int, n_items: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    # Few different values, so that ties are common; some below zero.
    scores = rng.integers(-3, 6, (12, n_items)).astype(np.float32)
    queries = requests(rng, 12, n_items)
    batch = top_k(scores, queries, k)
    for row in range(len(queries)):
        expected = best_plainly(scores[row], queries[row].exclude, k)
        assert batch[row].ids.tolist() == expected
        np.testing.assert_array_equal(batch[row].scores, scores[row][expected])


def weights_of(matrix: sparse.csr_array) -> Weights:
    """What a matrix says of past items, as `history_weights` gives it."""
    return Weights(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])


@settings(deadline=None, max_examples=60)
@given(
    seed=seeds,
    n_items=st.integers(1, 40),
    k=st.integers(1, 50),
    dial=st.booleans(),
    given=st.booleans(),
)
def test_sparse_candidates_are_those_of_the_product(
    seed: int, n_items: int, k: int, dial: bool, given: bool
) -> None:
    rng = np.random.default_rng(seed)
    # Small whole numbers and scales of 2: sums are exact, so ties are ties on both sides.
    weights = rng.integers(0, 3, (9, n_items)) * (rng.random((9, n_items)) < 0.3)
    matrix = rng.integers(-2, 4, (n_items, n_items)) * (rng.random((n_items, n_items)) < 0.4)
    row, column = 2.0 ** rng.integers(-2, 3, (2, n_items))
    liked = rng.permutation(n_items)[: rng.integers(0, n_items + 1)].astype(np.int32)
    prior = np.zeros(n_items)
    prior[liked] = rng.integers(1, 4, len(liked))
    options: dict[str, Any] = {"row_scale": row, "column_scale": column} if dial else {}
    options |= {"prior": (liked, prior[liked].astype(np.float32))} if given else {}
    queries = requests(rng, 9, n_items)
    batch = sparse_candidates(
        weights_of(sparse.csr_array(weights)), sparse.csr_array(matrix), queries, k, **options
    )
    scores = (weights * row) @ matrix if dial else weights @ matrix
    if given:
        scores = scores + prior * weights.any(axis=1, keepdims=True)
    scores = scores * column if dial else scores
    for query in range(len(queries)):
        expected = best_plainly(scores[query], queries[query].exclude, k)
        assert batch[query].ids.tolist() == expected
        np.testing.assert_array_equal(batch[query].scores, scores[query][expected])


def test_the_prior_counts_after_scaling() -> None:
    """Item 1 has the smaller prior, and a scale that makes it the better one."""
    nothing, event = sparse.csr_array((3, 3)), weights_of(sparse.csr_array(np.eye(1, 3)))
    prior = (np.array([0, 1], np.int32), np.array([2, 1], np.float32))
    scale = np.array([1, 4, 1], np.float32)
    query = requests(np.random.default_rng(0), 1, 1)  # excludes nothing
    batch = sparse_candidates(event, nothing, query, 1, column_scale=scale, prior=prior)
    assert (batch.ids.tolist(), batch.scores.tolist()) == ([[1]], [[4.0]])


@settings(deadline=None, max_examples=60)
@given(seed=seeds, n_columns=st.integers(1, 30), keep=st.integers(1, 35))
def test_strongest_keeps_the_largest_by_magnitude(seed: int, n_columns: int, keep: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.integers(-4, 5, (8, n_columns)).astype(np.float32)
    expected = np.zeros_like(dense)
    for row, values in enumerate(dense):
        kept = np.lexsort((np.arange(n_columns), -np.abs(values)))[:keep]
        expected[row, kept] = values[kept]
    for rows in (dense, sparse.csr_array(dense)):
        matrix = strongest(rows, keep)
        np.testing.assert_array_equal(matrix.toarray(), expected)
        assert matrix.nnz == np.count_nonzero(expected)
        assert matrix.has_canonical_format


def test_not_a_number_is_no_candidate() -> None:
    scores = np.array([[np.nan, 1.0, -np.inf, 2.0]], np.float32)
    batch = top_k(scores, requests(np.random.default_rng(0), 1, 1), 4)
    assert batch.ids.tolist() == [[3, 1, PADDING, PADDING]]


def test_many_rows_are_cut_into_tasks_without_a_seam() -> None:
    """More rows than one thread takes at once give what each row gives alone."""
    rng = np.random.default_rng(5)
    scores = rng.random((1000, 30), np.float32)
    queries = requests(rng, 1000, 30)
    batch = top_k(scores, queries, 5)
    expected = [best_plainly(scores[row], queries[row].exclude, 5) for row in range(1000)]
    assert [batch[row].ids.tolist() for row in range(1000)] == expected


@pytest.mark.parametrize("k", [0, -1])
def test_a_slate_of_nothing_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="at least one item"):
        top_k(np.ones((1, 3), np.float32), requests(np.random.default_rng(0), 1, 1), k)


def test_history_weights_by_hand() -> None:
    """Steps back 0, 1 and 3, days 0, 2 and 4; item 4 twice, once beyond recall."""
    queries = QueryBatch(
        ptr=np.array([0, 0, 4], np.int64),
        item=np.array([4, 1, 4, 9], np.int32),
        age=np.array([3, 1, 0, 0], np.int32),
        days=np.array([4, 2, 0, 0], np.float32),
        weight=np.array([1, 2, 1, 1], np.float32),
        exclude_ptr=np.zeros(3, np.int64),
        exclude=np.zeros(0, np.int32),
    )
    # Item 9 is newer than a model of 6 items.
    by_step = history_weights(queries, 6, decay=0.5).matrix().toarray()
    np.testing.assert_array_equal(by_step, [[0] * 6, [0, 1, 0, 0, 1.125, 0]])
    by_both = history_weights(queries, 6, decay=0.5, half_life_days=2).matrix().toarray()
    np.testing.assert_array_equal(by_both, [[0] * 6, [0, 0.5, 0, 0, 1 + 0.125 / 4, 0]])


def test_a_pair_counts_once_at_its_strongest() -> None:
    data = shop([[2, 0, 2], [], [1]], ["a", "b", "c"])
    weighted = replace(data, weight=np.array([0.5, 0.25, 2.0, 1.0], np.float32))
    expected = [[0.25, 0, 2], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(pair_strengths(weighted).toarray(), expected)


def test_pairs_agree_with_the_matrix_where_nothing_repeats(rng: np.random.Generator) -> None:
    data: Dataset = crowd(rng)
    once = pair_strengths(data).toarray()
    np.testing.assert_array_equal(once, data.matrix().toarray() > 0)


def test_padded_rows_become_a_matrix() -> None:
    ids = np.array([[2, 0], [PADDING, PADDING], [1, PADDING]], np.int32)
    values = np.array([[5, 3], [-np.inf, -np.inf], [7, -np.inf]], np.float32)
    matrix = padded_to_csr(ids, values, 4)
    np.testing.assert_array_equal(matrix.toarray(), [[3, 0, 5, 0], [0] * 4, [0, 7, 0, 0]])


def test_a_matrix_over_a_small_part_of_an_array_is_no_copy() -> None:
    whole = np.arange(1000, dtype=np.float32)
    data, bounds = whole[2:4], np.array([0, 1, 2], np.int32)
    columns = np.array([1, 0, *range(998)], np.int32)[:2]
    matrix = csr_over(data, columns, bounds, (2, 2))
    np.testing.assert_array_equal(matrix.toarray(), [[0, 2], [3, 0]])
    assert np.shares_memory(matrix.data, whole)
    assert np.shares_memory(csr_view(matrix)[2], whole)
