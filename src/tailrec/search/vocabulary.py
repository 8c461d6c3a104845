"""Which words texts are made of, and where each word stands in a list of them."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import polars as pl

from tailrec.artifact import unpack_strings
from tailrec.features.tokens import COUNT, ROW, TERM, tokens, word_runs
from tailrec.items import Array, Int64Array

_SIGNS: Final = r"[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u0655]"
"""Accents, and the signs for vowels that Hebrew and Arabic may leave out."""


def plain(texts: Sequence[str]) -> list[str]:
    """The texts in lower case and without accents: `Crème` and `creme` are one word.

    Args:
        texts: [N] strings.
    """
    letters = pl.col(TERM).str.to_lowercase().str.normalize("NFKD")
    bare = letters.str.replace_all(_SIGNS, "").str.normalize("NFC")
    return pl.DataFrame({TERM: list(texts)}, schema={TERM: pl.String}).select(bare)[TERM].to_list()


def words_of(text: str) -> list[str]:
    """The words of one text, in order; single letters in scripts without blanks."""
    # JSON lets through halves of letters; they are no text.
    return tokens(plain([text.encode("utf-8", "ignore").decode()]))[TERM].to_list()


def term_counts(texts: Sequence[str]) -> pl.DataFrame:
    """How often each term stands in each text.

    A term is a word, or a pair of neighbouring words of one letter: in scripts that put no
    blanks between words, pairs of letters say what words say elsewhere.

    Args:
        texts: [N] strings.

    Returns:
        row, term (a pair is joined by a blank), count.
    """
    words = tokens(plain(texts))
    pairs = word_runs(words, (2, 2)).filter(pl.col(TERM).str.len_chars() == 3)
    return pl.concat([word_runs(words, (1, 1)), pairs]).select(ROW, TERM, COUNT)


class Vocabulary(Protocol):
    """A list of distinct terms."""

    @property
    def terms(self) -> list[str]:
        """All terms, by place."""

    def find(self, term: str) -> int:
        """Place of a term, -1 where it is not there."""

    def term(self, place: int) -> str:
        """The term at a place."""

    def beginning(self, start: str) -> Array:
        """Places of the terms that begin so."""


@dataclass(frozen=True)
class PackedTerms:
    """Sorted terms in one block of bytes, as `pack_strings` makes it.

    Looking a term up halves the list until it is found: 10 µs among 100,000 terms. So nothing is
    read on load, and processes that map one file share its memory.

    Attributes:
        data: uint8, UTF-8.
        bounds: int64 [V + 1].
    """

    data: Array
    bounds: Int64Array

    @cached_property
    def terms(self) -> list[str]:
        """All terms, by place; made when first asked for."""
        found: list[str] = unpack_strings(self.data, self.bounds).tolist()
        return found

    def find(self, term: str) -> int:
        """Place of a term, -1 where it is not there."""
        sought = term.encode()
        place = self._first(sought)
        return place if place < len(self.bounds) - 1 and self._bytes(place) == sought else -1

    def term(self, place: int) -> str:
        """The term at a place."""
        return self._bytes(place).decode()

    def beginning(self, start: str) -> Array:
        """Places of the terms that begin so."""
        sought = start.encode()
        # No letter's UTF-8 has this byte, and all of it is below it.
        return np.arange(self._first(sought), self._first(sought + b"\xff"))

    def _first(self, sought: bytes) -> int:
        return bisect.bisect_left(range(len(self.bounds) - 1), sought, key=self._bytes)

    def _bytes(self, place: int) -> bytes:
        return self.data[self.bounds[place] : self.bounds[place + 1]].tobytes()


@dataclass(frozen=True)
class ListedTerms:
    """Terms of a few items, in any order.

    Attributes:
        places: place by term; places count from 0.
    """

    places: Mapping[str, int]

    @cached_property
    def terms(self) -> list[str]:
        """All terms, by place."""
        return list(self.places)

    def find(self, term: str) -> int:
        """Place of a term, -1 where it is not there."""
        return self.places.get(term, -1)

    def term(self, place: int) -> str:
        """The term at a place."""
        return self.terms[place]

    def beginning(self, start: str) -> Array:
        """Places of the terms that begin so."""
        begun = [place for term, place in self.places.items() if term.startswith(start)]
        return np.array(begun, np.int64)
