"""What the words say of two items: the text kernel K of `linear`, taught by behaviour.

K_ij = a · ⟨words_i, words_j⟩ + b · max(⟨meaning_i, meaning_j⟩, 0)³, both of unit length, so that
K_ii = a + b. The cube leaves only close meanings. Behaviour teaches the kernel which likeness
matters: a word counts more if items that share it were had together more often than chance
would have it, and so does a direction of meaning along which such items agree. Both are
statistics over the whole catalogue, so that items without any behaviour gain by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg, sparse

from tailrec.candidates.gram import Gram
from tailrec.candidates.vectors import POWER, Vectors
from tailrec.dataset import Features
from tailrec.items import Array, Float32Array

PRIOR = 2.0
"""Expected pairs that a word is credited with before any is seen."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """How a kernel is shaped.

    Attributes:
        words: a, weight of the words, at least 0.
        meaning: b, weight of the meanings, at least 0.
        whiten: ridge of the whitening of meanings, relative to the largest variance; 0 leaves
            meanings as the encoder gave them.
        lift: exponent of a word's lift; 0 leaves words as they are.
        agreement: exponent of a direction's agreement; 0 only whitens.
        directions: most directions kept, those of the highest agreement.
    """

    words: float
    meaning: float
    whiten: float
    lift: float
    agreement: float
    directions: int


@dataclass(frozen=True, slots=True)
class TextKernel:
    """A fitted kernel.

    Attributes:
        words: a.
        meaning: b.
        lift: float32 [V], what each word's entry is multiplied with.
        centre: float32 [D], subtracted from a meaning before turning.
        turn: float32 [D, D'], whitens and weighs directions.
    """

    words: float
    meaning: float
    lift: Float32Array
    centre: Float32Array
    turn: Float32Array

    @classmethod
    def fit(cls, features: Features, behaviour: Gram, lessons: Lessons) -> Self:
        """A kernel for these items.

        Args:
            features: of the catalogue.
            behaviour: of the same items.
            lessons: how the kernel is shaped.
        """
        pairs = _together(behaviour)
        centre, turn = _directions(features.dense, pairs, lessons)
        lift = _word_lift(features.words, pairs, lessons.lift)
        return cls(lessons.words, lessons.meaning, lift, centre, turn)

    @classmethod
    def untaught(cls, features: Features, words: float, meaning: float) -> Self:
        """The kernel of the texts as they are: no lift, no turning."""
        centre, turn = _as_they_are(features.dense.shape[1])
        lift = np.ones(features.words.shape[1], np.float32)
        return cls(words, meaning, lift, centre, turn)

    def vectors(self, features: Features) -> Vectors:
        """Vectors whose inner products are the kernel's two parts (the second before the cube).

        Items without text keep zero vectors: the kernel knows nothing of them.
        """
        words = sparse.csr_array(features.words @ sparse.diags_array(self.lift))
        length = np.sqrt(np.asarray(words.multiply(words).sum(axis=1)).ravel())
        scale = np.sqrt(self.words) / np.where(length > 0, length, 1)
        words.data *= np.repeat(scale, np.diff(words.indptr)).astype(np.float32)
        dense = (features.dense - self.centre) @ self.turn
        dense[~np.any(features.dense, axis=1)] = 0
        length = np.linalg.norm(dense, axis=1, keepdims=True)
        unit = np.float32(self.meaning ** (1 / (2 * POWER)))
        stretch = unit / np.where(length > 0, length, 1)
        return Vectors(words, np.asarray(dense * stretch, np.float32))

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        weights = np.array([self.words, self.meaning], np.float64)
        return {"weights": weights, "lift": self.lift, "centre": self.centre, "turn": self.turn}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The kernel that gave these arrays."""
        words, meaning = arrays["weights"].tolist()
        return cls(words, meaning, arrays["lift"], arrays["centre"], arrays["turn"])


def _together(behaviour: Gram) -> sparse.csr_array:
    """float32 [I, I], symmetric: how much two items were had one after the other."""
    n_items = len(behaviour.diagonal)
    parts = (behaviour.leads, behaviour.indices, behaviour.indptr)
    leads = sparse.csr_array(parts, shape=(n_items, n_items))
    return sparse.csr_array((leads + leads.T) / 2)


def _word_lift(words: sparse.csr_array, pairs: sparse.csr_array, power: float) -> Float32Array:
    """float32 [V]: for each word, (pairs that share it / pairs expected by chance)^(power / 2).

    Both are shrunk towards the lift of all words together by `PRIOR` expected pairs. Half the
    power, since both items of a pair bring the factor in.
    """
    if power == 0 or not pairs.nnz:
        return np.ones(words.shape[1], np.float32)
    mass = np.asarray(pairs.sum(axis=1)).ravel()
    shared = np.asarray(words.multiply(pairs @ words).sum(axis=0)).ravel()
    alone = np.asarray(words.multiply(words).T @ mass**2).ravel()
    chance = np.maximum((words.T @ mass) ** 2 - alone, 0) / mass.sum()
    usual = shared.sum() / max(chance.sum(), 1e-9)
    lift = (shared / max(usual, 1e-9) + PRIOR) / (chance + PRIOR)
    return np.asarray(lift ** (power / 2), np.float32)


def _directions(
    dense: Float32Array, pairs: sparse.csr_array, lessons: Lessons
) -> tuple[Float32Array, Float32Array]:
    """Centre [D], and turn [D, D'] to directions of even spread, weighed by agreement.

    The directions solve M v = μ S v, with S the spread of meanings and M their products
    over pairs of items had together: μ is how far such items agree along v. Directions
    along which they differ more than chance (μ ≤ 0) are dropped.
    """
    width = dense.shape[1]
    told = np.any(dense, axis=1)
    if lessons.whiten == 0 or not told.any():
        return _as_they_are(width)
    centre = dense[told].mean(axis=0)
    own = np.where(told[:, None], dense - centre, 0).astype(np.float64)
    spread = own.T @ own / told.sum()
    largest = linalg.eigvalsh(spread, subset_by_index=(width - 1, width - 1))[0]
    spread += lessons.whiten * largest * np.eye(width)
    # Popular items would decide alone: each pair counts by 1/√(its items' masses).
    scale = sparse.diags_array(1 / np.sqrt(1 + np.asarray(pairs.sum(axis=1)).ravel()))
    agreed = own.T @ (scale @ pairs @ scale @ own) / told.sum()
    agreement, axes = linalg.eigh((agreed + agreed.T) / 2, spread)
    if lessons.agreement > 0 and (agreement > 0).any():
        axes = axes[:, agreement > 0] * agreement[agreement > 0] ** lessons.agreement
    # `eigh` puts the highest agreement last.
    kept = np.ascontiguousarray(axes[:, -lessons.directions :], np.float32)
    return centre.astype(np.float32), kept


def _as_they_are(width: int) -> tuple[Float32Array, Float32Array]:
    return np.zeros(width, np.float32), np.eye(width, dtype=np.float32)
