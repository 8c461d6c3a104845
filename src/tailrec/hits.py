"""Which places of slates hold what a person turned to, and what that is worth.

A figure is a float64 [B] array, one number a request; NaN where the request has no target.
"""

import numpy as np

from tailrec.items import (
    PADDING,
    BoolArray,
    Float64Array,
    Int32Array,
    Int64Array,
)


def find_hits(ids: Int32Array, target_ptr: Int64Array, target: Int32Array) -> BoolArray:
    """Which places of the slates hold a target.

    Args:
        ids: int32 [B, K], slates, best first, `PADDING` at the end; unique within a row.
        target_ptr: int64 [B + 1], bounds of the targets.
        target: int32 [T], catalogue numbers.

    Returns:
        bool [B, K].

    Raises:
        ValueError: the numbers of slates and of target bounds differ.
    """
    if len(target_ptr) != len(ids) + 1:
        raise ValueError(f"{len(ids)} slates, but targets of {len(target_ptr) - 1} requests")
    span = int(max(ids.max(initial=0), target.max(initial=0))) + 1
    rows = np.arange(len(ids), dtype=np.int64)
    wanted = np.repeat(rows, np.diff(target_ptr)) * span + target
    shown = rows[:, None] * span + ids
    found: BoolArray = np.isin(shown, wanted) & (ids != PADDING)
    return found


def count_targets(
    target_ptr: Int64Array, target: Int32Array, mask: BoolArray | None = None
) -> Int64Array:
    """int64 [B], targets of each request; only those of an item mask [I] if one is given."""
    if mask is None:
        return np.diff(target_ptr)
    upto = np.concatenate([[0], np.cumsum(mask[target])])
    counts: Int64Array = upto[target_ptr[1:]] - upto[target_ptr[:-1]]
    return counts


def ndcg(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """float64 [B], normalised discounted gain of the first k places; NaN without a target."""
    gains = 1 / np.log2(np.arange(k) + 2.0)
    top = hits[:, :k]
    ideal = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(n_targets, k)]
    return per_target(top @ gains[: top.shape[1]], ideal)


def per_target(found: Float64Array | Int64Array, wanted: Float64Array | Int64Array) -> Float64Array:
    """float64 [B], found / wanted; NaN where nothing is wanted."""
    share: Float64Array = np.full(len(wanted), np.nan)
    np.divide(found, wanted, out=share, where=wanted > 0)
    return share
