"""Train and test parts of a dataset: leave-one-out, windows of time, cold items.

Every split is cut from whole histories (``build_dataset(..., whole=True)``): which event of a
user and item is the last one can only be settled after the cut. `leaks` proves a split honest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
from numpy.random import Generator

from tailrec.data.histories import Repeats, settle_repeats
from tailrec.dataset import DAY_US, Dataset
from tailrec.errors import DataError
from tailrec.items import BoolArray, Int32Array, Int64Array, QueryBatch, ragged_rows


@dataclass(frozen=True, slots=True)
class Split:
    """What may be learnt from, what is asked, and what would have been right.

    Attributes:
        name: the kind of split, and its cut.
        train: what a model may learn from, repeats settled.
        whole: the same events with every repeat; inner splits are cut from it.
        queries: B requests, one a tested user, made of that user's events in `train`.
        users: int32 [B], rows of the tested users, rising.
        asof: int64 [B], microseconds; the instant of each request.
        target_ptr: int64 [B + 1], bounds of the targets; each request has at least one.
        target: int32 [T], items the user turned to from `asof` on; unique within a request and
            not among what it excludes.
        withheld: bool [I], items made cold on purpose.
        cut: microseconds; all of train is before it. None where each user has a cut of its own.
        recut: splits another whole dataset in the same way, one window earlier.
        shots: most events that a withheld item keeps in train.
    """

    name: str
    train: Dataset
    whole: Dataset
    queries: QueryBatch
    users: Int32Array
    asof: Int64Array
    target_ptr: Int64Array
    target: Int32Array
    withheld: BoolArray
    cut: int | None
    recut: Callable[[Dataset], "Split"]
    shots: int = 0

    def __len__(self) -> int:
        return len(self.users)

    @property
    def cold_users(self) -> BoolArray:
        """bool [B], requests without any history."""
        cold: BoolArray = np.diff(self.queries.ptr) == 0
        return cold

    def take(self, rows: Int64Array) -> "Split":
        """The split with only some of its requests.

        Args:
            rows: [R], numbers of requests, rising.
        """
        ptr, own = ragged_rows(self.target_ptr, rows)
        return replace(
            self,
            queries=self.queries.take(rows),
            users=self.users[rows],
            asof=self.asof[rows],
            target_ptr=ptr,
            target=self.target[own],
        )


def validation(split: Split) -> Split:
    """An inner split of the same kind, from the train part alone.

    Options are chosen on it, so that the test stays unseen.

    Raises:
        DataError: the train part is too small to be split again.
    """
    return split.recut(split.whole)


def inner_split(data: Dataset, repeats: Repeats) -> Split:
    """The split that options are chosen on, from data that may all be learnt from later.

    The last window in time; each user's last event where times are made up.

    Args:
        data: whole histories.
        repeats: which event stands for several of one user and item.
    """
    if has_real_times(data):
        return time_windows(data, n=1, repeats=repeats)[0]
    return leave_one_out(data, repeats=repeats)


def leave_one_out(data: Dataset, *, least: int = 3, repeats: Repeats = "last") -> Split:
    """The last new item of each user is the target; what came before it is train.

    A user who returns to a known item does not meet it, and known items are never recommended:
    the target is the user's last event on an item it did not have. Other users' later events
    stay in train, as in the published work this split is for.

    Args:
        data: whole histories.
        least: items a user must have to be tested, at least 2; users with fewer stay in train
            with all their events.
        repeats: which event stands for several of one user and item in train.

    Raises:
        DataError: no user has enough items.
    """
    met = first_meetings(data)
    n_met = np.bincount(data.user[met], minlength=data.n_users)
    tested = n_met >= max(least, 2)
    target = last_of_users(data, met & tested[data.user])
    return split_of(
        data,
        events_before(data, target),
        target,
        name="leave-one-out",
        repeats=repeats,
        # Users with just enough items have one fewer once the target is gone.
        recut=partial(leave_one_out, least=least - 1, repeats=repeats),
    )


def time_windows(
    data: Dataset, *, n: int = 3, days: float | None = None, repeats: Repeats = "last"
) -> list[Split]:
    """Rolling windows of equal width at the end of the data, oldest first.

    Train is everything before a window's first instant; the targets are the items that users
    meet in it. Cold items stay in, and so do users without history (`Split.cold_users`).

    Args:
        data: whole histories. Their times must be real: where only an order is known, a global
            instant means nothing.
        n: how many windows.
        days: width of a window; if None, the windows share the time that the latest fifth of
            the events took.
        repeats: which event stands for several of one user and item in train.

    Raises:
        DataError: n or days is not above 0, or a window has nothing before it or nothing in it.
    """
    if n < 1 or (days is not None and days <= 0):
        raise DataError(f"n={n} windows of days={days} were asked for; both must be above 0")
    end = int(data.time.max(initial=0)) + 1
    if days is not None:
        width = max(round(days * DAY_US), 1)
    else:
        latest_fifth = np.quantile(data.time, 0.8, method="lower") if data.n_events else 0
        width = max((end - int(latest_fifth)) // n, 1)
    return [_window(data, end - back * width, width, repeats) for back in range(n, 0, -1)]


def cold_items(data: Dataset, share: float, rng: Generator, *, repeats: Repeats = "last") -> Split:
    """A share of the items loses every event, and is what is asked for.

    A user's target is its last event on such an item. The request, and what train keeps of the
    user, is what came before the target on other items. Users without such an event, or with
    nothing before it, are not tested; all their events on other items stay in train.

    Args:
        data: whole histories.
        share: of the items that have events, in (0, 1).
        rng: draws the items.
        repeats: which event stands for several of one user and item in train.

    Raises:
        DataError: share is out of range, or no user can be tested.
    """
    if not 0 < share < 1:
        raise DataError(f"share is {share}; the share of items to withhold lies inside 0..1")
    return _cold_items(data, share, int(rng.integers(2**63)), repeats)


def requests(train: Dataset, users: Int32Array, asof: Int64Array) -> QueryBatch:
    """Requests of users, each at an instant of its own.

    Args:
        train: the histories.
        users: int32 [B], rows of users.
        asof: int64 [B], microseconds; what `days` are counted to.

    Returns:
        `Dataset.queries`, with other days.
    """
    queries = train.queries(users)
    lengths = np.diff(queries.ptr)
    events = np.repeat(train.ptr[users] - queries.ptr[:-1], lengths) + np.arange(queries.ptr[-1])
    days = (np.repeat(asof, lengths) - train.time[events]) / DAY_US
    return replace(queries, days=np.maximum(days, 0).astype(np.float32))


def _window(data: Dataset, cut: int, width: int, repeats: Repeats) -> Split:
    inside = (data.time >= cut) & (data.time < cut + width)
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=cut)
    return split_of(
        data,
        data.time < cut,
        np.flatnonzero(inside & first_meetings(data)),
        name=f"time {start:%Y-%m-%d %H:%M}",
        cut=cut,
        repeats=repeats,
        recut=partial(_window, cut=cut - width, width=width, repeats=repeats),
    )


def _cold_items(data: Dataset, share: float, seed: int, repeats: Repeats) -> Split:
    known = np.flatnonzero(data.item_counts)
    size = min(max(round(share * len(known)), 1), len(known))
    withheld = np.zeros(data.n_items, bool)
    withheld[np.random.default_rng(seed).choice(known, size, replace=False)] = True
    gone = withheld[data.item]
    target = last_of_users(data, gone)
    before = ~gone & events_before(data, target)
    has_history = np.bincount(data.user[before], minlength=data.n_users) > 0
    target = target[has_history[data.user[target]]]
    return split_of(
        data,
        ~gone & events_before(data, target),
        target,
        name=f"cold items, {share:.0%}",
        withheld=withheld,
        repeats=repeats,
        recut=partial(_cold_items, share=share, seed=seed, repeats=repeats),
    )


def split_of(
    data: Dataset,
    known: BoolArray,
    target: Int64Array,
    *,
    name: str,
    repeats: Repeats,
    recut: Callable[[Dataset], Split],
    cut: int | None = None,
    withheld: BoolArray | None = None,
    shots: int = 0,
) -> Split:
    """A split that learns from the events `known` [E] and asks for the events `target` [T].

    Args:
        data: whole histories.
        known: bool [E].
        target: int64 [T], rising; none of their users and items may be known.
        name: of the split.
        repeats: which event stands for several of one user and item in train.
        recut: makes the inner split.
        cut: instant of a global cut.
        withheld: bool [I], items made cold.
        shots: most events that each of those keeps.

    Raises:
        DataError: there is nothing to learn from, or nothing to ask for.
    """
    if not known.any() or not len(target):
        raise DataError(
            f"split {name!r} would have {int(known.sum())} events to learn from and {len(target)} "
            f"to ask for, out of {data.n_events}; it needs both: take more data, or fewer or "
            f"shorter windows"
        )
    whole = data.keep(known, now=int(data.time[known].max()) if cut is None else cut)
    train = settle_repeats(whole, repeats)
    users, sizes = np.unique(data.user[target], return_counts=True)
    instants = np.zeros(data.n_users, np.int64)
    instants[data.user[target]] = data.time[target] if cut is None else cut
    return Split(
        name=name,
        train=train,
        whole=whole,
        queries=requests(train, users, instants[users]),
        users=users,
        asof=instants[users],
        target_ptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        target=data.item[target],
        withheld=np.zeros(data.n_items, bool) if withheld is None else withheld,
        cut=cut,
        recut=recut,
        shots=shots,
    )


def first_meetings(data: Dataset) -> BoolArray:
    """bool [E], the first event of each user and item."""
    pair = data.user.astype(np.int64) * data.n_items + data.item
    first = np.zeros(data.n_events, bool)
    first[np.unique(pair, return_index=True)[1]] = True
    return first


def last_of_users(data: Dataset, events: BoolArray) -> Int64Array:
    """Position of the last event of each user among a mask [E], rising."""
    chosen: Int64Array = np.flatnonzero(events)
    last: BoolArray = np.diff(data.user[chosen], append=-1) != 0
    return chosen[last]


def events_before(data: Dataset, last: Int64Array) -> BoolArray:
    """bool [E], events before a user's position in `last`; all events of the other users."""
    bound = np.full(data.n_users, data.n_events)
    bound[data.user[last]] = last
    return np.arange(data.n_events) < bound[data.user]


def beyond_shots(split: Split, data: Dataset) -> BoolArray:
    """bool [E], events of withheld items beyond those that each of them may keep.

    Args:
        split: says which items, and how many.
        data: train, or the whole events, of the split.
    """
    counts = np.where(split.withheld, data.item_counts, 0)
    beyond: BoolArray = (counts > split.shots)[data.item]
    return beyond


def has_real_times(data: Dataset) -> bool:
    """Whether times say when things happened, and not only in which order.

    Times made up from an order start every user at the same instant. With fewer than ten users
    nothing can be told, and times are believed.
    """
    starts = data.time[data.ptr[:-1][np.diff(data.ptr) > 0]]
    if len(starts) < 10:
        return True
    return bool(np.unique(starts, return_counts=True)[1].max() <= len(starts) / 2)
