"""Splits: hand-worked cuts, and no future in any train part of any kind."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.data.histories import Histories, build_dataset, microseconds
from tailrec.data.leaks import check_no_leak
from tailrec.data.split import Split, cold_items, leave_one_out, time_windows, validation
from tailrec.dataset import DAY_US, Dataset
from tailrec.errors import DataError

START = datetime(2024, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    user: str
    item: str
    day: int
    type: str = "purchase"
    session: str | None = None


def frame(events: list[Event], *, day: timedelta = timedelta(days=1)) -> pl.DataFrame:
    """An events table; event_ids rise with the list. A shorter day makes times touch."""
    return pl.DataFrame(
        {
            "event_id": [f"{n:04d}" for n in range(len(events))],
            "user_id": [e.user for e in events],
            "item_id": [e.item for e in events],
            "type": [e.type for e in events],
            "timestamp": [START + e.day * day for e in events],
            "session_id": [e.session for e in events],
        },
        schema_overrides={"session_id": pl.String, "timestamp": pl.Datetime("us", "UTC")},
    )


CATALOG = pl.DataFrame({"item_id": [f"i{n}" for n in range(8)]})


def whole_of(events: list[Event]) -> Dataset:
    return build_dataset(frame(events), CATALOG, Histories(), whole=True)


def histories(data: Dataset, *, steps: bool = True) -> dict[str, list[tuple[object, ...]]]:
    """Every event by user id, for users that have any."""
    found = {}
    for row, user in enumerate(data.user_ids):
        own = slice(data.ptr[row], data.ptr[row + 1])
        names = data.catalog.ids[data.item[own]]
        step = data.step[own] if steps else np.zeros(len(names))
        events = zip(names, data.time[own], data.weight[own], data.type[own], step, strict=True)
        if len(names):
            found[str(user)] = [tuple(e) for e in events]
    return found


def targets(split: Split) -> dict[str, set[str]]:
    ids = split.train.catalog.ids
    bounds = zip(split.users, split.target_ptr[:-1], split.target_ptr[1:], strict=True)
    return {
        str(split.train.user_ids[user]): {str(i) for i in ids[split.target[low:high]]}
        for user, low, high in bounds
    }


def in_order(events: list[Event]) -> list[Event]:
    """By user and time; equal ones keep the order of their event_ids."""
    return sorted(events, key=lambda e: (e.user, e.day))


def before_last_new_item(events: list[Event]) -> tuple[list[Event], dict[str, set[str]]]:
    """Leave-one-out by plain loops: what stays, and the targets."""
    kept, wanted = [], {}
    for user in {e.user for e in events}:
        own = [e for e in in_order(events) if e.user == user]
        new = [n for n, e in enumerate(own) if e.item not in {x.item for x in own[:n]}]
        if len(new) < 3:
            kept += own
        else:
            kept += own[: new[-1]]
            wanted[user] = {own[new[-1]].item}
    return kept, wanted


worlds = st.lists(
    st.builds(
        Event,
        st.sampled_from(["u0", "u1", "u2", "u3"]),
        st.sampled_from([f"i{n}" for n in range(7)]),
        st.integers(0, 9),
        st.sampled_from(["purchase", "view", "impression"]),
        st.sampled_from([None, "s0", "s1"]),
    ),
    min_size=1,
    max_size=40,
)


@given(worlds)
@settings(max_examples=150, deadline=None)
def test_leave_one_out_trains_on_what_came_before_each_target(events: list[Event]) -> None:
    counted = [e for e in events if e.type != "impression"]
    kept, wanted = before_last_new_item(counted)
    if not wanted:
        with pytest.raises(DataError, match="leave-one-out"):
            leave_one_out(whole_of(events))
        return
    split = leave_one_out(whole_of(events))
    check_no_leak(split, whole_of(events))
    assert targets(split) == wanted
    # Ids follow the order of `in_order`, so the rebuilt order is the same.
    rebuilt = build_dataset(frame(in_order(kept)), CATALOG, Histories())
    assert histories(split.train) == histories(rebuilt)


@given(worlds, st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_windows_train_on_nothing_from_their_cut_on(events: list[Event], n: int, days: int) -> None:
    # Days of a microsecond: every cut falls exactly on the time of some events.
    table = frame(events, day=timedelta(microseconds=1))
    data = build_dataset(table, CATALOG, Histories(), whole=True)
    try:
        splits = time_windows(data, n=n, days=days / DAY_US)
    except DataError:
        return
    counted = [e for e in events if e.type != "impression"]
    for back, split in enumerate(reversed(splits)):
        check_no_leak(split, data)
        first = max(e.day for e in counted) - (back + 1) * days
        # A window is [cut, cut + width) and the last one holds the newest event.
        window = [e for e in counted if first < e.day <= first + days]
        past = {(e.user, e.item) for e in counted if e.day <= first}
        wanted: dict[str, set[str]] = {}
        for e in window:
            if (e.user, e.item) not in past:
                wanted.setdefault(e.user, set()).add(e.item)
        assert targets(split) == wanted
        assert split.cut is not None
        until = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=split.cut)
        only_past = build_dataset(table, CATALOG, Histories(), until=until)
        assert histories(split.train) == histories(only_past)
        assert split.train.now == only_past.now == split.cut


@given(worlds, st.floats(0.05, 0.9), st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_cold_items_are_unknown_and_asked_for_with_the_past_alone(
    events: list[Event], share: float, seed: int
) -> None:
    data = whole_of(events)
    try:
        split = cold_items(data, share, np.random.default_rng(seed))
    except DataError:
        return
    check_no_leak(split, data)
    withheld = {str(i) for i in split.train.catalog.ids[split.withheld]}
    counted = [e for e in events if e.type != "impression"]
    kept: list[Event] = []
    wanted = {}
    for user in {e.user for e in counted}:
        own = [e for e in in_order(counted) if e.user == user]
        cold = [n for n, e in enumerate(own) if e.item in withheld]
        before = [e for e in own[: cold[-1]] if e.item not in withheld] if cold else []
        if before:
            wanted[user] = {own[cold[-1]].item}
        kept += before or [e for e in own if e.item not in withheld]
    assert targets(split) == wanted
    rebuilt = build_dataset(frame(in_order(kept)), CATALOG, Histories())
    # Baskets of withheld items alone still count as steps in the split.
    assert histories(split.train, steps=False) == histories(rebuilt, steps=False)


def test_leave_one_out_by_hand_and_its_validation() -> None:
    events = [
        *(Event("u", f"i{n}", n) for n in range(4)),
        *(Event("v", f"i{n}", n) for n in (5, 6)),
        Event("w", "i1", 1),
        Event("w", "i2", 2),
        Event("w", "i3", 3),
        Event("w", "i1", 8),
    ]
    test = leave_one_out(whole_of(events))
    assert targets(test) == {"u": {"i3"}, "w": {"i3"}}
    inner = validation(test)
    assert targets(inner) == {"u": {"i2"}, "w": {"i2"}, "v": {"i6"}}
    assert [e[0] for e in histories(inner.train)["u"]] == ["i0", "i1"]
    assert test.queries[0].days.tolist() == [3, 2, 1], "days count to the user's own request"
    assert test.queries[0].age.tolist() == [2, 1, 0]
    assert test.queries[0].exclude.tolist() == [0, 1, 2]
    assert test.cut is None
    assert test.train.now == test.train.time.max()


def test_a_repeat_after_the_cut_does_not_take_its_event_out_of_train() -> None:
    events = [Event("u", "i0", 0), Event("u", "i1", 1), Event("u", "i0", 5), Event("u", "i2", 6)]
    (window,) = time_windows(whole_of(events), n=1, days=3)
    assert [e[0] for e in histories(window.train)["u"]] == ["i0", "i1"]
    assert targets(window) == {"u": {"i2"}}


def test_windows_keep_cold_users_and_say_so() -> None:
    events = [Event("u", "i0", 0), Event("u", "i1", 9), Event("new", "i2", 9)]
    (window,) = time_windows(whole_of(events), n=1, days=2)
    assert targets(window) == {"u": {"i1"}, "new": {"i2"}}
    assert dict(zip(window.train.user_ids[window.users], window.cold_users, strict=True)) == {
        "u": False,
        "new": True,
    }
    assert len(window) == 2


def test_windows_share_the_latest_fifth_by_default_and_validate_one_earlier() -> None:
    events = [Event(f"u{n}", f"i{n % 8}", n) for n in range(100)]
    data = whole_of(events)
    splits = time_windows(data, n=2)
    starts = [s.cut for s in splits if s.cut is not None]
    assert starts[1] - starts[0] == pytest.approx(10 * DAY_US, rel=0.06)
    assert sum(len(s.target) for s in splits) == pytest.approx(20, abs=1)
    assert splits[0].name == "time 2024-03-20 00:00"
    inner = validation(splits[1])
    assert inner.cut == splits[0].cut
    assert targets(inner) == targets(splits[0])
    check_no_leak(inner, splits[1].whole)


def test_cold_validation_withholds_other_items() -> None:
    rng = np.random.default_rng(3)
    events = [
        Event(f"u{u:02d}", f"i{i}", day)
        for u in range(40)
        for day, i in enumerate(rng.permutation(8)[:6])
    ]
    data = whole_of(events)
    split = cold_items(data, 0.25, np.random.default_rng(0))
    assert split.withheld.sum() == 2
    inner = validation(split)
    assert not (inner.withheld & split.withheld).any()
    check_no_leak(inner, split.whole)
    again = cold_items(data, 0.25, np.random.default_rng(0))
    assert targets(again) == targets(split)
    assert targets(validation(again)) == targets(inner)


def test_splits_that_cannot_be_are_refused() -> None:
    data = whole_of([Event("u", "i0", 0), Event("u", "i1", 1), Event("v", "i1", 1)])
    with pytest.raises(DataError, match="leave-one-out"):
        leave_one_out(data)
    with pytest.raises(DataError, match="0 events to learn from"):
        time_windows(data, n=3, days=5)
    with pytest.raises(DataError, match="n=0"):
        time_windows(data, n=0)
    with pytest.raises(DataError, match="share is 2"):
        cold_items(data, 2, np.random.default_rng(0))
    empty = data.keep(np.zeros(data.n_events, bool))
    for cut in (leave_one_out, time_windows, lambda d: cold_items(d, 0.5, np.random.default_rng())):
        with pytest.raises(DataError, match="needs both"):
            cut(empty)


def test_days_count_in_microseconds() -> None:
    (window,) = time_windows(whole_of([Event("u", "i0", 0), Event("u", "i1", 4)]), n=1, days=1)
    assert window.cut == microseconds(START + timedelta(days=3)) + 1
    assert window.queries.days == pytest.approx([3])
