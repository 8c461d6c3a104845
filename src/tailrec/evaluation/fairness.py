"""Who is shown and who is served: exposure against merit, gaps between groups, the worst off.

Exposure is attention summed over places: what a seller, or any group of items, gets of the
looks at all slates. Utility is any figure of a request, such as its NDCG. Both are read off the
same slates as the accuracy.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tailrec.errors import DataError
from tailrec.evaluation.accuracy import PerUser
from tailrec.evaluation.significance import Bootstrap, Interval
from tailrec.items import PADDING, Array, BoolArray, Float64Array, Int32Array
from tailrec.tail.exposure_report import gini

NO_GROUP = -1
"""The code of an item that belongs to no group."""
WORST_OFF = 0.1
"""The share of the requests that figures of the worst off speak of."""


class Treatment(NamedTuple):
    """How groups' exposure compares with their merit.

    Attributes:
        of_groups: float64 [G], share of the exposure over share of the merit; 1 is in
            proportion, NaN where a group has no merit.
        ratio: the smallest of them over the largest, 0 to 1 (all alike); NaN without merit.
        difference: share of all exposure that would have to go to other groups, 0 to 1.
        worst: the smallest of them; raising it is what maximin fairness asks for.
    """

    of_groups: Float64Array
    ratio: float
    difference: float
    worst: float


class Gap(NamedTuple):
    """How far the means of groups of requests are apart.

    Attributes:
        means: of each group, with bounds.
        best: the group with the highest mean.
        worst: the group with the lowest mean.
        gap: their difference, with bounds.
        ratio: worst over best, with bounds; None where the best mean is not above 0.
    """

    means: Mapping[str, Interval]
    best: str
    worst: str
    gap: Interval
    ratio: Interval | None


class Groups(NamedTuple):
    """Groups of items, such as a shop's sellers.

    Attributes:
        code: int32 [I], from 0, `NO_GROUP` where an item belongs to none.
        names: of the G groups.
        merit: float64 [G], what each deserves to be shown for, in any unit: its relevant items,
            its sales.
    """

    code: Int32Array
    names: Sequence[str]
    merit: Float64Array


def item_exposure(ids: Int32Array, attention: Float64Array, n_items: int) -> Float64Array:
    """Attention each item gets in slates.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end.
        attention: float64 [k], at least 0, chance that each place is looked at; places beyond
            have none.
        n_items: items of the catalogue.

    Returns:
        float64 [I], looks an item gets, summed over slates.

    Raises:
        DataError: attention is negative or not finite, or a slate holds an item beyond the
            catalogue.

    Source:
        Singh and Joachims 2018, arXiv:1802.07281.
    """
    if attention.ndim != 1 or not (np.isfinite(attention) & (attention >= 0)).all():
        raise DataError(f"attention is {attention}; a number of at least 0 a place is needed")
    top = ids[:, : len(attention)]
    if top.size and not PADDING <= top.min() <= top.max() < n_items:
        raise DataError(f"slates hold items {top.min()}..{top.max()}; there are {n_items}")
    looks = np.broadcast_to(attention[: top.shape[1]], top.shape)
    filled = top != PADDING
    exposure: Array = np.bincount(top[filled], looks[filled], n_items)
    return exposure


def group_exposure(exposure: Float64Array, code: Int32Array, n_groups: int) -> Float64Array:
    """Exposure of groups of items.

    Args:
        exposure: float64 [I], as `item_exposure` gives it.
        code: int32 [I], groups of the items from 0, `NO_GROUP` where there is none.
        n_groups: how many groups there are.

    Returns:
        float64 [G].

    Raises:
        DataError: codes are not of as many items, or go beyond the groups.
    """
    if code.shape != exposure.shape:
        raise DataError(f"groups of {code.shape} items and exposure of {exposure.shape}")
    if code.size and not NO_GROUP <= code.min() <= code.max() < n_groups:
        raise DataError(f"group codes go from {code.min()} to {code.max()}; there are {n_groups}")
    own = code != NO_GROUP
    total: Array = np.bincount(code[own], exposure[own], n_groups)
    return total


def treatment(exposure: Float64Array, merit: Float64Array) -> Treatment:
    """Whether groups are shown in proportion to what they deserve.

    Args:
        exposure: float64 [G], of groups, or of items; at least 0.
        merit: float64 [G], at least 0, in any unit.

    Raises:
        DataError: both are not of as many groups, a number is negative or not finite, or one
            of them is 0 for all.

    Source:
        Singh and Joachims 2018, arXiv:1802.07281, disparate treatment.
    """
    both = np.concatenate([exposure, merit])
    if exposure.shape != merit.shape or not (np.isfinite(both) & (both >= 0)).all():
        raise DataError(
            f"exposure is {exposure.shape} and merit {merit.shape}, from {both.min(initial=0)}; "
            f"a number of at least 0 for each group is needed in both"
        )
    if not exposure.sum() or not merit.sum():
        raise DataError(f"exposure is {exposure.sum()} and merit {merit.sum()} in all; no shares")
    shown, due = exposure / exposure.sum(), merit / merit.sum()
    of_groups = np.divide(shown, due, out=np.full(len(due), np.nan), where=due > 0)
    worst, best = float(np.nanmin(of_groups)), float(np.nanmax(of_groups))
    difference = float(np.abs(shown - due).sum() / 2)
    return Treatment(of_groups, worst / best if best else np.nan, difference, worst)


def group_gap(
    values: Float64Array,
    groups: Mapping[str, BoolArray],
    *,
    users: Array | None = None,
    draws: int = 10_000,
    rng: np.random.Generator,
) -> Gap:
    """How much better some people are served than others.

    Bounds are those of a bootstrap of people for the two groups that are best and worst in the
    data. Of many small groups, two are always far apart by luck: ask for few.

    Args:
        values: float64 [B], a figure of requests, NaN where it is not defined.
        groups: bool [B] by name, as in `groups.history_groups`; they may overlap. Those in which
            nothing is defined are left out.
        users: int [B], who made each request; None takes each as a person's own.
        draws: how many resamples.
        rng: draws them.

    Raises:
        DataError: a mask is of other requests, or fewer than two groups are left.

    Cost:
        That of `Bootstrap.means` and of `Bootstrap.ratios`, once each.

    Source:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 2.7: how many
        people of a group a draw holds varies, too, and its mean is followed to first order.
    """
    for name, mask in groups.items():
        if mask.shape != values.shape:
            raise DataError(f"group {name!r} is {mask.shape}; the figure is {values.shape}")
    defined = ~np.isnan(values)
    own = {name: mask & defined for name, mask in groups.items() if (mask & defined).any()}
    if len(own) < 2:
        raise DataError(f"{len(own)} groups have the figure; a gap needs at least 2")
    mean = {name: float(values[mask].mean()) for name, mask in own.items()}
    best, worst = max(mean, key=mean.__getitem__), min(mean, key=mean.__getitem__)
    people = np.arange(len(values)) if users is None else users
    drawn = Bootstrap(people, draws=draws, rng=rng)
    around = {name: _around_mean(values, mask, mean[name]) for name, mask in own.items()}
    *means, gap = drawn.means([*around.values(), around[best] - around[worst]])
    ratio = drawn.ratios([(around[worst], around[best])])[0].interval if mean[best] > 0 else None
    return Gap(dict(zip(own, means, strict=True)), best, worst, gap, ratio)


def worst_off(values: Float64Array, share: float = WORST_OFF) -> float:
    """Mean of the lowest values.

    Args:
        values: float64 [N]; NaN is left out.
        share: of the values that count, in (0, 1]; at least one does.

    Returns:
        NaN where nothing is defined.

    Raises:
        ValueError: the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must lie above 0 and at most at 1")
    rising = np.sort(values[~np.isnan(values)])
    n = max(int(np.floor(share * len(rising))), 1)
    return float(rising[:n].mean()) if len(rising) else float("nan")


