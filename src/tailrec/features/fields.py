"""One text an item: which of its fields, in which order, freed of their table dress."""

import string
from collections.abc import Sequence
from typing import Final, NamedTuple

import polars as pl

from tailrec import columns as c
from tailrec.dataset import Catalog

FIELDS: Final = (c.TITLE, c.BRAND, c.CATEGORY, c.ATTRIBUTES, c.DESCRIPTION)
"""Every text column, most telling first: an encoder keeps a text's beginning."""

_NO_BRAND: Final = ("", "unknown", "unbranded", "generic", "none", "n/a", "na", "null")
_BRACKETS: Final = r'[\[\]{}":,|]+'
_CLOSING: Final = ")]}>\"'”’»"


class Slot(NamedTuple):
    """A field's place in a template.

    Attributes:
        before: words that lead to it.
        field: text column.
        after: what closes it: brackets and quotation marks, and the template's last words.
    """

    before: str
    field: str
    after: str


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
    return _undressed(catalog, fields).text(fields)


def read_template(template: str) -> tuple[Slot, ...]:
    """The fields of a template and the words around them.

    Args:
        template: such as `{title} by {brand}`; `{{` and `}}` are braces themselves.

    Raises:
        ValueError: it names no field, one that is no text column, or is not well formed.
    """
    known = f"the text columns are {', '.join(FIELDS)}"
    slots: list[Slot] = []
    words = ""
    for literal, field, form, conversion in string.Formatter().parse(template):
        words += literal
        if field is None:
            continue
        if field not in FIELDS:
            raise ValueError(f"the template names the field {field!r}; {known}")
        if form or conversion:
            raise ValueError(f"the template changes the field {field!r}; write {{{field}}} alone")
        if slots:
            rest = words.lstrip(_CLOSING)
            slots[-1] = slots[-1]._replace(after=words[: len(words) - len(rest)])
            words = rest
        slots.append(Slot(words, field, ""))
        words = ""
    if not slots:
        raise ValueError(f"the template names no field, such as {{{FIELDS[0]}}}; {known}")
    slots[-1] = slots[-1]._replace(after=words)
    return tuple(slots)


def template_texts(catalog: Catalog, slots: Sequence[Slot]) -> list[str]:
    """Every item put into a template.

    A field that an item lacks goes with the words that lead to it and what closes it. The words
    that lead to a later field, and what closes it, also go where nothing stands before them.

    Args:
        catalog: the items.
        slots: result of `read_template`.

    Returns:
        [I] strings, empty where an item has none of the fields.
    """
    names = list(dict.fromkeys(slot.field for slot in slots))
    plain = _undressed(catalog, names)
    table = pl.DataFrame({name: pl.Series(plain.text([name]), dtype=pl.String) for name in names})
    parts: list[pl.Expr] = []
    begun = pl.lit(True)  # the first field's own words begin the text
    for number, slot in enumerate(slots):
        there = pl.col(slot.field) != ""
        parts += [
            pl.when(there & begun).then(pl.lit(slot.before)).otherwise(pl.lit("")),
            pl.col(slot.field),
            pl.when(there & begun)
            .then(pl.lit(slot.after))
            .when(there)
            .then(pl.lit(slot.after.lstrip(_CLOSING)))
            .otherwise(pl.lit("")),
        ]
        begun = there if number == 0 else begun | there
    return table.select(pl.concat_str(parts).str.strip_chars().alias(c.TEXT))[c.TEXT].to_list()


def _undressed(catalog: Catalog, fields: Sequence[str]) -> Catalog:
    brand = pl.col(c.BRAND)
    named = ~brand.str.strip_chars().str.to_lowercase().is_in(_NO_BRAND)
    plain = {
        c.BRAND: pl.when(named).then(brand).alias(c.BRAND),
        c.CATEGORY: pl.col(c.CATEGORY).str.replace_all(c.CATEGORY_SEPARATOR, " ", literal=True),
        c.ATTRIBUTES: pl.col(c.ATTRIBUTES).str.replace_all(_BRACKETS, " "),
    }
    present = [plain[name] for name in fields if name in plain and name in catalog.table.columns]
    return Catalog(catalog.table.with_columns(present))
