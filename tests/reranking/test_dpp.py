import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reranking.pools import World, by_method, generic, greedy, pools_of, unit

from tailrec.items import Array, Int32Array
from tailrec.reranking.diversity import cosines
from tailrec.reranking.dpp import Dpp
from tailrec.reranking.pool import scaled
from tailrec.reranking.variety import Sides


def chosen(world: World, strength: float, n: int, window: int) -> Int32Array:
    made = Dpp(cosines(world.pools.ids, world.sides.vectors), window)
    n_rows = len(world.pools)
    return made.slates(scaled(world.pools), np.full((n_rows, 1), strength), n)[:, 0]


def world_of(vectors: Array, scores: list[float]) -> World:
    return World(pools_of([scores]), Sides(vectors))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.1, 0.3, 0.6, 1.0]))
def test_every_choice_raises_the_determinant_most(seed: int, strength: float) -> None:
    """Against determinants of the kernel, taken anew for every item at every place."""
    world = generic(seed, size=8)
    for row, slate in enumerate(chosen(world, strength, 8, 8)):
        gain = by_method(world, row, "dpp", strength, 8)
        assert slate.tolist() == greedy(world.pools.scores[row], 8, gain)


@pytest.mark.parametrize("window", [1, 2, 3, 6])
@pytest.mark.parametrize("strength", [0.2, 0.7, 1.0])
def test_in_a_window_only_its_own_determinant_counts(window: int, strength: float) -> None:
    """Long enough that every item of the first windows has been forgotten many times over."""
    world = generic(4, n_rows=3, size=40, dim=50)
    for row, slate in enumerate(chosen(world, strength, 40, window)):
        gain = by_method(world, row, "dpp", strength, window)
        assert slate.tolist() == greedy(world.pools.scores[row], 40, gain)


def test_in_a_window_items_without_a_vector_count_as_in_the_formula() -> None:
    world = generic(9, n_rows=3, size=30, dim=40)
    world.sides.vectors[::4] = 0
    for row, slate in enumerate(chosen(world, 0.6, 30, 3)):
        gain = by_method(world, row, "dpp", 0.6, 3)
        assert slate.tolist() == greedy(world.pools.scores[row], 30, gain)


def test_what_adds_nothing_comes_last_and_the_most_relevant_of_it_first() -> None:
    """Two kinds: once each has been shown, all others are copies up to rounding."""
    kinds = unit(np.random.default_rng(3).normal(size=(2, 30)))
    world = world_of(kinds[[0, 0, 0, 1, 1, 0]], [6, 5, 4, 3, 2, 1])
    assert chosen(world, 1.0, 6, 6).tolist() == [[0, 3, 1, 2, 4, 5]]


def test_a_combination_of_those_above_adds_nothing() -> None:
    """S = (1 + cosine) / 2 has rank at most 1 + dimensions: in a plane, three items span it."""
    angles = np.linspace(0, 2, 7)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    slate = chosen(world_of(vectors, [7, 6, 5, 4, 3, 2, 1]), 1.0, 7, 7)[0].tolist()
    assert slate[:2] == [0, 6]
    assert slate[3:] == sorted(slate[3:])


def test_copies_may_come_again_once_the_window_has_forgotten_them() -> None:
    kinds = np.eye(3, dtype=np.float32)
    world = world_of(kinds[[0, 0, 1, 1, 2, 2]], [6, 5, 4, 3, 2, 1])
    assert chosen(world, 1.0, 6, 2).tolist() == [[0, 2, 4, 1, 3, 5]]


def test_a_window_of_copies_forgets_one_and_still_holds_the_other() -> None:
    """Nothing but copies in the window: when the older goes, the younger still stands for it."""
    kinds = np.eye(2, dtype=np.float32)
    scores = [6.0, 5.0, 4.0, -1.0, -2.0]
    # The three copies come first, the others only fill up; then what differs goes before.
    world = world_of(kinds[[0, 0, 0, 0, 1]], scores)
    assert chosen(world, 1.0, 5, 2).tolist() == [[0, 1, 2, 4, 3]]


def test_rounding_does_not_let_a_copy_stand_for_what_is_forgotten() -> None:
    """Items 1 and 2 are copies, and opposite to item 0 up to rounding: nothing in common with it.

    Once item 0 is out of the window, its copy 5 is the most unlike what stands there.
    """
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    other = [0.3, 0.8, np.sqrt(1 - 0.73)]
    straight = np.array([[1, 0, 0], [-1, 0, 0], [-1, 0, 0], [0, 1, 0], other, [1, 0, 0]])
    rounding = np.array([[1, 1 + 3e-7, 1 - 3e-7, 1, 1, 1]]).T
    vectors = (straight @ turn * rounding).astype(np.float32)
    world = world_of(vectors, [9, 8, 7, -1, -2, -3])
    assert chosen(world, 0.9, 6, 3).tolist() == [[0, 1, 2, 3, 5, 4]]


def test_items_without_a_vector_are_half_alike_to_all() -> None:
    """S is 1/2 beside them: what is left of a copy of item 0 is 0, of item 2 it is 3/4."""
    vectors = np.array([[1, 0], [1, 0], [0, 0], [0.6, 0.8]], np.float32)
    assert chosen(world_of(vectors, [4, 3, 2, 1]), 1.0, 4, 4).tolist() == [[0, 2, 3, 1]]


def test_relevance_weighs_as_in_the_kernel_at_the_smallest_strength() -> None:
    """exp(31 r) stays a number, and copies of item 0 give way to what is left."""
    world = world_of(np.eye(2, dtype=np.float32)[[0, 0, 1]], [3, 2.9, 1])
    assert chosen(world, 1 / 32, 3, 3).tolist() == [[0, 2, 1]]