def generalised_lorenz(values: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Points of the generalised Lorenz curve: what the worst off have together.

    A curve that lies nowhere below another one is better by every welfare that likes both more
    for anybody and less inequality. Over its last value it is the Lorenz curve.

    Args:
        values: float64 [N], utilities or exposures, at least one.

    Returns:
        Shares of those counted, worst off first, and the sum of their values over N, float64
        [N + 1] each, from (0, 0) to (1, mean).

    Raises:
        DataError: there are no values, or one is not finite.

    Source:
        Shorrocks 1983, doi:10.2307/2554117; Do et al. 2021, arXiv:2110.15781.
    """
    _check_finite(values)
    n = len(values)
    up = np.concatenate([[0.0], np.cumsum(np.sort(values)) / n])
    return np.arange(n + 1) / n, up


def welfare(values: Float64Array, weights: Float64Array | None = None) -> float:
    """Mean of values in which the worst off count most: a generalised Gini welfare.

    Args:
        values: float64 [N], at least one.
        weights: float64 [N], for the worst off first, not rising, at least 0; None: those of the
            Gini coefficient, with which it is the mean times 1 - Gini.

    Returns:
        In the unit of the values; the mean where all weights are alike, the lowest value where
        only the first weight is above 0.

    Raises:
        DataError: there are no values, one is not finite, or weights are of another number,
            rising, negative, or all 0.

    Source:
        Weymark 1981, doi:10.1016/0165-4896(81)90018-4; Do and Usunier 2022, arXiv:2204.06521.
    """
    _check_finite(values)
    n = len(values)
    own = 2.0 * np.arange(n, 0, -1) - 1 if weights is None else weights
    if own.shape != (n,) or own[-1] < 0 or not own[0] > 0 or (np.diff(own) > 0).any():
        raise DataError(
            f"{own.shape} weights for {n} values; as many are needed, from above 0, not rising, "
            f"none below 0"
        )
    return float(own @ np.sort(values) / own.sum())


def fairness(
    ids: Int32Array,
    attention: Float64Array,
    groups: Groups,
    *,
    at: Sequence[int],
    per_user: PerUser | None = None,
    user_groups: Mapping[str, BoolArray] | None = None,
) -> dict[str, float]:
    """Figures of fairness of one model's slates, by name.

    Args:
        ids: int32 [B, K], slates, `PADDING` at the end.
        attention: float64 [k], chance that each place is looked at.
        groups: of items, with their merit.
        at: slate lengths k.
        per_user: figures of the requests by name, float64 [B], such as ``ndcg@20``, to be told
            for the worst off and by groups.
        user_groups: bool [B] by name; None: only the worst off are told.

    Returns:
        For each k ``exposure@k/<name>`` (share of the looks that go to groups) and
        ``treatment@k/<name>`` (over share of the merit), ``treatment_ratio@k``,
        ``treatment_difference@k``, ``worst_treatment@k``, and ``exposure_gini@k`` over items; for
        each figure, ``<figure>/worst_off`` (mean of the lowest tenth), ``<figure>/welfare`` (mean
        times 1 - Gini), ``<figure>/<group>`` and, from two groups on, ``<figure>/gap`` and
        ``<figure>/gap_ratio``. What is nowhere defined is left out.

    Raises:
        DataError: slates, attention, groups and figures do not fit together.
    """
    n_groups = len(groups.names)
    if groups.merit.shape != (n_groups,):
        raise DataError(f"merit is {groups.merit.shape}; there are {n_groups} groups")
    figures: dict[str, float] = {}
    for k in at:
        looks = item_exposure(ids, attention[:k], len(groups.code))
        own = group_exposure(looks, groups.code, n_groups)
        every: Array = looks
        figures[f"exposure_gini@{k}"] = gini(every)
        if own.sum() and groups.merit.sum():
            figures |= _of_groups(own, groups, k)
    for name, values in (per_user or {}).items():
        figures |= _of_requests(name, values, user_groups or {})
    return {name: value for name, value in figures.items() if not np.isnan(value)}


def _of_groups(exposure: Float64Array, groups: Groups, k: int) -> dict[str, float]:
    found = treatment(exposure, groups.merit)
    shares = exposure / exposure.sum()
    figures = {
        f"treatment_ratio@{k}": found.ratio,
        f"treatment_difference@{k}": found.difference,
        f"worst_treatment@{k}": found.worst,
    }
    for name, share, treated in zip(groups.names, shares, found.of_groups, strict=True):
        figures[f"exposure@{k}/{name}"] = float(share)
        figures[f"treatment@{k}/{name}"] = float(treated)
    return figures


def _of_requests(
    name: str, values: Float64Array, groups: Mapping[str, BoolArray]
) -> dict[str, float]:
    defined = ~np.isnan(values)
    if not defined.any():
        return {}
    figures = {
        f"{name}/worst_off": worst_off(values),
        f"{name}/welfare": welfare(values[defined]),
    }
    means = {
        group: float(values[mask & defined].mean())
        for group, mask in groups.items()
        if (mask & defined).any()
    }
    figures |= {f"{name}/{group}": mean for group, mean in means.items()}
    if len(means) > 1:
        low, high = min(means.values()), max(means.values())
        figures[f"{name}/gap"] = high - low
        figures[f"{name}/gap_ratio"] = low / high if high else float("nan")
    return figures


def _around_mean(values: Float64Array, mask: BoolArray, mean: float) -> Float64Array:
    """float64 [B], whose mean over all requests is a group's, and varies with it, in a draw."""
    around: Float64Array = mean + np.where(mask, values - mean, 0.0) / mask.mean()
    return around


def _check_finite(values: Float64Array) -> None:
    if not values.size or not np.isfinite(values).all():
        raise DataError(f"{values.size} values, {np.isfinite(values).sum()} of them finite")
