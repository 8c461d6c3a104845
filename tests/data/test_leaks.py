"""The check must find every kind of leak that can be planted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl
import pytest

from tailrec.data.histories import settle_repeats
from tailrec.data.leaks import check_no_leak
from tailrec.data.split import Split, cold_items, leave_one_out, requests, time_windows
from tailrec.dataset import DAY_US, Catalog, Dataset
from tailrec.errors import DataError

Plant = Callable[[Split, Dataset], Split]


@pytest.fixture
def data(rng: np.random.Generator) -> Dataset:
    """30 users with 12 events on 15 items, one event a day, weights that vary."""
    users, each, items = 30, 12, 15
    return Dataset(
        catalog=Catalog(pl.DataFrame({"item_id": [f"i{n:02d}" for n in range(items)]})),
        user_ids=np.array([f"u{n:02d}" for n in range(users)], object),
        ptr=np.arange(users + 1, dtype=np.int64) * each,
        item=rng.integers(items, size=users * each).astype(np.int32),
        time=np.tile(np.arange(each, dtype=np.int64), users) * DAY_US,
        step=np.tile(np.arange(each, dtype=np.int32), users),
        weight=rng.choice([0.3, 1.0], users * each).astype(np.float32),
        type=np.zeros(users * each, np.int8),
        value=np.full(users * each, np.nan, np.float32),
        now=(each - 1) * DAY_US,
    )


@pytest.fixture(params=["leave-one-out", "time", "cold"])
def split(request: pytest.FixtureRequest, data: Dataset, rng: np.random.Generator) -> Split:
    if request.param == "leave-one-out":
        return leave_one_out(data)
    if request.param == "time":
        return time_windows(data, n=1, days=4)[0]
    return cold_items(data, 0.2, rng)


def retrained(split: Split, train: Dataset) -> Split:
    """The split with another train part, and requests that agree with it."""
    return replace(split, train=train, queries=requests(train, split.users, split.asof))


def all_events(split: Split, data: Dataset) -> Split:
    return retrained(split, replace(settle_repeats(data, "last"), now=split.train.now))


def one_later_event(split: Split, data: Dataset) -> Split:
    time = split.train.time.copy()
    time[split.train.ptr[split.users[-1] + 1] - 1] = data.time.max() + 1
    return retrained(split, replace(split.train, time=time))


def invented_events(split: Split, data: Dataset) -> Split:
    item = split.train.item.copy()
    have = set(data.item[data.ptr[0] : data.ptr[1]].tolist())
    item[0] = next(i for i in range(data.n_items) if i not in have)
    return retrained(split, replace(split.train, item=item))


def target_among_the_past(split: Split, _: Dataset) -> Split:
    """The target, dressed as the request's earliest event."""
    row = int(np.flatnonzero(np.diff(split.queries.ptr))[0])
    item = split.train.item.copy()
    item[split.train.ptr[split.users[row]]] = split.target[split.target_ptr[row]]
    return retrained(split, replace(split.train, item=item))


def heavier(split: Split, _: Dataset) -> Split:
    return retrained(split, replace(split.train, weight=split.train.weight * 2))


def late_clock(split: Split, data: Dataset) -> Split:
    ahead = replace(split.train, now=int(data.time.max()) + 1)
    return replace(split, train=ahead)


def requests_from_all_data(split: Split, data: Dataset) -> Split:
    return replace(split, queries=requests(data, split.users, split.asof))


def late_requests(split: Split, _: Dataset) -> Split:
    return replace(split, asof=split.asof + 100 * DAY_US)


def other_targets(split: Split, data: Dataset) -> Split:
    have = set(data.item[data.user == split.users[0]].tolist())
    target = split.target.copy()
    target[0] = next(i for i in range(data.n_items) if i not in have)
    return replace(split, target=target)


PLANTS: dict[Plant, str] = {
    all_events: "after the cut",
    one_later_event: "after the cut",
    invented_events: "does not have before the cut",
    target_among_the_past: "is asked for",
    heavier: "weighs events",
    late_clock: "clock",
    requests_from_all_data: "requests differ",
    late_requests: "before their request",
    other_targets: "targets are not in the data",
}


def test_an_honest_split_passes(split: Split, data: Dataset) -> None:
    check_no_leak(split, data)
    assert len(split) > 10, "a world too small would prove nothing"


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_leak_is_found(split: Split, data: Dataset, plant: Plant) -> None:
    with pytest.raises(DataError, match=f"leaks: .*({PLANTS[plant]})"):
        check_no_leak(plant(split, data), data)


def test_an_event_of_a_withheld_item_is_found(data: Dataset, rng: np.random.Generator) -> None:
    split = cold_items(data, 0.2, rng)
    marked = split.withheld.copy()
    marked[split.train.item[0]] = True
    with pytest.raises(DataError, match="withheld"):
        check_no_leak(replace(split, withheld=marked), data)


@pytest.mark.parametrize(("repeats", "leak"), [("first", "weighs"), ("last", "lacks")])
def test_repeats_settled_before_the_cut_are_found(
    data: Dataset, repeats: Literal["first", "last"], leak: str
) -> None:
    """Which event is the last, and which the strongest, is not known before the cut."""
    split = time_windows(settle_repeats(data, repeats), n=1, days=4)[0]
    with pytest.raises(DataError, match=leak):
        check_no_leak(split, data)


def test_another_shop_is_refused(split: Split, data: Dataset) -> None:
    wider = Catalog(pl.DataFrame({"item_id": [f"i{n:02d}" for n in range(16)]}))
    with pytest.raises(DataError, match="15 items, the data 30 and 16"):
        check_no_leak(split, replace(data, catalog=wider))
