"""A catalogue's texts in other words, drawn anew each time that an encoder learns from them.

Each time an item is read, its text is its own, or one of the wordings made from its facts, each
as likely; its own may be the one that was translated there and back. Words of it are then
replaced or left out (`data.augment`). What the words are drawn from is made once, of the texts of
the catalogue alone; nothing of it comes from behaviour.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.random import Generator

from tailrec import columns as c
from tailrec.data.augment import Rewording, variants
from tailrec.data.synonyms import Synonyms
from tailrec.data.wordings import descriptions
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.features.fields import read_template
from tailrec.features.text import Progress, TextEncoder
from tailrec.items import Array, Int64Array, StrArray
from tailrec.training.devices import Devices
from tailrec.training.marks import told_apart
from tailrec.training.recipes import Finetune
from tailrec.training.translate import translated_texts


@dataclass(frozen=True)
class Reworded:
    """Says the texts of items in other words.

    Attributes:
        recipe: which changes, and how many.
        reader: puts its prefix before every text, as it is.
        texts: object [T], of each item its own text, and behind it its wordings.
        first: int64 [I + 1], where each item's texts begin.
        brands: object [I], their words stay.
        synonyms: words and what may stand for them; None: no word is replaced.
        translated: object [T], the same texts there and back; None: none is translated.
    """

    recipe: Rewording
    reader: TextEncoder
    texts: StrArray
    first: Int64Array
    brands: StrArray
    synonyms: Synonyms | None = None
    translated: StrArray | None = None

    def __call__(self, items: Array, rng: Generator) -> list[str]:
        """Texts of some items [N], with the prefix; the same rng gives the same texts."""
        items = np.asarray(items, np.int64)
        n_texts = np.diff(self.first)[items]
        place = self.first[items] + (rng.random(len(items)) * n_texts).astype(np.int64)
        made = variants(
            self.texts[place].tolist(),
            self.recipe,
            rng,
            synonyms=self.synonyms,
            brands=self.brands[items].tolist(),
            translated=None if self.translated is None else self.translated[place].tolist(),
        )
        return self.reader.prefixed(made)

    @cached_property
    def digest(self) -> str:
        """Of all that the words depend on besides the recipe: 32 hexadecimal digits."""
        whole = hashlib.sha256(self.first.tobytes())
        parts: list[Sequence[str] | StrArray] = [[self.reader.item_prefix], self.texts, self.brands]
        if self.synonyms is not None:
            parts += [column.to_list() for column in self.synonyms.table.get_columns()]
        if self.translated is not None:
            parts.append(self.translated)
        for texts in parts:
            whole.update(f"{len(texts)};".encode())
            whole.update(told_apart(texts))
        return whole.hexdigest()[:32]


def reworded(
    recipe: Finetune,
    catalog: Catalog,
    reader: TextEncoder,
    *,
    cache: Path | None = None,
    home: Path | None = None,
    progress: Progress | None = None,
) -> Reworded | None:
    """What varies the texts of a catalogue while an encoder learns from them.

    Args:
        recipe: of the fine-tuning; `augment` says how.
        catalog: the items.
        reader: says which texts the encoder reads.
        cache: folder that keeps translations; None keeps nothing.
        home: folder of the shop, where a translation model's folder is looked for.
        progress: told how many texts are translated.

    Returns:
        None where nothing is to vary.

    Raises:
        DataError: the catalogue teaches no synonyms, or has no titles to make wordings of.
        RecipeError: a translation model cannot be loaded.
    """
    options = recipe.augment
    if options == Rewording():
        return None
    texts = reader.texts(catalog)
    synonyms = _learnt(catalog, options)
    items, wordings = _wordings(catalog, reader, options, recipe.course.seed)
    device = str(Devices(recipe.course.device).device)
    translated = translated_texts(
        texts, options, device=device, cache=cache, home=home, progress=progress
    )
    item = np.append(np.arange(len(texts)), items)
    order = np.argsort(item, kind="stable")
    return Reworded(
        options,
        reader,
        _column([*texts, *wordings])[order],
        np.searchsorted(item[order], np.arange(len(texts) + 1)).astype(np.int64),
        _column(catalog.text([c.BRAND])),
        synonyms,
        None if translated is None else _column([*translated, *wordings])[order],
    )


def _learnt(catalog: Catalog, options: Rewording) -> Synonyms | None:
    """Synonyms that the catalogue's titles teach, where any are asked for."""
    if options.synonyms == 0:
        return None
    learnt = Synonyms.learn(catalog)
    if not len(learnt):
        raise DataError(
            f"synonyms = {options.synonyms:g} asks for words that stand for each other, and the "
            f"{len(catalog)} titles of this shop teach none; set synonyms to 0"
        )
    return learnt


def _wordings(
    catalog: Catalog, reader: TextEncoder, options: Rewording, seed: int
) -> tuple[Int64Array, list[str]]:
    """Catalogue number and text of wordings made of the fields that the encoder reads."""
    if options.descriptions == 0:
        return np.zeros(0, np.int64), []
    fields = reader.fields
    if reader.template is not None:
        fields = tuple(slot.field for slot in read_template(reader.template))
    read = [name for name in catalog.table.columns if name in (c.ITEM_ID, *fields)]
    rng = np.random.default_rng([seed, len(catalog)])
    made = descriptions(Catalog(catalog.table.select(read)), options, rng)
    if not len(made):
        raise DataError(
            f"descriptions = {options.descriptions} asks for wordings, which name an item by its "
            "title, and the encoder reads none; set descriptions to 0"
        )
    items = np.array([catalog.index[item_id] for item_id in made[c.ITEM_ID]], np.int64)
    return items, made[c.DESCRIPTION].to_list()


def _column(texts: list[str]) -> StrArray:
    return np.array(texts, dtype=object)
