"""UCI Online Retail (doi:10.24432/C5BW33), also in its second edition: one raw file
of invoice lines that holds a shop's events, items and users."""

import polars as pl

from tailrec import columns as c
from tailrec.data.clean import RULE, Cleaned
from tailrec.data.cleaning import Cleaning
from tailrec.data.jsonlines import ROW
from tailrec.data.mapping import QUANTITY, json_object
from tailrec.data.rules import SOURCE

COUNTRY = "country"

_NOTE_WORDS = [
    "adjust",
    "allocate",
    "amazon",
    "barcode",
    "broken",
    "check",
    "counted",
    "cracked",
    "credit",
    "crushed",
    "dagamed",
    "damage",
    "display",
    "dotcom",
    "ebay",
    "faulty",
    "found",
    "given",
    "incorrect",
    "label",
    "lost",
    "mailout",
    "manual",
    "missing",
    "mix",
    "mouldy",
    "mystery",
    "rcvd",
    "returned",
    "reverse",
    "rusty",
    "sample",
    "showroom",
    "smashed",
    "sold",
    "stock",
    "temp",
    "test",
    "throw",
    "thrown",
    "unsaleable",
    "update",
    "website",
    "wet",
    "wrong",
]
NOTES = (
    r"^\W*$",
    r"^\?|\?$",
    *(rf"\b[{word[0].upper()}{word[0]}]{word[1:]}" for word in _NOTE_WORDS),
)
"""Descriptions that are somebody's note about the stock ("damaged?", "wrongly coded") and not the
name of a product. Products are written in capitals, notes are not: "CRACKED GLAZE" is a product."""

CLEANING = Cleaning(
    # Ids without a digit are postage, fees, samples, corrections; two party bags aside.
    no_product=(r"\D+", r"C2", r"23444", r"(?i)gift_0001_\d+", r"(?i)(test|adjust)\d*"),
    product=(r"DCGSS(GIRL|BOY)",),
    upper_items=True,
    notes=NOTES,
    upper_titles=True,
    max_price=10_000,
    cancel_prefix="C",
)

_SECOND_EDITION = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}
# Rows that fail only these rules were sales: they tell titles and prices all the same.
_SALES = ("users", "cancellations", "quantities", "bots")


def current_names(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of the second edition under the names of the first."""
    return frame.rename(_SECOND_EDITION, strict=False)


def derive(cleaned: Cleaned) -> dict[str, pl.DataFrame]:
    """Items and users from cleaned invoice lines.

    Args:
        cleaned: events with their working columns.

    Returns:
        items: those sold at least once that have a title; price is the median unit price, and
        created_at the first sale. Sales without a customer count here. users: those with events
        that were kept; the country is an attribute, created_at the first purchase.
    """
    anonymous = cleaned.rejected.filter(pl.col(RULE).is_in(_SALES))
    sales = pl.concat(
        [cleaned.kept, anonymous.select(cleaned.kept.columns)], how="vertical_relaxed"
    )
    sales = sales.filter(pl.col(QUANTITY) > 0).sort(SOURCE, ROW)
    items = sales.group_by(c.ITEM_ID, maintain_order=True).agg(
        pl.col(c.TITLE).drop_nulls().first(),
        pl.col(c.PRICE).median(),
        pl.col(c.TIMESTAMP).min().alias(c.CREATED_AT),
    )
    users = (
        cleaned.kept.sort(SOURCE, ROW)
        .group_by(c.USER_ID, maintain_order=True)
        .agg(pl.col(COUNTRY).drop_nulls().last(), pl.col(c.TIMESTAMP).min().alias(c.CREATED_AT))
    )
    return {
        "items": items.filter(pl.col(c.TITLE).is_not_null()).sort(c.ITEM_ID),
        "users": users.with_columns(json_object(users.select(COUNTRY)))
        .drop(COUNTRY)
        .sort(c.USER_ID),
    }
