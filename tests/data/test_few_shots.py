"""Few shots: hand-worked, one curve for all k, and no leak at any k."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.worlds import crowd, shop

from tailrec.data.few_shots import (
    SHOTS,
    drawn_items,
    few_shots,
    items_of_category,
    with_histories_of,
)
from tailrec.data.leaks import check_no_leak
from tailrec.data.split import Split, validation
from tailrec.dataset import DAY_US, Catalog, Dataset
from tailrec.errors import DataError

RNG = np.random.default_rng


def pairs(data: Dataset) -> set[tuple[int, int]]:
    return set(zip(data.user.tolist(), data.item.tolist(), strict=True))


@pytest.fixture
def six() -> Dataset:
    """Items 0 to 2 are ordinary, 3 and 4 are chosen; days are places in a history."""
    histories = [
        [0, 3, 1, 4],  # asked for 4; has met 3 on day 1
        [3, 0, 3],  # asked for 3, which it met before: no event of this pair may stay
        [3, 4],  # only chosen items: not asked
        [0, 1, 2],  # no chosen item: not asked
        [1, 2, 4, 0],  # asked for 4, and what came later is gone
        [4, 3, 0, 4],  # asked for 4
    ]
    return shop(histories, [f"thing{n}" for n in range(5)])


CHOSEN = np.array([False, False, False, True, True])


def test_a_hand_worked_split(six: Dataset) -> None:
    none, one, many = (few_shots(six, CHOSEN, k, RNG(0)) for k in (0, 1, 9))
    for split in (none, one, many):
        assert split.users.tolist() == [0, 1, 4, 5]
        assert split.target.tolist() == [4, 3, 4, 4]
        assert split.withheld.tolist() == CHOSEN.tolist()
    ordinary = {(0, 0), (0, 1), (1, 0), (3, 0), (3, 1), (3, 2), (4, 1), (4, 2), (5, 0)}
    assert pairs(none.train) == ordinary
    # Earliest on day 0: user 2 met item 3; item 4 was met on day 1 by user 2, as user 5 is asked.
    assert pairs(one.train) == ordinary | {(2, 3), (2, 4)}
    assert pairs(many.train) == ordinary | {(2, 3), (2, 4), (0, 3), (5, 3)}
    assert (one.name, one.shots) == ("chosen items, 1 shots", 1)


def test_requests_hold_what_train_knows(six: Dataset) -> None:
    many = few_shots(six, CHOSEN, 9, RNG(0))
    histories = [many.queries[row].item.tolist() for row in range(len(many))]
    assert histories == [[0, 3, 1], [0], [1, 2], [3, 0]]


def test_histories_of_another_k_leave_all_else(six: Dataset) -> None:
    none, many = (few_shots(six, CHOSEN, k, RNG(0)) for k in (0, 9))
    asked = with_histories_of(many, none)
    histories = [asked.queries[row].item.tolist() for row in range(len(asked))]
    assert histories == [[0, 1], [0], [1, 2], [0]]
    excluded = [asked.queries[row].exclude.tolist() for row in range(len(asked))]
    assert excluded == [[0, 3, 1], [0], [1, 2], [3, 0]]
    assert asked.train is many.train
    other = few_shots(six, np.array([False, False, True, False, False]), 0, RNG(0))
    with pytest.raises(DataError, match="do not ask for the same"):
        with_histories_of(many, other)


def random_split(seed: int, k: int) -> tuple[Split, Dataset]:
    rng = RNG(seed)
    data = crowd(rng, n_users=80, n_items=30)
    late = np.sort(rng.integers(0, 30, data.n_users))
    data = replace(data, time=data.time + np.repeat(late, np.diff(data.ptr)) * DAY_US)
    return few_shots(data, drawn_items(data, 0.3, RNG(seed)), k, RNG(seed)), data


@given(seed=st.integers(0, 10_000), k=st.sampled_from([0, 1, 2, 5]))
def test_nothing_leaks_and_the_curve_is_one(seed: int, k: int) -> None:
    split, data = random_split(seed, k)
    more, _ = random_split(seed, k + 2)
    check_no_leak(split, data)
    assert split.train.item_counts[split.withheld].max(initial=0) <= k
    assert np.array_equal(split.users, more.users)
    assert np.array_equal(split.target, more.target)
    assert pairs(split.train) <= pairs(more.train)
    assert split.withheld[split.target].all()
    # What is kept is no later than what is not, of each item among what may be kept.
    for item in np.flatnonzero(split.withheld):
        here = split.train.time[split.train.item == item]
        further = more.train.time[more.train.item == item]
        if len(further) > len(here):
            assert here.max(initial=0) <= np.sort(further)[len(here) :].min()


@pytest.mark.parametrize("k", SHOTS)
def test_inner_splits_are_of_the_same_kind_and_know_nothing_of_the_test(k: int) -> None:
    split, _ = random_split(3, k)
    inner = validation(split)
    check_no_leak(inner, split.whole)
    assert inner.shots == k
    assert not (inner.withheld & split.withheld).any()
    assert inner.withheld.sum() == pytest.approx(split.withheld.sum(), abs=1)
    assert np.array_equal(inner.target, validation(split).target)


def test_more_events_than_shots_are_found(six: Dataset) -> None:
    split = few_shots(six, CHOSEN, 9, RNG(0))
    with pytest.raises(DataError, match="train holds events of withheld items"):
        check_no_leak(replace(split, shots=1), six)


CATALOG = Catalog(
    pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(6)],
            "category": ["Hair", "Hair > Care", "Hair > Care > Oil", "Hairpins", None, "Nails"],
        }
    )
)


def test_a_category_is_chosen_by_the_levels_of_its_path() -> None:
    told = {path: items_of_category(CATALOG, path).nonzero()[0].tolist() for path in PATHS}
    assert told == PATHS
    with pytest.raises(DataError, match=r"no item is of category 'Hai'; the largest are 'Hair', "):
        items_of_category(CATALOG, "Hai")
    with pytest.raises(DataError, match="has no categories; draw items"):
        items_of_category(Catalog(CATALOG.table.drop("category")), "Hair")


PATHS = {"Hair": [0, 1, 2], "Hair > Care": [1, 2], "Hair > Care > Oil": [2], "Nails": [5]}


def test_a_share_of_the_items_with_events_is_drawn() -> None:
    data = crowd(RNG(0))
    known = int((data.item_counts > 0).sum())
    one, two, other = (drawn_items(data, 0.25, RNG(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert one.sum() == round(0.25 * known)
    assert (data.item_counts[one] > 0).all()


def test_what_makes_no_split_is_refused(six: Dataset) -> None:
    with pytest.raises(DataError, match=r"chosen is \(2,\); the catalogue has 5 items"):
        few_shots(six, CHOSEN[:2], 0, RNG(0))
    with pytest.raises(DataError, match="k is -1"):
        few_shots(six, CHOSEN, -1, RNG(0))
    with pytest.raises(DataError, match="it needs both"):
        few_shots(six, np.zeros(5, np.bool_), 0, RNG(0))
    with pytest.raises(DataError, match="share is 1"):
        drawn_items(six, 1, RNG(0))
