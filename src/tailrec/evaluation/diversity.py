"""How different the items of one slate are from each other.

Distances are taken between the items' words. The re-ranker that spreads slates out works on
language-model vectors, and is not measured by its own yardstick.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from tailrec.evaluation.accuracy import PerUser, cut
from tailrec.items import PADDING, Array, Float64Array, Int32Array
from tailrec.kernels import compiled


def intra_list_distance(ids: Int32Array, words: sparse.csr_array, at: Sequence[int]) -> PerUser:
    """Mean distance between the items of slates cut at several lengths.

    The distance is one less the cosine of the TF-IDF vectors, averaged over all pairs of items
    that have words; NaN where there are fewer than two.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end.
        words: float32 CSR [I, V], rows of unit length or empty.
        at: slate lengths k.

    Returns:
        ``"ild@<k>"`` to float64 [B], 0 (all alike) to 1 (no word in common).

    Source:
        Smyth and McClave 2001, doi:10.1007/3-540-44593-5_25; Ziegler et al. 2005,
        doi:10.1145/1060745.1060754.
    """
    distance = np.empty(ids.shape)
    start, column = words.indptr.astype(np.int64), words.indices.astype(np.int32)
    _distances(ids, (start, column, words.data), np.zeros(words.shape[1]), distance)
    return cut("ild", distance, at)


def distinct_categories(ids: Int32Array, category: Int32Array, at: Sequence[int]) -> PerUser:
    """How many categories slates cut at several lengths show.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end.
        category: int32 [I], codes from 0, `NO_CATEGORY` where an item has none; such an item
            counts as none.
        at: slate lengths k.

    Returns:
        ``"categories@<k>"`` to float64 [B], 0 to k.
    """
    kinds = np.empty(ids.shape)
    seen = np.full(int(category.max(initial=0)) + 1, -1, np.int64)
    _distinct(ids, category, seen, kinds)
    return cut("categories", kinds, at)


@compiled
def _distances(
    ids: Int32Array, words: tuple[Array, Array, Array], total: Float64Array, out: Float64Array
) -> None:
    """Fill `out` [B, K] with the mean distance of the pairs up to each place.

    `total` [V] is the sum of the vectors so far: a new vector's product with it is the sum of
    its cosines to all of them, so that no pair is ever looked at.
    """
    start, column, value = words
    for row in range(len(ids)):
        n_items, alike = 0, 0.0
        for place in range(ids.shape[1]):
            item = ids[row, place]
            if item != PADDING and start[item + 1] > start[item]:
                for entry in range(start[item], start[item + 1]):
                    alike += value[entry] * total[column[entry]]
                for entry in range(start[item], start[item + 1]):
                    total[column[entry]] += value[entry]
                n_items += 1
            n_pairs = n_items * (n_items - 1) // 2
            # Vectors are of unit length up to rounding, which must not give a distance below 0.
            out[row, place] = max(1.0 - alike / n_pairs, 0.0) if n_pairs else np.nan
        for item in ids[row]:
            if item != PADDING:
                for entry in range(start[item], start[item + 1]):
                    total[column[entry]] = 0.0


@compiled
def _distinct(ids: Int32Array, code: Int32Array, seen: Array, out: Float64Array) -> None:
    """Fill `out` [B, K] with how many codes stand up to each place; `seen` holds -1."""
    for row in range(len(ids)):
        n_codes = 0
        for place in range(ids.shape[1]):
            item = ids[row, place]
            if item != PADDING and code[item] >= 0 and seen[code[item]] != row:
                seen[code[item]] = row
                n_codes += 1
            out[row, place] = n_codes
