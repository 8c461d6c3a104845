"""Greedy ensemble selection: sources are added, one by one and again, while the slates get better.

With few answers to learn from it is safer than weights of their own for each class: all it can
choose is how often each source counts.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from tailrec.items import Array
from tailrec.ranking.blend import Blend, BlendModel
from tailrec.ranking.known import Known
from tailrec.ranking.lesson import Lesson
from tailrec.ranking.pools import columns_of, stacked
from tailrec.recipe import Recipe

_ONE_CLASS = Blend(items=(), histories=())


class Greedy(Recipe):
    """Options of the selection.

    Attributes:
        rounds: how often a source is added.
        keep: share of the best overall NDCG that is kept while that of the tail is raised.
        depth: items of a pool that are looked at, the best by the mean of the sources.
    """

    kind: Literal["greedy"] = "greedy"
    rounds: int = Field(default=30, ge=1)
    keep: float = Field(default=0.995, gt=0, le=1)
    depth: int = Field(default=60, ge=2)

    def fit(self, lesson: Lesson, *, rng: Generator) -> BlendModel:
        """How often each source counts, the same for all items and people.

        In each round that source is added with which NDCG@10 is highest. Of the states after each
        round that keep `keep` of the best, the one with the best NDCG@10 of the tail is taken.

        Args:
            lesson: pools with right answers.
            rng: not used.

        Source:
            Caruana et al. 2004, doi:10.1145/1015330.1015432.
        """
        del rng
        names = columns_of(lesson.pools)
        some = lesson.first(self.depth)
        said = stacked(some.pools, names)
        times, scores = np.zeros(len(names)), np.zeros(said.shape[:2], np.float32)
        states: list[tuple[float, float, Array]] = []
        for _ in range(self.rounds if lesson.right.any() else 0):
            tried = [some.figures(scores + said[..., column]).means for column in range(len(names))]
            best = int(np.argmax([overall for overall, _ in tried]))
            times[best] += 1
            scores += said[..., best]
            states.append((*tried[best], times / times.sum()))
        enough = self.keep * max((overall for overall, _, _ in states), default=0.0)
        good = [(tail, shares) for overall, tail, shares in states if overall >= enough]
        shares = max(good, key=lambda state: state[0])[1] if good else np.ones(len(names))
        offset = np.zeros((1, 1))
        return BlendModel(
            _ONE_CLASS,
            names,
            shares[None, None],
            offset,
            _ONE_CLASS.kinds(lesson.counts),
            lesson.counts,
            lean=1.0,
        )

    def restore(
        self, arrays: Mapping[str, Array], names: tuple[str, ...], known: Known
    ) -> BlendModel:
        """The model that gave these arrays, for pools with columns of these names."""
        return _ONE_CLASS.restore(arrays, names, known)
