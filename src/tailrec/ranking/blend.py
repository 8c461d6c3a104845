"""Several sources' words weighed: non-negative weights for each kind of item and of history.

A source that knows behaviour is to be trusted for an item that many had, and says nothing of one
that nobody had; what texts say is the other way round; and somebody with two events is told from
others by less than somebody with fifty. So every source has weights of its own for every class of
item popularity × history length. They are learnt on requests whose answer is known, and that no
source has learnt from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator

from tailrec.items import (
    PADDING,
    Array,
    Float32Array,
    Float64Array,
    Int8Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
)
from tailrec.ranking.known import Known
from tailrec.ranking.lean import chosen
from tailrec.ranking.lesson import Lesson
from tailrec.ranking.logit import Choices, Weights, scored
from tailrec.ranking.pools import columns_of, ranked, source_of, stacked
from tailrec.recipe import Recipe

LEANS: Final = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""What a right answer of the tail counts in learning, tried one after the other."""
LEAST: Final = 100
"""Requests that a class of histories needs for weights of its own."""


class Blend(Recipe):
    """Options of the weights.

    Attributes:
        items: bounds of the classes of items, by their training events. Items without any are best
            left with those that have few: among what nobody had yet is all that never sold, so a
            class of their own would bury whatever is new.
        histories: bounds of the classes of requests, by the events of the history.
        keep: share of the best overall NDCG that is kept while that of the tail is raised.
        shrink: how strongly weights of a class are drawn to those of all together.
        depth: items of a pool that weights are learnt on, the best by the mean of the sources.
    """

    kind: Literal["blend"] = "blend"
    items: tuple[int, ...] = (4, 12, 40)
    histories: tuple[int, ...] = (5,)
    keep: float = Field(default=0.995, gt=0, le=1)
    shrink: float = Field(default=1e-3, ge=0)
    depth: int = Field(default=60, ge=2)

    @field_validator("items", "histories")
    @classmethod
    def _rising(cls, bounds: tuple[int, ...]) -> tuple[int, ...]:
        if any(low >= high for low, high in pairwise(bounds)):
            raise ValueError("bounds must rise")
        return bounds

    def fit(self, lesson: Lesson, *, rng: Generator) -> "BlendModel":
        """Weights under which what people turned to is likeliest, the tail as far up as may be.

        They are those of a logit over the pool (`logit`), learnt with right answers of the tail
        counting once or more (`LEANS`). Each is measured on requests it was not learnt on; of
        those that keep `keep` of the best overall NDCG, the one with the best NDCG of the tail is
        taken, and learnt anew on all requests.

        Args:
            lesson: pools with right answers.
            rng: not used.
        """
        del rng
        if not lesson.right.any():
            return self._learnt(lesson, LEANS[0])
        return chosen(lesson, LEANS, self.keep, self._learnt)

    def restore(
        self, arrays: Mapping[str, Array], names: tuple[str, ...], known: Known
    ) -> "BlendModel":
        """The model that gave these arrays, for pools with columns of these names."""
        weights, offset, counts = arrays["weights"], arrays["offset"], known.counts
        lean = float(arrays["lean"][0])
        return BlendModel(self, names, weights, offset, self.kinds(counts), counts, lean)

    def _learnt(self, lesson: Lesson, lean: float) -> "BlendModel":
        """Weights of all requests together, then of each class of histories."""
        names, kind = columns_of(lesson.pools), self.kinds(lesson.counts)
        some = lesson.first(self.depth)
        said, real = stacked(some.pools, names), some.pools.ids != PADDING
        counts = some.right * np.where(lesson.tail[some.pools.ids], lean, 1.0)
        kinds = kind[some.pools.ids]
        n_kinds = len(self.items) + 1
        together = Choices.of(said, kinds * 0, counts, real)
        of_all = together.best(Weights.even(1, len(names)), self.shrink)
        start = Weights(
            np.repeat(of_all.by_class, n_kinds, axis=0), np.repeat(of_all.offset, n_kinds)
        )
        everybody = Choices.of(said, kinds, counts, real).best(start, self.shrink)
        history = self.history(lesson.queries)
        weights = []
        for one in range(len(self.histories) + 1):
            own = history == one
            choices = Choices.of(said[own], kinds[own], counts[own], real[own])
            enough = len(choices) >= LEAST
            weights.append(choices.best(everybody, self.shrink) if enough else everybody)
        return BlendModel(
            self,
            names,
            np.stack([w.by_class for w in weights]),
            np.stack([w.offset for w in weights]),
            kind,
            lesson.counts,
            lean,
        )

    def history(self, queries: QueryBatch) -> Int64Array:
        """int64 [B], class of each request by the events of its history."""
        return np.searchsorted(self.histories, np.diff(queries.ptr), side="right")

    def kinds(self, counts: Int64Array) -> Int8Array:
        """int8 [I], class of each item by its events."""
        return np.searchsorted(self.items, counts, side="right").astype(np.int8)


