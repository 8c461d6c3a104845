"""All figures of one model on one split, from one list of slates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from tailrec.data.split import Split
from tailrec.errors import DataError
from tailrec.evaluation.accuracy import PerUser, accuracy, count_targets, find_hits
from tailrec.evaluation.tail import exposure, slot_share, tail_accuracy
from tailrec.items import PADDING, BoolArray, Int32Array, ItemsBatch, QueryBatch

Recommend = Callable[[QueryBatch, int], ItemsBatch]

COLD = "cold"
"""The tier of items without a training event."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one split.

    Names are ``<metric>@<k>``, and ``<metric>@<k>/<group>`` for a tier of items (those of the
    masks, and ``cold``) or of users (``cold_users``, ``known_users``: with and without history,
    told apart only where there are both).

    Attributes:
        split: name of the split.
        figures: by name; a group without a target is left out.
        per_user: by name, float64 [B], what the figures are the means of; NaN where a request
            has no target of the tier. For intervals of ratios.
        ids: int32 [B, K], the slates that all of it comes from.
        seconds_per_slate: time the model took, divided by B.
    """

    split: str
    figures: Mapping[str, float]
    per_user: PerUser
    ids: Int32Array
    seconds_per_slate: float


def evaluate(
    split: Split,
    recommend: Recommend,
    *,
    at: Sequence[int] = (10, 20),
    masks: Mapping[str, BoolArray],
    chunk: int = 2048,
) -> Evaluation:
    """Ask for a slate of each request, and compare it with what the user turned to.

    Args:
        split: requests and targets.
        recommend: requests and k to slates of at most k items; any model.
        at: slate lengths; one slate of the longest serves all.
        masks: tiers of the tail, name to bool [I], counted on the split's train part.
        chunk: requests in one call.

    Returns:
        The figures.

    Raises:
        DataError: a slate holds an item twice, an excluded one, or one that does not exist; or
            a mask is not of this catalogue.
    """
    counts = split.train.item_counts
    tiers = dict(masks) | {COLD: counts == 0}
    for name, mask in tiers.items():
        if mask.shape != counts.shape:
            raise DataError(f"mask {name!r} is {mask.shape}; the catalogue has {len(counts)} items")
    ids, seconds = _slates(split, recommend, max(at), chunk)
    hits = find_hits(ids, split.target_ptr, split.target)
    per_user = accuracy(hits, count_targets(split.target_ptr, split.target), at)
    per_user |= _by_users(split, per_user)
    figures = exposure(ids, counts, at)
    for name, mask in tiers.items():
        n_targets = count_targets(split.target_ptr, split.target, mask)
        if n_targets.any():
            own = tail_accuracy(hits, ids, n_targets, mask, at)
            per_user |= {f"{metric}/{name}": values for metric, values in own.items()}
        shares = slot_share(ids, mask, at)
        figures |= {f"{metric}/{name}": value for metric, value in shares.items()}
    means = {name: float(np.nanmean(values)) for name, values in per_user.items()}
    return Evaluation(split.name, means | figures, per_user, ids, seconds / len(split))


def _slates(split: Split, recommend: Recommend, k: int, chunk: int) -> tuple[Int32Array, float]:
    """Slates int32 [B, k] of all requests, checked, and the seconds the model took."""
    ids = np.full((len(split), k), PADDING, np.int32)
    seconds = 0.0
    for start in range(0, len(split), chunk):
        queries = split.queries.rows(start, min(start + chunk, len(split)))
        started = perf_counter()
        slates = recommend(queries, k).ids[:, :k]
        seconds += perf_counter() - started
        _check(slates, queries, split.train.n_items)
        ids[start : start + len(queries), : slates.shape[1]] = slates
    return ids, seconds


def _check(slates: Int32Array, queries: QueryBatch, n_items: int) -> None:
    """Refuse slates that would make the figures worthless."""
    if len(slates) != len(queries):
        raise DataError(f"{len(queries)} requests were answered by {len(slates)} slates")
    low, high = slates.min(initial=0), slates.max(initial=0)
    if low < PADDING or high >= n_items:
        raise DataError(f"slates hold items {low}..{high}; the catalogue has 0..{n_items - 1}")
    in_order = np.sort(slates, axis=1)
    twice = (np.diff(in_order, axis=1) == 0) & (in_order[:, 1:] != PADDING)
    if twice.any():
        raise DataError(f"{int(twice.any(1).sum())} slates hold an item twice")
    seen = find_hits(slates, queries.exclude_ptr, queries.exclude)
    if seen.any():
        raise DataError(
            f"{int(seen.any(1).sum())} slates hold items that the request excludes; "
            f"every model must leave out the same"
        )


def _by_users(split: Split, per_user: PerUser) -> PerUser:
    """The same figures for users with and without history, where there are both."""
    cold = split.cold_users
    if cold.all() or not cold.any():
        return {}
    groups = {"cold_users": cold, "known_users": ~cold}
    return {
        f"{name}/{group}": np.where(mask, values, np.nan)
        for name, values in per_user.items()
        for group, mask in groups.items()
    }
