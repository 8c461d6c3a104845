"""Proof that a split knows nothing of what it is asked about."""

import numpy as np

from tailrec.data.histories import settle_repeats
from tailrec.data.split import Split, beyond_shots, requests
from tailrec.data.synthetic import is_synthetic
from tailrec.dataset import Dataset
from tailrec.errors import DataError
from tailrec.items import BoolArray, Int32Array, Int64Array


def check_no_leak(split: Split, data: Dataset) -> None:
    """Compare a split with the whole data it was cut from.

    Nothing in train may be later than the global cut, or, without one, later than the instant of
    the user's own request; nor may an event be missing or weigh more because of what came later;
    nothing asked for and nothing withheld may be in train; requests hold exactly what train
    knows of their users; nobody who asks, and nothing asked for, was made up.

    Args:
        split: a split of `data`.
        data: whole histories, from before and after the cut.

    Raises:
        DataError: the split leaks; names each way, and how often.
    """
    if split.train.n_users != data.n_users or split.train.n_items != data.n_items:
        raise DataError(
            f"split {split.name!r} has {split.train.n_users} users and {split.train.n_items} items,"
            f" the data {data.n_users} and {data.n_items}; check it against what it was cut from"
        )
    checks = _in_train(split, data) | _in_requests(split, data)
    leaks = [f"{what} ({int(wrong.sum())} times)" for what, wrong in checks.items() if wrong.any()]
    if leaks:
        raise DataError(f"split {split.name!r} leaks: {'; '.join(leaks)}")


def _in_train(split: Split, data: Dataset) -> dict[str, BoolArray]:
    """What train may not hold, each with a mask of where it does."""
    train = split.train
    bound = np.full(data.n_users, np.iinfo(np.int64).max if split.cut is None else split.cut)
    bound[split.users] = np.minimum(bound[split.users], split.asof)
    # Without a global cut, events of the instant that is asked for may come before the target.
    limit = bound if split.cut is None else bound - 1
    past = settle_repeats(data.keep(data.time <= limit[data.user]), "last")
    sure = (data.time < bound[data.user]) & ~split.withheld[data.item]
    learnt = _pairs(data, train.user, train.item)
    at, real = _find(_pairs(data, past.user, past.item), learnt)
    clock = train.time.max(initial=0) if split.cut is None else split.cut
    return {
        "train holds events after the cut": train.time > limit[train.user],
        "train holds events that the data does not have before the cut": ~real,
        "train weighs events by what came after the cut": train.weight[real]
        > past.weight[at[real]],
        "train lacks events from before the cut": ~np.isin(
            _pairs(data, data.user[sure], data.item[sure]), learnt
        ),
        "train holds what is asked for": np.isin(learnt, _asked(split, data)),
        "train holds events of withheld items": beyond_shots(split, train),
        "the clock of train is ahead of the cut": np.array([train.now > clock]),
    }


def _in_requests(split: Split, data: Dataset) -> dict[str, BoolArray]:
    """What is wrong with requests and targets, each with a mask of where."""
    latest = settle_repeats(data, "last")
    at, real = _find(_pairs(data, latest.user, latest.item), _asked(split, data))
    asof = np.repeat(split.asof, np.diff(split.target_ptr))
    honest = requests(split.train, split.users, split.asof)
    return {
        "targets are not in the data": ~real,
        "targets happened before their request": latest.time[at[real]] < asof[real],
        "requests are of people who were made up": is_synthetic(data.user_ids[split.users]),
        "targets are items that were made up": is_synthetic(data.catalog.ids[split.target]),
        "requests differ from what train knows": np.array(
            [
                not np.array_equal(getattr(split.queries, name), getattr(honest, name))
                for name in ("ptr", "item", "age", "days", "weight", "exclude_ptr", "exclude")
            ]
        ),
    }


def _pairs(data: Dataset, user: Int32Array, item: Int32Array) -> Int64Array:
    """One number for each user and item."""
    return user.astype(np.int64) * data.n_items + item


def _asked(split: Split, data: Dataset) -> Int64Array:
    """int64 [T], the pairs of users and items that are asked for."""
    return _pairs(data, np.repeat(split.users, np.diff(split.target_ptr)), split.target)


def _find(pool: Int64Array, wanted: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Where each wanted number stands in a pool of unique ones, and whether it does."""
    if not len(pool):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    order = np.argsort(pool)
    place = np.searchsorted(pool, wanted, sorter=order).clip(max=len(pool) - 1)
    return order[place], pool[order[place]] == wanted
