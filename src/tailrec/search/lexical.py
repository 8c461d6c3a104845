"""BM25 over several fields: how well the words of an item fit the words asked for."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, NamedTuple, Self

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from tailrec.artifact import pack_strings
from tailrec.dataset import Catalog
from tailrec.features.fields import FIELDS, item_texts
from tailrec.features.tokens import COUNT, ROW, TERM, count_matrix
from tailrec.items import Array, Float32Array, Int32Array, Int64Array
from tailrec.recipe import Recipe
from tailrec.search.vocabulary import PackedTerms, Vocabulary, term_counts

NotNegative = Annotated[float, Field(ge=0)]


class Frequencies(NamedTuple):
    """How often terms stand in items.

    Attributes:
        terms: [V], sorted.
        matrix: float32 CSR [N, V], counts weighed by field and by the field's length.
        usual: float32 [F], terms that a text of each of `FIELDS` has in the mean.
    """

    terms: list[str]
    matrix: sparse.csr_array
    usual: Float32Array


class Bm25(Recipe):
    """How words count.

    A word counts more the rarer it is, more in a telling field, and less in a long text. The
    fields' counts are added up before they are weighed, so that a word in three fields does not
    count like three words.

    Attributes:
        k1: how slowly more of the same word stops to count, above 0.
        b: how much a field longer than usual makes each of its words count less, in 0..1.
        title: what a word in the title counts; 0 leaves a field out.
        brand: what a word in the brand counts.
        category: what a word in the category's path counts.
        attributes: what a word in the attributes counts.
        description: what a word in the description counts.

    Source:
        Robertson, Zaragoza & Taylor 2004, doi:10.1145/1031171.1031181; rarity as in Lucene.
    """

    k1: Annotated[float, Field(gt=0)] = 0.4
    b: Annotated[float, Field(ge=0, le=1)] = 0.5
    title: NotNegative = 1.0
    brand: NotNegative = 1.0
    category: NotNegative = 0.5
    attributes: NotNegative = 0.5
    description: NotNegative = 0.3

    def fit(self, catalog: Catalog) -> "Postings":
        """Learn the words of a catalogue.

        Args:
            catalog: the items known; row = catalogue number.
        """
        found = self.frequencies(catalog)
        n_having = np.bincount(found.matrix.indices, minlength=len(found.terms))
        packed = PackedTerms(*pack_strings(found.terms))
        return Postings.weighed(self, packed, found, rarity_of(n_having, len(catalog)))

    def frequencies(self, catalog: Catalog, usual: Float32Array | None = None) -> Frequencies:
        """How often the words of a catalogue stand in each of its items.

        Args:
            catalog: N items.
            usual: mean lengths by field to compare with; those of the catalogue where None.
        """
        texts = {name: item_texts(catalog, [name]) for name in FIELDS if getattr(self, name)}
        counts = {name: term_counts(own) for name, own in texts.items()}
        every = pl.concat([pl.Series(TERM, [], pl.String), *(own[TERM] for own in counts.values())])
        terms = every.unique().sort()
        if usual is None:
            means = (_mean_length(counts[name]) if name in counts else 1.0 for name in FIELDS)
            usual = np.fromiter(means, np.float32, len(FIELDS))
        parts = []
        for name, own in counts.items():
            found = count_matrix(own, terms, len(catalog))
            # By entry, not by item: a text without words has no length to be compared.
            lengths = np.repeat(found.sum(axis=1), np.diff(found.indptr))
            relative = lengths / usual[FIELDS.index(name)]
            found.data *= getattr(self, name) / (1 - self.b + self.b * relative)
            parts.append(found)
        nothing = sparse.csr_array((len(catalog), len(terms)), dtype=np.float32)
        return Frequencies(terms.to_list(), sparse.csr_array(sum(parts, start=nothing)), usual)


@dataclass(frozen=True)
class Postings:
    """For each term the items that have it, and what it counts in each.

    Attributes:
        vocabulary: the terms.
        bounds: int64 [V + 1], term v's entries are `bounds[v]:bounds[v + 1]`.
        rows: int32 [E], items of each term, rising.
        weights: float32 [E], BM25.
        rarity: float32 [V], inverse document frequency: the most that a term can count.
        usual: float32 [F], terms that a text of each of `FIELDS` has in the mean.
        n_rows: items, those without words included.
    """

    vocabulary: Vocabulary
    bounds: Int64Array
    rows: Int32Array
    weights: Float32Array
    rarity: Float32Array
    usual: Float32Array
    n_rows: int

    @classmethod
    def weighed(
        cls, recipe: Bm25, vocabulary: Vocabulary, found: Frequencies, rarity: Float32Array
    ) -> Self:
        """Postings from frequencies; their columns are the places of the vocabulary."""
        by_term = found.matrix.tocsc()
        most = np.repeat(rarity, np.diff(by_term.indptr))
        weights = (most * by_term.data / (recipe.k1 + by_term.data)).astype(np.float32)
        bounds, rows = by_term.indptr.astype(np.int64), by_term.indices.astype(np.int32)
        n_rows = found.matrix.shape[0]
        return cls(vocabulary, bounds, rows, weights, rarity, found.usual, n_rows)

    @cached_property
    def by_length(self) -> dict[int, list[str]]:
        """The words without digits, by how many letters they have; made when first asked for."""
        found: dict[int, list[str]] = defaultdict(list)
        for term in self.vocabulary.terms:
            if " " not in term and not any(map(str.isdigit, term)):
                found[len(term)].append(term)
        return dict(found)

    def n_having(self, term: str) -> int:
        """How many items have a term."""
        own = self._entries(term)
        return int(own.stop - own.start)

    def n_having_both(self, term: str, other: str) -> int:
        """How many items have two terms."""
        rows, others = (self.rows[self._entries(name)] for name in (term, other))
        return len(np.intersect1d(rows, others, assume_unique=True))

    def weight(self, term: str, row: int) -> float:
        """What a term counts in one item, 0 where it does not stand there."""
        own = self._entries(term)
        at = own.start + int(np.searchsorted(self.rows[own], row))
        return float(self.weights[at]) if at < own.stop and self.rows[at] == row else 0.0

    def beginning(self, start: str, most: int) -> dict[str, int]:
        """How many items have each of the terms that begin so, of the terms that most have."""
        places = self.vocabulary.beginning(start)
        n_having = self.bounds[places + 1] - self.bounds[places]
        often = np.argsort(-n_having, kind="stable")[:most]
        return {self.vocabulary.term(places[at]): int(n_having[at]) for at in often}

    def rarity_of_term(self, term: str) -> float:
        """The most that a term can count; NaN where no item has it."""
        place = self.vocabulary.find(term)
        return float(self.rarity[place]) if place >= 0 else float("nan")

    def scores(self, wanted: Sequence[Mapping[str, float]]) -> Float32Array:
        """How well each item fits.

        Args:
            wanted: for each word asked for the terms that may stand for it, with what share of
                their weight; where there are several, the best of them counts.

        Returns:
            float32 [n_rows], 0 where none of the words stands.
        """
        total = np.zeros(self.n_rows, np.float32)
        for terms in wanted:
            best = total if len(terms) == 1 else np.zeros(self.n_rows, np.float32)
            for term, share in terms.items():
                own = self._entries(term)
                rows, values = self.rows[own], self.weights[own] * np.float32(share)
                # An item stands once among a term's, so nothing is added to twice.
                best[rows] = (
                    np.maximum(best[rows], values) if best is not total else best[rows] + values
                )
            if best is not total:
                total += best
        return total

    def _entries(self, term: str) -> slice:
        """Where the items of a term stand; nowhere where none has it."""
        place = self.vocabulary.find(term)
        if place < 0:
            return slice(0, 0)
        return slice(int(self.bounds[place]), int(self.bounds[place + 1]))

    def arrays(self) -> dict[str, Array]:
        """What was learnt, by name, for `from_arrays`; the vocabulary must be packed."""
        packed = self.vocabulary
        if not isinstance(packed, PackedTerms):
            raise TypeError("only what was fitted is saved, not what was put in later")
        return {
            "terms.text": packed.data,
            "terms.bounds": packed.bounds,
            "bounds": self.bounds,
            "rows": self.rows,
            "weights": self.weights,
            "rarity": self.rarity,
            "usual": self.usual,
            "n_rows": np.array([self.n_rows], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The postings that gave `arrays`; nothing is copied."""
        packed = PackedTerms(arrays["terms.text"], arrays["terms.bounds"])
        names = ("bounds", "rows", "weights", "rarity", "usual")
        own = {name: arrays[name] for name in names}
        return cls(packed, **own, n_rows=int(arrays["n_rows"][0]))


def rarity_of(n_having: Array | int, n_items: int) -> Float32Array:
    """Inverse document frequency as in Lucene, always above 0.

    Args:
        n_having: [V], items that have each term.
        n_items: items in all.

    Returns:
        float32 [V].
    """
    odds = (n_items - n_having + 0.5) / (np.asarray(n_having) + 0.5)
    return np.log1p(odds).astype(np.float32)


def _mean_length(counts: pl.DataFrame) -> float:
    """Terms that a text has in the mean, of the texts that have any."""
    n_texts = counts[ROW].n_unique()
    return float(counts[COUNT].sum()) / n_texts if n_texts else 1.0
