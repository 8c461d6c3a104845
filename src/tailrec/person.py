"""A request of one person at this moment: what is stored of them, and what they do just now."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tailrec import columns as c
from tailrec.data.histories import RATED, Histories, number_steps, settle_repeats
from tailrec.data.live import Moment
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import renumbered
from tailrec.items import PADDING, Array, BoolArray, Int64Array, QueryBatch

NOBODY = "nobody"
_TYPE_NUMBER = {name: number for number, name in enumerate(c.EVENT_TYPES)}


class Deed(NamedTuple):
    """Something done in the session that is going on.

    Attributes:
        item_id: any item.
        type: a name in `columns.EVENT_TYPES`.
        time: microseconds since 1970; None: now, after all that is known.
        value: amount or rating.
    """

    item_id: str
    type: str
    time: int | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """The items of a shop as requests number them.

    Attributes:
        catalog: of every item the engine knows, in its order.
        index: catalogue number by item id.
    """

    catalog: Catalog
    index: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class History:
    """What one person did, as a model takes it.

    Attributes:
        data: one user's history; items that the shelf lacks are numbered behind its own.
        known: how many of the numbers are the shelf's.
    """

    data: Dataset
    known: int

    def query(self, *, tail: float = 0.0, hidden: BoolArray | None = None) -> QueryBatch:
        """The request, as a batch of one; what the person has may be shown.

        Args:
            tail: 0..1, lean to the long tail.
            hidden: bool [I], items that nobody is shown.
        """
        asked = replace(self.data.queries(include_seen=True, tail=tail), hidden=hidden)
        highest = int(self.data.item.max(initial=-1))
        if highest < self.known:
            return asked
        own = np.arange(highest + 1, dtype=np.int32)
        own[self.known :] = PADDING
        return renumbered(asked, own)


def history_of(
    shelf: Shelf,
    recipe: Histories,
    moment: Moment,
    *,
    deeds: Sequence[Deed] = (),
    viewing: str | None = None,
) -> History:
    """A person's history, the same as `data.histories.build_dataset` makes of all events.

    What is done just now comes last and in its order, a step each; the item in view is the
    latest of all and counts as much as the type of event that counts most.

    Args:
        shelf: the items.
        recipe: what counts, and how much.
        moment: what the store knows.
        deeds: done in this session and not yet stored, oldest first.
        viewing: id of the item in view.
    """
    now = max([moment.now, *(deed.time for deed in deeds if deed.time is not None)])
    late = [*deeds, Deed(viewing, NOBODY)] if viewing is not None else list(deeds)
    times = [now + place + 1 if deed.time is None else deed.time for place, deed in enumerate(late)]
    ids = moment.item_ids + [deed.item_id for deed in late]
    types = moment.types + [deed.type for deed in late]
    values = moment.values + [deed.value for deed in late]
    time = np.concatenate([moment.times, np.array(times, np.int64)])
    counts = _counting(types, values, recipe)
    if late:
        counts = counts[np.argsort(time[counts], kind="stable")]
    sessions: list[str | None] = [*moment.session_ids, *([None] * len(late))]
    number = _numbers([ids[at] for at in counts], shelf.index)
    return History(
        _dataset(shelf.catalog, recipe, counts, (number, types, values, sessions, time), now),
        len(shelf.catalog),
    )


def _counting(
    types: Sequence[str], values: Sequence[float | None], recipe: Histories
) -> Int64Array:
    """Places of the events that are history."""
    weight = vars(recipe.weights)
    places = [
        place for place, name in enumerate(types) if name == NOBODY or weight.get(name, 0.0) > 0
    ]
    if recipe.min_rating is not None:
        least = np.float32(recipe.min_rating)  # as exactly as datasets keep values
        # What is not known to be below is liked.
        places = [
            place
            for place in places
            if types[place] not in RATED
            or (value := values[place]) is None
            or np.float32(value) >= least
        ]
    return np.array(places, np.int64)


def _numbers(ids: Sequence[str], index: Mapping[str, int]) -> Array:
    """int32 [E], catalogue numbers; items without one are numbered behind the last."""
    strange: dict[str, int] = {}
    n_items = len(index)
    return np.array(
        [
            index[item_id]
            if item_id in index
            else strange.setdefault(item_id, n_items + len(strange))
            for item_id in ids
        ],
        np.int32,
    )


def _dataset(
    catalog: Catalog,
    recipe: Histories,
    places: Int64Array,
    told: tuple[Array, Sequence[str], Sequence[float | None], Sequence[str | None], Int64Array],
    now: int,
) -> Dataset:
    """One user's events at some places, as a dataset."""
    number, types, values, sessions, time = told
    kinds = [types[place] for place in places]
    counts = {**vars(recipe.weights)}
    counts[NOBODY] = max(counts.values()) or 1.0
    own = [sessions[place] for place in places]
    together = np.zeros(len(places), bool)
    if recipe.baskets == "session":
        together[1:] = [b is not None and a == b for a, b in itertools.pairwise(own)]
    time = time[places]
    ptr = np.array([0, len(places)], np.int64)
    data = Dataset(
        catalog=catalog,
        user_ids=np.array([NOBODY], object),
        ptr=ptr,
        item=number,
        time=time,
        step=number_steps(time, together, ptr),
        weight=np.array([counts[kind] for kind in kinds], np.float32),
        type=np.array([_TYPE_NUMBER.get(kind, 0) for kind in kinds], np.int8),
        value=np.array([values[place] for place in places], np.float32),
        now=now,
    )
    return settle_repeats(data, recipe.repeats)
