"""Deciles of items and groups of requests: by hand, and that they part what they group."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tailrec.evaluation.groups import history_groups, item_deciles, of_groups


def test_deciles_by_hand() -> None:
    # Twenty items with events, two a decile, and one without.
    counts = np.array([0, *range(1, 21)])
    deciles = item_deciles(counts)
    assert list(deciles) == [f"decile_{number}" for number in range(1, 11)]
    assert np.flatnonzero(deciles["decile_1"]).tolist() == [1, 2]
    assert np.flatnonzero(deciles["decile_10"]).tolist() == [19, 20]


def test_of_ties_the_lower_number_is_the_more_popular_one() -> None:
    deciles = item_deciles(np.full(10, 3))
    assert [int(np.flatnonzero(mask)[0]) for mask in deciles.values()] == list(range(9, -1, -1))


@given(st.lists(st.integers(0, 6), max_size=60))
def test_deciles_part_the_items_with_events_evenly_and_in_order(counts: list[int]) -> None:
    events = np.array(counts, np.int64)
    masks = np.stack(list(item_deciles(events).values()))
    np.testing.assert_array_equal(masks.sum(0), events > 0)
    sizes = masks.sum(1)
    assert sizes.max() - sizes.min() <= 1
    ranges = [(events[mask].min(), events[mask].max()) for mask in masks if mask.any()]
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))


def test_histories_fall_into_their_groups() -> None:
    lengths = np.array([0, 1, 2, 3, 5, 6, 10, 11, 20, 21, 500])
    groups = history_groups(lengths)
    assert {name: lengths[mask].tolist() for name, mask in groups.items()} == {
        "history_0": [0],
        "history_1_2": [1, 2],
        "history_3_5": [3, 5],
        "history_6_10": [6, 10],
        "history_11_20": [11, 20],
        "history_21_up": [21, 500],
        "tail_users": [0, 1, 2, 3, 5],
    }


def test_figures_of_groups_are_those_of_their_requests_alone() -> None:
    figures = {"recall@5": np.array([0.5, 1.0, np.nan])}
    groups = {"a": np.array([True, False, True]), "b": np.array([False, False, True])}
    own = of_groups(figures, groups)
    assert list(own) == ["recall@5/a"], "b has a request, but none with a figure"
    np.testing.assert_array_equal(own["recall@5/a"], [0.5, np.nan, np.nan])
