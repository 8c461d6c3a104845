"""Recall as it would be if popular items had not been more likely to be met."""

from collections.abc import Sequence

import numpy as np

from tailrec.evaluation.accuracy import PerUser
from tailrec.items import BoolArray, Int32Array, Int64Array


def recall_ips(
    hits: BoolArray,
    ids: Int32Array,
    targets: tuple[Int64Array, Int32Array],
    counts: Int64Array,
    *,
    at: Sequence[int],
    gamma: float = 2.0,
) -> PerUser:
    """Recall with each target weighted by one over the chance that it was met.

    The chance is taken to be proportional to n ** ((gamma + 1) / 2) for an item with n training
    events; an item without events counts as one with one. Gamma says how steeply what is
    popular was favoured; the data at hand cannot tell, so it is given, and to be reported:
    -1 is plain recall.

    The estimate is self-normalised over all requests together: the weight of all targets found
    over the weight of all targets. The paper's normalises each person apart and takes the mean,
    which is plain recall again where everybody has one target. The values of the requests are
    scaled so that their mean is the estimate; one may be above 1.

    Args:
        hits: bool [B, K], places that hold a target.
        ids: int32 [B, K], the slates.
        targets: int64 [B + 1] and int32 [T], bounds and catalogue numbers.
        counts: int64 [I], events of each item, in train.
        at: slate lengths k.
        gamma: at least -1.

    Returns:
        ``"recall_ips@<k>"`` to float64 [B], with a mean from 0 to 1; NaN without a target.

    Raises:
        ValueError: gamma is below -1.

    Source:
        Yang et al. 2018, doi:10.1145/3240323.3240355.
    """
    if gamma < -1:
        raise ValueError(f"gamma is {gamma}; it must be at least -1, where all items weigh alike")
    target_ptr, target = targets
    weight = np.maximum(counts, 1) ** (-(gamma + 1) / 2)
    known = np.diff(target_ptr) > 0
    mean_wanted = weight[target].sum() / max(int(known.sum()), 1)
    found = np.where(hits, weight[ids], 0.0)
    return {
        f"recall_ips@{k}": np.where(known, found[:, :k].sum(1), np.nan) / mean_wanted for k in at
    }
