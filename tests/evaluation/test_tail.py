"""Tail accuracy and exposure: by hand, by definition, from the global list."""

import numpy as np
import pytest

from tailrec.evaluation.tail import exposure, slot_share, tail_accuracy
from tailrec.hits import count_targets, find_hits
from tailrec.items import PADDING

TAIL = np.array([False, False, True, True, True])


def test_tail_targets_count_at_their_place_in_the_global_list() -> None:
    ids = np.array([[0, 2, 1], [3, 0, PADDING], [1, 0, 4]], np.int32)
    ptr, target = np.array([0, 3, 4, 5]), np.array([0, 2, 3, 3, 0], np.int32)
    figures = tail_accuracy(
        find_hits(ids, ptr, target), ids, count_targets(ptr, target, TAIL), TAIL, at=(1, 3)
    )
    # Row 0 wants tail items 2 (second place) and 3 (missed); row 2 wants a head item only.
    np.testing.assert_array_equal(figures["recall@1"], [0, 1, np.nan])
    np.testing.assert_array_equal(figures["recall@3"], [0.5, 1, np.nan])
    two = 1 / np.log2(3)
    np.testing.assert_allclose(figures["ndcg@3"], [two / (1 + two), 1, np.nan])
    np.testing.assert_array_equal(figures["ndcg@1"], [0, 1, np.nan])


def test_with_one_target_each_the_mean_pools_the_events(rng: np.random.Generator) -> None:
    users = 500
    ids = rng.permuted(np.tile(np.arange(5, dtype=np.int32), (users, 1)), axis=1)[:, :2]
    target = rng.integers(5, size=users).astype(np.int32)
    ptr = np.arange(users + 1)
    figures = tail_accuracy(
        find_hits(ids, ptr, target), ids, count_targets(ptr, target, TAIL), TAIL, at=(2,)
    )
    found = (ids == target[:, None]).any(1)[TAIL[target]].mean()
    assert np.nanmean(figures["recall@2"]) == pytest.approx(found)


def test_exposure_by_hand() -> None:
    ids = np.array([[0, 1, 2], [0, 3, PADDING]], np.int32)
    counts = np.array([10, 4, 1, 1, 0])
    figures = exposure(ids, counts, at=(1, 3))
    assert figures["coverage@1"] == pytest.approx(1 / 5)
    assert figures["coverage@3"] == pytest.approx(4 / 5)
    assert figures["popularity@1"] == pytest.approx(10)
    assert figures["popularity@3"] == pytest.approx((10 + 4 + 1 + 10 + 1) / 5)
    assert figures["gini@1"] == pytest.approx(4 / 5), "one of five items takes it all"
    assert slot_share(ids, TAIL, at=(1, 3)) == {"share@1": 0.0, "share@3": pytest.approx(2 / 5)}


def test_empty_slates_show_nothing() -> None:
    ids = np.full((3, 2), PADDING, np.int32)
    figures = exposure(ids, np.array([3, 1]), at=(2,)) | slot_share(ids, TAIL[:2], at=(2,))
    assert set(figures.values()) == {0.0}
