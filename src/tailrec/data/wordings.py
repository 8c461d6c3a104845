"""Descriptions made from the facts of an item's row, in several wordings; nothing is invented.

A wording is a sentence with gaps. It is used for an item only where the row has every fact it
asks for, so it says nothing that the catalogue does not.
"""

import json
from typing import Final

import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.data.augment import Rewording
from tailrec.data.synthetic import SYNTHETIC
from tailrec.dataset import Catalog

KIND: Final = "kind"
"""The last level of an item's category."""
WITHIN: Final = "within"
"""The first level of an item's category, where it has several."""
FACTS: Final = "facts"
"""Names and values of an item's attributes."""

OPENINGS: Final = (
    "{title} by {brand}.",
    "{brand}: {title}.",
    "From {brand}: {title}.",
    "{title}.",
    "{title}, {kind}.",
    "{kind}: {title}.",
    "{kind} by {brand}: {title}.",
)
"""First sentences; each names the item."""
ENDINGS: Final = (
    "",
    "Found under {within}, {kind}.",
    "In {kind}, part of {within}.",
    "A product for {within}.",
    "{facts}.",
    "{kind} with {facts}.",
    "Details: {facts}.",
)
"""What may follow; the empty one leaves it at the first sentence."""
NO_BRAND: Final = ("", "unknown", "unbranded", "generic", "none", "n/a", "na", "null")
"""Brands that say that there is none, in lower case."""


def descriptions(catalog: Catalog, recipe: Rewording, rng: Generator) -> pl.DataFrame:
    """New descriptions of every item.

    Args:
        catalog: the items; title, brand, category and attributes are read where they are there.
        recipe: `descriptions` says how many of each item.
        rng: draws the wordings; the same rng gives the same texts.

    Returns:
        item_id, description and `SYNTHETIC` (true), at most so many rows an item, without
        repeats: an item of few facts has few wordings, and one without a title has none.
    """
    facts = _facts(catalog)
    wordings = [(a, b) for a in OPENINGS for b in ENDINGS]
    parts = []
    for opening, ending in wordings:
        text = pl.concat_str([_filled(opening), _filled(ending)], separator=" ").str.strip_chars()
        parts.append(facts.select(c.ITEM_ID, text.alias(c.DESCRIPTION)))
    every = pl.concat(parts).drop_nulls(c.DESCRIPTION).unique(maintain_order=True)
    drawn = every.with_columns(pl.Series("luck", rng.random(len(every))))
    place = pl.col("luck").rank("ordinal").over(c.ITEM_ID)
    chosen = drawn.filter(place <= recipe.descriptions).sort(c.ITEM_ID, "luck")
    return chosen.select(c.ITEM_ID, c.DESCRIPTION, pl.lit(True).alias(SYNTHETIC))


def described(catalog: Catalog, made: pl.DataFrame) -> Catalog:
    """The catalogue with a made description where an item has none of its own.

    Args:
        catalog: the items.
        made: result of `descriptions`; an item's first one is taken.

    Returns:
        The same items in their order, with a column `SYNTHETIC`: true where the description was
        made.
    """
    table = catalog.table
    if c.DESCRIPTION not in table.columns:
        table = table.with_columns(pl.lit(None, pl.String).alias(c.DESCRIPTION))
    first = made.unique(c.ITEM_ID, keep="first", maintain_order=True)
    first = first.select(c.ITEM_ID, pl.col(c.DESCRIPTION).alias("made"))
    joined = table.join(first, on=c.ITEM_ID, how="left", maintain_order="left")
    bare = pl.col(c.DESCRIPTION).fill_null("").str.strip_chars() == ""
    taken = bare & pl.col("made").is_not_null()
    return Catalog(
        joined.with_columns(
            pl.when(taken).then("made").otherwise(c.DESCRIPTION).alias(c.DESCRIPTION),
            taken.alias(SYNTHETIC),
        ).drop("made")
    )


def _facts(catalog: Catalog) -> pl.DataFrame:
    """item_id, title, brand, kind, within, facts: null where the row does not say."""
    table = catalog.table
    absent = [n for n in (c.TITLE, c.BRAND, c.CATEGORY, c.ATTRIBUTES) if n not in table.columns]
    table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
    levels = pl.col(c.CATEGORY).str.split(c.CATEGORY_SEPARATOR)
    told = pl.col(c.ATTRIBUTES).map_elements(_told, return_dtype=pl.String)
    brand = pl.col(c.BRAND).str.strip_chars()
    plain = table.select(
        c.ITEM_ID,
        pl.col(c.TITLE).str.strip_chars().str.strip_chars_end(".").alias(c.TITLE),
        pl.when(~brand.str.to_lowercase().is_in(NO_BRAND)).then(brand).alias(c.BRAND),
        levels.list.last().alias(KIND),
        pl.when(levels.list.len() > 1).then(levels.list.first()).alias(WITHIN),
        told.alias(FACTS),
    )
    return plain.with_columns(pl.col(pl.String).exclude(c.ITEM_ID).replace("", None))


def _told(attributes: str) -> str:
    """Attributes as words: "colour: red, size: 5" of a JSON object; else the words as they are."""
    try:
        value = json.loads(attributes)
    except ValueError:
        return ", ".join(part.strip() for part in attributes.split("|") if part.strip())
    if not isinstance(value, dict):
        return ""
    plain = {name: part for name, part in value.items() if isinstance(part, str | int | float)}
    return ", ".join(f"{name}: {part}" for name, part in plain.items() if str(part).strip())


def _filled(wording: str) -> pl.Expr:
    """A wording with its gaps filled from a row; null where the row lacks a fact."""
    names, pattern = [], wording
    for name in (c.TITLE, c.BRAND, KIND, WITHIN, FACTS):
        gap = "{" + name + "}"
        while gap in pattern:
            names.append((wording.index(gap), name))
            pattern = pattern.replace(gap, "{}", 1)
    if not names:
        return pl.lit(wording)
    return pl.format(pattern, *(pl.col(name) for _, name in sorted(names)))
