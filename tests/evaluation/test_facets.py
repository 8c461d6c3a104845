"""Facets: what counts as a category, and that all is of one catalogue."""

import polars as pl
import pytest
from scipy import sparse

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.evaluation.facets import facets_of


def words(n_items: int) -> sparse.csr_array:
    return sparse.csr_array((n_items, 3), dtype="float32")


def catalog(paths: list[str | None]) -> Catalog:
    return Catalog(
        pl.DataFrame(
            {c.ITEM_ID: [f"i{n}" for n in range(len(paths))], c.CATEGORY: paths},
            schema={c.ITEM_ID: pl.String, c.CATEGORY: pl.String},
        )
    )


def test_a_category_is_a_whole_path() -> None:
    items = catalog(["A > B", "A > C", None, "A > B", " ", "", " A > B "])
    code = facets_of(items, words(7)).category
    assert code.dtype == "int32"
    assert code.tolist() == [0, 1, -1, 0, -1, -1, 0]


def test_a_shop_without_categories_has_none() -> None:
    items = Catalog(pl.DataFrame({c.ITEM_ID: ["a", "b"]}))
    assert facets_of(items, words(2)).category.tolist() == [-1, -1]
    assert facets_of(catalog([None, None]), words(2)).category.tolist() == [-1, -1]


def test_words_of_another_catalogue_are_refused() -> None:
    with pytest.raises(DataError, match="words of 3 items and categories of 2"):
        facets_of(catalog(["A", "B"]), words(3))
