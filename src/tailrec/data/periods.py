"""Whole histories cut into periods, for what is learnt one stretch of time after another.

Each period may teach its own events only, and is asked about items that no period teaches: what
is found of them was told by words, and by what was learnt of other items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from tailrec.data.few_shots import drawn_items, few_shots
from tailrec.data.histories import Repeats, microseconds
from tailrec.data.split import Split, has_real_times
from tailrec.dataset import Dataset
from tailrec.errors import DataError
from tailrec.items import Int64Array


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time: what it may teach, and what it is asked.

    Attributes:
        start: microseconds; its first instant.
        stop: microseconds; the first instant after it.
        split: of the period's events alone. `train` and `whole` are what may be learnt; its
            requests are of people's last events on withheld items, which no period teaches.
    """

    start: int
    stop: int
    split: Split


def periods(
    data: Dataset,
    cuts: int | Sequence[datetime],
    rng: Generator,
    *,
    share: float = 0.1,
    repeats: Repeats = "last",
) -> list[Period]:
    """Cut histories into periods, oldest first.

    A person who is asked in a period has a past of that period, on items that are not withheld;
    it teaches what came before the event that is asked for.

    Args:
        data: whole histories with real times.
        cuts: how many periods of nearly equal numbers of events, or the instants between them,
            rising. Events of one instant are never parted.
        rng: draws the withheld items.
        share: of the items that have events, to withhold from every period.
        repeats: which event stands for several of one user and item in train.

    Raises:
        DataError: times are made up, a period has nothing to teach or to ask, or an option is out
            of range.
    """
    if not has_real_times(data):
        raise DataError("times of these events tell their order alone; periods need real ones")
    bounds = _bounds(data, cuts)
    chosen = drawn_items(data, share, rng)
    found = []
    for number, (start, stop) in enumerate(pairwise(bounds.tolist()), 1):
        own = data.keep((data.time >= start) & (data.time < stop), now=stop)
        split = few_shots(own, chosen, 0, rng, name=f"period {number}", repeats=repeats)
        found.append(Period(start, stop, split))
    return found


def _bounds(data: Dataset, cuts: int | Sequence[datetime]) -> Int64Array:
    """int64 [n + 1], the instants at which periods begin, and the end of the last."""
    if not data.n_events:
        raise DataError("there are no events to cut into periods")
    first, end = int(data.time.min()), int(data.time.max()) + 1
    if isinstance(cuts, int):
        if cuts < 1:
            raise DataError(f"{cuts} periods were asked for; ask for one or more")
        place = np.arange(1, cuts) * data.n_events // cuts
        inner = np.sort(data.time)[place]
    else:
        inner = np.array([microseconds(cut) for cut in cuts], np.int64)
    bounds = np.concatenate([[first], inner, [end]]).astype(np.int64)
    if not (np.diff(bounds) > 0).all():
        raise DataError(
            f"{len(bounds) - 1} periods do not fit {data.n_events} events: name fewer, or instants "
            "that rise and lie between the first event and the last"
        )
    return bounds
