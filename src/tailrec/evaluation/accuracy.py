"""How often the right items stand in a slate, and how high.

A metric is a float64 [B] array, one number a request; NaN where the request has no target of
the asked kind. Means leave those out.
"""

from collections.abc import Sequence

import numpy as np

from tailrec.hits import ndcg, per_target
from tailrec.items import BoolArray, Float64Array, Int64Array

PerUser = dict[str, Float64Array]


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
