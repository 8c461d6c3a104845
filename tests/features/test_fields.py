import polars as pl
import pytest

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.features.fields import FIELDS, item_texts, read_template, template_texts


def catalog(**columns: list[str | None]) -> Catalog:
    n_items = len(next(iter(columns.values())))
    return Catalog(pl.DataFrame({c.ITEM_ID: [f"i{n}" for n in range(n_items)], **columns}))


def test_fields_stand_in_the_order_asked_for() -> None:
    items = catalog(description=["d"], category=["c"], title=["t"], brand=["b"], attributes=["a"])
    assert item_texts(items) == ["t b c a d"]
    assert item_texts(items, ("brand", "title")) == ["b t"]
    assert set(FIELDS) <= set(c.ITEMS)


def test_table_dress_is_taken_off() -> None:
    items = catalog(
        title=["Mug", "Cup > bowl, {x}"],
        category=["Home > Kitchen > Mugs", None],
        attributes=['{"colour": "red", "sizes": ["S", "M"]}', "Blue|Steel"],
    )
    texts = [text.split() for text in item_texts(items)]
    assert texts[0] == ["Mug", "Home", "Kitchen", "Mugs", "colour", "red", "sizes", "S", "M"]
    assert texts[1] == ["Cup", ">", "bowl,", "{x}", "Blue", "Steel"]  # a title stays as it is


def test_a_brand_that_says_nothing_is_left_out() -> None:
    items = catalog(title=["a", "b", "c"], brand=["Unknown", " n/a ", "Unknown Pleasures"])
    assert item_texts(items) == ["a", "b", "c Unknown Pleasures"]


def test_items_without_text_are_empty() -> None:
    assert item_texts(catalog(title=[None, "  "])) == ["", ""]
    assert item_texts(catalog(price=["1"])) == [""]


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        (
            "{title} by {brand}. Kind: {category}",
            ["Mug by Acme. Kind: Home Cups", "Mug. Kind: Cups", "Acme", ""],
        ),
        ("{title} ({brand}), {category}.", ["Mug (Acme), Home Cups.", "Mug, Cups.", "Acme", ""]),
        ("Kind: {category}. {title}", ["Kind: Home Cups. Mug", "Kind: Cups. Mug", "", ""]),
        ("{brand} {{{title}}}", ["Acme {Mug}", "Mug", "Acme", ""]),
    ],
)
def test_a_template_drops_what_an_item_lacks(template: str, texts: list[str]) -> None:
    items = catalog(
        title=["Mug", " Mug ", None, ""],
        brand=["Acme", "unknown", "Acme", None],
        category=["Home > Cups", "Cups", "", None],
    )
    assert template_texts(items, read_template(template)) == texts


def test_a_template_reads_columns_that_are_not_there() -> None:
    assert template_texts(catalog(title=["Mug"]), read_template("{title} of {brand}")) == ["Mug"]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("no field", "names no field, such as {title}"),
        ("{title} {price}", "names the field 'price'; the text columns are title, brand"),
        ("{}", "names the field ''"),
        ("{title:>9}", r"changes the field 'title'; write {title} alone"),
        ("{title", "expected '}'"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused(template: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_template(template)
