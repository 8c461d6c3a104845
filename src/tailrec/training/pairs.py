"""Which items belong together by behaviour, drawn so that every item is asked as often."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy import sparse

from tailrec.dataset import Dataset
from tailrec.errors import DataError
from tailrec.items import Array, Int32Array, Int64Array

MOST_PARTNERS = 20
"""Partners of an item that are kept, the strongest first."""
LONGEST = 6
"""Past items that stand for a person."""


class Pairs(NamedTuple):
    """Anchors and what was had with them.

    Attributes:
        anchor: int32 [N, H], items; H is 1 for items, more for people; -1 pads.
        weight: float32 [N, H], what each counts in the anchor's vector; rows sum to 1.
        target: int32 [N], an item that belongs to the anchor.
    """

    anchor: Int32Array
    weight: Array
    target: Int32Array


@dataclass(frozen=True)
class Affinity:
    """How strongly items belong together by behaviour, the strongest partners of each item.

    Attributes:
        matrix: float32 CSR [I, I], above 0, without a diagonal.
        warm: int64 [W], items that have partners.
    """

    matrix: sparse.csr_array
    warm: Int64Array

    @classmethod
    def of(cls, strengths: sparse.csr_array, *, most: int = MOST_PARTNERS) -> "Affinity":
        """The strongest partners of each item.

        Args:
            strengths: [I, I], any item-to-item model's weights; those at or below 0 do not count.
            most: partners kept an item.

        Raises:
            DataError: no item has a partner.
        """
        whole = sparse.coo_array(strengths)
        good = (whole.data > 0) & (whole.row != whole.col)
        row, column, value = whole.row[good], whole.col[good], whole.data[good]
        order = np.lexsort((column, -value, row))
        row, column, value = row[order], column[order], value[order]
        start = np.searchsorted(row, np.arange(strengths.shape[0]))
        kept = np.arange(len(row)) - start[row] < most
        if not kept.any():
            raise DataError("no two items were had by the same people; there is nothing to learn")
        matrix = sparse.coo_array((value[kept], (row[kept], column[kept])), shape=strengths.shape)
        rows = sparse.csr_array(matrix.tocsr().astype(np.float32))
        rows.sort_indices()
        return cls(rows, np.flatnonzero(np.diff(rows.indptr)))

    def draw(self, size: int, rng: Generator) -> Pairs:
        """Pairs: anchors all alike, their partners by strength.

        Items of the tail are asked as often as popular ones; drawn by event, a few hundred
        popular items would be most of what is learnt.

        Args:
            size: how many, at most every warm item once.
            rng: draws.
        """
        size = min(size, len(self.warm))
        anchor = rng.choice(self.warm, size, replace=False)
        upto = np.concatenate([[0.0], np.cumsum(self.matrix.data, dtype=np.float64)])
        low, high = upto[self.matrix.indptr[anchor]], upto[self.matrix.indptr[anchor + 1]]
        found = np.searchsorted(upto, low + (high - low) * rng.random(size), side="right") - 1
        place = np.clip(found, self.matrix.indptr[anchor], self.matrix.indptr[anchor + 1] - 1)
        target = self.matrix.indices[place].astype(np.int32)
        return Pairs(anchor[:, None].astype(np.int32), np.ones((size, 1), np.float32), target)

    def partners(self, rows: Array, columns: Array) -> Array:
        """bool [R, C], which of some items are partners of which others."""
        return np.asarray(self.matrix[rows][:, columns].todense()) > 0


@dataclass(frozen=True)
class People:
    """What people had, as pairs of the last things before and the next one.

    Attributes:
        data: histories.
        decay: what a step back leaves of a past item.
    """

    data: Dataset
    decay: float

    def draw(self, size: int, rng: Generator) -> Pairs:
        """Pairs of people's past and their next item; every target alike often.

        Args:
            size: how many.
            rng: draws.
        """
        # By item first: an item's events share its turn.
        items, bounds, events = self._targets
        turn = rng.permutation(len(items))[:size]
        start, stop = bounds[turn], bounds[turn + 1]
        drawn = start + (stop - start) * rng.random(len(turn))
        return self.ending(events[drawn.astype(np.int64)])

    def ending(self, event: Int64Array) -> Pairs:
        """Pairs whose targets are some events, those with nothing earlier left out.

        Anchors begin with the last thing before the basket that the target is of.

        Args:
            event: int64 [N], numbers of events.
        """
        data = self.data
        back = self._basket[event][:, None] - 1 - np.arange(LONGEST)
        earlier = back >= data.ptr[data.user[event]][:, None]
        back = np.maximum(back, 0)
        weight = np.where(earlier, self.decay ** np.arange(LONGEST), 0)
        some = weight.sum(axis=1) > 0
        weight = weight[some] / weight[some].sum(axis=1, keepdims=True)
        anchor = np.where(earlier, data.item[back], -1)[some].astype(np.int32)
        return Pairs(anchor, weight.astype(np.float32), data.item[event][some])

    @cached_property
    def _targets(self) -> tuple[Int32Array, Int64Array, Int64Array]:
        """Items with something before them, bounds of their events, and the events by item."""
        data = self.data
        after = np.flatnonzero(data.step > data.step[data.ptr[data.user]])
        events = after[np.argsort(data.item[after], kind="stable")]
        items, start = np.unique(data.item[events], return_index=True)
        return items, np.append(start, len(events)), events

    @cached_property
    def _basket(self) -> Int64Array:
        """int64 [E], the first event of each event's basket."""
        begins = self.data.begins
        return np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
