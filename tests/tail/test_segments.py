"""The tail is what its definition says, whatever the counts; movement is told from noise."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tailrec import columns as c
from tailrec.dataset import DAY_US, Dataset
from tailrec.tail.segments import (
    COLD,
    DEFINITIONS,
    HEAD,
    MIDDLE,
    TAIL,
    Definition,
    equal_windows,
    is_tail,
    knee,
    movement,
    popularity_order,
    tiers,
)

COUNTS = arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 40))


@given(COUNTS)
def test_pareto_marks_exactly_the_floor_of_four_fifths(counts):
    assert is_tail(counts, "pareto").sum() == len(counts) * 4 // 5


@given(COUNTS, st.sampled_from([d for d in DEFINITIONS if d != "rare"]))
def test_no_tail_item_is_more_popular_than_an_item_before_the_tail(counts, definition):
    tail = is_tail(counts, definition)
    if tail.any() and not tail.all():
        assert counts[tail].max() <= counts[~tail].min()


@given(COUNTS)
def test_mass_head_is_the_smallest_that_takes_four_fifths_of_the_events(counts):
    head = np.sort(counts[~is_tail(counts, "mass")])
    if counts.sum():
        assert head.sum() * 5 >= counts.sum() * 4
        assert head[1:].sum() * 5 < counts.sum() * 4
    else:
        assert len(head) == 0


def test_rare_is_one_to_five_and_leaves_the_cold_apart():
    counts = np.array([0, 1, 5, 6, 100])
    assert is_tail(counts, "rare").tolist() == [False, True, True, False, False]


def test_ties_are_broken_by_catalogue_number():
    assert popularity_order(np.array([3, 5, 3, 5])).tolist() == [1, 3, 0, 2]
    assert is_tail(np.full(5, 7), "pareto").tolist() == [False, True, True, True, True]


@given(COUNTS, st.sampled_from(DEFINITIONS))
def test_tiers_agree_with_is_tail_and_the_head_takes_half_of_what_is_before_it(counts, definition):
    code = tiers(counts, definition)
    tail = is_tail(counts, definition)
    assert ((code == COLD) == (counts == 0)).all()
    assert ((code == TAIL) == (tail & (counts > 0))).all()
    head, middle = counts[code == HEAD], counts[code == MIDDLE]
    if len(head):
        assert 2 * head.sum() >= head.sum() + middle.sum()
        assert 2 * np.sort(head)[1:].sum() < head.sum() + middle.sum()
    if len(middle):
        assert head.min() >= middle.max()


def test_tiers_of_a_shop_worked_out_by_hand():
    counts = np.array([1, 40, 0, 10, 20, 2, 1, 0, 20, 6])
    # mass: 40 + 20 + 20 of 100 events; half of these 80 is the first item alone.
    assert tiers(counts, "mass").tolist() == [2, 0, 3, 2, 1, 2, 2, 3, 1, 2]
    # pareto: two of ten items are before the tail, 60 events; 40 is more than half.
    assert tiers(counts, "pareto").tolist() == [2, 0, 3, 2, 1, 2, 2, 3, 2, 2]


@pytest.mark.parametrize("n", [100, 2500, 10_000])
def test_knee_of_the_curve_one_over_rank_is_the_root_of_its_length(n):
    # On 1..n the curve 1/r lies furthest below its chord where its slope is the chord's: r = √n.
    counts = (10**12 / np.arange(1, n + 1)).astype(np.int64)
    shuffled = np.random.default_rng(0).permutation(counts)
    assert knee(shuffled) == pytest.approx(np.sqrt(n), abs=1)
    assert (~is_tail(shuffled, "knee")).sum() == knee(shuffled)


@pytest.mark.parametrize("counts", [[], [0, 0], [4, 4, 4], [9, 1, 0], [50, 40, 30, 20, 10]])
def test_a_curve_without_a_knee_has_no_tail(counts):
    counts = np.array(counts, np.int64)
    assert knee(counts) == (counts > 0).sum()
    assert not is_tail(counts, "knee")[counts > 0].any()


def test_knee_does_not_part_items_with_as_many_events():
    counts = np.array([100, 60, 9, 9, 9, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1])
    assert knee(counts) == 5


def test_an_unknown_definition_and_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="'longish' is not one of pareto, mass, rare, knee"):
        is_tail(np.ones(3, np.int64), "longish")
    with pytest.raises(ValueError, match="-1 events"):
        tiers(np.array([2, -1]), "pareto")


def two_windows(
    shop: Callable[..., Dataset], before: list[int], after: list[int], **item_columns
) -> Dataset:
    """Items with these numbers of events on day 0 and on day 10."""
    rows = [
        (f"u{item:04}-{row:04}", item, "purchase", day, 1.0)
        for day, counts in ((0, before), (10, after))
        for item, n in enumerate(counts)
        for row in range(n)
    ]
    return shop(len(before), rows, **item_columns)


BOUNDS = [0, 5 * DAY_US, 11 * DAY_US]


def test_movement_tells_a_rise_from_small_numbers(shop):
    # All items keep their events, but i0 falls, i1 rises, and i2 doubles from one to two.
    data = two_windows(shop, [60, 10, 1, *[30] * 20, 0], [10, 60, 2, *[30] * 20, 0])
    table = movement(data, BOUNDS)
    told = dict(table.select(c.ITEM_ID, "direction").iter_rows())
    assert told.pop("i0") == "falls"
    assert told.pop("i1") == "rises"
    assert set(told.values()) == {"steady"}
    assert "i23" not in told  # never had an event
    first = table.row(by_predicate=pl.col(c.ITEM_ID) == "i1", named=True)
    assert (first["rank_before"], first["rank_after"], first["rise"]) == (22, 1, 21)
    assert first["ratio"] == pytest.approx((60.5 / 672.5) / (10.5 / 671.5))
    assert first["start"] == datetime(1970, 1, 6, tzinfo=UTC)
    assert (first["tier_before"], first["tier_after"]) == ("tail", "head")


def test_movement_compares_shares_not_totals(shop):
    data = two_windows(shop, [100, 50, 20], [200, 100, 40])
    assert movement(data, BOUNDS)["direction"].unique().to_list() == ["steady"]


def test_movement_raises_few_false_alarms(shop, rng):
    rates = rng.gamma(1.0, 8.0, 400)
    data = two_windows(shop, rng.poisson(rates).tolist(), rng.poisson(rates).tolist())
    assert (movement(data, BOUNDS)["direction"] != "steady").sum() <= 2


def test_items_put_in_later_are_new_not_rising(shop):
    created = [datetime(1970, 1, 1 + 5 * (item == 1), tzinfo=UTC) for item in range(3)]
    data = two_windows(shop, [40, 0, 40], [40, 30, 40], created_at=created)
    told = dict(movement(data, BOUNDS).select(c.ITEM_ID, "direction").iter_rows())
    assert told == {"i0": "steady", "i1": "new", "i2": "steady"}


def test_every_event_lies_in_one_of_the_equal_windows(shop):
    data = two_windows(shop, [3, 1], [2, 2])
    bounds = equal_windows(data, 4)
    assert len(bounds) == 5
    assert bounds[0] <= data.time.min() <= data.time.max() < bounds[-1]
    assert movement(data, bounds)["start"].n_unique() == 2  # the inner windows are empty
    pair = movement(data, [0, DAY_US, 11 * DAY_US])
    assert pair["events_before"].sum() + pair["events_after"].sum() == data.n_events


@pytest.mark.parametrize("bounds", [[0, 5], [0, 5, 5]])
def test_bounds_that_make_no_pair_of_windows_are_refused(shop, bounds):
    with pytest.raises(ValueError, match="at least 3 rising"):
        movement(two_windows(shop, [1], [1]), bounds)


def test_windows_need_events(shop):
    with pytest.raises(ValueError, match="2 windows over 0 events"):
        equal_windows(shop(2, []), 2)


def test_definitions_are_those_of_the_type():
    assert set(DEFINITIONS) == set(Definition.__args__)
