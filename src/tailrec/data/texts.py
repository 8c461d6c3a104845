"""Cleaning rules on texts: broken characters and markup, and one title an item."""

import re

import ftfy
import polars as pl

from tailrec import columns as c
from tailrec.data.cleaning import Cleaning
from tailrec.data.jsonlines import ROW
from tailrec.data.rules import Verdict, first_of

_FIELDS = (c.TITLE, c.DESCRIPTION, c.BRAND, c.CATEGORY, c.TEXT)
_SUSPICIOUS = r"[^\x20-\x7e]|&#?\w+;|<[/!a-zA-Z]"
_TAG = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>|</?[a-zA-Z][^<>]*>", re.DOTALL | re.I)
# Quotes and full-width letters are how some languages are written, not damage.
_REPAIR = ftfy.TextFixerConfig(
    unescape_html=True, uncurl_quotes=False, fix_character_width=False, explain=False
)


def repair(text: str) -> str:
    """One text without mojibake, entities, tags and control characters; blanks collapsed."""
    unescaped = ftfy.fix_text(text, _REPAIR)
    # An entity may hide a tag ("&lt;b&gt;"), and ftfy leaves entities alone beside a '<'.
    bare = _TAG.sub(" ", unescaped)
    return " ".join(ftfy.fix_text(bare, _REPAIR).split())


def text(frame: pl.DataFrame, _options: Cleaning) -> Verdict:
    """Repairs titles, descriptions, brands, categories and reviews; empty ones become null."""
    fields = [name for name in _FIELDS if name in frame.columns]
    spaced = frame.with_columns(
        pl.col(fields).str.replace_all(r"\s+", " ").str.strip_chars().replace("", None)
    )
    for name in fields:
        odd = spaced.filter(pl.col(name).str.contains(_SUSPICIOUS))[name].unique()
        if len(odd):
            # ftfy is slow: it sees each odd text once.
            repaired = [repair(value) or None for value in odd]
            fixed = pl.col(name).replace(odd, pl.Series(repaired, dtype=pl.String))
            spaced = spaced.with_columns(fixed)
    return Verdict(spaced)


def titles(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Gives all rows of an item its one title: the most frequent that is no note, then the longest.

    An item of a catalogue without a title takes its description, else brand and category; it is
    rejected where it has none of them.
    """
    if c.TITLE not in frame.columns:
        return Verdict(frame)
    best = _best_titles(frame, options)
    named = frame.drop(c.TITLE).join(best, on=c.ITEM_ID, how="left", maintain_order="left")
    named = named.select(frame.columns)
    if c.TIMESTAMP in frame.columns:
        return Verdict(named)
    absent = pl.lit(None, pl.String)
    brand, category, description = (
        pl.col(name) if name in frame.columns else absent
        for name in (c.BRAND, c.CATEGORY, c.DESCRIPTION)
    )
    leaf = category.str.split(c.CATEGORY_SEPARATOR).list.last()
    made = pl.concat_str([brand, leaf], separator=" ", ignore_nulls=True).replace("", None)
    titled = named.with_columns(pl.coalesce(c.TITLE, description.str.slice(0, 200), made))
    without = first_of(titled, (pl.col(c.TITLE).is_null(), pl.lit("the item has no text")))
    return Verdict(titled, without)


def _best_titles(frame: pl.DataFrame, options: Cleaning) -> pl.DataFrame:
    """item_id and title of every item that has one."""
    title = pl.col(c.TITLE)
    counts = (
        frame.filter(title.is_not_null())
        .group_by(c.ITEM_ID, c.TITLE)
        .agg(pl.len().alias("n"), pl.col(ROW).min().alias("first"))
    )
    for pattern in options.notes:
        counts = counts.filter(~title.str.contains(pattern))
    capitals = (title == title.str.to_uppercase()) & options.upper_titles
    ordered = counts.sort(
        capitals, "n", title.str.len_chars(), c.TITLE, descending=[True, True, True, False]
    )
    return ordered.unique(c.ITEM_ID, keep="first", maintain_order=True).select(c.ITEM_ID, c.TITLE)
