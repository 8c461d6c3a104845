"""What a ranker learns from: pools whose right answers are known, and no source has seen."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from tailrec.hits import count_targets, find_hits, ndcg
from tailrec.items import (
    PADDING,
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
)
from tailrec.ranking.known import Known

AT = 10


@dataclass(frozen=True)
class Lesson:
    """Requests, what sources propose for them, and what people turned to.

    Attributes:
        queries: B requests.
        pools: [B, P]; see `pools.pooled`.
        right: bool [B, P], what the person turned to.
        n_targets: int64 [B], all of it, proposed or not.
        n_tail: int64 [B], items of the tail among it.
        known: of the items, without what is asked for.
        tail: bool [I], the tail by their events.
        meaning: float32 [I, D], what the items' texts mean; D is 0 where no encoder reads them.
    """

    queries: QueryBatch
    pools: ItemsBatch
    right: BoolArray
    n_targets: Int64Array
    n_tail: Int64Array
    known: Known
    tail: BoolArray
    meaning: Float32Array

    @classmethod
    def of(
        cls,
        queries: QueryBatch,
        pools: ItemsBatch,
        answers: tuple[Int64Array, Int32Array],
        known: Known,
        tail: BoolArray,
    ) -> Self:
        """A lesson from answers: bounds [B + 1] and items of each request; of no meanings."""
        right = find_hits(pools.ids, *answers)
        n_targets, n_tail = count_targets(*answers), count_targets(*answers, tail)
        meaning = np.zeros((len(known.counts), 0), np.float32)
        return cls(queries, pools, right, n_targets, n_tail, known, tail, meaning)

    @property
    def counts(self) -> Int64Array:
        """int64 [I], events of each item that the sources have learnt from."""
        return self.known.counts

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: Int64Array) -> Self:
        """Some of the requests, by number."""
        return replace(
            self,
            queries=self.queries.take(rows),
            pools=self.pools.rows(rows),
            right=self.right[rows],
            n_targets=self.n_targets[rows],
            n_tail=self.n_tail[rows],
        )

    def first(self, depth: int) -> Self:
        """The same with the first places of each pool alone."""
        return replace(self, pools=self.pools.first(depth), right=self.right[:, :depth])

    def figures(self, scores: Float32Array | Float64Array) -> "Figures":
        """NDCG@10 of the pools in the order of some scores [B, P]."""
        falling: Float64Array = np.where(self.pools.ids == PADDING, np.inf, -scores)
        width = min(AT, falling.shape[1])
        order = np.argpartition(falling, width - 1, axis=1)[:, :width]
        values = np.take_along_axis(falling, order, axis=1)
        order = np.take_along_axis(order, np.argsort(values, axis=1, kind="stable"), axis=1)
        hits = np.take_along_axis(self.right, order, axis=1)
        of_tail = hits & self.tail[np.take_along_axis(self.pools.ids, order, axis=1)]
        return Figures(ndcg(hits, self.n_targets, AT), ndcg(of_tail, self.n_tail, AT))


@dataclass(frozen=True)
class Figures:
    """NDCG@10 of each request, and of its tail; NaN where nothing of the kind is asked for.

    Attributes:
        overall: float64 [B].
        tail: float64 [B].
    """

    overall: Float64Array
    tail: Float64Array

    @property
    def means(self) -> tuple[float, float]:
        """Overall, and of the tail; 0 where nothing of it is asked for."""
        some = self.tail[~np.isnan(self.tail)]
        return float(np.nanmean(self.overall)), float(some.mean()) if len(some) else 0.0
