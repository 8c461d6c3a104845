"""Words that may stand for each other in the texts of a shop: from a file, or learnt.

Learnt synonyms are words that stand in the same contexts: beside the same words, left and right.
Such words are alternatives, and often synonyms; but so are two colours. Where that matters, give
a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import polars as pl
from numpy.random import Generator
from pydantic import Field
from scipy import sparse

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.items import Array, BoolArray, Float32Array, Int64Array, StrArray
from tailrec.recipe import Recipe

ROW: Final = "row"
WORD: Final = "word"
CORE: Final = "core"
FACT: Final = (
    r"\d|^(xs|s|m|l|xl|xxl|ml|cl|g|kg|mg|oz|ounces?|fluid|fl|lbs?|pounds?|grams?|mm|cm|inch|inches|in|ft|"
    r"watts?|volts?|packs?|pcs|pieces?|counts?|pairs?|sets?|dozen|small|medium|large|"
    r"black|white|red|blue|green|yellow|pink|purple|brown|orange|grey|gray|gold|silver|beige|ivory)$"
)
"""Words that say how much, how large, how many or of which colour: another one is another item."""
_EDGE: Final = r"^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$"
_USUAL: Final = 0.1
"""Share of the texts from which a word is one of grammar, or says what the whole shop is."""
_TOGETHER: Final = 3.0
"""Times chance from which words that stand in one text complete each other."""
_BLOCK: Final = 512
"""Words compared with all others at once."""


def split_words(texts: Sequence[str]) -> pl.DataFrame:
    """The words of texts, as they are written and as they are looked up.

    Args:
        texts: [N] strings.

    Returns:
        row (uint32, position in `texts`), word (between blanks) and core (the word in lower case
        without the marks at its ends; empty where it is nothing but marks), a line a word.
    """
    frame = pl.DataFrame({WORD: list(texts)}, schema={WORD: pl.String}).with_row_index(ROW)
    words = frame.with_columns(pl.col(WORD).str.extract_all(r"\S+")).explode(WORD).drop_nulls(WORD)
    # Most words stand many times: each is looked at once.
    known = words.select(pl.col(WORD).unique(maintain_order=True))
    known = known.with_columns(
        pl.col(WORD).str.replace_all(_EDGE, "").str.to_lowercase().alias(CORE)
    )
    return words.join(known, on=WORD, how="left", maintain_order="left")


class Learning(Recipe):
    """How synonyms are learnt from a catalogue.

    Attributes:
        least: texts a word must stand in.
        words: most words looked at, the most frequent first.
        width: words to the left and to the right that are a word's context.
        alike: cosine of two words' contexts from which they may stand for each other.
        most: synonyms of one word.
    """

    least: int = Field(default=20, ge=2)
    words: int = Field(default=5_000, ge=2)
    width: int = Field(default=2, ge=1)
    alike: float = Field(default=0.2, gt=0, le=1)
    most: int = Field(default=5, ge=1)


@dataclass(frozen=True)
class Synonyms:
    """Words and what may stand for them.

    Attributes:
        table: word and other (both in lower case), sorted, a line a pair.
    """

    table: pl.DataFrame

    def __len__(self) -> int:
        return self.table[WORD].n_unique()

    @classmethod
    def read(cls, path: Path) -> Self:
        """A table from a file: lines of words with the same meaning, separated by commas.

        Words of numbers, sizes and colours are left out, and so are expressions of several words.

        Raises:
            DataError: the file cannot be read, or holds no pair of words.
        """
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"synonyms {path} cannot be read: {error}") from error
        groups = [[word.strip().lower() for word in line.split(",")] for line in lines]
        pairs = [(a, b) for group in groups for a in group for b in group if a != b]
        table = _table([a for a, _ in pairs], [b for _, b in pairs])
        if not len(table):
            message = "write words with the same meaning on a line, with commas between them"
            raise DataError(f"synonyms {path} holds no pair of words; {message}")
        return cls(table)

    @classmethod
    def learn(cls, catalog: Catalog, recipe: Learning | None = None) -> Self:
        """Words of the titles that stand in the same contexts.

        Words of brands, numbers, sizes and colours have no synonyms and are none; nor have words
        that stand in a tenth of the titles. Two words that often stand in one title complete
        each other, and are not taken.

        Args:
            catalog: titles, and brands where it has them.
            recipe: how; the defaults where None.

        Cost:
            The square of the words looked at.
        """
        options = recipe or Learning()
        words = split_words(catalog.text([c.TITLE])).filter(pl.col(CORE) != "")
        vocabulary = _vocabulary(words, catalog, options)
        if len(vocabulary) < 2:
            return cls(_table([], []))
        contexts, together = _contexts(words, vocabulary, options.width)
        left, right = _pairs(contexts, together, options)
        names = vocabulary[CORE].to_numpy().astype(object)
        return cls(_table(names[left].tolist(), names[right].tolist()))

    def replaced(self, words: pl.DataFrame, chosen: BoolArray, rng: Generator) -> pl.DataFrame:
        """Words with synonyms in the place of some.

        Args:
            words: result of `split_words`.
            chosen: bool [W], words that are replaced where they have a synonym.
            rng: picks one of several.

        Returns:
            The same lines; a replacement has the capitals and the marks of what it replaces.
        """
        known, first, size = self._ranges
        if not len(known):
            return words
        core = words[CORE].to_numpy().astype(object)
        at = words.select(
            pl.col(CORE).replace_strict(known.tolist(), np.arange(len(known)), default=-1)
        )
        place = at[CORE].to_numpy()
        luck = rng.random(len(words))
        rows = np.flatnonzero(chosen & (place >= 0))
        if not len(rows):
            return words
        own = place[rows]
        others = self.table["other"].to_numpy()
        picked = others[first[own] + (luck[rows] * size[own]).astype(np.int64)]
        written = words[WORD].to_numpy().astype(object).copy()
        written[rows] = [
            _in_dress(word, plain, new)
            for word, plain, new in zip(written[rows], core[rows], picked, strict=True)
        ]
        return words.with_columns(pl.Series(WORD, written.tolist(), dtype=pl.String))

    @cached_property
    def _ranges(self) -> tuple[StrArray, Int64Array, Int64Array]:
        """Words, where each one's synonyms begin in the table, and how many there are."""
        groups = self.table.with_row_index("first").group_by(WORD, maintain_order=True)
        each = groups.agg(pl.col("first").min().cast(pl.Int64), pl.len().cast(pl.Int64).alias("n"))
        words = each[WORD].to_numpy().astype(object)
        return words, each["first"].to_numpy(), each["n"].to_numpy()


