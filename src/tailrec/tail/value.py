"""The valuable tail: items that few people buy or see, with signs that more would want them.

Each sign becomes a percentile within the catalogue. A sign the data do not hold (no costs, no
ratings) is left out and named with its reason; an item that lacks a sign that others have
counts as the middle there, because nothing speaks for or against it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.dataset import Dataset
from tailrec.items import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from tailrec.tail.segments import Definition, is_tail, tiers

NEIGHBOURS: Final = 20
BLOCK: Final = 1024


@dataclass(frozen=True, slots=True)
class ValuableTail:
    """Items of the tail with their signs of value.

    Attributes:
        table: item_id, title, tier, events (impressions aside), shown (null where unknown),
            score in 0..1 (mean percentile of the signs), then for each sign its value and
            ``<sign>_percentile`` (null where the item lacks it); best score first, ties by
            catalogue number.
        signs: the signs the score is made of.
        absent: why each other sign was left out.
    """

    table: pl.DataFrame
    signs: tuple[str, ...]
    absent: dict[str, str]


def valuable_tail(
    data: Dataset,
    *,
    vectors: Float32Array | None = None,
    shown: Int64Array | None = None,
    definition: Definition = "pareto",
) -> ValuableTail:
    """Rank the items with few sales or little exposure by their signs of value.

    Signs: ``margin`` (price less cost), ``price``, ``rating`` (mean, shrunk), ``conversion``
    (purchases for a view or click, else for an impression, shrunk), ``repeat`` (share of an
    item's buyers who bought it again, shrunk), ``demand`` (similarity-weighted events of the
    20 nearest items outside the tail).

    Args:
        data: histories and catalogue.
        vectors: float32 [I, D], rows of unit length or zero, such as `Features.dense`.
        shown: int64 [I], how often each item was shown; None: the impressions in `data`.
        definition: what few sales, and little exposure, means.

    Returns:
        The items in the tail by sales, or, where exposure is known, by exposure.

    Raises:
        ValueError: vectors or shown do not have one row an item.

    Cost:
        I times the items outside the tail, for ``demand``.
    """
    for name, rows in (("vectors", vectors), ("shown", shown)):
        if rows is not None and len(rows) != data.n_items:
            raise ValueError(f"{name} has {len(rows)} rows; the catalogue has {data.n_items} items")
    exposure = _count(data, "impression") if shown is None else shown
    sales = data.item_counts - _count(data, "impression")
    wanted = is_tail(sales, definition) | (sales == 0)
    if exposure.any():
        wanted |= is_tail(exposure, definition) | (exposure == 0)
    popular = np.where(is_tail(sales, definition), 0, sales)
    values, absent = _signs(data, vectors, exposure, popular)
    percentiles = {name: _percentile(value) for name, value in values.items()}
    table = pl.DataFrame(
        {
            c.ITEM_ID: data.catalog.table[c.ITEM_ID],
            c.TITLE: data.catalog.text((c.TITLE,)),
            "tier": np.asarray(c.TIERS)[tiers(sales, definition)],
            "events": sales,
            "shown": pl.Series(exposure)
            if exposure.any()
            else pl.Series([None] * len(sales), dtype=pl.Int64),
            "score": _mean(list(percentiles.values()), data.n_items),
        }
    )
    parts = [
        series
        for name, value in values.items()
        for series in (
            pl.Series(name, value, nan_to_null=True),
            pl.Series(f"{name}_percentile", percentiles[name], nan_to_null=True),
        )
    ]
    kept = table.with_columns(parts).filter(pl.Series(wanted))
    ranked = kept.sort("score", descending=True, maintain_order=True)
    return ValuableTail(ranked, tuple(values), absent)


def _signs(
    data: Dataset, vectors: Float32Array | None, exposure: Int64Array, popular: Int64Array
) -> tuple[dict[str, Float64Array], dict[str, str]]:
    """Each sign's values [I], NaN where an item lacks it, and why others are absent."""
    makers: dict[str, tuple[Callable[[], Float64Array], str]] = {
        "margin": (lambda: _margin(data), "no item has both a price and a cost"),
        "price": (lambda: _number(data, c.PRICE), "no item has a price"),
        "rating": (lambda: _rating(data), "no item has a rating"),
        "conversion": (
            lambda: _conversion(data, exposure),
            "purchases together with views, clicks or impressions are needed",
        ),
        "repeat": (lambda: _repeat(data), "nobody bought or played anything twice"),
        "demand": (
            lambda: _demand(vectors, popular),
            "vectors of the items and items outside the tail are needed",
        ),
    }
    values: dict[str, Float64Array] = {}
    absent: dict[str, str] = {}
    for name, (make, reason) in makers.items():
        value = make()
        if np.isfinite(value).any():
            values[name] = value
        else:
            absent[name] = reason
    return values, absent


def _number(data: Dataset, column: str) -> Float64Array:
    if column not in data.catalog.table.columns:
        return np.full(data.n_items, np.nan)
    numbers = data.catalog.table[column].cast(pl.Float64).fill_null(np.nan)
    return np.asarray(numbers.to_numpy(), np.float64)


