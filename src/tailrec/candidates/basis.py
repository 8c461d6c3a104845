"""What the columns of `linear` are solved from, kept so that new items can be solved later."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from tailrec.artifact import under
from tailrec.candidates.gram import Gram
from tailrec.candidates.vectors import Vectors
from tailrec.items import Array, Float32Array
from tailrec.kernels import kernel_view


@dataclass(frozen=True, slots=True)
class Basis:
    """A = PᵀP + K + λI and T = PᵀF + τ·offdiag(K), with K given by vectors.

    Attributes:
        text: kernel vectors of the items.
        gram: their co-behaviour.
        ridge: float32 [I], the diagonal of A.
    """

    text: Vectors
    gram: Gram
    ridge: Float32Array

    def __len__(self) -> int:
        return len(self.ridge)

    def behaviour_view(self) -> tuple[Array, ...]:
        """indptr, indices, together, leads, ridge, as compiled code takes them."""
        gram = self.gram
        return (
            kernel_view(gram.indptr, np.int64),
            kernel_view(gram.indices, np.int32),
            kernel_view(gram.together, np.float32),
            kernel_view(gram.leads, np.float32),
            kernel_view(self.ridge, np.float32),
        )

    def among(self, chosen: Array) -> "Basis":
        """The basis of some items alone, numbered from 0.

        Args:
            chosen: [N] catalogue numbers, rising.
        """
        return Basis(self.text.rows(chosen), self.gram.among(chosen), self.ridge[chosen])

    def grown(self, text: Vectors, ridge: float) -> "Basis":
        """The basis with items appended that have no behaviour.

        Args:
            text: kernel vectors of the new items.
            ridge: λ.
        """
        return Basis(
            self.text.below(text),
            self.gram.grown(len(text.dense)),
            np.concatenate([self.ridge, text.diagonal() + np.float32(ridge)]),
        )

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        return {
            "ridge": self.ridge,
            **{f"text.{name}": values for name, values in self.text.arrays().items()},
            **{f"gram.{name}": values for name, values in self.gram.arrays().items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The basis that gave these arrays."""
        text, gram = under(arrays, "text."), under(arrays, "gram.")
        return cls(Vectors.from_arrays(text), Gram(**gram), arrays["ridge"])
