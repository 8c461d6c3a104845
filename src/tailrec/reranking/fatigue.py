"""What was shown again and again without an answer steps back."""

from dataclasses import replace

import numpy as np

from tailrec.items import PADDING, Int32Array, ItemsBatch


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
    width = int(max(shown.max(), pools.ids.max())) + 2
    keys, times = np.unique(rows.astype(np.int64) * width + shown, return_counts=True)
    asked = np.arange(len(pools))[:, None] * width + np.where(
        pools.ids == PADDING, width - 1, pools.ids
    )
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    count = np.where(keys[place] == asked, times[place], 0)
    left = (1 - fatigue) ** count
    scores = np.where(pools.scores > 0, pools.scores * left, pools.scores).astype(np.float32)
    return best_first(replace(pools, scores=scores))


def best_first(pools: ItemsBatch) -> ItemsBatch:
    """Pools in the order of their scores; equal scores stay in the order they came in."""
    order = np.argsort(-pools.scores, axis=1, kind="stable")
    return ItemsBatch(
        np.take_along_axis(pools.ids, order, axis=1),
        np.take_along_axis(pools.scores, order, axis=1),
        {name: np.take_along_axis(values, order, axis=1) for name, values in pools.columns.items()},
    )
