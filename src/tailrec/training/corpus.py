"""What a shop has to read: the texts of its items, reviews and searches, cleaned and counted."""

import hashlib
import html
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import polars as pl
from pydantic import Field

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.features.fields import FIELDS, item_texts
from tailrec.recipe import Recipe
from tailrec.training.marks import told_apart

Kind = Literal["items", "fields", "reviews", "searches"]

_TAG: Final = r"</?[A-Za-z][^<>]{0,300}>"
_ADDRESS: Final = r"(https?://|www\.)\S+"
_UNSEEN: Final = r"[\p{Cc}\x{FEFF}\x{200B}\x{00AD}]+"
_EVENTS: Final = MappingProxyType({"reviews": "review", "searches": "search"})


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts to learn from, each once, and texts to measure on, which none of the former repeats.

    Attributes:
        train: texts to learn from.
        held_out: whole texts, never single fields of items.
        counts: texts of each kind, after cleaning; one that is of two kinds counts for the first.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    counts: Mapping[str, int]

    def digest(self) -> str:
        """32 hexadecimal digits that change with any text."""
        whole = hashlib.sha256()
        for texts in (self.train, self.held_out):
            whole.update(told_apart(texts))
            whole.update(b"|")
        return whole.hexdigest()[:32]


class Texts(Recipe):
    """Which texts are read.

    Attributes:
        kinds: `items` are whole texts of items, `fields` single fields of theirs, `reviews` and
            `searches` what people wrote.
        fields: text columns of an item, in the order in which the encoder will read them.
        alone: text columns that are also read alone.
        shortest: fewest letters and digits of a text.
        longest: letters after which a text is cut off.
        held_out: share of the whole texts that are kept for measuring.
    """

    kinds: tuple[Kind, ...] = ("items", "fields", "reviews", "searches")
    fields: tuple[str, ...] = FIELDS
    alone: tuple[str, ...] = (c.DESCRIPTION,)
    shortest: int = Field(default=3, ge=1)
    longest: int = Field(default=20_000, ge=1)
    held_out: float = Field(default=0.05, gt=0, lt=1)

    def gather(self, catalog: Catalog | None, events: pl.DataFrame | None = None) -> Corpus:
        """Read the texts of a shop.

        A text is held out by a digest of its own, so new data move no text from one side to the
        other. An item that is held out lends no single field to training.

        Args:
            catalog: items; None or empty where there are none.
            events: columns of `columns.EVENTS`, any types of event; those without a text are
                passed over.

        Raises:
            DataError: there are too few texts to learn from and to measure on.
        """
        found: dict[str, str] = {}
        whole = self._cleaned(item_texts(catalog, self.fields)) if catalog is not None else []
        if "items" in self.kinds:
            found |= dict.fromkeys(filter(None, whole), "items")
        for kind, type_ in _EVENTS.items():
            if kind in self.kinds and events is not None:
                for text in filter(None, self._cleaned(_written(events, type_))):
                    found.setdefault(text, kind)
        held_out = {text for text in found if self._is_held_out(text)}
        if "fields" in self.kinds and catalog is not None:
            for text in self._alone(catalog, whole):
                found.setdefault(text, "fields")
        train = tuple(text for text in found if text not in held_out)
        if not train or not held_out:
            raise DataError(
                f"{len(found)} different texts of kinds {', '.join(self.kinds)} are too few to "
                f"learn from and to hold out {self.held_out:.0%}; ingest items with texts, "
                "reviews or searches"
            )
        kinds = list(found.values())
        counts: dict[str, int] = {kind: kinds.count(kind) for kind in self.kinds}
        return Corpus(train, tuple(text for text in found if text in held_out), counts)

    def _alone(self, catalog: Catalog, whole: Sequence[str]) -> Iterable[str]:
        for field in self.alone:
            for text, item in zip(self._cleaned(item_texts(catalog, [field])), whole, strict=True):
                if text and not self._is_held_out(item):
                    yield text

    def _cleaned(self, texts: Sequence[str]) -> list[str]:
        """Texts as people read them; empty where too little is left."""
        plain = [unicodedata.normalize("NFC", html.unescape(text)) for text in texts]
        text = pl.col(c.TEXT)
        for dress, instead in ((_TAG, " "), (_ADDRESS, " "), (_UNSEEN, " "), (r"\s+", " ")):
            text = text.str.replace_all(dress, instead)
        text = text.str.slice(0, self.longest).str.strip_chars()
        n_letters = text.str.count_matches(r"[\p{L}\p{N}]")
        kept = pl.when(n_letters >= self.shortest).then(text).otherwise(pl.lit(""))
        table = pl.DataFrame({c.TEXT: plain}, schema={c.TEXT: pl.String})
        return table.select(kept.alias(c.TEXT))[c.TEXT].to_list()

    def _is_held_out(self, text: str) -> bool:
        digest = hashlib.blake2b(text.casefold().encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.held_out * 2**64


def _written(events: pl.DataFrame, type_: str) -> list[str]:
    """What people wrote in events of a type; each text once."""
    if not {c.TYPE, c.TEXT} <= set(events.columns):
        return []
    own = events.filter(pl.col(c.TYPE) == type_)[c.TEXT]
    return own.cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()
