"""What every way to vary slates promises, and the knob they share."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reranking.pools import (
    METHODS,
    WINDOWED,
    World,
    by_method,
    generic,
    greedy,
    measured,
    pools_of,
    unit,
    worlds,
)

from tailrec.errors import DataError
from tailrec.items import PADDING, ItemsBatch
from tailrec.reranking.variety import STEPS, Method, Sides, varied

each_method = pytest.mark.parametrize("method", METHODS)
quick = settings(max_examples=60, deadline=None)
strengths = st.sampled_from([0.01, 1 / STEPS, 0.2, 0.5, 0.77, 1.0])
sizes = st.integers(1, 14)


def of(world: World, k: int, strength: float, method: Method, **more: int | None) -> ItemsBatch:
    return varied(world.pools, k, strength, method=method, sides=world.sides, **more)


def listed(slates: ItemsBatch) -> list[list[int]]:
    return [[int(i) for i in row if i != PADDING] for row in slates.ids]


def places(world: World, row: int, slate: list[int]) -> list[int]:
    """Where the items of a slate stand in their pool."""
    return [world.pools[row].ids.tolist().index(item) for item in slate]


@each_method
@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("window", [None, 2])
def test_of_the_greedy_slates_up_to_the_knob_the_most_varied_is_shown(
    method: Method, strength: float, window: int | None
) -> None:
    """Against a plain reading of each formula, over every step."""
    if window and method not in WINDOWED:
        return
    k, span = 5, window or 5
    chosen_steps = set()
    for seed in range(4):
        world = generic(seed)
        found = listed(of(world, k, strength, method, window=window))
        for row, slate in enumerate(found):
            scores = world.pools[row].scores
            tried = [list(range(k))] + [
                greedy(scores, k, by_method(world, row, method, step / STEPS, span))
                for step in range(1, int(strength * STEPS) + 1)
            ]
            variety = [measured(world, row, method, one, span) for one in tried]
            step = next(at for at, own in enumerate(variety) if own >= max(variety) - 1e-6)
            assert places(world, row, slate) == tried[step]
            chosen_steps.add(step)
    assert len(chosen_steps) > 1


@each_method
@quick
@given(world=worlds(), k=sizes, strength=strengths)
def test_slates_hold_items_of_their_pool_once_with_what_came_with_them(
    method: Method, world: World, k: int, strength: float
) -> None:
    slates = of(world, k, strength, method)
    assert slates.ids.shape == (len(world.pools), min(k, world.pools.ids.shape[1]))
    assert (slates.ids.dtype, slates.scores.dtype) == (np.int32, np.float32)
    for row, slate in enumerate(listed(slates)):
        pool = world.pools[row]
        assert len(set(slate)) == len(slate) == min(k, len(pool))
        at = places(world, row, slate)
        np.testing.assert_array_equal(slates.scores[row, : len(at)], pool.scores[at])
        np.testing.assert_array_equal(slates.columns["place"][row, : len(at)], at)
        assert (slates.ids[row, len(at) :] == PADDING).all()
        assert np.isneginf(slates.scores[row, len(at) :]).all()


@each_method
@quick
@given(world=worlds(), k=sizes)
def test_without_strength_the_order_stays(method: Method, world: World, k: int) -> None:
    slates = of(world, k, 0.0, method)
    np.testing.assert_array_equal(slates.ids, world.pools.ids[:, :k])
    np.testing.assert_array_equal(slates.scores, world.pools.scores[:, :k])


@each_method
@quick
@given(world=worlds(), k=sizes, data=st.data())
def test_a_higher_knob_never_gives_a_less_varied_slate(
    method: Method, world: World, k: int, data: st.DataObject
) -> None:
    window = data.draw(st.none() | st.integers(1, 5)) if method in WINDOWED else None
    before = [-np.inf] * len(world.pools)
    for strength in (0.0, 0.03, 0.1, 0.3, 0.31, 0.6, 0.9, 1.0):
        slates = listed(of(world, k, strength, method, window=window))
        own = [
            measured(world, row, method, places(world, row, slate), window or k)
            for row, slate in enumerate(slates)
        ]
        assert all(now >= then - 1e-6 for now, then in zip(own, before, strict=True))
        before = own


@each_method
def test_the_whole_knob_gives_more_variety_where_there_is_more(method: Method) -> None:
    """Item 0 to 2 are alike and of one code; the person had one of each of two codes."""
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    code = np.array([0, 0, 0, 1], np.int32)
    sides = Sides(vectors, code, np.array([0, 2]), np.array([1, 0], np.int32))
    world = World(pools_of([[0.9, 0.8, 0.7, 0.1]]), sides)
    assert listed(of(world, 2, 0.0, method)) == [[0, 1]]
    slates = of(world, 2, 1.0, method)
    assert set(slates.ids[0].tolist()) >= {3}
    assert slates.scores[0, slates.ids[0] == 3] == np.float32(0.1)


@each_method
@quick
@given(world=worlds(), k=sizes, strength=strengths)
def test_the_knob_is_taken_in_steps_rounded_up(
    method: Method, world: World, k: int, strength: float
) -> None:
    step = np.ceil(strength * STEPS) / STEPS
    np.testing.assert_array_equal(
        of(world, k, strength, method).ids, of(world, k, step, method).ids
    )


@each_method
@quick
@given(world=worlds(), k=sizes, strength=strengths)
def test_of_two_items_alike_in_everything_the_first_comes_first(
    method: Method, world: World, k: int, strength: float
) -> None:
    for row, slate in enumerate(listed(of(world, k, strength, method))):
        pool, at = world.pools[row], places(world, row, slate)
        vectors, code = world.sides.vectors[pool.ids], world.sides.code[pool.ids]
        for second in at:
            for first in range(second):
                if (
                    pool.scores[first] == pool.scores[second]
                    and code[first] == code[second]
                    and (vectors[first] == vectors[second]).all()
                ):
                    assert first in at[: at.index(second)]


@each_method
@quick
@given(world=worlds(), k=sizes, strength=strengths)
def test_what_only_fills_up_stands_below_what_was_proposed(
    method: Method, world: World, k: int, strength: float
) -> None:
    scores = of(world, k, strength, method).scores
    for row in range(len(scores)):
        filled = np.flatnonzero((scores[row] < 0) & np.isfinite(scores[row]))
        proposed = np.flatnonzero(scores[row] >= 0)
        if len(filled) and len(proposed):
            assert proposed.max() < filled.min()


@each_method
@pytest.mark.parametrize("seed", range(5))
def test_one_set_of_items_is_as_varied_in_any_order(method: Method, seed: int) -> None:
    """A slate of the whole pool can only be the pool.

    Items have next to nothing in common: sums of such distances are not exact, and another order
    of the pairs gives another sum.
    """
    world = generic(seed)
    near = np.random.default_rng(seed).normal(scale=1e-9, size=(18, 18))
    world = replace(world, sides=replace(world.sides, vectors=unit(np.eye(18) + near)))
    np.testing.assert_array_equal(of(world, 9, 1.0, method).ids, world.pools.ids)


@each_method
def test_what_only_fills_up_has_no_say_in_the_scale(method: Method) -> None:
    """Were it on the scale, 0.9 and 0.2 would count nearly the same."""
    world = generic(11, n_rows=1, size=6)
    alone = replace(world, pools=ItemsBatch(world.pools.ids[:, :4], world.pools.scores[:, :4]))
    scores = world.pools.scores.copy()
    scores[:, 4:] = [-1, -50]
    beside = replace(world, pools=ItemsBatch(world.pools.ids, scores))
    for strength in (0.1, 0.3, 0.6):
        assert listed(of(alone, 3, strength, method)) == listed(of(beside, 3, strength, method))


@each_method
@quick
@given(world=worlds(), k=sizes, strength=strengths)
def test_a_batch_is_its_rows(method: Method, world: World, k: int, strength: float) -> None:
    slates = of(world, k, strength, method)
    for row in range(len(world.pools)):
        ids, scores = world.pools.ids[[row]], world.pools.scores[[row]]
        bounds = world.sides.had_ptr[row : row + 2]
        had = world.sides.had[bounds[0] : bounds[1]]
        sides = replace(world.sides, had_ptr=bounds - bounds[0], had=had)
        alone = of(World(ItemsBatch(ids, scores), sides), k, strength, method)
        np.testing.assert_array_equal(alone.ids[0], slates.ids[row])


@each_method
def test_many_rows_are_as_few(method: Method) -> None:
    """More rows than a thread takes at once, and with pools so large that blocks are cut."""
    world = generic(3, n_rows=300, size=80)
    whole = of(world, 3, 0.5, method)
    tail = slice(295, 300)
    bounds = world.sides.had_ptr[295:301]
    had = world.sides.had[bounds[0] :]
    sides = replace(world.sides, had_ptr=bounds - bounds[0], had=had)
    pools = ItemsBatch(world.pools.ids[tail], world.pools.scores[tail])
    np.testing.assert_array_equal(whole.ids[tail], of(World(pools, sides), 3, 0.5, method).ids)


@pytest.mark.parametrize("method", WINDOWED)
@quick
@given(world=worlds(), k=sizes, strength=strengths, further=st.integers(0, 3))
def test_a_window_as_long_as_the_slate_is_none(
    method: Method, world: World, k: int, strength: float, further: int
) -> None:
    whole = of(world, k, strength, method)
    windowed = of(world, k, strength, method, window=k + further)
    np.testing.assert_array_equal(windowed.ids, whole.ids)


@pytest.mark.parametrize("method", WINDOWED)
def test_within_a_window_what_stood_long_ago_may_come_again(method: Method) -> None:
    """Kinds a and b by turns: with a window of one each differs from the one above it alone."""
    kind = np.array([0, 0, 0, 1, 1, 1])
    sides = Sides(np.eye(2, dtype=np.float32)[kind], kind.astype(np.int32))
    world = World(pools_of([[6, 5, 4, 3, 2, 1]]), sides)
    slate = listed(of(world, 6, 1.0, method, window=1))[0]
    assert slate == [0, 3, 1, 4, 2, 5]


@each_method
@quick
@given(world=worlds(), k=sizes, strength=strengths, further=st.integers(0, 6))
def test_more_places_are_returned_than_measured_where_they_are_wanted(
    method: Method, world: World, k: int, strength: float, further: int
) -> None:
    slates = of(world, k, strength, method, width=k + further)
    np.testing.assert_array_equal(slates.ids[:, :k], of(world, k, strength, method).ids)
    assert slates.ids.shape[1] == min(k + further, world.pools.ids.shape[1])
    for row, slate in enumerate(listed(slates)):
        assert len(set(slate)) == len(slate) == min(k + further, len(world.pools[row]))


def test_the_width_of_a_pool_is_enough_where_it_is_narrower_than_the_slate() -> None:
    world = generic(2, size=4)
    np.testing.assert_array_equal(
        of(world, 9, 0.8, "mmr", width=4).ids, of(world, 9, 0.8, "mmr").ids
    )


def test_below_the_measured_places_the_choice_goes_on() -> None:
    """From step 6 on the second place differs; less of the knob than that is not needed."""
    kind = np.array([0, 0, 1, 1, 2, 2])
    sides = Sides(np.eye(3, dtype=np.float32)[kind])
    world = World(pools_of([[6, 5, 4, 3, 2, 1]]), sides)
    expected = greedy(world.pools.scores[0], 6, by_method(world, 0, "mmr", 6 / STEPS, 6))
    assert expected[:2] == [0, 2]
    assert listed(of(world, 2, 1.0, "mmr", width=6)) == [expected]


@each_method
def test_inputs_stay_as_they_are(method: Method) -> None:
    world = generic(5)
    before = world.pools.ids.copy(), world.pools.scores.copy(), world.sides.vectors.copy()
    of(world, 4, 0.7, method)
    for now, then in zip(
        (world.pools.ids, world.pools.scores, world.sides.vectors), before, strict=True
    ):
        np.testing.assert_array_equal(now, then)


@each_method
def test_arrays_that_are_only_to_be_read_will_do(method: Method) -> None:
    world = generic(6)
    expected = of(world, 4, 0.7, method)
    for array in (world.pools.ids, world.sides.vectors, world.sides.code, world.sides.had):
        array.flags.writeable = False
    np.testing.assert_array_equal(of(world, 4, 0.7, method).ids, expected.ids)


@each_method
@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
def test_no_rows_or_no_places_give_none(method: Method, shape: tuple[int, int]) -> None:
    pools = ItemsBatch(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    ptr = np.zeros(shape[0] + 1, np.int64)
    sides = Sides(unit(np.ones((1, 2))), np.zeros(1, np.int32), ptr)
    assert varied(pools, 3, 0.5, method=method, sides=sides).ids.shape == (
        shape[0],
        min(shape[1], 3),
    )


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"k": 0}, "0 places"),
        ({"strength": 1.01}, "1.01"),
        ({"strength": float("nan")}, "nan"),
        ({"window": 0}, "window of 0"),
        ({"width": 2}, "width is 2"),
        ({"method": "colours"}, "'colours'; there are mmr, dpp"),
        ({"method": "interests", "window": 5}, "leave it out"),
        ({"method": "popularity", "sides": Sides(code=np.zeros(18, np.int32))}, "needs 3 up to 0"),
        ({"sides": Sides(np.zeros((2, 2), np.float32))}, "there are 2 vectors"),
        ({"method": "categories", "sides": Sides()}, "there are 0 codes"),
    ],
)
def test_bad_input_is_named(given_: dict[str, object], words: str) -> None:
    world = generic(0)
    options = {"k": 3, "strength": 0.5, "method": "mmr", "sides": world.sides} | given_
    with pytest.raises(DataError, match=words):
        varied(world.pools, **options)  # type: ignore[arg-type]
