"""Items by how popular they are, and requests by how much is known of the person."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from tailrec.evaluation.accuracy import PerUser
from tailrec.items import BoolArray, Int64Array
from tailrec.tail.segments import popularity_order

N_DECILES: Final = 10
HISTORY_UP_TO: Final = (0, 2, 5, 10, 20)
"""The most events of the groups of histories; the last group has no bound."""
TAIL_USER_AT_MOST: Final = 5
"""Events of a history, at most, that make a person a tail user."""


def item_deciles(counts: Int64Array) -> dict[str, BoolArray]:
    """Tenths of the items with events, as many items in each, up to one.

    Args:
        counts: int64 [I], events of each item, in train.

    Returns:
        ``decile_1`` (the least popular) to ``decile_10``, each bool [I]. Of items with as many
        events, those with the lower catalogue number are the more popular ones.
    """
    rising = popularity_order(counts)[::-1]
    rising = rising[counts[rising] > 0]
    tenth = np.full(len(counts), -1)
    tenth[rising] = np.arange(len(rising)) * N_DECILES // max(len(rising), 1)
    return {f"decile_{number + 1}": tenth == number for number in range(N_DECILES)}


def history_groups(lengths: Int64Array) -> dict[str, BoolArray]:
    """Requests by how many events their history has.

    Args:
        lengths: int64 [B], events of each history.

    Returns:
        ``history_0``, ``history_1_2``, ``history_3_5``, ``history_6_10``, ``history_11_20`` and
        ``history_21_up``, which part the requests, and ``tail_users``, those with at most 5,
        nothing included; each bool [B].
    """
    place = np.searchsorted(HISTORY_UP_TO, lengths)
    names = ["history_0"]
    names += [f"history_{low + 1}_{high}" for low, high in pairwise(HISTORY_UP_TO)]
    names.append(f"history_{HISTORY_UP_TO[-1] + 1}_up")
    parts = {name: place == number for number, name in enumerate(names)}
    return parts | {"tail_users": lengths <= TAIL_USER_AT_MOST}


def of_groups(figures: PerUser, groups: Mapping[str, BoolArray]) -> PerUser:
    """The same figures for groups of requests alone.

    Args:
        figures: by name, float64 [B].
        groups: by name, bool [B].

    Returns:
        ``"<figure>/<group>"`` to float64 [B], NaN outside the group; a group in which nothing
        is defined is left out.
    """
    own = {
        f"{name}/{group}": np.where(mask, values, np.nan)
        for name, values in figures.items()
        for group, mask in groups.items()
    }
    return {name: values for name, values in own.items() if not np.isnan(values).all()}
