"""Head, middle and tail of a catalogue, and how items move between windows of time.

Four definitions, all from how many events an item has:

- ``pareto``: the least popular 80 % of the items are the tail;
- ``mass``: the head is the fewest items that take 80 % of the events, the rest is the tail;
- ``rare``: items with 1 to 5 events are the tail;
- ``knee``: items beyond the knee of the popularity curve are the tail.

Items are ranked by events, most first; of items with as many events the one with the lower
catalogue number goes first, so that every answer is the same on every machine.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.dataset import Dataset
from tailrec.items import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array

Definition = Literal["pareto", "mass", "rare", "knee"]
DEFINITIONS: Final[tuple[Definition, ...]] = get_args(Definition)

HEAD, MIDDLE, TAIL, COLD = range(4)

RARE_AT_MOST: Final = 5
MASS_PERCENT: Final = 80


def popularity_order(counts: Int64Array) -> Int64Array:
    """Catalogue numbers, most events first, ties by catalogue number.

    Args:
        counts: int64 [I], events of each item.

    Returns:
        int64 [I].
    """
    return np.argsort(-counts, kind="stable")


def knee(counts: Int64Array) -> int:
    """How many items stand before the knee of the popularity curve, the knee included.

    The curve is that of the items with events, one point for each number of events that
    occurs (its last rank), so that items with as many events never fall on two sides. With
    the whole curve known, Kneedle's answer is the point furthest below the chord, if that is
    further than one mean step of the curve (sensitivity 1).

    Args:
        counts: int64 [I], events of each item.

    Returns:
        Items up to the knee; all items with events where the curve has no knee.

    Source:
        Satopää et al. 2011, doi:10.1109/ICDCSW.2011.20.
    """
    height, size = np.unique(counts[counts > 0], return_counts=True)
    height, rank = height[::-1], np.cumsum(size[::-1])
    if len(height) < 3:
        return int(size.sum())
    across = (rank - rank[0]) / (rank[-1] - rank[0])
    up = (height - height[-1]) / (height[0] - height[-1])
    below = 1 - across - up
    best = int(np.argmax(below))
    mean_step = 1 / (len(height) - 1)
    return int(rank[best]) if below[best] > mean_step else int(size.sum())


def is_tail(counts: Int64Array, definition: Definition) -> BoolArray:
    """Which items are the long tail.

    Items without events are in the tail of ``pareto``, ``mass`` and ``knee``, where they are
    the least popular of all; ``rare`` leaves them out, because it reports them apart.
    ``pareto`` marks exactly ``floor(0.8 I)`` items.

    Args:
        counts: int64 [I], events of each item, from the training part only.
        definition: one of `DEFINITIONS`.

    Returns:
        bool [I].

    Raises:
        ValueError: the definition is unknown or a count is below 0.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"tail definition {definition!r} is not one of {', '.join(DEFINITIONS)}")
    if counts.size and counts.min() < 0:
        raise ValueError(f"an item has {counts.min()} events; counts start at 0")
    if definition == "rare":
        return np.asarray((counts >= 1) & (counts <= RARE_AT_MOST))
    tail = np.ones(len(counts), np.bool_)
    tail[popularity_order(counts)[: _before_tail(counts, definition)]] = False
    return tail


def _before_tail(counts: Int64Array, definition: Definition) -> int:
    if definition == "pareto":
        return len(counts) - len(counts) * 4 // 5
    if definition == "knee":
        return knee(counts)
    return _taking(np.sort(counts)[::-1], MASS_PERCENT)


def _taking(falling: Int64Array, percent: int) -> int:
    """The fewest leading entries that sum up to `percent` of the total; exact in integers."""
    reached = np.cumsum(falling) * 100
    return int(np.searchsorted(reached, falling.sum() * percent)) + 1 if falling.sum() else 0


def tiers(counts: Int64Array, definition: Definition) -> Int8Array:
    """Every item's tier: head, middle, tail or cold.

    The tail is that of `is_tail`. What is not tail is split in two halves of equal demand:
    the head is the fewest items that take half of the events of all items before the tail,
    the middle is the rest of them. Items without events are cold under every definition.

    Args:
        counts: int64 [I], events of each item.
        definition: one of `DEFINITIONS`.

    Returns:
        int8 [I], positions in `columns.TIERS`.

    Raises:
        ValueError: the definition is unknown or a count is below 0.
    """
    tail = is_tail(counts, definition)
    code = np.full(len(counts), MIDDLE, np.int8)
    order = popularity_order(counts)
    before = order[~tail[order]]
    code[before[: _taking(counts[before], 50)]] = HEAD
    code[tail] = TAIL
    code[counts == 0] = COLD
    return code


def equal_windows(data: Dataset, n: int) -> Int64Array:
    """Bounds of n windows of equal length, from the first event to the dataset's now.

    Returns:
        int64 [n + 1], microseconds; window i holds ``bounds[i] <= time < bounds[i + 1]``.

    Raises:
        ValueError: n is below 1 or there are no events.
    """
    if n < 1 or data.n_events == 0:
        raise ValueError(f"{n} windows over {data.n_events} events; at least 1 of each is needed")
    return np.linspace(data.time.min(), data.now + 1, n + 1).round().astype(np.int64)


