"""Whether slates show what few people know, and whether that was welcome."""

from collections.abc import Sequence

import numpy as np

from tailrec.evaluation.accuracy import PerUser
from tailrec.hits import per_target
from tailrec.items import PADDING, BoolArray, Float64Array, Int32Array, Int64Array


def novelty(ids: Int32Array, n_having: Int64Array, n_users: int, at: Sequence[int]) -> PerUser:
    """Mean self-information of what is shown: -log2 of the share of people who have the item.

    An item nobody has counts as one person's, so that it is as novel as the rarest known one
    and not infinitely so. NaN where a slate is empty.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end.
        n_having: int64 [I], people who have the item, in train.
        n_users: people with any event in train, at least 1.
        at: slate lengths k.

    Returns:
        ``"novelty@<k>"`` to float64 [B], in bits, 0 to log2(n_users).

    Source:
        Zhou et al. 2010, doi:10.1073/pnas.1000488107; Vargas and Castells 2011,
        doi:10.1145/2043932.2043955.
    """
    information = np.log2(n_users / np.maximum(n_having, 1))
    shown = ids != PADDING
    bits = np.where(shown, information[ids], 0.0)
    return {f"novelty@{k}": per_target(bits[:, :k].sum(1), shown[:, :k].sum(1)) for k in at}


def serendipity(
    ids: Int32Array, hits: BoolArray, n_targets: Int64Array, counts: Int64Array, at: Sequence[int]
) -> PerUser:
    """Targets found that the popularity of the items would not have put so high.

    An item at rank r of a slate has the strength (I + 1 - r) / I, and by popularity the same
    of its place among all items, most events first; items with as many events share the
    place of the first of them, and items without events have none at all. A target that is
    found gives the difference where it is above 0; the sum is divided by k.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end.
        hits: bool [B, K], places that hold a target.
        n_targets: int64 [B], targets of each request; NaN where there is none.
        counts: int64 [I], events of each item, in train.
        at: slate lengths k.

    Returns:
        ``"serendipity@<k>"`` to float64 [B], 0 to 1.

    Source:
        Murakami et al. 2008, doi:10.1007/978-3-540-78197-4_5, with popularity as the plain
        recommender; Ge et al. 2010, doi:10.1145/1864708.1864761.
    """
    n_items = len(counts)
    own = (n_items - np.arange(ids.shape[1])) / n_items
    gain = np.where(hits, np.maximum(own - popularity_strength(counts)[ids], 0.0), 0.0)
    known = n_targets > 0
    return {f"serendipity@{k}": np.where(known, gain[:, :k].sum(1) / k, np.nan) for k in at}


def popularity_strength(counts: Int64Array) -> Float64Array:
    """float64 [I], (I + 1 - rank) / I by events, rank 1 the most; 0 for items without events."""
    rising = np.sort(counts)
    rank = len(counts) - np.searchsorted(rising, counts, side="right") + 1
    strength: Float64Array = np.where(counts > 0, (len(counts) + 1 - rank) / len(counts), 0.0)
    return strength
