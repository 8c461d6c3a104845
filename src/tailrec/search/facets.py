"""What was found, counted by brand, category, price and tier."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.items import Array, Int8Array, Int32Array, StrArray

_STEPS: Final = (1, 2, 5)
"""Bounds of price ranges: these times a power of ten, so that they are round in any currency."""


@dataclass(frozen=True)
class Facet:
    """One way to divide a catalogue.

    Attributes:
        name: brand, category, price or tier.
        labels: object [L], of the parts.
        codes: int32 [I], a leaf each; -1 where an item has none.
        leaf: int32 [P], with `label`: this leaf counts for that label. A leaf may count for many,
            as a category does for all above it.
        label: int32 [P].
        ordered: labels have an order of their own; others are shown the largest first.
    """

    name: str
    labels: StrArray
    codes: Int32Array
    leaf: Int32Array
    label: Int32Array
    ordered: bool

    @classmethod
    def flat(cls, name: str, labels: Sequence[str], codes: Array, *, ordered: bool) -> Self:
        """A facet whose parts hold no other parts."""
        every = np.arange(len(labels), dtype=np.int32)
        named = np.array(labels, dtype=object)
        return cls(name, named, codes.astype(np.int32), every, every, ordered)

    def counts(self, matches: Int32Array, most: int) -> list[tuple[str, int]]:
        """How many of some items are in each part.

        Args:
            matches: int32 [M], catalogue numbers, unique.
            most: parts named, at most, but for such with an order of their own.

        Returns:
            Label and count, of parts that hold any; ties in the order of the labels.
        """
        n_leaves = int(self.leaf.max(initial=-1)) + 1
        # Items without a leaf are counted at 0, and cut off.
        by_leaf = np.bincount(self.codes[matches] + 1, minlength=n_leaves + 1)[1:]
        totals = np.bincount(self.label, by_leaf[self.leaf], len(self.labels)).astype(np.int64)
        shown = np.flatnonzero(totals)
        if not self.ordered:
            shown = shown[np.argsort(-totals[shown], kind="stable")][:most]
        return [(self.labels[part], int(totals[part])) for part in shown]


def facets_of(catalog: Catalog, tiers: Int8Array | None = None) -> list[Facet]:
    """The facets of a catalogue; done once, not for every search.

    Args:
        catalog: I items, as they are now.
        tiers: int8 [I], positions in `TIERS`; without, there is no such facet.
    """
    table = catalog.table
    facets = []
    if c.BRAND in table.columns:
        facets.append(_brands(table[c.BRAND]))
    if c.CATEGORY in table.columns:
        facets.append(_categories(table[c.CATEGORY]))
    if c.PRICE in table.columns:
        facets.append(_prices(table[c.PRICE]))
    if tiers is not None:
        facets.append(Facet.flat(c.TIER, c.TIERS, tiers, ordered=True))
    return facets


def count_facets(
    facets: Sequence[Facet], matches: Int32Array, *, most: int = 20
) -> dict[str, list[tuple[str, int]]]:
    """Labels and counts of each facet over the items found.

    Args:
        facets: result of `facets_of`.
        matches: int32 [M], catalogue numbers, unique.
        most: labels of a facet, at most; prices and tiers are always whole.
    """
    return {facet.name: facet.counts(matches, most) for facet in facets}


def _brands(brands: pl.Series) -> Facet:
    stripped = brands.str.strip_chars().replace("", None)
    labels = stripped.drop_nulls().unique().sort()
    return Facet.flat(c.BRAND, labels.to_list(), _codes(stripped, labels), ordered=False)


def _categories(paths: pl.Series) -> Facet:
    """A path counts for itself and for every path above it."""
    leaves = paths.drop_nulls().unique().sort()
    above = []
    for path in leaves:
        steps = [step for part in path.split(c.CATEGORY_SEPARATOR) if (step := part.strip())]
        ends = range(1, len(steps) + 1)
        above.append([c.CATEGORY_SEPARATOR.join(steps[:end]) for end in ends])
    labels = sorted({path for own in above for path in own})
    place = {path: at for at, path in enumerate(labels)}
    lengths = [len(own) for own in above]
    return Facet(
        c.CATEGORY,
        np.array(labels, dtype=object),
        _codes(paths, leaves),
        np.repeat(np.arange(len(above), dtype=np.int32), lengths),
        np.array([place[path] for own in above for path in own], np.int32),
        ordered=False,
    )


def _prices(prices: pl.Series) -> Facet:
    """Ranges with round bounds; the lower bound is inside, the upper is not."""
    price = prices.cast(pl.Float64).fill_null(np.nan).to_numpy()
    known = np.isfinite(price) & (price >= 0)
    if not known.any():
        return Facet.flat(c.PRICE, [], np.full(len(price), -1), ordered=True)
    paid = price[known & (price > 0)] if price[known].any() else np.ones(1)
    powers = range(int(np.floor(np.log10(paid.min()))), int(np.ceil(np.log10(paid.max()))) + 2)
    bounds = np.array([float(f"{step}e{power}") for power in powers for step in _STEPS])
    low = int(np.searchsorted(bounds, paid.min(), "right"))
    high = int(np.searchsorted(bounds, paid.max(), "right"))
    edges = np.concatenate([[0.0], bounds[max(low - 1, 0) : high + 1]])
    labels = [f"{a:g}..{b:g}" for a, b in pairwise(edges)]
    codes = np.searchsorted(edges, price, "right") - 1
    return Facet.flat(c.PRICE, labels, np.where(known, codes, -1), ordered=True)


def _codes(values: pl.Series, labels: pl.Series) -> Int32Array:
    """Place of each value among the labels, -1 where it is not there."""
    column = values.name
    place = pl.DataFrame({column: labels, "place": np.arange(len(labels), dtype=np.int32)})
    joined = values.to_frame().join(place, on=column, how="left", maintain_order="left")
    return joined["place"].fill_null(-1).to_numpy()
