"""Vectors of items in a text kernel, sparse for the words and dense for the meaning."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

from tailrec.candidates.heap import csr_over, csr_view
from tailrec.items import Array, Float32Array
from tailrec.kernels import kernel_view

POWER = 3
"""What a meaning's cosine is raised to: encoders give unrelated texts one well above zero."""


class Vectors(NamedTuple):
    """K_ij = ⟨words_i, words_j⟩ + max(⟨dense_i, dense_j⟩, 0)³.

    Attributes:
        words: float32 CSR [I, V].
        dense: float32 [I, D].
    """

    words: sparse.csr_array
    dense: Float32Array

    def rows(self, chosen: Array | slice) -> "Vectors":
        """The vectors of some items."""
        return Vectors(self.words[chosen], self.dense[chosen])

    def below(self, other: "Vectors") -> "Vectors":
        """These vectors, and the other ones below them."""
        words = sparse.vstack([self.words, other.words], format="csr")
        return Vectors(words, np.concatenate([self.dense, other.dense]))

    def view(self) -> tuple[Array, ...]:
        """Bounds, indices, values of the words, and the meanings, as compiled code takes them."""
        return (*csr_view(self.words), kernel_view(self.dense, np.float32))

    def diagonal(self) -> Float32Array:
        """float32 [I], K_ii."""
        words = np.asarray(self.words.multiply(self.words).sum(axis=1)).ravel()
        dense = np.einsum("id,id->i", self.dense, self.dense) ** POWER
        return np.asarray(words + dense, np.float32)

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        return {
            "indptr": self.words.indptr,
            "indices": self.words.indices,
            "data": self.words.data,
            "width": np.array(self.words.shape[1:]),
            "dense": self.dense,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Vectors":
        """The vectors that gave these arrays."""
        shape = (len(arrays["dense"]), int(arrays["width"][0]))
        words = csr_over(arrays["data"], arrays["indices"], arrays["indptr"], shape)
        return cls(words, arrays["dense"])
