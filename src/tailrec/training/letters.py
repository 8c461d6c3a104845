"""A vocabulary from a shop's own texts: letters of any script, and pieces of words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Final

import polars as pl
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from tailrec.errors import DataError
from tailrec.features.tokens import UNSPACED

SPECIAL: Final = MappingProxyType(
    {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
)
"""Tokens that no text has, by what they are for."""

_LATER: Final = "##"
"""Before a piece that does not begin its word."""
_WORDS: Final = 50_000
"""Words looked at, most frequent first."""
_LONGEST: Final = 16
"""Letters of a piece."""
_SAME: Final = 0.9
"""A piece is left out if a longer one stands in so many of its places."""


def unspaced(texts: Iterable[str]) -> frozenset[str]:
    """The letters of scripts without blanks that stand in texts."""
    letters = pl.Series(sorted(set().union(*texts)), dtype=pl.String)
    return frozenset(letters.filter(letters.str.contains(f"[{UNSPACED}]")).to_list())


def learn_tokenizer(texts: Sequence[str], *, vocabulary: int, rarest: int) -> Tokenizer:
    """A WordPiece tokenizer whose pieces are letters where a script puts no blanks.

    Texts are normalised (NFKC) and put in lower case; marks above and below letters stay, as in
    some scripts they are the vowels. Every letter is a piece; then come those that save the most
    tokens, by how often they stand in the texts. The same texts give the same pieces, which the
    usual way of merging pairs does not where pairs are equally frequent.

    Args:
        texts: to learn from.
        vocabulary: most pieces, the tokens that no text has included.
        rarest: times that a letter or a piece occurs at least.

    Raises:
        DataError: no letter occurs so often.
    """
    tokenizer = Tokenizer(WordPiece({}, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Split(Regex(f"[{UNSPACED}]"), "isolated"),
        ]
    )
    words: Counter[str] = Counter()
    for text in texts:
        plain = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain))
    entries = [*SPECIAL.values(), *_letters(words, rarest)][:vocabulary]
    if len(entries) == len(SPECIAL):
        raise DataError(
            f"no letter stands {rarest} times in these {len(texts)} texts; give more texts, or "
            "lower `rarest`"
        )
    entries += _pieces(words, rarest)[: vocabulary - len(entries)]
    numbers = {entry: number for number, entry in enumerate(entries)}
    tokenizer.model = WordPiece(numbers, unk_token=SPECIAL["unk_token"])
    first, last = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(name, numbers[name]) for name in (first, last)],
    )
    tokenizer.decoder = decoders.WordPiece(_LATER)
    return tokenizer


def _letters(words: Counter[str], rarest: int) -> list[str]:
    """Letters, the most frequent first; of scripts with blanks also as what goes on in a word."""
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for letter in word:
            counts[letter] += n
    alone = unspaced(counts)
    found = []
    for letter, n in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        if n >= rarest:
            found += [letter] if letter in alone else [letter, _LATER + letter]
    return found


def _pieces(words: Counter[str], rarest: int) -> list[str]:
    """Pieces of two letters and more, those first that would save the most tokens."""
    counts: Counter[str] = Counter()
    for word, n in words.most_common(_WORDS):
        for start in range(len(word) - 1):
            before = _LATER if start else ""
            for stop in range(start + 2, min(len(word), start + _LONGEST) + 1):
                counts[before + word[start:stop]] += n
    within: Counter[str] = Counter()
    for piece, n in counts.items():
        plain = piece.removeprefix(_LATER)
        for shorter in (piece[:-1], _LATER + plain[1:]):
            within[shorter] = max(within[shorter], n)
    kept = {p: n for p, n in counts.items() if n >= rarest and within[p] < _SAME * n}
    saved = {piece: n * (len(piece.removeprefix(_LATER)) - 1) for piece, n in kept.items()}
    return sorted(saved, key=lambda piece: (-saved[piece], piece))
