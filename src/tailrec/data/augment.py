"""More text than the catalogue has: the same item in other words, for training.

`variants` is called with every batch, so it works on whole columns: a table of words is looked up,
and what is drawn is drawn for all words at once. Nothing that identifies an item is changed:
numbers, sizes and the words of its brand stay in every variant.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator
from pydantic import Field

from tailrec.data.synonyms import CORE, FACT, Synonyms, split_words
from tailrec.errors import DataError
from tailrec.items import BoolArray
from tailrec.recipe import Recipe

_ROW: Final = "row"
_WORD: Final = "word"


class Rewording(Recipe):
    """How texts of items are varied; each part is off at 0, or where it is none.

    Attributes:
        synonyms: share of the words with a synonym that are replaced in a variant.
        word_drop: share of the words that a variant leaves out; one always stays.
        back_translation: two translation models, there and back, by name or folder; none: no text
            is translated.
        translated: share of the variants that begin from the translated text, where there is one.
        descriptions: wordings made for each item from the facts of its row.
    """

    synonyms: float = Field(default=0.0, ge=0, le=1)
    word_drop: float = Field(default=0.0, ge=0, lt=1)
    back_translation: tuple[str, str] | None = None
    translated: float = Field(default=0.5, ge=0, le=1)
    descriptions: int = Field(default=0, ge=0)


class Augment(Rewording):
    """How a catalogue is made larger, by texts, pictures and people; each part is off at 0.

    Attributes:
        crop: smallest share of a picture's area that a crop keeps; 0: pictures stay whole.
        flip: share of the crops that are mirrored.
        virtual_users: people made up for each item that asks for them.
        virtual_length: items each of them has.
    """

    crop: float = Field(default=0.0, ge=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    virtual_users: int = Field(default=0, ge=0)
    virtual_length: int = Field(default=6, ge=2)


def variants(
    texts: Sequence[str],
    recipe: Rewording,
    rng: Generator,
    *,
    synonyms: Synonyms | None = None,
    brands: Sequence[str] | None = None,
    translated: Sequence[str] | None = None,
) -> list[str]:
    """Each text once more, in other words.

    Args:
        texts: [N] texts of items.
        recipe: which changes, and how many.
        rng: draws what is changed; the same rng and texts give the same variants.
        synonyms: words and what may stand for them; needed where `recipe.synonyms` is above 0.
        brands: [N] brands; their words are neither replaced nor left out.
        translated: [N] the same texts, translated there and back (`training.translate`); one that
            lost or gained a number is not used.

    Returns:
        [N] texts; the same as given where no change is asked for. Never empty where the text
        was not, and blanks are collapsed where a text is changed.

    Raises:
        DataError: synonyms are asked for and not given, or lengths differ.
    """
    _check(texts, recipe, synonyms, brands, translated)
    given = list(texts)
    if translated is not None and recipe.translated > 0:
        taken = (rng.random(len(given)) < recipe.translated) & same_numbers(given, translated)
        given = [b if t else a for a, b, t in zip(given, translated, taken, strict=True)]
    if recipe.synonyms == 0 and recipe.word_drop == 0:
        return given
    words = split_words(given)
    fixed = _fixed(words, brands)
    if synonyms is not None and recipe.synonyms > 0:
        words = synonyms.replaced(words, ~fixed & (rng.random(len(words)) < recipe.synonyms), rng)
    if recipe.word_drop > 0:
        words = words.filter(_kept(words, fixed, recipe.word_drop, rng))
    joined = words.group_by(_ROW, maintain_order=True).agg(pl.col(_WORD).str.join(" "))
    changed = np.array(given, dtype=object)
    changed[joined[_ROW].to_numpy()] = joined[_WORD].to_numpy()
    return list(changed)


def same_numbers(texts: Sequence[str], others: Sequence[str]) -> BoolArray:
    """Whether two texts hold the same numbers, in any order.

    Args:
        texts: [N] texts.
        others: [N] what is to say the same.

    Returns:
        bool [N].
    """
    pair = pl.DataFrame(
        {"a": list(texts), "b": list(others)}, schema=dict.fromkeys("ab", pl.String)
    )
    numbers = [pl.col(name).str.extract_all(r"\d+").list.sort() for name in "ab"]
    return pair.select((numbers[0] == numbers[1]).alias("same"))["same"].to_numpy()


def _check(
    texts: Sequence[str],
    recipe: Rewording,
    synonyms: Synonyms | None,
    brands: Sequence[str] | None,
    translated: Sequence[str] | None,
) -> None:
    if recipe.synonyms > 0 and synonyms is None:
        raise DataError(
            f"synonyms = {recipe.synonyms:g} asks for a table of synonyms and none is given; "
            "learn one with Synonyms.learn, read one with Synonyms.read, or set synonyms to 0"
        )
    for name, other in {"brands": brands, "translated": translated}.items():
        if other is not None and len(other) != len(texts):
            raise DataError(f"{name} are of {len(other)} texts; {len(texts)} are given")


def _fixed(words: pl.DataFrame, brands: Sequence[str] | None) -> BoolArray:
    """bool [W], words that say how much, how many or by whom."""
    core = pl.col(CORE)
    fixed = words.select(core.str.contains(FACT) | (core == ""))[CORE].to_numpy().copy()
    if brands is not None:
        named = split_words([brand or "" for brand in brands]).select(_ROW, CORE).unique()
        own = named.with_columns(pl.lit(True).alias("own"))
        found = words.select(_ROW, CORE).join(
            own, on=[_ROW, CORE], how="left", maintain_order="left"
        )
        fixed |= found["own"].fill_null(False).to_numpy()
    return np.asarray(fixed, np.bool_)


def _kept(words: pl.DataFrame, fixed: BoolArray, share: float, rng: Generator) -> BoolArray:
    """bool [W], words that stay: what is fixed, what luck keeps, and one of each text."""
    luck = rng.random(len(words))
    kept = fixed | (luck >= share)
    # The luckiest word of a text stays, so that no text is lost.
    row = words[_ROW].to_numpy()
    order = np.lexsort((-luck, row))
    kept[order[np.diff(row[order], prepend=-1) != 0]] = True
    return kept
