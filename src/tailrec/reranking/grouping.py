"""Items put together by the values of a field: what rules count, and what exposure is shared by."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.data.conditions import ATTRIBUTE, attributes_of
from tailrec.items import Int32Array

UNGROUPED: Final = -1
"""The code of an item without a value."""

GROUPS: Final = (c.TITLE, c.BRAND, c.CATEGORY, c.SELLER_ID, c.TIER)
"""Fields items are put together by, beside `category/LEVEL` and attributes."""
GROUP_WORDS: Final = (
    f"{', '.join(GROUPS)}, {c.CATEGORY}/1 to {c.CATEGORY}/9 for its first levels, "
    f"and {ATTRIBUTE}NAME"
)
_LEVEL_OR_ATTRIBUTE = re.compile(rf"{c.CATEGORY}/[1-9]|{re.escape(ATTRIBUTE)}.{{1,100}}")


def is_group(name: str) -> bool:
    """Whether items can be put together by a name: one of `GROUPS`, a level, an attribute."""
    return name in GROUPS or _LEVEL_OR_ATTRIBUTE.fullmatch(name) is not None


def groups_of(table: pl.DataFrame, name: str) -> tuple[Int32Array, list[str]]:
    """The group of every item of a table.

    Args:
        table: columns of `columns.ITEMS` and `tier`; a column it lacks is all missing.
        name: as `is_group` takes it.

    Returns:
        int32 [I], codes from 0, or `UNGROUPED`; and the value behind each code, sorted.
    """
    # Texts are taken apart once a distinct one.
    encoded = raw(table, name).to_arrow().dictionary_encode()
    found = group(pl.Series(encoded.dictionary, dtype=pl.String), name)
    rank = found.rank("dense").cast(pl.Int32).fill_null(0).to_numpy()  # from 1
    code = np.append(np.where(rank > 0, rank - 1, UNGROUPED), UNGROUPED).astype(np.int32)
    values = found.drop_nulls().unique().sort().to_list()
    return np.asarray(code[encoded.indices.fill_null(-1).to_numpy()]), values


def numbers_of(table: pl.DataFrame, items: Iterable[str]) -> Mapping[str, int]:
    """Catalogue numbers of those of the items that a table has."""
    at = table[c.ITEM_ID].is_in(list(items)).arg_true()
    return dict(zip(table[c.ITEM_ID].gather(at), at, strict=True))


def raw(table: pl.DataFrame, name: str) -> pl.Series:
    """String [I], the field behind the name of a group."""
    if name.startswith(ATTRIBUTE):
        return pl.Series(attributes_of(table).texts(name.removeprefix(ATTRIBUTE)), dtype=pl.String)
    column = name.partition("/")[0]
    if column in table.columns:
        return table[column].cast(pl.String)
    return pl.Series([None], dtype=pl.String).new_from_index(0, len(table))


def group(values: pl.Series, name: str) -> pl.Series:
    """What the values of a field are put together as; null where there is none."""
    level = "" if name.startswith(ATTRIBUTE) else name.partition("/")[2]
    values = values.str.strip_chars()
    if level:
        steps = values.str.split(c.CATEGORY_SEPARATOR).list.head(int(level))
        values = steps.list.join(c.CATEGORY_SEPARATOR)
    return values.set(values == "", None)
