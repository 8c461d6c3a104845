"""How much the tail may count while a ranker is learnt, found on requests it was not learnt on."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from tailrec.items import Float32Array, Float64Array, ItemsBatch, QueryBatch
from tailrec.ranking.lesson import Figures, Lesson


class Valued(Protocol):
    """A model that gives scores to pools."""

    def values(self, queries: QueryBatch, pools: ItemsBatch) -> Float64Array | Float32Array:
        """[B, P]."""
        ...


ValuedT = TypeVar("ValuedT", bound=Valued)


def chosen(
    lesson: Lesson, leans: Sequence[float], keep: float, learnt: Callable[[Lesson, float], ValuedT]
) -> ValuedT:
    """A model learnt with the tail counting as much as may be.

    Each lean is measured on requests it was not learnt on; of those that keep a share of the best
    overall NDCG, the one with the best NDCG of the tail is learnt anew on all requests.

    Args:
        lesson: pools with right answers.
        leans: what a right answer of the tail may count.
        keep: the share.
        learnt: makes a model of a lesson and a lean.
    """
    even = np.arange(len(lesson)) % 2 == 0
    halves = [np.flatnonzero(even), np.flatnonzero(~even)]
    tried: list[tuple[float, float, float]] = []
    for lean in leans if lesson.n_tail.any() else leans[:1]:
        parts = []
        for own, other in (halves, halves[::-1]):
            model, asked = learnt(lesson.take(own), lean), lesson.take(other)
            parts.append(asked.figures(model.values(asked.queries, asked.pools)))
        overall, tail = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("overall", "tail")
        )
        tried.append((*Figures(overall, tail).means, lean))
    enough = keep * max(overall for overall, _, _ in tried)
    good = [(tail, -lean) for overall, tail, lean in tried if overall >= enough]
    return learnt(lesson, -max(good)[1])
