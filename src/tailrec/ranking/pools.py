"""What several sources propose, as one pool a request, with what each of them says of each item."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from tailrec.items import (
    PADDING,
    Array,
    Float32Array,
    Float64Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
)

SCORE: Final = "score of "
RANK: Final = "rank of "
"""Beginnings of a pool's columns; the source's name follows."""


def pooled(proposals: Mapping[str, ItemsBatch]) -> ItemsBatch:
    """The union of what sources propose for the same requests.

    Scores of different sources are of different kinds, and of one source they are larger for
    somebody with a long history. So two things are kept of each: where the score lies between the
    lowest of the person's proposals and the highest, and 1 / log2(rank + 1).

    Args:
        proposals: [B, K_s] of each source, best first, by its name.

    Returns:
        [B, P]: every item once, best first by the mean of `score of NAME` over the sources.
        Columns `score of NAME` and `rank of NAME`, float32, above 0 where the source proposes the
        item, 0 where it does not.

    Raises:
        ValueError: no source is given.
    """
    if not proposals:
        raise ValueError("a pool needs the proposals of at least one source")
    ids = np.concatenate([batch.ids for batch in proposals.values()], axis=1)
    order = np.argsort(ids, axis=1, kind="stable")
    in_order = np.take_along_axis(ids, order, axis=1)
    real = in_order != PADDING
    new = real & (np.diff(in_order, axis=1, prepend=PADDING) != 0)
    place = np.cumsum(new, axis=1) - 1
    width = max(int(place.max(initial=-1)) + 1, 1)
    row, column = np.nonzero(real)
    at = (row, place[row, column])
    pool = np.full((len(ids), width), PADDING, np.int32)
    pool[at] = in_order[row, column]
    from_where = order[row, column]
    columns: dict[str, Array] = {}
    start = 0
    for name, batch in proposals.items():
        stop = start + batch.ids.shape[1]
        own = (from_where >= start) & (from_where < stop)
        where, which = (row[own], at[1][own]), (row[own], from_where[own] - start)
        for prefix, values in ((SCORE, between(batch)), (RANK, by_rank(batch))):
            columns[prefix + name] = np.zeros(pool.shape, np.float32)
            columns[prefix + name][where] = values[which]
        start = stop
    scores = np.stack([columns[SCORE + name] for name in proposals]).mean(axis=0)
    return sorted_pool(pool, scores.astype(np.float32), columns)


def names_of(sources: Iterable[str]) -> tuple[str, ...]:
    """Names of the columns that pools of some sources have, in their order."""
    return tuple(prefix + source for source in sources for prefix in (SCORE, RANK))


def source_of(column: str) -> str:
    """Which source a column is of."""
    return column.removeprefix(SCORE).removeprefix(RANK)


def columns_of(pools: ItemsBatch) -> tuple[str, ...]:
    """Names of the columns that say what sources say, in their order."""
    return tuple(name for name in pools.columns if name.startswith((SCORE, RANK)))


def stacked(pools: ItemsBatch, names: tuple[str, ...]) -> Float32Array:
    """float32 [B, P, F], columns of a pool side by side; 0 for one that it lacks."""
    blank = np.zeros(pools.ids.shape, np.float32)
    return np.stack([pools.columns.get(name, blank) for name in names], axis=-1)


def between(batch: ItemsBatch) -> Float32Array:
    """float32 [B, K], each score's place between the row's lowest, near 0, and highest, 1.

    The lowest is still above 0: that an item is proposed at all speaks for it.
    """
    real = batch.ids != PADDING
    high = batch.scores.max(axis=1, keepdims=True, initial=-np.inf, where=real)
    low = batch.scores.min(axis=1, keepdims=True, initial=np.inf, where=real)
    n_real = real.sum(axis=1, keepdims=True)
    floor = np.float32(1) / np.maximum(n_real, 1)
    spread = np.where(real, batch.scores - low, 0) / np.maximum(high - low, np.float32(1e-12))
    placed: Float32Array = np.where(real, floor + (1 - floor) * spread, 0).astype(np.float32)
    return placed


def by_rank(batch: ItemsBatch) -> Float32Array:
    """float32 [B, K], 1 / log2(rank + 1), ranks from 1; 0 at padding."""
    gain = 1 / np.log2(np.arange(batch.ids.shape[1]) + 2)
    ranked: Float32Array = np.where(batch.ids != PADDING, gain, 0).astype(np.float32)
    return ranked


def ranked(
    queries: QueryBatch,
    pools: ItemsBatch,
    values: Float64Array | Float32Array,
    counts: Int64Array,
) -> ItemsBatch:
    """Pools by some values, best first; scores are above 0.

    With `queries.tail` α > 0 an item is moved down by α times the spread of the person's values
    times the share of its events in logarithms, so that those with few come forward.

    Args:
        queries: B requests.
        pools: [B, P].
        values: [B, P].
        counts: int64 [I], training events of each item.
    """
    real = pools.ids != PADDING
    low = values.min(axis=1, keepdims=True, initial=np.inf, where=real)
    if queries.tail > 0:
        high = values.max(axis=1, keepdims=True, initial=-np.inf, where=real)
        popular = np.log1p(counts) / max(np.log1p(counts.max(initial=0)), 1e-9)
        spread = np.where(np.isfinite(high), high - low, 0)
        values = values - queries.tail * spread * popular[pools.ids]
        low = values.min(axis=1, keepdims=True, initial=np.inf, where=real)
    # Something speaks for everything that is proposed.
    above = np.where(real, values - low, 0) + 1e-3
    return sorted_pool(pools.ids, above.astype(np.float32), pools.columns)


def sorted_pool(ids: Array, scores: Float32Array, columns: Mapping[str, Array]) -> ItemsBatch:
    """A pool in the order of its scores; equal ones by catalogue number, padding last."""
    scores = np.where(ids == PADDING, np.float32(-np.inf), scores)
    order: Int64Array = np.lexsort((ids, -scores), axis=1)
    return ItemsBatch(ids, scores, columns).ordered(order)
