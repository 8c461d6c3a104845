"""What most people have, as a constant part of a personal score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from tailrec.candidates.popular import PopularModel
from tailrec.items import Array, Float32Array, Int32Array

KEPT = 1_000
"""Items a prior speaks for; beyond the most popular ones it would say next to nothing."""


@dataclass(frozen=True, slots=True)
class Prior:
    """How popular each of the most popular items is; all other items count 0.

    Attributes:
        ids: int32 [M], most popular first.
        shares: float32 [M], popularity against that of the first, in (0, 1].
    """

    ids: Int32Array
    shares: Float32Array

    @classmethod
    def of(cls, popular: PopularModel) -> Self:
        """The prior that a list of popular items gives."""
        scores = popular.scores[:KEPT]
        return cls(popular.ids[:KEPT], scores / scores[:1])

    def share(self, item: int) -> float:
        """p_j: how popular one item is against the most popular one."""
        return float(self.shares[self.ids == item].sum())

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        return {"ids": self.ids, "shares": self.shares}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The prior that gave these arrays; they may be read-only and are not copied."""
        return cls(arrays["ids"], arrays["shares"])
