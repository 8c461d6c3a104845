"""The index of a shop: words read, then items ranked by words, meaning, demand and liking."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Self

import numpy as np
from pydantic import Field

from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.items import Array, BoolArray, Float32Array, Int32Array, Int64Array, Items
from tailrec.recipe import Recipe
from tailrec.search.lexical import Bm25, Postings
from tailrec.search.overlay import Overlay
from tailrec.search.spelling import Slot, Speller, Spelling
from tailrec.search.vocabulary import words_of

MOST_WORDS: Final = 32
"""Words of a request that are read; what comes after them is left out."""

Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


class SearchRecipe(Recipe):
    """What decides which items are found, and in which order.

    An item's relevance is (1 - m) · fit of its words + m · likeness of its meaning, both in 0..1.
    m is `meaning` where the item whose words fit best has every word asked for; the more of them
    it lacks, the less words are relied on, and m rises to 1. The score is the relevance times
    1 + a share for being popular + a share for being liked by the person asking.

    Attributes:
        words: how the words of items count.
        spelling: how far a word may be from what was typed.
        meaning: m above, share of the language model in the relevance.
        unlike: likeness of two texts, as a cosine, up to which they have nothing in common.
        reach: items less relevant than this share of the most relevant one are not found.
        popularity: what being the most popular item found adds to the score, as a share of it;
            others by the logarithm of their events.
        lean: what being popular takes away where a request leans to the tail altogether.
        liking: what being liked best by the person asking adds to the score, as a share of it.
    """

    words: Bm25 = Bm25()
    spelling: Spelling = Spelling()
    meaning: Share = 0.15
    unlike: Annotated[float, Field(ge=0, lt=1)] = 0.25
    reach: Share = 0.3
    popularity: NotNegative = 0.05
    lean: Share = 0.5
    liking: NotNegative = 0.3

    def fit(self, catalog: Catalog, dense: Float32Array) -> "SearchIndex":
        """Learn the words of a catalogue.

        Args:
            catalog: I items; row = catalogue number.
            dense: float32 [I, D], vectors of the items' meaning, rows of unit length or zero; no
                columns where a shop has no encoder.

        Raises:
            DataError: there is not one vector an item.
        """
        return SearchIndex.over(self, self.words.fit(catalog), dense)


@dataclass(frozen=True, slots=True)
class Reading:
    """What somebody typed, as the shop understands it.

    Attributes:
        text: what was typed, words corrected: this is what an encoder should read.
        corrected: what each word was read as, of those that were read as another.
        fit: float32 [n_items], how well each item's words fit, in 0..1.
        covered: how much of what was asked the item that fits best has, in 0..1: each word
            counts by how rare it is.
        allowed: bool [n_items], items that may be found; None for all.
    """

    text: str
    corrected: Mapping[str, str]
    fit: Float32Array
    covered: float
    allowed: BoolArray | None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    Attributes:
        items: the best, with columns words, meaning, popularity and liking that add up to the
            scores.
        matches: int32 [M], catalogue numbers of everything found, rising; facets count these.
        corrected: what each word was read as, of those that were read as another.
    """

    items: Items
    matches: Int32Array
    corrected: Mapping[str, str]


