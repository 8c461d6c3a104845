"""Matching: the same product under several ids is proposed, and a variant is not."""

import polars as pl

from tailrec.data.match import match_items


def _pairs(titles: list[str | None], brands: list[str] | None = None) -> list[tuple[str, str, str]]:
    items = pl.DataFrame({"item_id": [f"{n}" for n in range(len(titles))], "title": titles})
    if brands is not None:
        items = items.with_columns(pl.Series("brand", brands))
    found = match_items(items)
    return found.select("item_id", "same_as", "how").rows()


def test_case_and_punctuation_do_not_tell_products_apart() -> None:
    assert _pairs(["Hand-Cream, 50 ml", "hand cream 50 ML.", "Soap"]) == [("1", "0", "exact")]


def test_words_in_another_order_are_near() -> None:
    assert _pairs(["Rose hand cream 50 ml", "Hand cream rose 50 ml"]) == [("1", "0", "near")]
    assert _pairs(["Rose petal hand cream", "Rose petal hand creme"]) == [("1", "0", "near")]


def test_numbers_and_brands_tell_products_apart() -> None:
    assert _pairs(["Rose hand cream 50 ml", "Hand cream rose 75 ml"]) == []
    assert _pairs(["Hand cream", "Hand cream"], ["A", "B"]) == []
    assert _pairs([None, "Soap"]) == []


def test_nothing_matches_in_an_empty_catalogue() -> None:
    assert match_items(pl.DataFrame(schema={"item_id": pl.String, "title": pl.String})).is_empty()
