"""All figures of one model on one split, from one list of slates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from tailrec.data.split import Split
from tailrec.errors import DataError
from tailrec.evaluation.accuracy import PerUser, accuracy
from tailrec.evaluation.calibration import miscalibration, popularity_deviation
from tailrec.evaluation.diversity import distinct_categories, intra_list_distance
from tailrec.evaluation.facets import NO_CATEGORY, Facets
from tailrec.evaluation.groups import history_groups, item_deciles, of_groups
from tailrec.evaluation.novelty import novelty, serendipity
from tailrec.evaluation.tail import exposure, slot_share, tail_accuracy
from tailrec.evaluation.unbiased import recall_ips
from tailrec.hits import count_targets, find_hits
from tailrec.items import PADDING, BoolArray, Int32Array, ItemsBatch, QueryBatch
from tailrec.tail.segments import tiers as tiers_of

Recommend = Callable[[QueryBatch, int], ItemsBatch]

COLD = "cold"
"""The tier of items without a training event."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one split.

    Names are ``<metric>@<k>``, and ``<metric>@<k>/<group>`` for a tier of items (those of the
    masks, ``cold``, and with facets ``decile_1`` to ``decile_10``) or a group of requests
    (``cold_users``, ``known_users``: without and with history, told apart only where there are
    both; with facets those of `groups.history_groups`).

    Attributes:
        split: name of the split.
        figures: by name; a group without a target, and a metric that is nowhere defined, is
            left out.
        per_user: by name, float64 [B], what the figures are the means of; NaN where a request
            has no target of the tier. For intervals of ratios.
        ids: int32 [B, K], the slates that all of it comes from.
        seconds_per_slate: time the model took, divided by B.
        users: int32 [B], rows of the users who asked, to be drawn as a whole where several
            splits of one dataset are taken together.
        tiers: bool [I] by name, the items of each tier that figures speak of.
    """

    split: str
    figures: Mapping[str, float]
    per_user: PerUser
    ids: Int32Array
    seconds_per_slate: float
    users: Int32Array
    tiers: Mapping[str, BoolArray]


def evaluate(
    split: Split,
    recommend: Recommend,
    *,
    at: Sequence[int] = (10, 20),
    masks: Mapping[str, BoolArray],
    facets: Facets | None = None,
    chunk: int = 2048,
) -> Evaluation:
    """Ask for a slate of each request, and compare it with what the user turned to.

    Args:
        split: requests and targets.
        recommend: requests and k to slates of at most k items; any model.
        at: slate lengths; one slate of the longest serves all.
        masks: tiers of the tail, name to bool [I], counted on the split's train part.
        facets: of the catalogue; None leaves it at accuracy and exposure, overall and by the
            masks. With them come diversity, novelty, serendipity, calibration, unbiased recall,
            popularity deciles and groups by length of history.
        chunk: requests in one call.

    Returns:
        The figures.

    Raises:
        DataError: a slate holds an item twice, an excluded one, or one that does not exist; or
            a mask, or the facets, are not of this catalogue.
    """
    counts = split.train.item_counts
    tiers = dict(masks) | {COLD: counts == 0}
    if facets is not None:
        tiers |= item_deciles(counts)
    _check_catalogue(tiers, facets, len(counts))
    ids, seconds = _slates(split, recommend, max(at), chunk)
    hits = find_hits(ids, split.target_ptr, split.target)
    per_user = accuracy(hits, count_targets(split.target_ptr, split.target), at)
    per_user |= of_groups(per_user, _told_apart(split.cold_users))
    figures = exposure(ids, counts, at)
    for name, mask in tiers.items():
        n_targets = count_targets(split.target_ptr, split.target, mask)
        if n_targets.any():
            own = tail_accuracy(hits, ids, n_targets, mask, at)
            per_user |= {f"{metric}/{name}": values for metric, values in own.items()}
        shares = slot_share(ids, mask, at)
        figures |= {f"{metric}/{name}": value for metric, value in shares.items()}
    if facets is not None:
        found = {f"{name}@{k}": per_user[f"{name}@{k}"] for name in ("recall", "ndcg") for k in at}
        per_user |= of_groups(found, history_groups(np.diff(split.queries.ptr)))
        per_user |= _beyond_accuracy(split, ids, hits, facets, at)
    means = {name: float(np.nanmean(values)) for name, values in per_user.items()}
    per_slate = seconds / len(split)
    return Evaluation(split.name, means | figures, per_user, ids, per_slate, split.users, tiers)


def _beyond_accuracy(
    split: Split, ids: Int32Array, hits: BoolArray, facets: Facets, at: Sequence[int]
) -> PerUser:
    """What else the slates are, beside right; metrics that are nowhere defined left out."""
    train, past = split.train, (split.queries.ptr, split.queries.item)
    counts = train.item_counts
    # A person who has an item several times has it once.
    n_having = np.bincount(train.matrix().indices, minlength=len(counts)).astype(np.int64)
    n_users = int((np.diff(train.ptr) > 0).sum())
    n_targets = count_targets(split.target_ptr, split.target)
    figures = (
        intra_list_distance(ids, facets.words, at)
        | novelty(ids, n_having, n_users, at)
        | serendipity(ids, hits, n_targets, counts, at)
        | popularity_deviation(*past, ids, tiers_of(counts, "mass"), at)
        | recall_ips(hits, ids, (split.target_ptr, split.target), counts, at=at)
    )
    if (facets.category != NO_CATEGORY).any():
        figures |= distinct_categories(ids, facets.category, at)
        figures |= miscalibration(*past, ids, facets.category, at)
    return {name: own for name, own in figures.items() if not np.isnan(own).all()}


def _check_catalogue(tiers: Mapping[str, BoolArray], facets: Facets | None, n_items: int) -> None:
    """Refuse what is known of other items."""
    for name, mask in tiers.items():
        if mask.shape != (n_items,):
            raise DataError(f"mask {name!r} is {mask.shape}; the catalogue has {n_items} items")
    if facets is not None and len(facets) != n_items:
        raise DataError(f"facets of {len(facets)} items; the catalogue has {n_items}")


def _told_apart(cold: BoolArray) -> dict[str, BoolArray]:
    """Requests without and with history, where there are both."""
    return {"cold_users": cold, "known_users": ~cold} if cold.any() and not cold.all() else {}


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
