"""One text an item: which of its fields, in which order, freed of their table dress."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from tailrec import columns as c
from tailrec.dataset import Catalog

FIELDS: Final = (c.TITLE, c.BRAND, c.CATEGORY, c.ATTRIBUTES, c.DESCRIPTION)
"""Every text column, most telling first: an encoder keeps a text's beginning."""

_NO_BRAND: Final = ("", "unknown", "unbranded", "generic", "none", "n/a", "na", "null")
_BRACKETS: Final = r'[\[\]{}":,|]+'


def item_texts(catalog: Catalog, fields: Sequence[str] = FIELDS) -> list[str]:
    """The named fields of every item, joined by blanks.

    A category path loses its separators, attributes their JSON brackets and bars, and a brand
    that only says "unknown" counts as empty: else all items without a brand would look alike.

    Args:
        catalog: the items.
        fields: text columns of `columns.ITEMS`, in order; one the table lacks counts as empty.

    Returns:
        [I] strings, empty where an item has none of the fields.
    """
    brand = pl.col(c.BRAND)
    named = ~brand.str.strip_chars().str.to_lowercase().is_in(_NO_BRAND)
    plain = {
        c.BRAND: pl.when(named).then(brand).alias(c.BRAND),
        c.CATEGORY: pl.col(c.CATEGORY).str.replace_all(c.CATEGORY_SEPARATOR, " ", literal=True),
        c.ATTRIBUTES: pl.col(c.ATTRIBUTES).str.replace_all(_BRACKETS, " "),
    }
    present = [plain[name] for name in fields if name in plain and name in catalog.table.columns]
    return Catalog(catalog.table.with_columns(present)).text(fields)
