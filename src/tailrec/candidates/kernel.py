"""What the words say of two items: the text kernel K of `linear`.

K_ij = a · ⟨words_i, words_j⟩ + b · max(⟨meaning_i, meaning_j⟩, 0)³, both of unit length, so that
K_ii = a + b. The cube leaves only close meanings. They may be whitened first, which
takes away what all items of a shop share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from tailrec.candidates.vectors import POWER, Vectors
from tailrec.dataset import Features
from tailrec.items import Array, Float32Array


@dataclass(frozen=True, slots=True)
class TextKernel:
    """A fitted kernel.

    Attributes:
        words: a, weight of the words.
        meaning: b, weight of the meanings.
        centre: float32 [D], subtracted from a meaning before turning.
        turn: float32 [D, D'], whitens; the identity where there is no whitening.
    """

    words: float
    meaning: float
    centre: Float32Array
    turn: Float32Array

    @classmethod
    def fit(cls, features: Features, words: float, meaning: float, whiten: float | None) -> Self:
        """A kernel for these items.

        Args:
            features: of the catalogue; their words' idf and the meanings' spread are its own.
            words: a, at least 0.
            meaning: b, at least 0.
            whiten: ridge of the whitening, relative to the largest variance; None for none.
        """
        dense = features.dense
        width = dense.shape[1]
        if whiten is None or not len(dense):
            return cls(words, meaning, np.zeros(width, np.float32), np.eye(width, dtype=np.float32))
        told = dense[np.any(dense, axis=1)]
        centre = told.mean(axis=0) if len(told) else np.zeros(width, np.float32)
        spread = np.cov(told - centre, rowvar=False, bias=True) if len(told) else np.eye(width)
        variance, axes = np.linalg.eigh(spread)
        turn = axes / np.sqrt(np.maximum(variance, 0) + whiten * variance[-1])
        return cls(words, meaning, centre.astype(np.float32), turn.astype(np.float32))

    def vectors(self, features: Features) -> Vectors:
        """Vectors whose inner products are the kernel's two parts (the second before the cube).

        Items without text keep zero vectors: the kernel knows nothing of them.
        """
        words = features.words * np.float32(np.sqrt(self.words))
        dense = (features.dense - self.centre) @ self.turn
        dense[~np.any(features.dense, axis=1)] = 0
        length = np.linalg.norm(dense, axis=1, keepdims=True)
        scale = np.float32(self.meaning ** (1 / (2 * POWER)))
        return Vectors(words, np.divide(dense, length / scale, out=dense, where=length > 0))

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        return {"centre": self.centre, "turn": self.turn}

    @classmethod
    def from_arrays(cls, words: float, meaning: float, arrays: Mapping[str, Array]) -> Self:
        """The kernel that gave these arrays."""
        return cls(words, meaning, arrays["centre"], arrays["turn"])
