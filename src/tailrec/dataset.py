"""What a model learns from: a catalogue, ordered histories, and features of items.

These carriers stand in the ground because the protocols name them; `data/` fills them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from scipy import sparse

from tailrec import columns as c
from tailrec.errors import DataError, UnknownItem
from tailrec.items import (
    Array,
    BoolArray,
    Float32Array,
    Int8Array,
    Int32Array,
    Int64Array,
    QueryBatch,
    StrArray,
)

DAY_US = 86_400_000_000
"""Microseconds of a day: timestamps inside a `Dataset` are int64 microseconds, UTC."""


@dataclass(frozen=True)
class Catalog:
    """The items of a shop; an item's row is its catalogue number.

    Attributes:
        table: columns of `columns.ITEMS`, one row an item, `item_id` unique.
    """

    table: pl.DataFrame

    def __post_init__(self) -> None:
        if c.ITEM_ID not in self.table.columns:
            raise DataError(f"a catalogue needs a column {c.ITEM_ID!r}, got {self.table.columns}")
        if self.table[c.ITEM_ID].n_unique() != len(self.table):
            raise DataError("a catalogue names each item_id once; some stand twice")

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ids(self) -> StrArray:
        """object [I], item ids by catalogue number."""
        return self.table[c.ITEM_ID].to_numpy().astype(object)

    @cached_property
    def index(self) -> dict[str, int]:
        """Catalogue number by item id."""
        return {item_id: row for row, item_id in enumerate(self.ids)}

    def number(self, item_id: str) -> int:
        """Catalogue number of an item.

        Raises:
            UnknownItem: the shop has no such item.
        """
        try:
            return self.index[item_id]
        except KeyError:
            message = f"item {item_id!r} is not among the {len(self)} of this shop; ingest it first"
            raise UnknownItem(message) from None

    def text(self, fields: Sequence[str]) -> list[str]:
        """One text an item: the named fields, in that order, joined by blanks.

        Args:
            fields: text columns of `columns.ITEMS`; a column the table lacks counts as empty.

        Returns:
            [I] strings, empty where an item has none of the fields.
        """
        present = [name for name in fields if name in self.table.columns]
        if not present:
            return [""] * len(self)
        parts = [pl.col(name).cast(pl.String).fill_null("").str.strip_chars() for name in present]
        joined = pl.concat_str(parts, separator=" ").str.replace_all(r"\s+", " ").str.strip_chars()
        return self.table.select(joined.alias(c.TEXT))[c.TEXT].to_list()


@dataclass(frozen=True)
class Dataset:
    """Histories of users over a catalogue, ordered by user, then time.

    Attributes:
        catalog: every item known, with or without events.
        user_ids: object [U], unique.
        ptr: int64 [U + 1], user u's events are `ptr[u]:ptr[u + 1]`.
        item: int32 [E], catalogue numbers.
        time: int64 [E], microseconds since 1970, UTC; rising within a user.
        step: int32 [E], number of the event's basket or instant within its user, from 0.
        weight: float32 [E], what the event's type counts, above 0.
        type: int8 [E], position in `columns.EVENT_TYPES`.
        value: float32 [E], amount, rating or play count; NaN where there is none.
        now: int64, microseconds; the newest event, or the instant a split cuts at.
    """

    catalog: Catalog
    user_ids: StrArray
    ptr: Int64Array
    item: Int32Array
    time: Int64Array
    step: Int32Array
    weight: Float32Array
    type: Int8Array
    value: Float32Array
    now: int

    def __post_init__(self) -> None:
        n = int(self.ptr[-1])
        names = ("item", "time", "step", "weight", "type", "value")
        lengths = {name: len(getattr(self, name)) for name in names}
        if len(self.ptr) != len(self.user_ids) + 1 or any(v != n for v in lengths.values()):
            raise DataError(
                f"{len(self.user_ids)} users and bounds up to {n} do not fit columns of {lengths}"
            )

    @property
    def n_users(self) -> int:
        """How many users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """How many items, those without events included."""
        return len(self.catalog)

    @property
    def n_events(self) -> int:
        """How many events."""
        return len(self.item)

    @cached_property
    def user_index(self) -> dict[str, int]:
        """Row by user id."""
        return {user_id: row for row, user_id in enumerate(self.user_ids)}

    @cached_property
    def item_counts(self) -> Int64Array:
        """int64 [I], events of each item."""
        return np.bincount(self.item, minlength=self.n_items).astype(np.int64)

    @cached_property
    def user(self) -> Int32Array:
        """int32 [E], row of each event's user."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.ptr))

    @cached_property
    def begins(self) -> BoolArray:
        """bool [E], the first event of each step of each user."""
        begins = np.ones(self.n_events, np.bool_)
        begins[1:] = (np.diff(self.user) != 0) | (np.diff(self.step) != 0)
        return begins

    def matrix(self) -> sparse.csr_array:
        """float32 [U, I], summed event weights; items of a row sorted and unique."""
        shape = (self.n_users, self.n_items)
        return sparse.coo_array((self.weight, (self.user, self.item)), shape=shape).tocsr()

    def keep(self, events: Array, *, now: int | None = None) -> Self:
        """The same catalogue and users with only the events of a mask [E].

        Steps keep their numbers; users left without events stay, with empty histories.
        """
        counts = np.bincount(self.user[events], minlength=self.n_users)
        return replace(
            self,
            ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            item=self.item[events],
            time=self.time[events],
            step=self.step[events],
            weight=self.weight[events],
            type=self.type[events],
            value=self.value[events],
            now=self.now if now is None else now,
        )

    def queries(
        self, users: Int32Array | None = None, *, include_seen: bool = False, tail: float = 0.0
    ) -> QueryBatch:
        """Requests of these users, from all of their events in this dataset.

        Args:
            users: int32 [B], rows of users, or -1 for somebody without history; all of them
                where None.
            include_seen: do not exclude the items of the history.
            tail: passed on to the batch.

        Returns:
            B requests in the order of `users`.
        """
        rows = np.arange(self.n_users, dtype=np.int32) if users is None else users
        lengths = np.append(np.diff(self.ptr), 0)[rows]
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.repeat(self.ptr[rows] - ptr[:-1], lengths) + np.arange(ptr[-1])
        last = np.zeros(len(rows), np.int32)
        some = lengths > 0
        last[some] = self.step[self.ptr[rows[some] + 1] - 1]
        item = self.item[events]
        nothing = (np.zeros(len(ptr), np.int64), np.zeros(0, np.int32))
        exclude_ptr, exclude = nothing if include_seen else (ptr, item)
        return QueryBatch(
            ptr,
            item,
            np.repeat(last, lengths) - self.step[events],
            np.maximum((self.now - self.time[events]) / DAY_US, 0).astype(np.float32),
            self.weight[events],
            exclude_ptr,
            exclude,
            tail,
        )


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of the items besides behaviour; row = catalogue number.

    Attributes:
        words: float32 CSR [I, V], TF-IDF of the items' words, rows of unit length (or empty).
        dense: float32 [I, D], language-model vectors, rows of unit length (or zero).
    """

    words: sparse.csr_array
    dense: Float32Array

    def __len__(self) -> int:
        return len(self.dense)

    def rows(self, chosen: Array | slice) -> "Features":
        """The features of some items."""
        return Features(self.words[chosen], self.dense[chosen])

    def below(self, other: "Features") -> "Features":
        """These features, and other ones below them."""
        words = sparse.vstack([self.words, other.words], format="csr")
        return Features(words, np.concatenate([self.dense, other.dense]))
