"""How often the right items stand in a slate, and how high.

A metric is a float64 [B] array, one number a request; NaN where the request has no target of
the asked kind. Means leave those out.
"""

from collections.abc import Sequence

import numpy as np

from tailrec.items import (
    PADDING,
    BoolArray,
    Float64Array,
    Int32Array,
    Int64Array,
)

PerUser = dict[str, Float64Array]


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


def accuracy(hits: BoolArray, n_targets: Int64Array, at: Sequence[int]) -> PerUser:
    """Recall, precision, F1, NDCG, MRR and hit rate of slates cut at several lengths.

    Precision divides by k, also where a slate is shorter. The ideal of NDCG has all targets,
    at most k, on top.

    Args:
        hits: bool [B, K], places that hold a target.
        n_targets: int64 [B], targets of each request, found or not.
        at: slate lengths k.

    Returns:
        ``"<metric>@<k>"`` to float64 [B].

    Source:
        Järvelin and Kekäläinen 2002, doi:10.1145/582415.582418 (NDCG, binary gains).
    """
    figures: PerUser = {}
    for k in at:
        top = hits[:, :k]
        found = top.sum(1)
        recall = per_target(found, n_targets)
        precision = np.where(n_targets > 0, found / k, np.nan)
        figures[f"recall@{k}"] = recall
        figures[f"precision@{k}"] = precision
        # The harmonic mean of h/n and h/k is 2h / (n + k).
        figures[f"f1@{k}"] = np.where(n_targets > 0, 2 * found / (n_targets + k), np.nan)
        figures[f"ndcg@{k}"] = ndcg(hits, n_targets, k)
        first = 1.0 / (top.argmax(1) + 1) if top.shape[1] else np.zeros(len(top))
        figures[f"mrr@{k}"] = np.where(n_targets > 0, first * (found > 0), np.nan)
        figures[f"hit@{k}"] = np.where(n_targets > 0, found > 0, np.nan)
    return figures


def ndcg(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """float64 [B], normalised discounted gain of the first k places; NaN without a target."""
    gains = 1 / np.log2(np.arange(k) + 2.0)
    top = hits[:, :k]
    ideal = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(n_targets, k)]
    return per_target(top @ gains[: top.shape[1]], ideal)


def cut(name: str, running: Float64Array, at: Sequence[int]) -> PerUser:
    """A metric known for every length of a slate, at the lengths asked for.

    Args:
        name: of the metric.
        running: float64 [B, K]; column k - 1 is the metric of the first k places.
        at: slate lengths k; where one is beyond K, the whole slate counts.

    Returns:
        ``"<name>@<k>"`` to float64 [B].
    """
    # Copies, so that the columns not asked for are not kept.
    return {f"{name}@{k}": running[:, min(k, running.shape[1]) - 1].copy() for k in at}


def per_target(found: Float64Array | Int64Array, wanted: Float64Array | Int64Array) -> Float64Array:
    """float64 [B], found / wanted; NaN where nothing is wanted."""
    share: Float64Array = np.full(len(wanted), np.nan)
    np.divide(found, wanted, out=share, where=wanted > 0)
    return share
