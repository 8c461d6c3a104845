"""Rules over one catalogue: scores bent, and slates placed under caps and around pins."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tailrec.errors import DataError
from tailrec.items import (
    PADDING,
    Array,
    BoolArray,
    Float32Array,
    Int8Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    blank,
)
from tailrec.kernels import compiled, kernel_view

RULE: Final = "rule"
"""The column of a slate that says which kind of rule touched an item."""

NOTHING, PINNED, BOOSTED, BURIED = range(4)
TOUCHES: Final = ("nothing", "pinned", "boosted", "buried")
"""Names of the codes in `RULE`: `TOUCHES[code]`."""

UNLIMITED = -1
"""The code of an item that a cap does not count."""

_NO_ITEMS = np.zeros(0, np.int32)
_EVERY_ITEM = np.zeros(0, np.bool_)
"""Stands for a mask that allows all."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRules:
    """Rules as arrays by catalogue number; `Rules.compiled` makes them.

    Attributes:
        factor: float32 [I], what an item's score is multiplied by; 0: never shown.
        touch: int8 [I], what that is called: `NOTHING`, `BOOSTED` or `BURIED`.
        pins: int32 [N], pinned items, by rising place; those never shown are left out.
        pin_places: int32 [N], their places in a slate, 0 the top.
        codes: int32 [G, I], which count of cap g an item goes to, or `UNLIMITED`; counts of all
            caps are numbered through.
        limits: int32 [G], how many items of one count a slate may hold.
        n_counts: how many counts there are.
        unknown: ids the rules name and the catalogue lacks.
        reasons: the words for `why`, by catalogue number.
    """

    factor: Float32Array
    touch: Int8Array
    pins: Int32Array
    pin_places: Int32Array
    codes: Int32Array
    limits: Int32Array
    n_counts: int
    unknown: tuple[str, ...]
    reasons: Callable[[int], list[str]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.factor)

    def why(self, number: int) -> list[str]:
        """What the rules do to an item, a sentence each; empty where they do nothing.

        Raises:
            DataError: there is no such catalogue number.
        """
        if not 0 <= number < len(self):
            raise DataError(f"item number {number} is not among the {len(self)} of these rules")
        return self.reasons(number)

    def reweighted(self, pools: ItemsBatch) -> ItemsBatch:
        """Pools with the factors of the rules in their scores, in the order of the new scores.

        A score above 0 is multiplied by the factor, one below 0 is divided by it, so that a
        boost lifts and a bury lowers every item. Items with factor 0 are dropped. Without
        factors pools stay as they are.

        Args:
            pools: [B, P], padded at the end.

        Returns:
            [B, P] best first, ties by catalogue number, the columns carried along, and `RULE`.

        Raises:
            DataError: a pool holds an item the rules were not compiled for.
        """
        self._check(pools)
        if not self.touch.any():
            rule = np.full(pools.ids.shape, NOTHING, np.int8)
            return ItemsBatch(pools.ids, pools.scores, {**pools.columns, RULE: rule})
        factor = self.factor[pools.ids]
        shown = (pools.ids != PADDING) & (factor > 0)
        ids = np.where(shown, pools.ids, np.int32(PADDING))
        safe = np.where(shown, factor, np.float32(1))
        bent = np.where(pools.scores > 0, pools.scores * safe, pools.scores / safe)
        scores = np.where(shown, bent, np.float32(-np.inf))
        order = np.lexsort((ids, -scores), axis=-1)
        bent_pools = ItemsBatch(ids, scores, pools.columns).ordered(order)
        rule = np.where(bent_pools.ids == PADDING, np.int8(NOTHING), self.touch[bent_pools.ids])
        columns = {**bent_pools.columns, RULE: rule}
        return ItemsBatch(bent_pools.ids, bent_pools.scores, columns)

    def placed(
        self,
        pools: ItemsBatch,
        k: int,
        *,
        allowed: BoolArray | None = None,
        exclude: tuple[Int64Array, Int32Array] | None = None,
    ) -> ItemsBatch:
        """Slates of k items: pins at their places, the others in the order of their pool.

        Pins come first: one stands at its place even where a cap is full, and counts towards
        the cap for the items after it. An item that a full cap stops is passed over; a slate
        stays short where the pool ends, and pins below its end move up.

        Args:
            pools: [B, P] in the order to be kept, padded at the end.
            k: places of a slate, at least 1; pins below it are left out.
            allowed: bool [I], items that may be shown at all; None: all.
            exclude: ptr int64 [B + 1] and item int32 [X] of `QueryBatch`: items not to be shown
                in a row, pins included.

        Returns:
            [B, K], K at most k, with the columns of the pools and `RULE`. A pin its pool lacks has
            score 0 and no value in the columns: -1 in whole numbers, else 0, false or None.

        Raises:
            DataError: k is below 1, a pool holds an item the rules were not compiled for, or
                `allowed` or `exclude` are of another size.
        """
        self._check(pools)
        pools = pools if pools.ids.shape[1] else _one_wide(pools)
        ptr, out = exclude or (np.zeros(len(pools) + 1, np.int64), _NO_ITEMS)
        if k < 1 or len(ptr) != len(pools) + 1:
            raise DataError(f"k is {k} and exclude has {len(ptr)} bounds for {len(pools)} pools")
        if allowed is not None and len(allowed) != len(self):
            raise DataError(f"allowed is of {len(allowed)} items; the rules are of {len(self)}")
        if out.size and not 0 <= out.min() <= out.max() < len(self):
            raise DataError(f"exclude holds item number {out.max()}; there are {len(self)}")
        n_pins = int(np.searchsorted(self.pin_places, k))
        width = min(k, pools.ids.shape[1] + n_pins)
        ids = np.full((len(pools), width), PADDING, np.int32)
        places = np.full((len(pools), width), PADDING, np.int32)
        rule = np.full((len(pools), width), NOTHING, np.int8)
        may = _EVERY_ITEM if allowed is None else allowed
        _place(
            (kernel_view(pools.ids), kernel_view(ptr), kernel_view(out)),
            (self.pins[:n_pins], self.pin_places[:n_pins]),
            (self.codes, self.limits, np.zeros(self.n_counts, np.int32)),
            (self.factor, self.touch, kernel_view(may), np.zeros(len(self), np.uint8)),
            (ids, places, rule),
        )
        return _carried(pools, ids, places, rule)

    def _check(self, pools: ItemsBatch) -> None:
        # The kernel does not check bounds.
        if pools.ids.size and not PADDING <= pools.ids.min() <= pools.ids.max() < len(self):
            raise DataError(
                f"a pool holds item number {pools.ids.max()}; the rules were compiled for "
                f"{len(self)} items, compile them for this catalogue"
            )