@dataclass(frozen=True)
class SearchIndex:
    """What was learnt of a catalogue, and what was put in since. It never changes.

    Attributes:
        recipe: options.
        postings: words of the I items of the fit.
        dense: float32 [I, D], their meaning.
        overlay: items that are new or changed since.
        n_items: catalogue numbers there are, those of the overlay included.
    """

    recipe: SearchRecipe
    postings: Postings
    dense: Float32Array
    overlay: Overlay
    n_items: int

    @classmethod
    def over(cls, recipe: SearchRecipe, postings: Postings, dense: Float32Array) -> Self:
        """An index that nothing was put into yet."""
        if len(dense) != postings.n_rows:
            raise DataError(f"{len(dense)} vectors were given for {postings.n_rows} items")
        overlay = Overlay.empty(postings, dense.shape[1])
        return cls(recipe, postings, dense, overlay, postings.n_rows)

    def put(
        self, catalog: Catalog, numbers: Int32Array, dense: Float32Array, n_items: int
    ) -> "SearchIndex":
        """The index with items that are new, or whose texts changed.

        What the fit or an earlier put says of these items no longer counts.

        Args:
            catalog: the items, whole.
            numbers: int32 [N], their catalogue numbers, unique.
            dense: float32 [N, D], their meaning.
            n_items: catalogue numbers there are from now on.

        Raises:
            DataError: the arguments do not fit together.

        Cost:
            Linear in the items put in since the fit; nothing of the fit is copied.
        """
        wrong = len({len(catalog), len(numbers), len(dense), len(np.unique(numbers))}) > 1
        outside = n_items < self.n_items or np.any((numbers < 0) | (numbers >= n_items))
        if wrong or outside or dense.shape[1:] != self.dense.shape[1:]:
            raise DataError(
                f"{len(catalog)} items, {len(numbers)} numbers and vectors {dense.shape} do not "
                f"fit an index of {self.n_items} items (then {n_items}) in "
                f"{self.dense.shape[1]} directions"
            )
        overlay = self.overlay.put(self.postings, self.recipe.words, catalog, numbers, dense)
        return replace(self, overlay=overlay, n_items=n_items)

    def read(self, words: str, *, allowed: BoolArray | None = None) -> Reading:
        """Understand what somebody typed.

        Args:
            words: in any script.
            allowed: bool [n_items], items that may be found; all of them where None.

        Raises:
            DataError: there are no words, or `allowed` is of another length.
        """
        if not words.strip():
            raise DataError("there are no words to search for")
        if allowed is not None and len(allowed) != self.n_items:
            raise DataError(f"{len(allowed)} items are allowed or not, of {self.n_items}")
        typed = words_of(words)[:MOST_WORDS]
        slots = Speller(self.recipe.spelling, (self.postings, self.overlay.postings)).slots(typed)
        total = self._lexical([slot.terms for slot in slots], allowed)
        said = self._said(slots, total)
        ceiling = sum(slot.ceiling for slot in slots) or 1.0
        covered = sum(slot.ceiling for slot, term in zip(slots, said, strict=True) if term)
        corrected = self._corrected(slots, said, allowed)
        # An encoder reads a word in one piece better than its parts.
        respelt = {word: term for word, term in corrected.items() if " " not in term}
        text = " ".join(respelt.get(word, word) for word in typed) if respelt else words
        fit = total / np.float32(ceiling)
        return Reading(text, corrected, fit, covered / ceiling, allowed)

    def search(
        self,
        reading: Reading,
        vector: Float32Array | None,
        *,
        k: int,
        counts: Int64Array,
        tail: float = 0.0,
        liking: Float32Array | None = None,
    ) -> Found:
        """Items that fit, best first, ties by catalogue number.

        Args:
            reading: result of `read`.
            vector: float32 [D], meaning of `reading.text`; None without an encoder.
            k: most items returned.
            counts: int64 [n_items], events of each item.
            tail: 0..1, lean to the long tail; 0: as the recipe says.
            liking: float32 [n_items], how much the person asking likes each item, at least 0.

        Raises:
            ValueError: tail is not in 0..1.
        """
        if not 0 <= tail <= 1:
            raise ValueError(f"tail is {tail}; it must lie in 0..1")
        recipe = self.recipe
        words = reading.fit
        if vector is None or not vector.any():
            meaning = np.zeros(self.n_items, np.float32)
        else:
            share = 1 - (1 - recipe.meaning) * reading.covered
            words = words * np.float32(1 - share)
            meaning = self._likeness(vector, reading.allowed) * np.float32(share)
        relevance = words + meaning
        floor = max(recipe.reach * float(relevance.max(initial=0)), 1e-9)
        matches = np.flatnonzero(relevance >= floor).astype(np.int32)
        relevant = relevance[matches]
        lean = (1 - tail) * recipe.popularity - tail * recipe.lean
        parts = {
            "words": words[matches],
            "meaning": meaning[matches],
            "popularity": relevant * np.float32(lean) * _shares(np.log1p(counts[matches])),
            "liking": np.zeros(len(matches), np.float32),
        }
        if liking is not None:
            parts["liking"] = relevant * np.float32(recipe.liking) * _shares(liking[matches])
        scores = np.add.reduce(list(parts.values()))
        best = _best(scores, k)
        columns = {name: part[best] for name, part in parts.items()}
        return Found(Items(matches[best], scores[best], columns), matches, reading.corrected)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, by name, for `from_arrays`: neither vectors nor what was put in."""
        return self.postings.arrays()

    @classmethod
    def from_arrays(
        cls, recipe: SearchRecipe, arrays: Mapping[str, Array], dense: Float32Array
    ) -> Self:
        """The index that gave `arrays`; nothing is copied.

        Args:
            recipe: the one it was fitted with.
            arrays: result of `arrays`; may be mapped from a file.
            dense: float32 [I, D], the vectors it was fitted with.
        """
        return cls.over(recipe, Postings.from_arrays(arrays), dense)

    def _lexical(
        self, wanted: Sequence[Mapping[str, float]], allowed: BoolArray | None
    ) -> Float32Array:
        """float32 [n_items], BM25."""
        fitted, later = (part.scores(wanted) for part in (self.postings, self.overlay.postings))
        total = self._spread(fitted, later)
        if allowed is not None:
            total *= allowed
        return total

    def _likeness(self, vector: Float32Array, allowed: BoolArray | None) -> Float32Array:
        """float32 [n_items], what the cosines leave above `unlike`, in 0..1."""
        unlike = np.float32(self.recipe.unlike)
        cosine = self._spread(self.dense @ vector, self.overlay.dense @ vector)
        likeness: Float32Array = np.maximum(cosine - unlike, 0) / (1 - unlike)
        if allowed is not None:
            likeness *= allowed
        return likeness

    def _spread(self, fitted: Float32Array, later: Float32Array) -> Float32Array:
        """Values of the fit [I] and of the overlay [M], which go before, as one [n_items]."""
        values = np.zeros(self.n_items, np.float32)
        values[: len(fitted)] = fitted
        values[self.overlay.numbers] = later
        return values

    def _said(self, slots: Sequence[Slot], total: Float32Array) -> list[str]:
        """The term by which the item that fits best has each slot; empty where it lacks it."""
        if not total.any():
            return [""] * len(slots)
        item = int(total.argmax())
        put = np.flatnonzero(self.overlay.numbers == item)
        part, row = (self.overlay.postings, int(put[0])) if len(put) else (self.postings, item)
        said = []
        for slot in slots:
            gives = {term: share * part.weight(term, row) for term, share in slot.terms.items()}
            term = max(gives, key=lambda name: gives[name], default="")
            said.append(term if term and gives[term] > 0 else "")
        return said

    def _corrected(
        self, slots: Sequence[Slot], said: Sequence[str], allowed: BoolArray | None
    ) -> dict[str, str]:
        """What each word was read as that the catalogue lacks; two parts are joined by a blank.

        Where several terms may be meant, it is the one in the item that fits best, else the
        first one that can be found: a word of hidden items alone is never told.
        """
        parts: dict[str, list[str]] = defaultdict(list)
        for slot, term in zip(slots, said, strict=True):
            if slot.word not in slot.terms:
                having = (t for t in slot.terms if self._lexical([{t: 1.0}], allowed).any())
                parts[slot.word].append(term or next(having, ""))
        return {word: " ".join(terms) for word, terms in parts.items() if all(terms)}


def _shares(values: Array) -> Float32Array:
    """Values of at least 0 as shares of the largest."""
    most = values.max(initial=0)
    return (values / most if most > 0 else np.zeros(len(values))).astype(np.float32)


def _best(scores: Float32Array, k: int) -> Array:
    """Places of the k largest, largest first, ties by place."""
    places = np.arange(len(scores))
    if k < len(scores):
        places = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    return places[np.argsort(-scores[places], kind="stable")][:k]
