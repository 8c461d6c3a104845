"""Few and zero shots: how well items are found that only a few people, or nobody, had before.

Some items, those of one category or a share that is drawn, keep at most k events in train. Who is
asked, and what would be right, does not depend on k; figures at k = 0, 1, 5, 20 make a curve.
Two things rise along it: what a model learns of the items, and what the requests tell, as events
that are kept are part of their own user's history. `with_histories_of` asks every split with the
histories of k = 0, and leaves the learning alone.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.random import Generator

from tailrec import columns as c
from tailrec.data.histories import Repeats
from tailrec.data.split import Split, events_before, first_meetings, last_of_users, split_of
from tailrec.dataset import Catalog, Dataset
from tailrec.errors import DataError
from tailrec.items import BoolArray, Int64Array

SHOTS = (0, 1, 5, 20)
"""Events left to an item, along the usual curve."""
_NAMED = 5
"""Categories that a message names."""


def few_shots(
    data: Dataset,
    chosen: BoolArray,
    k: int,
    rng: Generator,
    *,
    name: str = "chosen items",
    repeats: Repeats = "last",
) -> Split:
    """A split in which some items keep few events, or none, and are what is asked for.

    A user's target is its last event on a chosen item. Train keeps of the user what came before
    the target, and of each chosen item the events of the k people who met it first among those
    that may be kept. Users without such an event, or with nothing before it on other items,
    are not tested; their events on other items stay in train. Requests and targets are of the
    same users at every k, and train at a smaller k is a part of train at a larger one.

    Args:
        data: whole histories.
        chosen: bool [I], the items; see `items_of_category` and `drawn_items`.
        k: most people whose event an item keeps, at least 0.
        rng: draws the items of inner splits.
        name: what the chosen items are called.
        repeats: which event stands for several of one user and item in train.

    Returns:
        The split. `validation` of it asks, with the same k, for as many other items, drawn: of
        those chosen there is too little left to be asked about.

    Raises:
        DataError: the mask is of another catalogue, k is below 0, or nobody can be tested.
    """
    if chosen.shape != (data.n_items,):
        raise DataError(f"chosen is {chosen.shape}; the catalogue has {data.n_items} items")
    if k < 0:
        raise DataError(f"k is {k}; an item keeps 0 events or more")
    return _few_shots(data, chosen, k, int(rng.integers(2**63)), (name, repeats))


def with_histories_of(split: Split, other: Split) -> Split:
    """The split, asked with the histories of another one; what is left out stays its own.

    It is for figures alone: `check_no_leak` wants requests that hold all that train knows.

    Args:
        split: of `few_shots`.
        other: of the same items, at a smaller k.

    Raises:
        DataError: they do not ask the same users for the same items.
    """
    if not (
        np.array_equal(split.users, other.users) and np.array_equal(split.target, other.target)
    ):
        raise DataError(f"splits {split.name!r} and {other.name!r} do not ask for the same")
    own = split.queries
    told = replace(other.queries, exclude_ptr=own.exclude_ptr, exclude=own.exclude)
    return replace(split, queries=told)


def items_of_category(catalog: Catalog, path: str) -> BoolArray:
    """The items of a category and of all below it.

    Args:
        catalog: with a column of category paths.
        path: the first levels of a path, such as `Makeup > Nails`.

    Returns:
        bool [I].

    Raises:
        DataError: the catalogue has no categories, or none with this path.
    """
    if c.CATEGORY not in catalog.table.columns:
        raise DataError("the catalogue has no categories; draw items with drawn_items")
    categories = catalog.table[c.CATEGORY].fill_null("")
    below = categories.str.starts_with(path + c.CATEGORY_SEPARATOR)
    found: BoolArray = ((categories == path) | below).to_numpy()
    if not found.any():
        firsts = categories.str.split(c.CATEGORY_SEPARATOR).list.first()
        known = ", ".join(map(repr, firsts.value_counts(sort=True).head(_NAMED).to_series()))
        raise DataError(f"no item is of category {path!r}; the largest are {known}")
    return found


def drawn_items(data: Dataset, share: float, rng: Generator) -> BoolArray:
    """A share of the items that have events, drawn.

    Args:
        data: histories.
        share: in (0, 1).
        rng: draws.

    Returns:
        bool [I].

    Raises:
        DataError: share is out of range.
    """
    if not 0 < share < 1:
        raise DataError(f"share is {share}; the share of items to draw lies inside 0..1")
    known = np.flatnonzero(data.item_counts)
    return _drawn(data, known, max(round(share * len(known)), 1), rng)


def _few_shots(
    data: Dataset, chosen: BoolArray, k: int, seed: int, how: tuple[str, Repeats]
) -> Split:
    name, repeats = how
    few = chosen[data.item]
    target = last_of_users(data, few)
    before = events_before(data, target)
    has_others = np.bincount(data.user[before & ~few], minlength=data.n_users) > 0
    target = target[has_others[data.user[target]]]
    before = events_before(data, target)
    return split_of(
        data,
        before & (~few | _first_of_items(data, before & few & ~_of_pairs(data, target), k)),
        target,
        name=f"{name}, {k} shots",
        withheld=chosen & (data.item_counts > 0),
        shots=k,
        repeats=repeats,
        recut=partial(_others, chosen=chosen, k=k, seed=seed, repeats=repeats),
    )


def _others(data: Dataset, *, chosen: BoolArray, k: int, seed: int, repeats: Repeats) -> Split:
    """The inner split: as many other items, with k events each."""
    others = np.flatnonzero(~chosen & (data.item_counts > 0))
    size = min(int(chosen.sum()), max(len(others) // 2, 1))
    drawn = _drawn(data, others, size, np.random.default_rng(seed))
    return _few_shots(data, drawn, k, seed + 1, ("drawn items", repeats))


def _drawn(data: Dataset, among: Int64Array, size: int, rng: Generator) -> BoolArray:
    mask = np.zeros(data.n_items, np.bool_)
    mask[rng.choice(among, min(size, len(among)), replace=False)] = True
    return mask


def _of_pairs(data: Dataset, target: Int64Array) -> BoolArray:
    """bool [E], events of the users and items of the targets."""
    pair = data.user.astype(np.int64) * data.n_items + data.item
    same: BoolArray = np.isin(pair, pair[target])
    return same


def _first_of_items(data: Dataset, events: BoolArray, k: int) -> BoolArray:
    """bool [E], of each item the k earliest of some events, one a user."""
    some = np.flatnonzero(events & first_meetings(data))
    order = some[np.lexsort((some, data.time[some], data.item[some]))]
    item = data.item[order]
    starts = np.flatnonzero(np.diff(item, prepend=-1))
    rank = np.arange(len(item)) - np.repeat(starts, np.diff(np.append(starts, len(item))))
    kept = np.zeros(data.n_events, np.bool_)
    kept[order[rank < k]] = True
    return kept
