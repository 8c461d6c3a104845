"""Texts as tokens, in pieces that a model can read, and batches of pieces of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from tailrec.errors import DataError, RecipeError
from tailrec.items import Int8Array, Int32Array, Int64Array, ragged_rows
from tailrec.training.letters import unspaced
from tailrec.training.masking import FIRST, LATER, LETTER, OUTSIDE

_AT_ONCE: Final = 2048
"""Texts given to the tokenizer at once: its own records are far larger than tokens."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """P pieces of texts, ragged: piece p is `ptr[p]:ptr[p + 1]`.

    Attributes:
        ptr: int64 [P + 1].
        ids: int32 [T], tokens, those at the ends included.
        parts: int8 [T], see `training.masking`.
    """

    ptr: Int64Array
    ids: Int32Array
    parts: Int8Array

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @classmethod
    def read(
        cls, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Self:
        """Cut texts into tokens; one longer than `max_length` makes several pieces.

        Pieces without any word that the tokenizer knows are left out.

        Raises:
            RecipeError: the tokenizer cannot tell where words begin.
            DataError: no piece is left.
        """
        if not tokenizer.is_fast:
            raise RecipeError(
                f"{type(tokenizer).__name__} does not tell where words begin; take a model with a "
                "tokenizer.json"
            )
        alone = unspaced(texts)
        ids: list[Int32Array] = []
        parts: list[Int8Array] = []
        for text, encoding in _encodings(texts, tokenizer, max_length):
            part = _parts(text, encoding, alone)
            own = np.array(encoding.ids, np.int32)
            part[own == tokenizer.unk_token_id] = OUTSIDE
            if np.any((part == FIRST) | (part == LETTER)):
                ids.append(own)
                parts.append(part)
        if not ids:
            raise DataError(f"the tokenizer knows no word of these {len(texts)} texts")
        ptr = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        return cls(ptr, np.concatenate(ids), np.concatenate(parts))

    def take(self, rows: Int64Array) -> "Pieces":
        """Some of the pieces."""
        bounds, flat = ragged_rows(self.ptr, rows)
        return Pieces(bounds, self.ids[flat], self.parts[flat])

    def padded(self, rows: Int64Array, pad: int) -> tuple[Int64Array, Int8Array]:
        """Some pieces side by side.

        Returns:
            int64 [B, L] tokens and int8 [B, L] parts; padding is `pad` and `OUTSIDE`.
        """
        lengths = np.diff(self.ptr)[rows]
        there = np.arange(lengths.max()) < lengths[:, None]
        _, flat = ragged_rows(self.ptr, rows)
        ids = np.full(there.shape, pad, np.int64)
        parts = np.full(there.shape, OUTSIDE, np.int8)
        ids[there], parts[there] = self.ids[flat], self.parts[flat]
        return ids, parts


class Plan:
    """Every piece once in each round, in batches of like length, in an order of its own.

    Attributes:
        n_batches: of a round.
    """

    def __init__(self, pieces: Pieces, batch_tokens: int, seed: int) -> None:
        """Cut a round into batches.

        Args:
            pieces: of which batches are made.
            batch_tokens: of a batch at most, padding counted; one piece may have more.
            seed: of the orders.
        """
        self._lengths = np.diff(pieces.ptr)
        self._seed = seed
        # Sorted lengths are the same in each round, and so are these bounds.
        self._bounds = _bounds(np.sort(self._lengths), batch_tokens)
        self.n_batches = len(self._bounds) - 1
        self._round: tuple[int, Int64Array, Int64Array] | None = None

    def rows(self, number: int) -> Int64Array:
        """int64 [B], the pieces of a batch; it depends on the number and the seed alone."""
        turn, place = divmod(number, self.n_batches)
        if self._round is None or self._round[0] != turn:
            rng = np.random.default_rng([self._seed, turn])
            order = np.lexsort((rng.random(len(self._lengths)), self._lengths))
            self._round = (turn, order, rng.permutation(self.n_batches))
        _, order, batches = self._round
        start, stop = self._bounds[batches[place] :][:2]
        return order[start:stop]

    def in_order(self) -> Iterator[Int64Array]:
        """The batches of one round, shortest first."""
        order = np.argsort(self._lengths, kind="stable")
        for start, stop in zip(self._bounds[:-1], self._bounds[1:], strict=True):
            yield order[start:stop]


def _bounds(lengths: Int64Array, batch_tokens: int) -> Int64Array:
    """Where to cut rising lengths so that no batch is larger than it may be."""
    bounds = [0]
    for row, length in enumerate(lengths):
        if row > bounds[-1] and length * (row + 1 - bounds[-1]) > batch_tokens:
            bounds.append(row)
    return np.array([*bounds, len(lengths)], np.int64)


def _encodings(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[tuple[str, Encoding]]:
    """Pieces of texts, each with the text it is of."""
    for start in range(0, len(texts), _AT_ONCE):
        some = list(texts[start : start + _AT_ONCE])
        told: Any = tokenizer(
            some, truncation=True, max_length=max_length, return_overflowing_tokens=True
        )
        for row, encoding in zip(told["overflow_to_sample_mapping"], told.encodings, strict=True):
            yield some[row], encoding


def _parts(text: str, encoding: Encoding, alone: frozenset[str]) -> Int8Array:
    """int8 [L]: what part of a word each token is.

    A word starts where the tokenizer says so, and at each letter of a script without blanks: a
    whole sentence would be one word otherwise.
    """
    parts = np.full(len(encoding.ids), OUTSIDE, np.int8)
    before: tuple[int | None, int] = (None, -1)
    for place, (word, (start, stop)) in enumerate(
        zip(encoding.word_ids, encoding.offsets, strict=True)
    ):
        if word is None:
            before = (None, -1)
            continue
        # SentencePiece counts the blank before a word to its first token.
        first = text[start:stop].lstrip()[:1]
        if first in alone and start != before[1]:
            parts[place] = LETTER
        elif word != before[0]:
            parts[place] = FIRST
        else:
            parts[place] = LATER
        before = (word, start)
    return parts
