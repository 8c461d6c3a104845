"""Words nobody wrote, read as words somebody wrote: misspelt, unfinished, parted, joined."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

from pydantic import Field
from rapidfuzz import process
from rapidfuzz.distance import OSA

from tailrec.recipe import Recipe
from tailrec.search.lexical import Postings, rarity_of

_LONGEST: Final = 32
"""Letters of a word that is looked at; what is longer is a serial number."""
_SHORTEST_PART: Final = 3
"""Letters of each part, at least, where one word is read as two or two as one."""
_SHORTEST_START: Final = 2
"""Letters that say which word is meant, at least, before it is finished."""

_MOST_READ: Final = 6
"""Unknown words of a request that are looked for, at most: each takes milliseconds."""
_NEXT: Final = 0.98
"""What the next term that may be meant counts beside the one before it."""


class Spelling(Recipe):
    """How far a word may be from what was typed.

    Edits are letters missing, added, exchanged, or swapped with their neighbours. Only words
    that no item has are read as others, and never such with digits.

    Attributes:
        one: letters from which a word may be one edit away; 0: no word is ever corrected.
        two: letters from which it may be two edits away, where none is one edit away.
        alternatives: most words tried for one; the rest of the request then decides between them.
    """

    one: Annotated[int, Field(ge=0)] = 4
    two: Annotated[int, Field(ge=0)] = 8
    alternatives: Annotated[int, Field(ge=1)] = 8


@dataclass(frozen=True, slots=True)
class Slot:
    """One word asked for.

    Attributes:
        word: as typed.
        terms: what may stand for it, and how much of its weight each has.
        ceiling: the most an item can get for it.
    """

    word: str
    terms: Mapping[str, float]
    ceiling: float


class Speller:
    """Reads what is typed with the words of a catalogue.

    Args:
        recipe: how far words may be apart.
        parts: postings of the catalogue, and of what came later.
    """

    def __init__(self, recipe: Spelling, parts: Sequence[Postings]) -> None:
        self._recipe = recipe
        self._parts = parts

    def slots(self, words: Sequence[str]) -> list[Slot]:
        """The terms that may stand for each word, and for neighbouring words together.

        Args:
            words: in the order typed.
        """
        distinct = dict.fromkeys(words)
        joined = {a + b: (a, b) for a, b in pairwise(words) if self._may_join(a, b)}
        in_joined = {word for both in joined.values() for word in both}
        pairs = {f"{a} {b}" for a, b in pairwise(words) if len(a) == len(b) == 1}
        together = [term for term in (*joined, *sorted(pairs)) if self._n_having(term)]
        unknown = [word for word in distinct if not self._n_having(word) and word not in in_joined]
        slots = [
            self._slot(word, [word])
            for word in dict.fromkeys([*distinct, *together])
            if self._n_having(word)
        ]
        for place, word in enumerate(unknown):
            read = place < _MOST_READ
            meant = self._meant(word, unfinished=word == words[-1]) if read else [[]]
            slots += [self._slot(word, some) for some in meant]
        return slots

    def _slot(self, word: str, terms: Sequence[str]) -> Slot:
        """Several terms for a word count as if all were as rare as the least rare of them.

        Else the rarest would win, and what is rare is seldom what was meant. Each counts a
        little less than the one before it, so that the first of them is meant where nothing
        else decides.
        """
        rarity = [self._rarity(term) for term in terms]
        ceiling = min(rarity, default=float(rarity_of(0, self._parts[0].n_rows)))
        shares = (ceiling / own * _NEXT**place for place, own in enumerate(rarity))
        return Slot(word, dict(zip(terms, shares, strict=True)), ceiling)

    def _meant(self, word: str, *, unfinished: bool) -> list[list[str]]:
        """Terms for a word that nobody wrote: for itself, or for each of two parts of it."""
        edits = self._edits(word)
        best = self._best(
            {**(self._near(word, 1) if edits else {}), **(self._begun(word) if unfinished else {})}
        )
        if best:
            return [best]
        if parts := self._parted(word):
            return [[part] for part in parts]
        return [self._best(self._near(word, 2)) if edits == 2 else []]

    def _edits(self, word: str) -> int:
        """Edits that are forgiven in a word."""
        one, two = self._recipe.one, self._recipe.two
        if not one or not one <= len(word) <= _LONGEST or any(map(str.isdigit, word)):
            return 0
        return 2 if two and len(word) >= two else 1

    def _near(self, word: str, edits: int) -> dict[str, int]:
        """Terms at most so many edits away, and how many items have each."""
        found: dict[str, int] = defaultdict(int)
        for part in self._parts:
            for length in range(len(word) - edits, len(word) + edits + 1):
                terms = part.by_length.get(length, [])
                for term, _, _ in process.extract(
                    word, terms, scorer=OSA.distance, score_cutoff=edits, limit=None
                ):
                    found[term] += part.n_having(term)
        return found

    def _begun(self, word: str) -> dict[str, int]:
        """Terms that begin like a word, and how many items have each."""
        found: dict[str, int] = defaultdict(int)
        if len(word) >= _SHORTEST_START:
            for part in self._parts:
                for term, n_having in part.beginning(word, self._recipe.alternatives).items():
                    found[term] += n_having
        return found

    def _best(self, found: Mapping[str, int]) -> list[str]:
        """The terms that most items have, ties in the order of letters."""
        having = [term for term, n_having in found.items() if n_having]
        return sorted(having, key=lambda t: (-found[t], t))[: self._recipe.alternatives]

    def _parted(self, word: str) -> tuple[str, str] | None:
        """Two words that together are this one, and that most items have both of."""
        having = {}
        for cut in range(_SHORTEST_PART, min(len(word), _LONGEST) - _SHORTEST_PART + 1):
            both = word[:cut], word[cut:]
            having[cut] = sum(part.n_having_both(*both) for part in self._parts)
        cut = max(having, key=lambda c: having[c], default=0)
        return (word[:cut], word[cut:]) if cut and having[cut] else None

    def _may_join(self, a: str, b: str) -> bool:
        return min(len(a), len(b)) >= _SHORTEST_PART and self._n_having(a + b) > 0

    def _n_having(self, term: str) -> int:
        return sum(part.n_having(term) for part in self._parts)

    def _rarity(self, term: str) -> float:
        known = (part.rarity_of_term(term) for part in self._parts if part.n_having(term))
        return next(known)
