"""What most people have: all time, or lately."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field

from tailrec.candidates.heap import mark, marked
from tailrec.candidates.select import blank, exclusions
from tailrec.dataset import DAY_US, Dataset, Features
from tailrec.items import Array, Float32Array, Int32Array, ItemsBatch, QueryBatch
from tailrec.kernels import compiled, kernel_view, over_rows
from tailrec.recipe import Recipe


@dataclass(frozen=True)
class PopularModel:
    """One list for everybody; an item nobody has is not on it.

    Attributes:
        ids: int32 [N], items with events, most popular first.
        scores: float32 [N], summed weights of their events.
    """

    ids: Int32Array
    scores: Float32Array

    @classmethod
    def of(cls, totals: Array) -> Self:
        """The list by totals [I], one number an item; those above 0 are on it."""
        plain = totals.astype(np.float32)
        order = np.argsort(-plain, kind="stable")
        order = order[plain[order] > 0]
        return cls(order.astype(np.int32), plain[order])

    def candidates(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """The k most popular items that a request does not exclude.

        Args:
            queries: B requests; an empty history is answered like any other.
            k: width of the result, at least 1.

        Returns:
            [B, k], best first.
        """
        listed = (kernel_view(self.ids, np.int32), kernel_view(self.scores, np.float32))
        bounds, excluded, hidden = exclusions(queries)
        ids, best = blank(len(queries), k)

        def work(rows: slice) -> None:
            exclude = (bounds[rows.start : rows.stop + 1], excluded, hidden)
            _first_of_list(listed, exclude, ids[rows], best[rows])

        over_rows(len(queries), work)
        return ItemsBatch(ids, best)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        return {"ids": self.ids, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The model that gave these arrays; they may be read-only and are not copied."""
        return cls(arrays["ids"], arrays["scores"])


class Popular(Recipe):
    """Options of popularity.

    Attributes:
        half_life_days: days after which an event counts half; all count the same where None.
    """

    kind: Literal["popular"] = "popular"
    half_life_days: float | None = Field(default=None, gt=0.0)

    def restore(self, arrays: Mapping[str, Array]) -> PopularModel:
        """The model that gave these arrays."""
        return PopularModel.from_arrays(arrays)

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> PopularModel:
        """Sum the weights of each item's events, older ones less where a half-life is given.

        Args:
            data: histories; ages are reckoned from `data.now`.
            features: not used.
            rng: not used.

        Returns:
            The fitted model.
        """
        del features, rng
        weights = data.weight
        if self.half_life_days is not None:
            days = np.maximum((data.now - data.time) / DAY_US, 0.0)
            weights = weights * np.exp2(-days / self.half_life_days)
        return PopularModel.of(np.bincount(data.item, weights, minlength=data.n_items))


@compiled
def _first_of_list(
    listed: tuple[Int32Array, Float32Array],
    exclude: tuple[Array, Array, Array],
    ids: Int32Array,
    best: Float32Array,
) -> None:
    """Fill `ids` and `best` [B, k] from one list, less the excluded (bounds, items, hidden)."""
    hidden = marked(listed[0].max() + 1 if len(listed[0]) else 0, exclude[2])
    for row in range(len(ids)):
        own = exclude[1][exclude[0][row] : exclude[0][row + 1]]
        mark(hidden, own, exclude[2], True)
        size = 0
        for place in range(len(listed[0])):
            if size == ids.shape[1]:
                break
            if not hidden[listed[0][place]]:
                ids[row, size], best[row, size] = listed[0][place], listed[1][place]
                size += 1
        mark(hidden, own, exclude[2], False)
