"""What is known of a person, an item and the moment, side by side, for models of responses."""

from typing import Final

import numpy as np
from scipy import sparse

from tailrec.dataset import Features
from tailrec.items import BoolArray, Float32Array, Int64Array, ItemsBatch, QueryBatch
from tailrec.ranking.pools import columns_of, stacked

DECAY: Final = 0.7
"""What a step back leaves of a past item in what a person reads like."""
_US: Final = 1_000_000
_NAMES: Final = (
    "likeness of words",
    "likeness of meaning",
    "events of the item",
    "length of the history",
    "days since the last event",
    "hour",
    "weekday",
)


def context(
    queries: QueryBatch,
    pools: ItemsBatch,
    features: Features,
    counts: Int64Array,
    asof: Int64Array,
) -> tuple[Float32Array, tuple[str, ...]]:
    """What sources say of each item, how its texts fit the person's past, how well known it is.

    The place of an item in a slate is not among it: a model of responses takes it apart
    (`ctr.Impressions`).

    Args:
        queries: B requests, as they were at `asof`: `days` are told from it.
        pools: [B, P], with whatever columns of `pools.pooled` there are.
        features: of the I items.
        counts: int64 [I], events of each item, before the requests.
        asof: int64 [B], microseconds; when each was asked.

    Returns:
        float32 [B, P, F], NaN where something is not known (a text that is not there, a person
        without a past); and names of the F numbers. Whatever at padding.
    """
    past = _past(queries, len(features))
    words, dense = sparse.csr_array(past @ features.words), past @ features.dense
    items = np.maximum(pools.ids, 0)
    row = np.repeat(np.arange(len(items)), items.shape[1])
    both = words[row].multiply(features.words[items.ravel()])
    by_words = np.asarray(both.sum(axis=1)).reshape(items.shape)
    by_meaning = np.einsum("bd,bpd->bp", dense, features.dense[items])
    seconds = asof // _US
    latest = np.full(len(queries), np.nan)
    some = np.diff(queries.ptr) > 0
    if some.any():
        latest[some] = np.minimum.reduceat(queries.days, queries.ptr[:-1][some])
    told = [
        _over(by_words, _lengths(words), np.diff(features.words.indptr)[items] > 0),
        _over(
            by_meaning, np.linalg.norm(dense, axis=1), np.abs(features.dense).sum(axis=1)[items] > 0
        ),
        np.log1p(counts[items]),
        np.log1p(np.diff(queries.ptr))[:, None],
        latest[:, None],
        (seconds // 3600 % 24)[:, None],
        # The first of January 1970 was a Thursday, day 3 from Monday.
        ((seconds // 86_400 + 3) % 7)[:, None],
    ]
    wide = [np.broadcast_to(values, items.shape).astype(np.float32) for values in told]
    names = columns_of(pools)
    said = [stacked(pools, names)] if names else []
    return np.concatenate([*said, np.stack(wide, axis=-1)], axis=-1), (*names, *_NAMES)


def _past(queries: QueryBatch, n_items: int) -> sparse.csr_array:
    """float32 [B, I], what each past item counts now."""
    known = queries.item < n_items
    weight = np.where(known, queries.weight * np.float32(DECAY) ** queries.age, 0)
    row = np.repeat(np.arange(len(queries)), np.diff(queries.ptr))
    where = (row, np.where(known, queries.item, 0))
    shape = (len(queries), n_items)
    return sparse.coo_array((weight.astype(np.float32), where), shape=shape).tocsr()


def _lengths(rows: sparse.csr_array) -> Float32Array:
    squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    lengths: Float32Array = np.sqrt(squares).astype(np.float32)
    return lengths


def _over(values: Float32Array, lengths: Float32Array, there: BoolArray) -> Float32Array:
    """Values [B, P] over lengths [B]; NaN where a length is 0 or no text is there [B, P]."""
    out = np.full(values.shape, np.nan, np.float32)
    np.divide(values, lengths[:, None], out=out, where=there & (lengths[:, None] > 0))
    return out
