import itertools

import numpy as np
import pytest

from tailrec.items import PADDING, Float32Array, ItemsBatch
from tailrec.reranking.diversity import diversified

TWO_KINDS = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
"""Items 0, 1, 2 are alike; item 3 is another kind."""


def pools(scores: list[list[float]]) -> ItemsBatch:
    values = np.array(scores, np.float32)
    ids = np.where(np.isfinite(values), np.arange(values.shape[1], dtype=np.int32), PADDING)
    return ItemsBatch(ids.astype(np.int32), values)


def random_pools(rng: np.random.Generator, n: int = 20) -> tuple[ItemsBatch, Float32Array]:
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.stack([rng.permutation(200)[:40] for _ in range(n)]).astype(np.int32)
    scores = -np.sort(-rng.random((n, 40)).astype(np.float32), axis=1)
    return ItemsBatch(ids, scores), vectors


def mean_cosine(slates: ItemsBatch, vectors: Float32Array) -> float:
    shown = vectors[slates.ids]  # [B, k, D]
    k = shown.shape[1]
    return float(((shown.sum(axis=1) ** 2).sum(axis=1) - k).mean() / (k * (k - 1)))


def test_without_strength_the_order_stays(rng: np.random.Generator) -> None:
    pool, vectors = random_pools(rng)
    slates = diversified(pool, vectors, 10, 0.0)
    np.testing.assert_array_equal(slates.ids, pool.ids[:, :10])
    np.testing.assert_array_equal(slates.scores, pool.scores[:, :10])


def test_another_kind_comes_forward_and_keeps_its_score() -> None:
    pool = pools([[0.9, 0.8, 0.7, 0.1]])
    assert diversified(pool, TWO_KINDS, 2, 0.0).ids.tolist() == [[0, 1]]
    slates = diversified(pool, TWO_KINDS, 2, 0.6)
    assert slates.ids.tolist() == [[0, 3]]
    np.testing.assert_allclose(slates.scores, [[0.9, 0.1]])


def test_the_choice_is_the_one_of_the_formula(rng: np.random.Generator) -> None:
    """Against a plain reading of maximal marginal relevance, one pool at a time."""
    pool, vectors = random_pools(rng, n=5)
    got = diversified(pool, vectors, 12, 0.4).ids
    for ids, scores, slate in zip(pool.ids, pool.scores, got, strict=True):
        relevance = (scores - scores[-1]) / (scores[0] - scores[-1])
        chosen: list[int] = []
        while len(chosen) < 12:
            alike = np.zeros(len(ids))
            if chosen:
                alike = np.maximum(vectors[ids] @ vectors[ids[chosen]].T, 0).max(axis=1)
            gain = 0.6 * relevance - 0.4 * alike
            gain[chosen] = -np.inf
            chosen.append(int(gain.argmax()))
        assert slate.tolist() == ids[chosen].tolist()


def test_more_strength_means_less_alike(rng: np.random.Generator) -> None:
    pool, vectors = random_pools(rng)
    means = [
        mean_cosine(diversified(pool, vectors, 10, strength), vectors)
        for strength in (0.0, 0.3, 0.6, 0.9)
    ]
    assert all(later < sooner for sooner, later in itertools.pairwise(means))


def test_slates_hold_items_of_their_pool_once(rng: np.random.Generator) -> None:
    pool, vectors = random_pools(rng)
    for ids, slate in zip(pool.ids, diversified(pool, vectors, 10, 0.7).ids, strict=True):
        assert len(set(slate.tolist())) == 10
        assert set(slate.tolist()) <= set(ids.tolist())


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_short_and_empty_pools_stay_short(strength: float) -> None:
    nothing = [-np.inf] * 4
    pool = pools([[0.9, 0.4, -np.inf, -np.inf], nothing])
    slates = diversified(pool, TWO_KINDS, 3, strength)
    assert slates.ids.tolist() == [[0, 1, PADDING], [PADDING] * 3]
    assert np.isneginf(slates.scores[slates.ids == PADDING]).all()


def test_a_pool_narrower_than_the_slate() -> None:
    assert diversified(pools([[0.9, 0.8]]), TWO_KINDS, 5, 0.5).ids.shape == (1, 2)


def test_what_only_fills_up_does_not_crowd_out_what_was_proposed() -> None:
    """Scores below zero fill; were they on the scale, 0.9 and 0.2 would count nearly the same."""
    vectors = np.eye(6, dtype=np.float32)
    vectors[1] = [0.5, np.sqrt(0.75), 0, 0, 0, 0]
    pool = pools([[0.9, 0.5, 0.2, -1.0, -2.0, -50.0]])
    assert diversified(pool, vectors, 3, 0.3).ids.tolist() == [[0, 1, 2]]


def test_a_pool_of_fillers_alone_is_scaled_like_any_other() -> None:
    pool = pools([[-1.0, -2.0, -3.0, -4.0]])
    assert diversified(pool, TWO_KINDS, 4, 0.1).ids.tolist() == [[0, 1, 2, 3]]
    assert diversified(pool, TWO_KINDS, 2, 0.6).ids.tolist() == [[0, 3]]
