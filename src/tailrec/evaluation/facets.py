"""What is known of the items that judges slates beyond what people turned to."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.items import Int32Array

NO_CATEGORY = -1
"""The code of an item without a category."""


@dataclass(frozen=True, slots=True)
class Facets:
    """Words and categories of the items; row = catalogue number.

    Attributes:
        words: float32 CSR [I, V], TF-IDF of the items' words, rows of unit length or empty.
        category: int32 [I], codes from 0, `NO_CATEGORY` where an item has none.

    Raises:
        DataError: both are not of as many items.
    """

    words: sparse.csr_array
    category: Int32Array

    def __post_init__(self) -> None:
        if self.words.shape[0] != len(self.category):
            raise DataError(
                f"words of {self.words.shape[0]} items and categories of {len(self.category)}; "
                f"both must be of the same catalogue"
            )

    def __len__(self) -> int:
        return len(self.category)


def facets_of(catalog: Catalog, words: sparse.csr_array) -> Facets:
    """The facets of a catalogue.

    A category is the whole path, ``A > B > C``: many shops have one root for all their items,
    and two shelves of it are two kinds of product.

    Args:
        catalog: the items; a column of categories may be missing.
        words: float32 CSR [I, V], as in `Features.words`.

    Raises:
        DataError: the words are not those of as many items.
    """
    if c.CATEGORY not in catalog.table.columns:
        return Facets(words, np.full(len(catalog), NO_CATEGORY, np.int32))
    path = pl.col(c.CATEGORY).str.strip_chars()
    named = pl.when(path != "").then(path)
    # Dense ranks start at 1; an item without a path has no rank.
    code = catalog.table.select(named.rank("dense").cast(pl.Int32).fill_null(NO_CATEGORY + 1))
    return Facets(words, code.to_series().to_numpy() - np.int32(1))