def _margin(data: Dataset) -> Float64Array:
    return _number(data, c.PRICE) - _number(data, c.COST)


def _rating(data: Dataset) -> Float64Array:
    rated = _of_type(data, "rating", "review") & np.isfinite(data.value)
    item, value = data.item[rated], data.value[rated].astype(np.float64)
    n = np.bincount(item, minlength=data.n_items)
    return shrunk_mean(_sums(data, item, value), _sums(data, item, value**2), n)


def _conversion(data: Dataset, exposure: Int64Array) -> Float64Array:
    looks = _count(data, "view", "click")
    trials = looks if looks.any() else exposure
    bought = np.minimum(_count(data, "purchase"), trials)
    if not bought.any():
        return np.full(data.n_items, np.nan)
    # A purchase is 0 or 1, so its square is itself.
    return shrunk_mean(bought.astype(np.float64), bought.astype(np.float64), trials)


def _repeat(data: Dataset) -> Float64Array:
    had = _of_type(data, "purchase", "play")
    pair = data.user[had].astype(np.int64) * data.n_items + data.item[had]
    # One basket may name an item twice; only another visit is a repeat.
    visits = np.unique(np.stack([pair, data.step[had].astype(np.int64)]), axis=1)[0]
    pairs, times = np.unique(visits, return_counts=True)
    item, again = pairs % data.n_items, (times > 1).astype(np.float64)
    if not again.any():
        return np.full(data.n_items, np.nan)
    total = _sums(data, item, again)
    return shrunk_mean(total, total, np.bincount(item, minlength=data.n_items))


def _demand(vectors: Float32Array | None, popular: Int64Array) -> Float64Array:
    """Demand near each item, from the events of popular items (0 for the others)."""
    mass = np.full(len(popular), np.nan)
    wanted = np.flatnonzero(popular)
    if vectors is None or not len(wanted):
        return mass
    described = np.flatnonzero(np.abs(vectors).sum(1) > 0)
    k = min(NEIGHBOURS, len(wanted))
    for start in range(0, len(described), BLOCK):
        rows = described[start : start + BLOCK]
        near = np.maximum(vectors[rows] @ vectors[wanted].T, 0)
        near[rows[:, None] == wanted] = 0  # an item's own sales say nothing of its surroundings
        best = np.argpartition(-near, k - 1, axis=1)[:, :k]
        events = popular[wanted][best]
        mass[rows] = (np.take_along_axis(near, best, 1) * events).sum(1)
    return mass


def shrunk_mean(total: Float64Array, square: Float64Array, n: Int64Array) -> Float64Array:
    """Means of groups, each drawn to the mean of all as far as its size and noise demand.

    The weight of the common mean is the variance within groups over the variance between
    them, both estimated from the data: the empirical Bayes estimate for a normal prior and,
    with 0/1 values, for a Beta prior.

    Args:
        total: float64 [G], sums of the groups' values.
        square: float64 [G], sums of the groups' squared values.
        n: int64 [G], sizes.

    Returns:
        float64 [G], NaN for empty groups. All alike where groups differ by no more than chance.

    Source:
        Bühlmann & Straub 1970, Glaubwürdigkeit für Schadensätze.
    """
    full = n > 0
    mean = np.full(len(n), np.nan)
    if not full.any():
        return mean
    size, groups = float(n.sum()), int(full.sum())
    overall = total.sum() / size
    own = total[full] / n[full]
    within = (square.sum() - (n[full] * own**2).sum()) / max(size - groups, 1)
    spread = (n[full] * (own - overall) ** 2).sum() - (groups - 1) * within
    between = spread / max(size - (n[full].astype(np.float64) ** 2).sum() / size, 1)
    if between <= 0 or size == groups:
        mean[full] = overall
        return mean
    weight = max(within, 0.0) / between
    mean[full] = (total[full] + weight * overall) / (n[full] + weight)
    return mean


def _percentile(value: Float64Array) -> Float64Array:
    """Share of the items with this sign that lie below, in (0, 1); ties share their middle."""
    from scipy.stats import rankdata  # slow to load

    known = np.isfinite(value)
    share = np.full(len(value), np.nan)
    share[known] = (rankdata(value[known]) - 0.5) / known.sum()
    return share


def _mean(percentiles: list[Float64Array], n: int) -> Float64Array:
    if not percentiles:
        return np.full(n, 0.5)
    filled = [np.where(np.isfinite(p), p, 0.5) for p in percentiles]
    return np.asarray(np.mean(filled, axis=0), np.float64)


def _of_type(data: Dataset, *names: str) -> BoolArray:
    return np.isin(data.type, [c.EVENT_TYPES.index(name) for name in names])


def _sums(data: Dataset, item: Int64Array | Int32Array, value: Float64Array) -> Float64Array:
    return np.asarray(np.bincount(item, value, data.n_items), np.float64)


def _count(data: Dataset, *names: str) -> Int64Array:
    own = data.item[_of_type(data, *names)]
    return np.bincount(own, minlength=data.n_items).astype(np.int64)
