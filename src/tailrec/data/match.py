"""Proposes which items of a catalogue, merged from several sources, are one product."""

import numpy as np
import polars as pl
from rapidfuzz import fuzz, process

from tailrec import columns as c

_LARGEST_BLOCK = 2_000
_WORDS = "_words"
_BRAND = "_brand"
_NUMBERS = "_numbers"


def match_items(items: pl.DataFrame, *, threshold: float = 92.0) -> pl.DataFrame:
    """Pairs of items that seem to be the same product, for somebody to confirm.

    Two items match exactly if brand and title agree but for case, punctuation and blanks. They
    match nearly if brand and all numbers agree ("500 ml" is not "250 ml") and the titles' words
    are alike in any order.

    Args:
        items: item_id and title, perhaps brand.
        threshold: least likeness of titles, 0..100, as rapidfuzz's `token_sort_ratio`.

    Returns:
        item_id, same_as (the item that comes first in the table), score 0..100, how ('exact' or
        'near'); best first.

    Cost: quadratic within a brand; brands of over 2,000 items are only matched exactly.
    """
    marked = _normalised(items)
    same = [_BRAND, _WORDS]
    first = pl.col(c.ITEM_ID).first().over(same)
    exact = marked.select(c.ITEM_ID, first.alias("same_as")).filter(
        pl.col(c.ITEM_ID) != pl.col("same_as")
    )
    exact = exact.with_columns(pl.lit(100.0).alias(c.SCORE), pl.lit("exact").alias("how"))
    rest = marked.unique(same, keep="first", maintain_order=True)
    blocks = rest.filter(pl.len().over(_BRAND, _NUMBERS).is_between(2, _LARGEST_BLOCK))
    near = [
        _near(block, threshold)
        for block in blocks.partition_by(_BRAND, _NUMBERS, maintain_order=True)
    ]
    return pl.concat([exact, *near]).sort(
        c.SCORE, c.ITEM_ID, descending=[True, False], maintain_order=True
    )


def _normalised(items: pl.DataFrame) -> pl.DataFrame:
    brand = pl.col(c.BRAND) if c.BRAND in items.columns else pl.lit("")
    words = _plain(pl.col(c.TITLE))
    return (
        items.select(c.ITEM_ID, _plain(brand.fill_null("")).alias(_BRAND), words.alias(_WORDS))
        .with_columns(
            pl.col(_WORDS).str.extract_all(r"\d+").list.sort().list.join(" ").alias(_NUMBERS)
        )
        .filter(pl.col(_WORDS) != "")
    )


def _plain(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()


def _near(block: pl.DataFrame, threshold: float) -> pl.DataFrame:
    words = block[_WORDS].to_list()
    likeness = process.cdist(
        words, words, scorer=fuzz.token_sort_ratio, score_cutoff=threshold, dtype=np.float32
    )
    former, later = np.nonzero(np.triu(likeness, k=1))
    ids = block[c.ITEM_ID]
    return pl.DataFrame(
        {
            c.ITEM_ID: ids.gather(later),
            "same_as": ids.gather(former),
            c.SCORE: likeness[former, later].astype(np.float64),
            "how": ["near"] * len(later),
        },
        schema={c.ITEM_ID: pl.String, "same_as": pl.String, c.SCORE: pl.Float64, "how": pl.String},
    )
