"""The Amazon review crawls of 2014, 2018 and 2023, brought to one set of columns."""

from collections.abc import Sequence

import polars as pl

from tailrec import columns as c
from tailrec.data.jsonlines import ROW
from tailrec.errors import SchemaError

_USER = ("reviewerID", "user_id")
# A product's sizes and colours share a parent; from 2023 on the metadata knows parents only.
_ITEM = ("parent_asin", "asin")
_RATING = ("overall", "rating")
_TIME = ("unixReviewTime", "timestamp", "reviewTime")
_NESTED = pl.List(pl.List(pl.String))


def reviews(frame: pl.DataFrame) -> pl.DataFrame:
    """Reviews, or ratings where the file has no words, as events."""
    words = [name for name in ("summary", "title", "reviewText", "text") if name in frame.columns]
    columns = {
        c.USER_ID: _one_of(frame, _USER),
        c.ITEM_ID: _one_of(frame, _ITEM),
        c.VALUE: _one_of(frame, _RATING),
        c.TIMESTAMP: _one_of(frame, _TIME),
        c.TYPE: pl.lit("review" if words else "rating"),
    }
    if words:
        columns[c.TEXT] = pl.concat_str(words, separator=". ", ignore_nulls=True)
    return frame.select(ROW, **columns)


def products(frame: pl.DataFrame) -> pl.DataFrame:
    """Metadata as items: the first category path, description and features as one text."""
    columns = {c.ITEM_ID: _one_of(frame, _ITEM), c.TITLE: pl.col(c.TITLE)}
    for ours, theirs in ((c.BRAND, ("brand", "store")), (c.PRICE, ("price",))):
        if any(name in frame.columns for name in theirs):
            columns[ours] = _one_of(frame, theirs)
    lists = [name for name in ("categories", "category") if name in frame.columns]
    if lists:
        columns[c.CATEGORY] = _path(frame, lists[0])
    texts = [_words(frame, name) for name in ("description", "features") if name in frame.columns]
    if texts:
        columns[c.DESCRIPTION] = pl.concat_str(texts, separator=" ", ignore_nulls=True)
    image = _image(frame)
    return frame.select(ROW, **(columns if image is None else {**columns, c.IMAGES: image}))


def _one_of(frame: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    present = [name for name in names if name in frame.columns]
    if not present:
        have = ", ".join(name for name in frame.columns if name != ROW)
        raise SchemaError(
            f"preset amazon: expected a column {' or '.join(names)}, but the columns are {have}"
        )
    return pl.col(present[0])


def _path(frame: pl.DataFrame, name: str) -> pl.Expr:
    if frame.schema[name] == pl.List(pl.String):
        return pl.col(name).list.join(c.CATEGORY_SEPARATOR)
    if frame.schema[name] == pl.String:
        nested = pl.when(pl.col(name).str.starts_with("[[")).then(name).str.json_decode(_NESTED)
        return nested.list.first().list.join(c.CATEGORY_SEPARATOR)
    return pl.lit(None, pl.String)


def _words(frame: pl.DataFrame, name: str) -> pl.Expr:
    if frame.schema[name] == pl.List(pl.String):
        return pl.col(name).list.join(" ")
    return pl.col(name).cast(pl.String)


def _image(frame: pl.DataFrame) -> pl.Expr | None:
    """The address of the first picture."""
    for name in ("imageURLHighRes", "imageURL"):
        if frame.schema.get(name) == pl.List(pl.String):
            return pl.col(name).list.first()
    if frame.schema.get("images") == pl.String:
        return pl.col("images").str.json_path_match("$[0].large")
    return pl.col("imUrl") if "imUrl" in frame.columns else None
