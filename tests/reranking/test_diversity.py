import numpy as np
import pytest
from tests.reranking.pools import by_method, generic, greedy, unit

from tailrec.items import PADDING
from tailrec.reranking.diversity import Mmr, cosines, mean_distance
from tailrec.reranking.pool import scaled


@pytest.mark.parametrize("dim", [1, 7, 8, 20])
def test_cosines_are_those_of_all_pairs_of_a_pool(dim: int, rng: np.random.Generator) -> None:
    vectors = unit(rng.normal(size=(30, dim)))
    vectors[3] = 0
    ids = np.stack([rng.permutation(30)[:9] for _ in range(3)]).astype(np.int32)
    ids[1, 5:], ids[2] = PADDING, PADDING
    found = cosines(ids, vectors)
    for row, size in enumerate((9, 5, 0)):
        own = vectors[ids[row, :size]].astype(float)
        # Rounding of sums of `dim` products in float32.
        np.testing.assert_allclose(found[row, :size, :size], own @ own.T, atol=1e-6)
        np.testing.assert_array_equal(found[row, :size, :size], found[row, :size, :size].T)


def test_a_cosine_does_not_depend_on_where_the_items_stand(rng: np.random.Generator) -> None:
    vectors = unit(rng.normal(size=(40, 20)))
    there = rng.permutation(40).astype(np.int32)
    straight = cosines(np.arange(40, dtype=np.int32)[None], vectors)[0]
    shuffled = cosines(there[None], vectors)[0]
    np.testing.assert_array_equal(shuffled, straight[np.ix_(there, there)])


@pytest.mark.parametrize("strength", [0.05, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("window", [1, 2, 3, 5, 12])
def test_the_choice_is_the_one_of_the_formula(strength: float, window: int) -> None:
    """Against a plain reading of maximal marginal relevance, with every kind of window."""
    world = generic(1, n_rows=3, size=12, dim=4)
    made = Mmr(cosines(world.pools.ids, world.sides.vectors), window)
    got = made.slates(scaled(world.pools), np.full((3, 1), strength), 12)[:, 0]
    for row, slate in enumerate(got):
        gain = by_method(world, row, "mmr", strength, window)
        assert slate.tolist() == greedy(world.pools.scores[row], 12, gain)


def test_opposites_are_no_better_than_what_has_nothing_in_common() -> None:
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    pool = scaled(generic(2, n_rows=1, size=3).pools)
    ids = np.arange(3, dtype=np.int32)[None]
    slates = Mmr(cosines(ids, vectors), 3).slates(pool, np.ones((1, 1)), 3)
    assert slates.tolist() == [[[0, 1, 2]]]


def test_mean_distance_counts_the_pairs_of_a_window() -> None:
    """Kinds a a b b: of six pairs four differ; of three neighbours one does."""
    cosine = cosines(np.arange(4, dtype=np.int32)[None], np.eye(2, dtype=np.float32)[[0, 0, 1, 1]])
    slates = np.array([[[0, 1, 2, 3], [0, 2, 1, 3], [3, PADDING, PADDING, PADDING]]], np.int32)
    np.testing.assert_allclose(mean_distance(cosine, slates, 4), [[4 / 6, 4 / 6, 0]])
    np.testing.assert_allclose(mean_distance(cosine, slates, 1), [[1 / 3, 1, 0]])
    assert mean_distance(cosine, np.full((1, 1, 4), PADDING, np.int32), 4) == 0