def movement(
    data: Dataset, bounds: Sequence[int] | Int64Array, *, level: float = 0.05
) -> pl.DataFrame:
    """Who rises and who falls from each window of time to the next.

    An item's share of all events is compared between two windows. Its events being Poisson,
    the later part of them is binomial, which gives an exact test that does not mistake two
    events after one for a doubling; ``q`` corrects for asking it of every item at once.

    Args:
        data: histories; all of its events count one.
        bounds: at least 3 rising instants, microseconds, as `equal_windows` gives.
        level: largest share of false alarms among the items said to move, in (0, 1).

    Returns:
        One row an item and pair of windows in which it has events: item_id, start (of the
        later window, UTC), events_before, events_after, rank_before, rank_after, rise (ranks
        won; below 0: lost), ratio (of the shares, smoothed by half an event), q, direction
        (``rises``, ``falls``, ``steady``, or ``new``: put in the catalogue after the earlier
        window began), tier_before and tier_after by ``pareto``; window by window, the surest
        change first.

    Raises:
        ValueError: fewer than 3 bounds, or they do not rise, or level is out of range.

    Source:
        Przyborowski & Wilenski 1940 (test of two Poisson rates); Benjamini & Hochberg 1995.
    """
    edges = np.asarray(bounds, np.int64)
    if len(edges) < 3 or (np.diff(edges) <= 0).any():
        raise ValueError(f"bounds are {edges.tolist()}; at least 3 rising instants are needed")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1")
    window = np.searchsorted(edges, data.time, side="right") - 1
    inside = (window >= 0) & (window < len(edges) - 1)
    cell = window[inside] * data.n_items + data.item[inside]
    counts = np.bincount(cell, minlength=(len(edges) - 1) * data.n_items).astype(np.int64)
    counts = counts.reshape(len(edges) - 1, data.n_items)
    pairs = [
        _moved(data, counts[w : w + 2], edges[w : w + 2], level) for w in range(len(edges) - 2)
    ]
    return pl.concat(pairs)


def _moved(data: Dataset, counts: Int64Array, starts: Int64Array, level: float) -> pl.DataFrame:
    """One pair of windows; counts [2, I], starts of both windows."""
    seen = np.flatnonzero(counts.sum(0))
    before, after = counts[:, seen]
    totals = counts.sum(1)
    ratio = ((after + 0.5) / (totals[1] + 0.5)) / ((before + 0.5) / (totals[0] + 0.5))
    q = _false_alarm(before, after, totals)
    new = (before == 0) & _created_after(data, int(starts[0]))[seen]
    direction = np.select(
        [new, (q <= level) & (ratio > 1), (q <= level) & (ratio < 1)],
        ["new", "rises", "falls"],
        "steady",
    )
    rank = np.stack([_rank(row) for row in counts])[:, seen]
    tier = np.stack([tiers(row, "pareto") for row in counts])[:, seen]
    table = pl.DataFrame(
        {
            c.ITEM_ID: data.catalog.ids[seen].tolist(),
            "start": np.full(len(seen), starts[1]),
            "events_before": before,
            "events_after": after,
            "rank_before": rank[0],
            "rank_after": rank[1],
            "rise": rank[0] - rank[1],
            "ratio": ratio,
            "q": q,
            "direction": direction,
            "tier_before": np.asarray(c.TIERS)[tier[0]],
            "tier_after": np.asarray(c.TIERS)[tier[1]],
        },
        schema_overrides={c.ITEM_ID: pl.String()},
    )
    by_size = pl.col("ratio").log().abs()
    return table.with_columns(
        pl.from_epoch("start", time_unit="us").dt.replace_time_zone("UTC")
    ).sort("q", by_size, descending=[False, True], maintain_order=True)


def _false_alarm(before: Int64Array, after: Int64Array, totals: Int64Array) -> Float64Array:
    """Chance, corrected for many items, of such a shift with an unchanged share of events."""
    from scipy import stats  # slow to load

    if totals.min() == 0:
        return np.ones(len(before))
    later = stats.binom(before + after, totals[1] / totals.sum())
    p = np.minimum(1, 2 * np.minimum(later.cdf(after), later.sf(after - 1)))
    return np.asarray(stats.false_discovery_control(p), np.float64)


def _rank(counts: Int64Array) -> Int32Array:
    rank = np.empty(len(counts), np.int32)
    rank[popularity_order(counts)] = np.arange(1, len(counts) + 1, dtype=np.int32)
    return rank


def _created_after(data: Dataset, instant: int) -> BoolArray:
    if c.CREATED_AT not in data.catalog.table.columns:
        return np.zeros(data.n_items, np.bool_)
    created = data.catalog.table[c.CREATED_AT].dt.epoch("us").fill_null(instant)
    return np.asarray(created.to_numpy() > instant)