def _table(words: list[str], others: list[str]) -> pl.DataFrame:
    pairs = pl.DataFrame(
        {WORD: words, "other": others}, schema={WORD: pl.String, "other": pl.String}
    )
    plain = [
        ~pl.col(name).str.contains(rf"{FACT}|\s") & (pl.col(name) != "") for name in pairs.columns
    ]
    return pairs.filter(plain).unique().sort(WORD, "other")


def _in_dress(word: str, core: str, new: str) -> str:
    """`new` written as `word` is: its capitals, and the marks around it."""
    start = word.lower().find(core)
    bare = word[start : start + len(core)]
    if len(bare) > 1 and bare.isupper():
        new = new.upper()
    elif bare[:1].isupper():
        new = new[:1].upper() + new[1:]
    return word[:start] + new + word[start + len(core) :]


def _vocabulary(words: pl.DataFrame, catalog: Catalog, options: Learning) -> pl.DataFrame:
    """core and n: the words that may have synonyms, most frequent first."""
    counts = words.group_by(CORE).agg(pl.col(ROW).n_unique().alias("n"))
    counts = counts.filter(pl.col("n").is_between(options.least, max(_USUAL * len(catalog), 2)))
    counts = counts.filter(~pl.col(CORE).str.contains(FACT))
    if c.BRAND in catalog.table.columns:
        brands = split_words(catalog.text([c.BRAND])).select(ROW, CORE).unique()
        own = words.select(ROW, CORE).unique().join(brands, on=[ROW, CORE]).group_by(CORE).len()
        counts = counts.join(own, on=CORE, how="left")
        # A fifth of its texts and more are of a brand that it belongs to: it is part of a name.
        counts = counts.filter(pl.col("len").fill_null(0) * 5 < pl.col("n"))
    return counts.sort(["n", CORE], descending=[True, False]).head(options.words).select(CORE, "n")


