import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reranking.pools import World, by_method, generic, greedy, pools_of, worlds

from tailrec.evaluation.calibration import SMOOTHING as EVALUATED
from tailrec.evaluation.calibration import miscalibration
from tailrec.items import PADDING
from tailrec.reranking.calibrated import SMOOTHING, WORST, Calibrated
from tailrec.reranking.pool import scaled

ALIKE, OTHER = 0, 1


def of(world: World) -> Calibrated:
    ids = world.pools.ids
    code = np.where(ids == PADDING, -1, world.sides.code[ids]).astype(np.int32)
    return Calibrated(code, world.sides.had_ptr, world.sides.had)


def chosen(code: list[int], had: list[int], scores: list[float], strength: float) -> list[int]:
    past = np.array(had, np.int32)
    made = Calibrated(np.array([code], np.int32), np.array([0, len(had)]), past)
    pool = scaled(pools_of([scores]))
    return made.slates(pool, np.array([[strength]]), len(code))[0, 0].tolist()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.05, 0.3, 0.7, 0.95]))
def test_the_choice_is_the_one_of_the_formula(seed: int, strength: float) -> None:
    world = generic(seed, n_rows=4)
    got = of(world).slates(scaled(world.pools), np.full((4, 1), strength), 9)[:, 0]
    for row, slate in enumerate(got):
        gain = by_method(world, row, "interests", strength, 9)
        assert slate.tolist() == greedy(world.pools.scores[row], 9, gain)


@settings(max_examples=60, deadline=None)
@given(world=worlds(), data=st.data())
def test_the_measure_is_the_one_of_the_evaluation(world: World, data: st.DataObject) -> None:
    """Codes as items of a catalogue whose items are their own categories."""
    k = data.draw(st.integers(1, world.pools.ids.shape[1]))
    place = np.arange(k)
    size = (world.pools.ids != PADDING).sum(axis=1)
    slates = np.where(place < size[:, None], place, PADDING).astype(np.int32)[:, None]
    found = of(world).measure(slates)[:, 0]
    category = world.sides.code
    # The evaluation reads past items; here one item of each code, and one without, stands for it.
    past = np.where(world.sides.had < 0, 6, world.sides.had).astype(np.int32)
    catalogue = np.concatenate([np.arange(6), [-1], category]).astype(np.int32)
    shown = np.where(world.pools.ids == PADDING, PADDING, world.pools.ids + 7)[:, :k]
    ids = np.where(slates[:, 0] == PADDING, PADDING, shown)
    by_evaluation = miscalibration(world.sides.had_ptr, past, ids, catalogue, [k])
    expected = np.nan_to_num(by_evaluation[f"miscalibration@{k}"])
    np.testing.assert_allclose(-found, expected, atol=1e-12)


def test_the_smoothing_is_that_of_the_evaluation() -> None:
    assert SMOOTHING == EVALUATED
    np.testing.assert_allclose(WORST, -np.log(EVALUATED))


def test_a_slate_takes_the_proportions_of_the_history() -> None:
    """Three quarters of one group and one of the other, although all of one score higher."""
    code = [ALIKE] * 8 + [OTHER] * 8
    scores = [float(16 - at) for at in range(16)]
    slate = chosen(code, [ALIKE, OTHER, ALIKE, ALIKE], scores, 0.99)
    for n in (4, 8):
        assert sum(code[at] == OTHER for at in slate[:n]) == n // 4


@pytest.mark.parametrize("had", [[], [-1, -1]])
def test_without_a_history_the_order_stays(had: list[int]) -> None:
    assert chosen([0, 0, 1, 1], had, [4.0, 3.0, 2.0, 1.0], 1.0) == [0, 1, 2, 3]


def test_items_without_a_group_leave_the_shares_as_they_are() -> None:
    """Once the shares are right they keep them so: they come before what would disturb them."""
    code, scores = [ALIKE, ALIKE, -1, OTHER], [4.0, 3.0, 2.0, 1.0]
    assert chosen(code, [ALIKE, OTHER], scores, 1.0) == [0, 3, 2, 1]


def test_a_history_of_what_the_pool_lacks_leaves_the_order_to_relevance() -> None:
    assert chosen([0, 1, 0, 1], [5, 5, 7], [4.0, 3.0, 2.0, 1.0], 1.0) == [0, 1, 2, 3]


def test_one_person_does_not_disturb_the_next() -> None:
    """Histories share their room: what the first leaves there must not count for the second."""
    code = np.array([[0, 0, 1, 1]] * 3, np.int32)
    ptr, had = np.array([0, 9, 9, 10]), np.array([1] * 9 + [0], np.int32)
    pool = scaled(pools_of([[4, 3, 2, 1]] * 3))
    slates = Calibrated(code, ptr, had).slates(pool, np.ones((3, 1)), 2)
    assert slates[:, 0].tolist() == [[2, 3], [0, 1], [0, 1]]
