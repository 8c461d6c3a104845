"""TF-IDF over words and letters of the items' texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, field_validator
from scipy import sparse

from tailrec.artifact import pack_strings, under, unpack_strings
from tailrec.dataset import Catalog
from tailrec.features.fields import FIELDS, item_texts
from tailrec.features.tokens import (
    COUNT,
    ROW,
    TERM,
    count_matrix,
    letter_runs,
    tokens,
    word_runs,
)
from tailrec.items import Array, Float32Array
from tailrec.recipe import Recipe

Kind = Literal["words", "letters"]
KINDS: Final[tuple[Kind, ...]] = ("words", "letters")


class Words(Recipe):
    """Which terms of an item's text count, and how much.

    Attributes:
        fields: text columns that are read.
        runs: fewest and most words of a term.
        letters: fewest and most letters of a letter term, the marks of a word's ends counted;
            they find the same word misspelt or inflected.
        letter_share: part of two texts' likeness that letter terms decide, in 0..1; 0: words only.
        min_items: items a term must stand in. Above 1, a rare word is lost, and with it what
            ties a new item to the one other item that has it.
        max_terms: terms of either kind that are kept, the most frequent first.
        sublinear: a term that stands n times counts 1 + ln n instead of n.
    """

    fields: tuple[str, ...] = FIELDS
    runs: tuple[int, int] = (1, 1)
    letters: tuple[int, int] = (3, 5)
    letter_share: float = Field(default=0.0, ge=0.0, le=1.0)
    min_items: int = Field(default=1, ge=1)
    max_terms: int = Field(default=1_000_000, ge=1)
    sublinear: bool = True

    @field_validator("runs", "letters")
    @classmethod
    def _rising(cls, lengths: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= lengths[0] <= lengths[1]:
            raise ValueError("lengths are (fewest, most), with 1 <= fewest <= most")
        return lengths

    def share(self, kind: Kind) -> float:
        """Part of two texts' likeness that terms of this kind decide."""
        return self.letter_share if kind == "letters" else 1.0 - self.letter_share

    def fit(self, catalog: Catalog) -> "WordsModel":
        """Learn the vocabulary and how rare each term is.

        Args:
            catalog: the items known; their texts, never behaviour, are used.
        """
        words = tokens(item_texts(catalog, self.fields))
        kinds = [kind for kind in KINDS if self.share(kind) > 0]
        return WordsModel(self, {kind: self._learn(kind, words, len(catalog)) for kind in kinds})

    def _learn(self, kind: Kind, words: pl.DataFrame, n_items: int) -> "Vocabulary":
        if kind == "words":
            every = word_runs(words, self.runs)[TERM].unique().sort()
        else:
            every = letter_runs(words[TERM].unique(), self.letters)[TERM].unique().sort()
        counts = _counts(self, kind, words, vocabulary=every, n_items=n_items)
        n_in = np.bincount(counts.indices, minlength=len(every))
        kept = np.flatnonzero(n_in >= self.min_items)
        kept = np.sort(kept[np.argsort(-n_in[kept], kind="stable")[: self.max_terms]])
        # Smoothed as if one more item held every term, so that no weight is infinite or zero.
        rarity = np.log((1 + n_items) / (1 + n_in[kept])) + 1
        return Vocabulary(every.gather(kept), rarity.astype(np.float32))


@dataclass(frozen=True)
class Vocabulary:
    """Terms of one kind.

    Attributes:
        terms: [V] strings, sorted, unique.
        rarity: float32 [V], inverse document frequency, at least 1.
    """

    terms: pl.Series
    rarity: Float32Array


@dataclass(frozen=True)
class WordsModel:
    """A vocabulary learnt; it also takes texts that came after the fit.

    Attributes:
        recipe: options it was learnt with.
        vocabularies: by kind of term, those with a share only.
    """

    recipe: Words
    vocabularies: Mapping[Kind, Vocabulary]

    @property
    def dim(self) -> int:
        """Columns of a vector: terms of all kinds."""
        return sum(len(vocabulary.terms) for vocabulary in self.vocabularies.values())

    def encode(self, catalog: Catalog) -> sparse.csr_array:
        """float32 CSR [I, dim], rows of unit length (empty where no known term stands)."""
        return self.encode_texts(item_texts(catalog, self.recipe.fields))

    def encode_texts(self, texts: Sequence[str]) -> sparse.csr_array:
        """float32 CSR [N, dim], rows of unit length (empty where no known term stands)."""
        words = tokens(texts)
        parts = []
        for kind, vocabulary in self.vocabularies.items():
            terms = vocabulary.terms
            part = _counts(self.recipe, kind, words, vocabulary=terms, n_items=len(texts))
            if self.recipe.sublinear:
                part.data = 1 + np.log(part.data)
            part.data *= vocabulary.rarity[part.indices]
            _normalise(part)
            part.data *= np.float32(np.sqrt(self.recipe.share(kind)))
            parts.append(part)
        vectors = sparse.csr_array(sparse.hstack(parts, format="csr"))
        # A text may hold known terms of one kind only.
        _normalise(vectors)
        return vectors

    def arrays(self) -> dict[str, Array]:
        """What was learnt, by name, for `from_arrays`."""
        found: dict[str, Array] = {}
        for kind, vocabulary in self.vocabularies.items():
            data, bounds = pack_strings(vocabulary.terms.to_list())
            found |= {f"{kind}.terms": data, f"{kind}.bounds": bounds}
            found[f"{kind}.rarity"] = vocabulary.rarity
        return found

    @classmethod
    def from_arrays(cls, recipe: Words, arrays: Mapping[str, Array]) -> Self:
        """The model that gave `arrays` under `recipe`."""
        vocabularies: dict[Kind, Vocabulary] = {}
        for kind in KINDS:
            if own := under(arrays, f"{kind}."):
                terms = unpack_strings(own["terms"], own["bounds"])
                series = pl.Series(TERM, terms.tolist(), dtype=pl.String)
                vocabularies[kind] = Vocabulary(series, own["rarity"])
        return cls(recipe, vocabularies)


def _counts(
    recipe: Words, kind: Kind, words: pl.DataFrame, *, vocabulary: pl.Series, n_items: int
) -> sparse.csr_array:
    """float32 [I, V], how often each term of the vocabulary stands in each text."""
    if kind == "words":
        return count_matrix(word_runs(words, recipe.runs), vocabulary, n_items)
    # Letters are looked at once a distinct word, not once a text.
    distinct = words[TERM].unique().sort()
    in_words = count_matrix(letter_runs(distinct, recipe.letters), vocabulary, len(distinct))
    per_text = words.group_by(ROW, TERM).agg(pl.len().alias(COUNT))
    return sparse.csr_array(count_matrix(per_text, distinct, n_items) @ in_words)


def _normalise(matrix: sparse.csr_array) -> None:
    """Bring rows to unit length, in place; empty rows stay."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    squares = np.bincount(row, weights=np.square(matrix.data, dtype=np.float64), minlength=1)
    matrix.data /= np.sqrt(squares[row]).astype(np.float32)
