"""What travels from candidates to slate: queries in, scored items out.

Everything is batch first: a served request is a batch of one, so that an offline
number and a served slate come from the same code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
StrArray = NDArray[np.object_]
Array = NDArray[Any]

PADDING = -1
"""The id that fills the end of a row in an `ItemsBatch`."""


@dataclass(frozen=True, slots=True)
class Items:
    """Scored items of one request, best first.

    Attributes:
        ids: int32 [N], catalogue numbers, unique.
        scores: float32 [N], higher is better.
        columns: each [N]: source, tier, propensity, parts of a reason ...

    Raises:
        ValueError: lengths differ or an id stands twice.
    """

    ids: Int32Array
    scores: Float32Array
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.ids)
        lengths = {"scores": len(self.scores)} | {k: len(v) for k, v in self.columns.items()}
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            raise ValueError(f"ids has {n} entries, but {wrong}; every column needs {n}")
        if len(np.unique(self.ids)) != n:
            raise ValueError(f"ids holds {n - len(np.unique(self.ids))} repeated items")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Array) -> Self:
        """The items at `rows` (positions or a mask), in that order."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return type(self)(self.ids[rows], self.scores[rows], columns)


@dataclass(frozen=True, slots=True)
class ItemsBatch:
    """Scored items of B requests, best first, padded at the end.

    Attributes:
        ids: int32 [B, K], catalogue numbers; `PADDING` where a row is shorter.
        scores: float32 [B, K]; -inf at padding.
        columns: each [B, K].

    Raises:
        ValueError: shapes differ.
    """

    ids: Int32Array
    scores: Float32Array
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {"scores": self.scores.shape} | {k: v.shape for k, v in self.columns.items()}
        wrong = {name: shape for name, shape in shapes.items() if shape != self.ids.shape}
        if self.ids.ndim != 2 or wrong:
            raise ValueError(f"ids is {self.ids.shape} (must be [B, K]), but {wrong}")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Items:
        kept = self.ids[row] != PADDING
        columns = {name: values[row][kept] for name, values in self.columns.items()}
        return Items(self.ids[row][kept], self.scores[row][kept], columns)

    def ordered(self, order: Array) -> "ItemsBatch":
        """Every row in another order: `order` [B, K] holds places in the row."""
        at = (order + np.arange(len(order))[:, None] * self.ids.shape[1]).ravel()

        def put(values: Array) -> Array:
            # One take of everything: along an axis it takes several times as long for few rows.
            taken: Array = values.ravel()[at].reshape(order.shape)
            return taken

        columns = {name: put(values) for name, values in self.columns.items()}
        return ItemsBatch(put(self.ids), put(self.scores), columns)

    def placed(self, places: Int32Array) -> "ItemsBatch":
        """What stands at some places of every row, [B, W]; nothing where they are `PADDING`."""
        taken, empty = self.ordered(np.maximum(places, 0)), places == PADDING
        ids = np.where(empty, np.int32(PADDING), taken.ids)
        return ItemsBatch(ids, np.where(empty, np.float32(-np.inf), taken.scores), taken.columns)

    def rows(self, chosen: Array | slice) -> "ItemsBatch":
        """Some rows, by a slice, numbers or a mask."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return ItemsBatch(self.ids[chosen], self.scores[chosen], columns)

    def first(self, k: int) -> "ItemsBatch":
        """The first k places of every row."""
        columns = {name: values[:, :k] for name, values in self.columns.items()}
        return ItemsBatch(self.ids[:, :k], self.scores[:, :k], columns)

    def beside(self, other: "ItemsBatch") -> "ItemsBatch":
        """Rows with those of another batch behind them; columns the other lacks are `blank`."""

        def both(name: str, values: Array) -> Array:
            more = other.columns.get(name)
            lacking = more is None
            filled = blank(other.ids.shape, values.dtype) if lacking else more
            return np.concatenate([values, filled], axis=1)

        return ItemsBatch(
            np.concatenate([self.ids, other.ids], axis=1),
            np.concatenate([self.scores, other.scores], axis=1),
            {name: both(name, values) for name, values in self.columns.items()},
        )

    @classmethod
    def concat(cls, parts: "list[ItemsBatch]") -> "ItemsBatch":
        """Batches below each other, padded to the widest; columns common to all are kept."""
        common = set(parts[0].columns).intersection(*(p.columns for p in parts))
        width = max(part.ids.shape[1] for part in parts)

        def joined(arrays: list[Array], fill: object = None) -> Array:
            return np.concatenate([_widened(values, width, fill) for values in arrays])

        return cls(
            joined([p.ids for p in parts], PADDING),
            joined([p.scores for p in parts], -np.inf),
            {name: joined([p.columns[name] for p in parts]) for name in sorted(common)},
        )


def blank(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """What stands for missing values of a column: -1 in whole numbers, else 0, false or None."""
    fill = -1 if dtype.kind == "i" else None if dtype.kind == "O" else 0
    return np.full(shape, fill, dtype)


def _widened(values: Array, width: int, fill: object = None) -> Array:
    """Values [B, W] padded at the end to a width, with `blank` where no fill is given."""
    shape = (len(values), width - values.shape[1])
    if not shape[1]:
        return values
    more = blank(shape, values.dtype) if fill is None else np.full(shape, fill, values.dtype)
    return np.concatenate([values, more], axis=1)


@dataclass(frozen=True, slots=True)
class Query:
    """One request: what one person did, and what must not be shown.

    Attributes:
        item: int32 [E], catalogue numbers of the history, oldest first.
        age: int32 [E], steps back; 0 is the latest basket or instant.
        days: float32 [E], days between the event and now.
        weight: float32 [E], what the event's type counts.
        exclude: int32 [X], catalogue numbers never to be returned.
    """

    item: Int32Array
    age: Int32Array
    days: Float32Array
    weight: Float32Array
    exclude: Int32Array


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """B requests, histories and exclusions ragged: row b is `ptr[b]:ptr[b + 1]`.

    Attributes:
        ptr: int64 [B + 1], bounds of the histories.
        item: int32 [E], catalogue numbers, oldest first within a row.
        age: int32 [E], steps back; 0 is the row's latest basket or instant.
        days: float32 [E], days between the event and now, at least 0.
        weight: float32 [E], what the event's type counts.
        exclude_ptr: int64 [B + 1], bounds of the exclusions.
        exclude: int32 [X], catalogue numbers never to be returned for the row.
        tail: 0..1, how far scores lean to the long tail (0: as learnt).
        hidden: bool [I], items no row is shown; None hides none.

    Raises:
        ValueError: bounds and arrays do not fit together, or tail is not in 0..1.
    """

    ptr: Int64Array
    item: Int32Array
    age: Int32Array
    days: Float32Array
    weight: Float32Array
    exclude_ptr: Int64Array
    exclude: Int32Array
    tail: float = 0.0
    hidden: BoolArray | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.item), len(self.age), len(self.days), len(self.weight)}
        if lengths != {int(self.ptr[-1])}:
            raise ValueError(f"ptr ends at {self.ptr[-1]}, history columns have {sorted(lengths)}")
        if len(self.exclude_ptr) != len(self.ptr) or self.exclude_ptr[-1] != len(self.exclude):
            raise ValueError(
                f"exclude_ptr has {len(self.exclude_ptr)} bounds up to {self.exclude_ptr[-1]}; "
                f"{len(self.ptr)} bounds up to {len(self.exclude)} are needed"
            )
        if not 0.0 <= self.tail <= 1.0:
            raise ValueError(f"tail is {self.tail}; it must lie in 0..1")

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def __getitem__(self, row: int) -> Query:
        own = slice(self.ptr[row], self.ptr[row + 1])
        out = slice(self.exclude_ptr[row], self.exclude_ptr[row + 1])
        return Query(
            self.item[own], self.age[own], self.days[own], self.weight[own], self.exclude[out]
        )

    def rows(self, start: int, stop: int) -> "QueryBatch":
        """The requests `start:stop` as a batch of their own (arrays are views)."""
        own = slice(self.ptr[start], self.ptr[stop])
        out = slice(self.exclude_ptr[start], self.exclude_ptr[stop])
        return QueryBatch(
            self.ptr[start : stop + 1] - self.ptr[start],
            self.item[own],
            self.age[own],
            self.days[own],
            self.weight[own],
            self.exclude_ptr[start : stop + 1] - self.exclude_ptr[start],
            self.exclude[out],
            self.tail,
            self.hidden,
        )

    def latest(self, length: int, n_items: int) -> "QueryBatch":
        """The same requests with no more than the latest events of known items.

        Args:
            length: most events of a request.
            n_items: items from this number on are not known.
        """
        known = self.item < n_items
        upto = np.concatenate([[0], np.cumsum(known)])[self.ptr]
        place = np.cumsum(known) - 1
        late = np.repeat(upto[1:] - length, np.diff(self.ptr))
        kept = known & (place >= late)
        return replace(
            self,
            ptr=np.concatenate([[0], np.cumsum(kept)])[self.ptr].astype(np.int64),
            item=self.item[kept],
            age=self.age[kept],
            days=self.days[kept],
            weight=self.weight[kept],
        )

    def padded(self, rows: Array) -> Int64Array:
        """int64 [R, L], where the events of some requests are, oldest first; -1 pads."""
        own = self.ptr[rows][:, None] + np.arange(np.diff(self.ptr)[rows].max(initial=0))
        return np.where(own < self.ptr[rows + 1][:, None], own, -1)

    def take(self, rows: Int64Array) -> "QueryBatch":
        """Some of the requests, in any order.

        Args:
            rows: [R], numbers of requests.
        """
        ptr, own = ragged_rows(self.ptr, rows)
        out_ptr, out = ragged_rows(self.exclude_ptr, rows)
        return QueryBatch(
            ptr,
            self.item[own],
            self.age[own],
            self.days[own],
            self.weight[own],
            out_ptr,
            self.exclude[out],
            self.tail,
            self.hidden,
        )


def ragged_rows(ptr: Int64Array, rows: Array) -> tuple[Int64Array, Int64Array]:
    """Some rows of a ragged array, one after the other.

    Args:
        ptr: int64 [B + 1], bounds of all rows.
        rows: int [R], those wanted, in any order.

    Returns:
        int64 [R + 1], their bounds, and int64, where their values are among all values.
    """
    lengths = np.diff(ptr)[rows]
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return bounds, np.repeat(ptr[rows] - bounds[:-1], lengths) + np.arange(bounds[-1])
