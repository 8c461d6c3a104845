"""More kinds of product in a slate: maximal marginal relevance over item vectors."""

import numpy as np

from tailrec.items import PADDING, Array, Float32Array, Int32Array, ItemsBatch
from tailrec.kernels import compiled


def diversified(pools: ItemsBatch, vectors: Float32Array, k: int, strength: float) -> ItemsBatch:
    """Slates of k from larger pools, trading relevance for variety.

    Greedy: next comes the item with the highest (1 - s)·relevance - s·(highest cosine to
    what stands above it); relevance is the score, scaled to 0..1 within the pool. An item with
    a score below zero only fills up: beside others it has no relevance and no say in the scale.

    Args:
        pools: [B, P] scored items, best first.
        vectors: float32 [I, D], rows of unit length or zero.
        k: places of a slate, at most P.
        strength: s in 0..1; 0 leaves the order as it is.

    Returns:
        [B, k] items in the order shown, with the scores and columns they came with.

    Source:
        Carbonell and Goldstein 1998, doi:10.1145/290941.291025.
    """
    places = np.full((len(pools), min(k, pools.ids.shape[1])), PADDING, np.int32)
    _arrange(pools.ids, pools.scores, vectors, strength, places)
    shown = places != PADDING
    at = np.maximum(places, 0)
    ids = np.where(shown, np.take_along_axis(pools.ids, at, axis=1), PADDING)
    scores = np.where(shown, np.take_along_axis(pools.scores, at, axis=1), -np.inf)
    columns = {name: np.take_along_axis(v, at, axis=1) for name, v in pools.columns.items()}
    return ItemsBatch(ids.astype(np.int32), scores.astype(np.float32), columns)


@compiled
def _arrange(
    ids: Int32Array, scores: Float32Array, vectors: Array, strength: float, places: Int32Array
) -> None:
    """Fill `places` [B, k] with positions in the pools."""
    for row in range(len(ids)):
        size = 0
        while size < ids.shape[1] and ids[row, size] != PADDING:
            size += 1
        if size == 0:
            continue
        last = size - 1
        if scores[row, 0] >= 0:
            while scores[row, last] < 0:
                last -= 1
        low, high = scores[row, last], scores[row, 0]
        span = high - low if high > low else np.float32(1)
        alike = np.zeros(size, np.float32)
        taken = np.zeros(size, np.bool_)
        for place in range(min(places.shape[1], size)):
            best, best_gain = -1, np.float32(-np.inf)
            for at in range(size):
                relevance = max((scores[row, at] - low) / span, np.float32(0))
                gain = (1 - strength) * relevance - strength * alike[at]
                if not taken[at] and gain > best_gain:
                    best, best_gain = at, gain
            places[row, place] = best
            taken[best] = True
            chosen = vectors[ids[row, best]]
            for at in range(size):
                cosine = np.float32(0)
                other = vectors[ids[row, at]]
                for d in range(len(chosen)):
                    cosine += chosen[d] * other[d]
                alike[at] = max(alike[at], cosine)
