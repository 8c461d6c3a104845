"""Items put in after the fit: found at once, weighed as the fit weighs, without a new fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from tailrec.dataset import Catalog
from tailrec.items import Float32Array, Int32Array
from tailrec.search.lexical import Bm25, Frequencies, Postings, rarity_of
from tailrec.search.vocabulary import ListedTerms


@dataclass(frozen=True)
class Overlay:
    """M items that are new, or whose texts are no longer those of the fit.

    Attributes:
        numbers: int32 [M], their catalogue numbers, unique.
        dense: float32 [M, D], vectors of their meaning, rows of unit length or zero.
        frequencies: of terms in them; columns are the places of the vocabulary.
        rarity: float32 [W], of each term in the fit; NaN where the fit does not have it.
        postings: of the M items; row = place in `numbers`.
    """

    numbers: Int32Array
    dense: Float32Array
    frequencies: sparse.csr_array
    rarity: Float32Array
    postings: Postings

    @classmethod
    def empty(cls, base: Postings, dim: int) -> Self:
        """No items; vectors would have `dim` columns."""
        frequencies = sparse.csr_array(np.zeros((0, 0), np.float32))
        nothing = np.zeros(0, np.float32)
        postings = Postings(
            ListedTerms({}),
            np.zeros(1, np.int64),
            np.zeros(0, np.int32),
            *(nothing, nothing),
            base.usual,
            n_rows=0,
        )
        numbers = np.zeros(0, np.int32)
        return cls(numbers, np.zeros((0, dim), np.float32), frequencies, nothing, postings)

    def put(
        self,
        base: Postings,
        recipe: Bm25,
        catalog: Catalog,
        numbers: Int32Array,
        dense: Float32Array,
    ) -> "Overlay":
        """The overlay with some items more; those it had already are replaced.

        A word that the fit knows is as rare as the fit says; another is as rare as among these
        items and those of the fit together.

        Args:
            base: what was fitted.
            recipe: how it was weighed.
            catalog: the items.
            numbers: int32 [N], their catalogue numbers.
            dense: float32 [N, D].

        Cost:
            Linear in the items of the overlay.
        """
        found = recipe.frequencies(catalog, base.usual)
        places = _extended(self.postings.vocabulary.terms, found.terms)
        kept = ~np.isin(self.numbers, numbers)
        matrix = _stacked(self.frequencies[kept], found, places)
        new = list(places)[len(self.rarity) :]
        rarity = np.concatenate([self.rarity, [base.rarity_of_term(term) for term in new]])
        n_having = np.bincount(matrix.indices, minlength=len(places))
        weighed = np.where(np.isnan(rarity), rarity_of(n_having, base.n_rows), rarity)
        everything = Frequencies(list(places), matrix, base.usual)
        return Overlay(
            np.concatenate([self.numbers[kept], numbers]).astype(np.int32),
            np.concatenate([self.dense[kept], dense]).astype(np.float32),
            matrix,
            rarity.astype(np.float32),
            Postings.weighed(recipe, ListedTerms(places), everything, weighed.astype(np.float32)),
        )


def _extended(known: list[str], more: list[str]) -> Mapping[str, int]:
    """Places of terms, those known first, as they were."""
    return {term: place for place, term in enumerate(dict.fromkeys([*known, *more]))}


def _stacked(
    above: sparse.csr_array, found: Frequencies, places: Mapping[str, int]
) -> sparse.csr_array:
    """Frequencies below others, all in the columns of `places`."""
    column = np.array([places[term] for term in found.terms], np.int32)
    below = found.matrix
    return sparse.csr_array(
        (
            np.concatenate([above.data, below.data]),
            np.concatenate([above.indices, column[below.indices]]),
            np.concatenate([above.indptr, above.indptr[-1] + below.indptr[1:]]),
        ),
        shape=(above.shape[0] + below.shape[0], len(places)),
    )
