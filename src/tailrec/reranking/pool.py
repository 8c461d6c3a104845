"""Pools as the re-rankers for variety see them: who is relevant, and who only fills up."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tailrec.items import PADDING, Float64Array, Int32Array, Int64Array, ItemsBatch


@dataclass(frozen=True, slots=True)
class Pool:
    """B pools of up to P items, by place in the pool.

    Attributes:
        relevance: float64 [B, P], scores scaled to 0..1 among what was proposed, 1 where all
            are equal; 0 for what only fills up.
        proposed: int64 [B], how many items come first that have a score of at least 0; all of
            them where no item has one. Those behind them only fill up.
        size: int64 [B], how many items there are.
    """

    relevance: Float64Array
    proposed: Int64Array
    size: Int64Array


class Variety(Protocol):
    """One way to choose varied slates, over B pools."""

    def slates(self, pool: Pool, strengths: Float64Array, n: int) -> Int32Array:
        """int32 [B, S, n], places in the pool for strengths [B, S] in (0, 1], `PADDING` behind."""
        ...

    def measure(self, slates: Int32Array) -> Float64Array:
        """float64 [B, S], how varied slates [B, S, k] are; higher is more."""
        ...


def scaled(pools: ItemsBatch) -> Pool:
    """Pools of at least one place, best first, by relevance.

    A score below zero beside others has no relevance and no say in the scale.
    """
    size = (pools.ids != PADDING).sum(axis=1)
    positive = ((pools.ids != PADDING) & (pools.scores >= 0)).sum(axis=1)
    proposed = np.where(positive > 0, positive, size)
    scores = pools.scores.astype(np.float64)
    last = scores[np.arange(len(scores)), np.maximum(proposed - 1, 0)]
    low = np.where(size > 0, last, 0.0)[:, None]
    span = np.where(size > 0, scores[:, 0], 0.0)[:, None] - low
    above = (scores - low) / np.where(span > 0, span, 1.0)
    relevance = np.where(span > 0, np.clip(above, 0.0, 1.0), scores >= low)
    return Pool(relevance, proposed, size)
