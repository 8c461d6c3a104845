"""Whole words hidden from a language model, which learns to say them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator

from tailrec.items import BoolArray, Int8Array, Int64Array

OUTSIDE: Final = 0
"""What part of a word a token is: none. Ends, padding, unknown words; never hidden."""
FIRST: Final = 1
"""A word starts here."""
LATER: Final = 2
"""The word goes on."""
LETTER: Final = 3
"""A letter of a script without blanks starts here: a word of its own."""

_MASKED: Final = 0.8
_LEFT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Masking:
    """How much is hidden, and how.

    Attributes:
        share: of the words.
        run: letters of a script without blanks that are hidden together.
        mask: the token that stands for a hidden one.
        fillers: int64 [F], tokens that may take another's place.
    """

    share: float
    run: int
    mask: int
    fillers: Int64Array

    def apply(
        self, ids: Int64Array, parts: Int8Array, rng: Generator
    ) -> tuple[Int64Array, BoolArray]:
        """Hide words: 8 of 10 behind the mask, 1 behind other tokens, and 1 is left as it is.

        All tokens of a word go the same way. Of every text that has words, one is hidden at
        least, so of short texts more than `share`.

        Args:
            ids: int64 [B, L].
            parts: int8 [B, L], `OUTSIDE`, `FIRST`, `LATER` or `LETTER`.
            rng: decides.

        Returns:
            int64 [B, L], what the model sees; bool [B, L], where it is to say what stood there.
        """
        words = word_numbers(parts, self.run, int(rng.integers(self.run)))
        n_words = words.max(axis=1) + 1
        draws = rng.random((len(ids), max(int(n_words.max()), 1)))
        draws[np.arange(draws.shape[1]) >= n_words[:, None]] = np.inf
        chosen = draws < self.share
        chosen[np.arange(len(ids)), draws.argmin(axis=1)] = True
        ways = rng.random(draws.shape)

        place = np.maximum(words, 0)
        hidden = np.take_along_axis(chosen, place, axis=1) & (words >= 0)
        way = np.take_along_axis(ways, place, axis=1)
        others = self.fillers[rng.integers(len(self.fillers), size=ids.shape)]
        instead = np.where(way < _MASKED, self.mask, others)
        seen = np.where(hidden & (way < 1 - _LEFT), instead, ids)
        return seen, hidden


def word_numbers(parts: Int8Array, run: int = 1, phase: int = 0) -> Int64Array:
    """Which word of its text each token belongs to.

    Args:
        parts: int8 [B, L].
        run: neighbouring `LETTER`s that make one word.
        phase: shifts where runs begin, in 0..run - 1.

    Returns:
        int64 [B, L], from 0 within a text; -1 outside of words.
    """
    starts = (parts == FIRST) | (parts == LETTER)
    # What each start follows: the word that started last, or what stands outside between them.
    marks = np.where(starts | (parts == OUTSIDE), np.arange(parts.shape[1]), 0)
    last = np.maximum.accumulate(marks, axis=1)[:, :-1]
    follows = np.zeros(parts.shape, np.bool_)
    follows[:, 1:] = np.take_along_axis(parts, last, axis=1) == LETTER
    nth = np.cumsum(parts == LETTER, axis=1)
    joined = (parts == LETTER) & follows & ((nth + phase) % run != 0)
    numbers = np.cumsum(starts & ~joined, axis=1, dtype=np.int64) - 1
    return np.where(parts == OUTSIDE, -1, numbers)
