"""Boosted trees as they are kept: LightGBM's own text, never pickled."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from tailrec.items import Array, Float32Array, Float64Array


@dataclass(frozen=True, eq=False)
class Trees:
    """Learnt trees.

    Attributes:
        text: uint8, what LightGBM writes.
    """

    text: Array

    @classmethod
    def of(cls, booster: Any, upto: int | None = None) -> Self:
        """The first trees of a booster; all of them where no number is given."""
        text = booster.model_to_string(num_iteration=upto)
        return cls(np.frombuffer(text.encode(), np.uint8))

    def odds(self, known: Float32Array) -> Float64Array:
        """float64 [N], the sums of the trees for cases [N, F], on one thread."""
        found: Float64Array = self._booster.predict(known, num_threads=1)
        return found

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        return {"trees": self.text}

    @cached_property
    def _booster(self) -> Any:
        import lightgbm  # slow to load, and seldom needed

        return lightgbm.Booster(model_str=self.text.tobytes().decode())
