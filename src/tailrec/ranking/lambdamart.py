"""Boosted trees that order pools: what sources say, weighed in ways no sum of them can.

Trees see that a source is right for some items and wrong for others without being told which kinds
there are. They need many answers to learn that from; with few, the weights of `blend` are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from tailrec.items import PADDING, Array, Float32Array, Int64Array, ItemsBatch, QueryBatch
from tailrec.ranking.blend import Blend, BlendModel
from tailrec.ranking.known import Known
from tailrec.ranking.lean import chosen
from tailrec.ranking.lesson import Lesson
from tailrec.ranking.pools import columns_of, ranked, stacked
from tailrec.ranking.trees import Trees
from tailrec.recipe import Recipe

LEANS: Final = (1.0, 2.0, 4.0)
"""Gain of a right answer of the tail, tried one after the other."""


class LambdaMart(Recipe):
    """Options of the trees.

    Attributes:
        trees: how many.
        rate: what each adds.
        leaves: of a tree.
        least: items of a leaf.
        depth: items of a pool that are learnt from, the best by the mean of the sources.
        fewest: requests with a right answer below which weights are learnt instead.
        keep: share of the best overall NDCG that is kept while that of the tail is raised.
    """

    kind: Literal["lambdamart"] = "lambdamart"
    trees: int = Field(default=150, ge=1)
    rate: float = Field(default=0.05, gt=0, le=1)
    leaves: int = Field(default=15, ge=2)
    least: int = Field(default=100, ge=1)
    depth: int = Field(default=60, ge=2)
    fewest: int = Field(default=2000, ge=1)
    keep: float = Field(default=0.995, gt=0, le=1)

    def fit(self, lesson: Lesson, *, rng: Generator) -> "LambdaMartModel | BlendModel":
        """Trees under which what people turned to stands high, the tail as far up as may be.

        Trees see what each source says of the item, how many events the item has in the sources'
        training, and how long the history is; nothing of what came after.

        Args:
            lesson: pools with right answers.
            rng: draws the trees' seed.

        Source:
            Burges 2010, "From RankNet to LambdaRank to LambdaMART: an overview".
        """
        answered = np.flatnonzero(lesson.first(self.depth).right.any(axis=1))
        if len(answered) < self.fewest or len(np.unique(answered % 2)) < 2:
            return Blend(keep=self.keep, depth=self.depth).fit(lesson, rng=rng)
        seed = int(rng.integers(2**31))
        return chosen(lesson, LEANS, self.keep, lambda part, lean: self._learnt(part, lean, seed))

    def restore(
        self, arrays: Mapping[str, Array], names: tuple[str, ...], known: Known
    ) -> "LambdaMartModel | BlendModel":
        """The model that gave these arrays, for pools with columns of these names."""
        if "trees" not in arrays:
            return Blend(keep=self.keep, depth=self.depth).restore(arrays, names, known)
        return LambdaMartModel(self, names, Trees(arrays["trees"]), known.counts)

    def _learnt(self, lesson: Lesson, lean: float, seed: int) -> "LambdaMartModel":
        import lightgbm  # slow to load, and seldom needed

        names = columns_of(lesson.pools)
        some = lesson.first(self.depth)
        some = some.take(np.flatnonzero(some.right.any(axis=1)))
        real = some.pools.ids != PADDING
        seen = seen_by_trees(some.queries, some.pools, names, some.counts)[real]
        label = some.right * np.where(some.tail[some.pools.ids], 2, 1)
        data = lightgbm.Dataset(seen, label[real], group=real.sum(axis=1))
        options = {
            "objective": "lambdarank",
            "label_gain": [0.0, 1.0, lean],
            "lambdarank_truncation_level": 20,
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.least,
            "lambda_l2": 5.0,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        trees = Trees.of(lightgbm.train(options, data, num_boost_round=self.trees))
        return LambdaMartModel(self, names, trees, lesson.counts)


@dataclass(frozen=True, eq=False)
class LambdaMartModel:
    """Learnt trees.

    Attributes:
        recipe: the options they were learnt with.
        names: columns of a pool that they see.
        trees: what was learnt.
        counts: int64 [I], training events of each item.
    """

    recipe: LambdaMart
    names: tuple[str, ...]
    trees: Trees
    counts: Int64Array

    def score(self, queries: QueryBatch, pools: ItemsBatch) -> ItemsBatch:
        """The pools by the trees' scores, best first; see `pools.ranked`."""
        return ranked(queries, pools, self.values(queries, pools), self.counts)

    def values(self, queries: QueryBatch, pools: ItemsBatch) -> Float32Array:
        """float32 [B, P], the trees' scores; 0 at padding."""
        real = pools.ids != PADDING
        out = np.zeros(pools.ids.shape, np.float32)
        if real.any():
            seen = seen_by_trees(queries, pools, self.names, self.counts)[real]
            out[real] = self.trees.odds(seen)
        return out

    def over(self, known: Known, new: Float32Array | None = None) -> "LambdaMartModel":
        """The same trees for items that are known anew; see `BlendModel.over`."""
        del new
        return replace(self, counts=known.counts)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        return self.trees.arrays()


def seen_by_trees(
    queries: QueryBatch, pools: ItemsBatch, names: tuple[str, ...], counts: Int64Array
) -> Float32Array:
    """float32 [B, P, F + 2]: what sources say, events of the item, length of the history."""
    events = np.log1p(counts[pools.ids])
    lengths = np.log1p(np.diff(queries.ptr))[:, None]
    more = [events, np.broadcast_to(lengths, events.shape)]
    both = [stacked(pools, names), np.stack(more, axis=-1).astype(np.float32)]
    return np.concatenate(both, axis=-1)
