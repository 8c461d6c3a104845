"""How much of the long tail is found, and how much of the catalogue is shown.

Both are read off the same global slates as the accuracy. Exposure alone proves nothing, since
slates drawn at random have the best of it: read it beside the tail's recall.
"""

from collections.abc import Sequence

import numpy as np

from tailrec.evaluation.accuracy import PerUser
from tailrec.hits import ndcg, per_target
from tailrec.items import PADDING, BoolArray, Int32Array, Int64Array
from tailrec.tail.exposure_report import gini


def tail_accuracy(
    hits: BoolArray, ids: Int32Array, n_targets: Int64Array, mask: BoolArray, at: Sequence[int]
) -> PerUser:
    """Recall and NDCG over the targets of one tier, found in the global slates.

    A request counts the tier's targets only, at the places they have among all items, and is
    NaN if it has none. Where every request has one target, the mean is the share of all
    targets of the tier that were found.

    Args:
        hits: bool [B, K], places that hold a target, of any tier.
        ids: int32 [B, K], the slates.
        n_targets: int64 [B], targets of the tier (`count_targets` with the mask).
        mask: bool [I], the tier's items.
        at: slate lengths k.

    Returns:
        ``"recall@<k>"`` and ``"ndcg@<k>"`` to float64 [B].
    """
    own = hits & mask[ids]
    figures: PerUser = {}
    for k in at:
        figures[f"recall@{k}"] = per_target(own[:, :k].sum(1), n_targets)
        figures[f"ndcg@{k}"] = ndcg(own, n_targets, k)
    return figures


def exposure(ids: Int32Array, counts: Int64Array, at: Sequence[int]) -> dict[str, float]:
    """What the slates show of the catalogue.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end.
        counts: int64 [I], training events of each item.
        at: slate lengths k.

    Returns:
        for each k: ``coverage@<k>``, share of the catalogue in at least one slate; ``gini@<k>``,
        inequality of how often the items are shown (0: all alike, towards 1: one item alone);
        ``popularity@<k>``, mean training events of what is shown.
    """
    figures = {}
    for k in at:
        slots = shown(ids, k)
        times = np.bincount(slots, minlength=len(counts))
        figures[f"coverage@{k}"] = float((times > 0).mean())
        figures[f"gini@{k}"] = gini(times) if len(slots) else 0.0
        figures[f"popularity@{k}"] = float(counts[slots].mean()) if len(slots) else 0.0
    return figures


def slot_share(ids: Int32Array, mask: BoolArray, at: Sequence[int]) -> dict[str, float]:
    """``"share@<k>"``: the share of filled places that items of a mask [I] take."""
    slots = {k: shown(ids, k) for k in at}
    return {f"share@{k}": float(mask[own].mean()) if len(own) else 0.0 for k, own in slots.items()}


def shown(ids: Int32Array, k: int) -> Int32Array:
    """int32 [S], the items in the first k places of all slates, without padding."""
    top = ids[:, :k]
    slots: Int32Array = top[top != PADDING]
    return slots
