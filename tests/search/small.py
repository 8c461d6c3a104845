"""Indexes of a few titles."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.items import Float32Array, Int32Array
from tailrec.search.index import Found, SearchIndex, SearchRecipe

TITLES = (
    "red ceramic mug",
    "blue ceramic bowl",
    "garden hose",
    "red garden gnome",
    "",
    "Crème de la crème lipstick",
    "matte lipstick red",
    "wall clock",
)


def catalog_of(titles: Sequence[str], **columns: Sequence[str | None]) -> Catalog:
    """Items i0, i1, ... with these titles."""
    ids = [f"i{number}" for number in range(len(titles))]
    table = {c.ITEM_ID: ids, c.TITLE: list(titles)} | {k: list(v) for k, v in columns.items()}
    return Catalog(pl.DataFrame(table, schema_overrides={c.TITLE: pl.String}))


def meaningless(n: int) -> Float32Array:
    """Vectors of a shop without an encoder."""
    return np.zeros((n, 0), np.float32)


def index_of(
    titles: Sequence[str], recipe: SearchRecipe | None = None, **columns: Sequence[str | None]
) -> SearchIndex:
    """An index by words alone."""
    catalog = catalog_of(titles, **columns)
    return (recipe or SearchRecipe()).fit(catalog, meaningless(len(catalog)))


def put(index: SearchIndex, titles: dict[int, str], n_items: int) -> SearchIndex:
    """The index with other titles at some numbers."""
    numbers: Int32Array = np.array(list(titles), np.int32)
    return index.put(catalog_of(list(titles.values())), numbers, meaningless(len(titles)), n_items)


def found(index: SearchIndex, words: str, **options: object) -> Found:
    """What is found by words, of items nobody bought yet."""
    allowed = options.pop("allowed", None)
    given = {"k": 10, "counts": np.zeros(index.n_items, np.int64), **options}
    return index.search(index.read(words, allowed=allowed), None, **given)  # type: ignore[arg-type]