def _contexts(
    words: pl.DataFrame, vocabulary: pl.DataFrame, width: int
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """What stands beside each word, and which words often stand in one text.

    Returns:
        float32 [V, 2 · width · V], rows of unit length, and float32 [V, V], 1 where they do.
    """
    number = vocabulary.select(CORE).with_row_index("number")
    at = words.join(number, on=CORE, how="left", maintain_order="left")
    row = at[ROW].to_numpy()
    word = at["number"].fill_null(len(vocabulary)).to_numpy().astype(np.int64)
    n_words = len(vocabulary)
    parts = []
    for step in range(1, width + 1):
        near = (row[step:] == row[:-step]) & (word[step:] < n_words) & (word[:-step] < n_words)
        parts += [_counted(word[step:][near], word[:-step][near], n_words)]
        parts += [_counted(word[:-step][near], word[step:][near], n_words)]
    contexts = _surprise(sparse.hstack(parts, format="csr"))
    length = np.sqrt(np.asarray(contexts.multiply(contexts).sum(axis=1)).ravel())
    contexts = sparse.csr_array(sparse.diags_array(1 / np.where(length > 0, length, 1)) @ contexts)
    inside = word < n_words
    member = _counted(row[inside].astype(np.int64), word[inside], max(int(row[-1]) + 1, n_words))
    member = sparse.csr_array(member[:, :n_words])
    member.data[:] = 1
    together = sparse.csr_array(member.T @ member)
    often = vocabulary["n"].to_numpy()
    where = np.repeat(np.arange(n_words), np.diff(together.indptr))
    chance = often[where] * often[together.indices] / max(len(np.unique(row)), 1)
    together.data = (together.data > _TOGETHER * chance).astype(np.float32)
    return contexts, together


def _counted(left: Array, right: Array, size: int) -> sparse.csr_array:
    """float32 [size, size], how often each pair stands there."""
    ones = np.ones(len(left), np.float32)
    return sparse.coo_array((ones, (left, right)), shape=(size, size)).tocsr()


def _surprise(counts: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information of counts.

    Source:
        Church and Hanks 1990, https://aclanthology.org/J90-1003.
    """
    counts = sparse.csr_array(counts)
    total = float(counts.data.sum())
    by_row, by_column = (np.asarray(counts.sum(axis=axis)).ravel() for axis in (1, 0))
    where = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    expected = by_row[where] * by_column[counts.indices] / max(total, 1.0)
    counts.data = np.maximum(np.log(counts.data / expected), 0).astype(np.float32)
    return counts


def _pairs(
    contexts: sparse.csr_array, together: sparse.csr_array, options: Learning
) -> tuple[list[int], list[int]]:
    """Numbers of words and of what may stand for them; each is among the other's nearest."""
    n_words = contexts.shape[0]
    near = np.zeros((n_words, options.most), np.int64)
    alike = np.zeros((n_words, options.most), np.float32)
    for start in range(0, n_words, _BLOCK):
        rows = slice(start, min(start + _BLOCK, n_words))
        cosine: Float32Array = (contexts[rows] @ contexts.T).toarray()
        cosine[together[rows].toarray() > 0] = 0
        cosine[np.arange(len(cosine)), np.arange(rows.start, rows.stop)] = 0
        best = np.argsort(-cosine, axis=1, kind="stable")[:, : options.most]
        near[rows, : best.shape[1]] = best
        alike[rows, : best.shape[1]] = np.take_along_axis(cosine, best, axis=1)
    enough = alike >= options.alike
    left, right = np.repeat(np.arange(n_words), enough.sum(axis=1)), near[enough]
    both = set(zip(left.tolist(), right.tolist(), strict=True))
    kept = sorted(pair for pair in both if pair[::-1] in both)
    return [a for a, _ in kept], [b for _, b in kept]
