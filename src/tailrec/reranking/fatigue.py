"""What was shown again and again without an answer steps back."""

from dataclasses import replace

import numpy as np

from tailrec.items import PADDING, Array, Float32Array, Int32Array, ItemsBatch
from tailrec.kernels import compiled


def rested(pools: ItemsBatch, rows: Int32Array, shown: Int32Array, fatigue: float) -> ItemsBatch:
    """The pools with scores lowered for every time an item was shown in vain.

    A score s above 0 becomes s · (1 - fatigue)^times; items that only fill up stay below all
    others and among themselves in order.

    Args:
        pools: [B, P] scored items, best first.
        rows: int32 [S], requests that were shown something.
        shown: int32 [S], what, once for every time; catalogue numbers.
        fatigue: in 0..1.

    Returns:
        The same items, best first.
    """
    if not len(shown) or not fatigue:
        return pools
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], np.arange(len(pools) + 1))
    scores = pools.scores.copy()
    if not _lower(pools.ids, scores, bounds, shown[order], 1 - fatigue):
        return pools
    # Stable: equal scores stay in the order they came in.
    order = np.argsort(-scores, axis=1, kind="stable")
    return replace(pools, scores=scores).ordered(order)


@compiled
def _lower(
    ids: Int32Array, scores: Float32Array, bounds: Array, shown: Int32Array, left: float
) -> bool:
    """Multiply scores [B, P] above 0 by `left` for every showing; returns whether any was."""
    lowered = False
    for row in range(len(ids)):
        for place in range(ids.shape[1]):
            if ids[row, place] == PADDING or scores[row, place] <= 0:
                continue
            for at in range(bounds[row], bounds[row + 1]):
                if shown[at] == ids[row, place]:
                    scores[row, place] *= left
                    lowered = True
    return lowered