def _carried(pools: ItemsBatch, ids: Int32Array, places: Int32Array, rule: Int8Array) -> ItemsBatch:
    """Slates with what their items have in the pools, by place there [B, K]."""
    lacking = places == PADDING
    at = np.arange(len(pools))[:, None], places  # what is lacking takes the last, for now
    scores = pools.scores[at]
    scores[lacking] = 0
    scores[ids == PADDING] = -np.inf
    columns = {}
    for name, values in pools.columns.items():
        columns[name] = values[at]
        columns[name][lacking] = blank((1,), values.dtype)
    return ItemsBatch(ids, scores, columns | {RULE: rule})


def _one_wide(pools: ItemsBatch) -> ItemsBatch:
    """Pools [B, 0] as pools [B, 1] of padding."""
    shape = (len(pools), 1)
    columns = {name: np.zeros(shape, values.dtype) for name, values in pools.columns.items()}
    ids = np.full(shape, PADDING, np.int32)
    return ItemsBatch(ids, np.full(shape, -np.inf, np.float32), columns)


@compiled
def _place(
    rows: tuple[Array, Array, Array],
    pins: tuple[Array, Array],
    caps: tuple[Array, Array, Array],
    items: tuple[Array, Array, Array, Array],
    slates: tuple[Array, Array, Array],
) -> None:
    """Fill slates: `ids`, `rule` and, where an item is in its pool, its place there; all [B, K].

    Rows are pools and exclusions, caps end with the counts and items with the marks, all zero.
    """
    barred, waits = 1, 2  # not to be shown (again); a pin whose place is to come
    (pools, exclude_ptr, exclude), (pinned, pin_places) = rows, pins
    (codes, _, count), (_, touch, allowed, mark), (ids, places, rule) = caps, items, slates
    for row in range(len(pools)):
        out = exclude[exclude_ptr[row] : exclude_ptr[row + 1]]
        for item in out:
            mark[item] = barred
        for n in range(len(pinned)):
            may = len(allowed) == 0 or allowed[pinned[n]]
            if may and mark[pinned[n]] == 0:
                mark[pinned[n]] = waits
                _count(codes, count, pinned[n], 1)
        size, at, due = 0, 0, 0
        while size < ids.shape[1]:
            while due < len(pinned) and mark[pinned[due]] != waits:
                due += 1
            found = PADDING
            if due == len(pinned) or pin_places[due] > size:
                found = _next(pools[row], at, caps, items)
            if found != PADDING:
                item, at = pools[row, found], found + 1
                _count(codes, count, item, 1)
            elif due < len(pinned):
                item = pinned[due]
                found = _where(pools[row], item)
            else:
                break
            ids[row, size], places[row, size] = item, found
            rule[row, size] = PINNED if mark[item] == waits else touch[item]
            mark[item] = barred
            size += 1
        for item in ids[row, :size]:
            _count(codes, count, item, -1)
            mark[item] = 0
        mark[out] = 0


@compiled
def _next(
    pool: Array,
    start: int,
    caps: tuple[Array, Array, Array],
    items: tuple[Array, Array, Array, Array],
) -> int:
    """The first place from `start` whose item may be shown and no cap stops."""
    (codes, limits, count), (factor, _, allowed, mark) = caps, items
    for at in range(start, len(pool)):
        item = pool[at]
        if item == PADDING:
            break
        fits = mark[item] == 0 and factor[item] > 0 and (len(allowed) == 0 or allowed[item])
        cap = 0
        while fits and cap < len(limits):
            code = codes[cap, item]
            fits = code == UNLIMITED or count[code] < limits[cap]
            cap += 1
        if fits:
            return at
    return PADDING


@compiled
def _count(codes: Int32Array, count: Int32Array, item: int, change: int) -> None:
    for cap in range(len(codes)):
        if codes[cap, item] != UNLIMITED:
            count[codes[cap, item]] += change


@compiled
def _where(pool: Int32Array, item: int) -> int:
    """The place of an item in a pool; `PADDING` where it is not there."""
    for at in range(len(pool)):
        if pool[at] == item:
            return at
    return PADDING
