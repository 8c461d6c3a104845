"""A request of one person at this moment: what is stored of them, and what they do just now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from tailrec.data.histories import RATED, Histories, Repeats
from tailrec.data.live import Moment
from tailrec.dataset import DAY_US
from tailrec.items import BoolArray, Float32Array, Int32Array, QueryBatch

NOBODY: Final = "nobody"
"""The type of looking at an item just now, beside those of stored events."""


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


Happened = tuple[str, str, int, float | None, str | None]
"""Item id, type, microseconds, value and session id of something that happened."""


class _Entry(NamedTuple):
    item_id: str
    step: int
    time: int
    weight: float


@dataclass(frozen=True, slots=True)
class History:
    """What one person did, as a model takes it; oldest first.

    Attributes:
        item: int32 [E], catalogue numbers.
        age: int32 [E], steps back.
        days: float32 [E], days between the event and now.
        weight: float32 [E], what the event's type counts.
    """

    item: Int32Array
    age: Int32Array
    days: Float32Array
    weight: Float32Array

    def query(self, *, tail: float = 0.0, hidden: BoolArray | None = None) -> QueryBatch:
        """The request, as a batch of one; what the person has may be shown.

        Args:
            tail: 0..1, lean to the long tail.
            hidden: bool [I], items that nobody is shown.
        """
        ptr = np.array([0, len(self.item)], np.int64)
        nothing = np.zeros(0, np.int32)
        own = (ptr, self.item, self.age, self.days, self.weight)
        return QueryBatch(*own, np.zeros(2, np.int64), nothing, tail, hidden)


def history_of(
    index: Mapping[str, int],
    recipe: Histories,
    moment: Moment,
    *,
    deeds: Sequence[Deed] = (),
    viewing: str | None = None,
) -> History:
    """A person's history, the same as `data.histories.build_dataset` makes of all events.

    What is done just now comes last and in its order, a step each; the item in view is the
    latest of all and counts as much as the type of event that counts most. In plain Python:
    for the few events of one person, arrays would take ten times as long.

    Args:
        index: catalogue number by item id; items it lacks count as steps and are left out.
        recipe: what counts, and how much.
        moment: what the store knows.
        deeds: done in this session and not yet stored, oldest first.
        viewing: id of the item in view.
    """
    now = max([moment.now, *(deed.time for deed in deeds if deed.time is not None)])
    late = [*deeds, Deed(viewing, NOBODY)] if viewing is not None else deeds
    stored = zip(
        moment.item_ids, moment.types, moment.times.tolist(), moment.values, moment.session_ids,
        strict=True,
    )  # fmt: skip
    happened = [*stored, *(_happened(deed, now + 1 + place) for place, deed in enumerate(late))]
    if late:
        happened.sort(key=lambda event: event[2])  # stable
    entries = _settled(_steps(happened, recipe), recipe.repeats)
    last = entries[-1].step if entries else 0
    known = [(index[entry.item_id], entry) for entry in entries if entry.item_id in index]
    times = np.array([entry.time for _, entry in known], np.int64)
    return History(
        np.array([number for number, _ in known], np.int32),
        np.array([last - entry.step for _, entry in known], np.int32),
        np.maximum((now - times) / DAY_US, 0).astype(np.float32),
        np.array([entry.weight for _, entry in known], np.float32),
    )


def _happened(deed: Deed, time: int) -> Happened:
    return (deed.item_id, deed.type, time if deed.time is None else deed.time, deed.value, None)


def _steps(happened: Sequence[Happened], recipe: Histories) -> list[_Entry]:
    """The events that count, each with its step and weight."""
    weights = {**vars(recipe.weights)}
    weights[NOBODY] = max(weights.values()) or 1.0
    # As exactly as datasets keep values; what is not known to be below is liked.
    least = None if recipe.min_rating is None else np.float32(recipe.min_rating)
    by_session = recipe.baskets == "session"
    entries: list[_Entry] = []
    step, before, session = -1, None, None
    for item_id, kind, time, value, session_id in happened:
        weight = weights.get(kind, 0.0)
        if weight <= 0:
            continue
        if least is not None and kind in RATED and value is not None and np.float32(value) < least:
            continue
        together = by_session and session_id is not None and session_id == session
        if time != before and not together:
            step += 1
        before, session = time, session_id
        entries.append(_Entry(item_id, step, time, weight))
    return entries


def _settled(entries: list[_Entry], repeats: Repeats) -> list[_Entry]:
    """One entry an item: the first or the last, counting as the strongest."""
    if repeats == "all":
        return entries
    kept: dict[str, _Entry] = {}
    for entry in entries:
        other = kept.get(entry.item_id)
        if other is None:
            kept[entry.item_id] = entry
        elif repeats == "first":
            kept[entry.item_id] = other._replace(weight=max(other.weight, entry.weight))
        else:
            del kept[entry.item_id]  # so that it stands where the last one does
            kept[entry.item_id] = entry._replace(weight=max(other.weight, entry.weight))
    return list(kept.values())