@dataclass(frozen=True)
class BlendModel:
    """Learnt weights.

    Attributes:
        recipe: says the classes.
        names: [F], columns of a pool that are weighed.
        weights: float64 [H, C, F], by class of history, of item, and column; at least 0.
        offset: float64 [H, C].
        kind: int8 [I], class of each item.
        counts: int64 [I], training events of each item.
        lean: what a right answer of the tail counted while they were learnt.
    """

    recipe: Blend
    names: tuple[str, ...]
    weights: Float64Array
    offset: Float64Array
    kind: Int8Array
    counts: Int64Array
    lean: float

    def score(self, queries: QueryBatch, pools: ItemsBatch) -> ItemsBatch:
        """The pools by the weighed sum, best first; see `pools.ranked`."""
        return ranked(queries, pools, self.values(queries, pools), self.counts)

    def values(self, queries: QueryBatch, pools: ItemsBatch) -> Float64Array:
        """float64 [B, P], the weighed sums; whatever at padding."""
        history = self.recipe.history(queries)
        said, kind = stacked(pools, self.names), self.kind[pools.ids]
        out = np.empty(pools.ids.shape)
        for one in np.unique(history):
            own = history == one
            out[own] = scored(Weights(self.weights[one], self.offset[one]), said[own], kind[own])
        return out

    def given(self, queries: QueryBatch, pools: ItemsBatch) -> Float64Array:
        """float64 [B, P, F], what each column gives; with the offset they sum up to `values`."""
        history = self.recipe.history(queries)
        kind = self.kind[pools.ids]
        weights: Float64Array = self.weights[history[:, None], kind]
        return weights * stacked(pools, self.names)

    def over(self, known: Known, new: Float32Array | None = None) -> "BlendModel":
        """The same weights for items that are known anew; there may be more of them.

        Args:
            known: of the items.
            new: not used.
        """
        del new
        return replace(self, kind=self.recipe.kinds(known.counts), counts=known.counts)

    def shares(self) -> list[dict[str, Any]]:
        """What each source counts, in shares, for each class of histories and items."""
        sources = list(dict.fromkeys(map(source_of, self.names)))
        told = []
        for history, by_class in zip(ranges(self.recipe.histories), self.weights, strict=True):
            for items, own in zip(ranges(self.recipe.items), by_class, strict=True):
                sums = {
                    source: sum(
                        float(weight)
                        for name, weight in zip(self.names, own, strict=True)
                        if source_of(name) == source
                    )
                    for source in sources
                }
                whole = max(sum(sums.values()), 1e-12)
                shares = {source: weight / whole for source, weight in sums.items()}
                told.append({"history": history, "item": items, **shares})
        return told

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        return {
            "weights": self.weights,
            "offset": self.offset,
            "lean": np.array([self.lean]),
        }


def ranges(bounds: tuple[int, ...]) -> list[str]:
    """Classes in words: `0`, `1-5`, `6+` for bounds 1 and 6."""
    edges = [0, *bounds]
    told = [
        str(low) if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(edges, bounds, strict=False)
    ]
    return [*told, f"{edges[-1]}+"]
