"""Varied slates: five ways to say what varied means, behind one knob."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np

from tailrec.errors import DataError
from tailrec.items import (
    PADDING,
    Float32Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
)
from tailrec.kernels import kernel_view, over_rows
from tailrec.reranking.calibrated import Calibrated
from tailrec.reranking.categories import Categories
from tailrec.reranking.diversity import Mmr, cosines
from tailrec.reranking.dpp import Dpp
from tailrec.reranking.pool import Pool, Variety, scaled

Method = Literal["mmr", "dpp", "categories", "interests", "popularity"]
"""What varied means: items unlike each other, by pairs or together; many categories; the shares
of the person's own categories, or of the person's own tiers of popularity."""

STEPS: Final = 32
"""The knob goes up in steps of one part in so many."""
_SAME: Final = 1e-9
"""Measures no further apart are the same: one slate in two orders sums up differently."""
_BLOCK: Final = 1 << 20
"""Cosines held at once, in numbers."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known of the items of some pools and of the people; each method needs its part.

    Attributes:
        vectors: float32 [J, D], rows of unit length or zero; for `mmr` and `dpp`.
        code: int32 [J], category of each item, or tier; -1 where it has none. For the others.
        had_ptr: int64 [B + 1], bounds of the people's past; for `interests` and `popularity`.
        had: int32 [E], codes of the past items.
    """

    vectors: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    code: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    had_ptr: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    had: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))


def varied(
    pools: ItemsBatch,
    k: int,
    strength: float,
    *,
    method: Method,
    sides: Sides,
    window: int | None = None,
    width: int | None = None,
) -> ItemsBatch:
    """Slates of k from larger pools, trading relevance for variety.

    The knob means the same for every method. At 0 a slate is the first k of its pool. It goes up
    in steps of 1/32, rounded up; a greedy slate is made for every step up to it, and the one
    whose own measure is highest is shown, of equal ones that of the smallest step. So a higher
    knob never gives a less varied slate. What is measured: the mean distance of the pairs
    (`mmr`, `dpp`), the number of categories, or how close the shares are to those of the person.

    Items with a score below zero only fill up: none stands above one with a higher score than
    that, and beside those they have no relevance and no say in its scale.

    Args:
        pools: [B, P] scored items, best first; ids are rows of `sides`.
        k: places of a slate.
        strength: s in 0..1, the knob.
        method: what varied means.
        sides: what the method needs of items and people.
        window: items above an item that it has to differ from, in long feeds; None: all. Not
            for `interests` and `popularity`, which weigh slates as a whole.
        width: places that are returned where more are wanted than are measured, at least k
            or P: the greedy choice goes on below the k-th; None: k.

    Returns:
        [B, width] or [B, P] where that is less: items in the order shown, with the scores and
        columns they came with.

    Raises:
        DataError: an argument is out of range, or the sides are not those of the pools.

    Cost:
        D·P² for every row with `mmr` and `dpp`, and for every step k·P (`dpp`: k²·P).
    """
    _check(pools, k, strength, method, sides)
    k = min(k, pools.ids.shape[1])
    _check_sizes(k, window, width, method)
    width = min(max(width or k, k), pools.ids.shape[1])
    n_steps = int(np.ceil(strength * STEPS))
    if n_steps == 0 or k == 0:
        return pools.placed(np.tile(np.arange(width), (len(pools), 1)))
    places = np.empty((len(pools), width), np.int32)
    # A window as long as a slate is none; it must not end before what is returned does.
    span = width if window is None or window >= k else window
    pool = scaled(pools)
    made = _maker(method, pools, sides, span)
    # Only the cosines take room that counts; for the other methods blocks do no harm.
    block = max(_BLOCK // pools.ids.shape[1] ** 2, 1)

    def work(rows: slice) -> None:
        for start in range(rows.start, rows.stop, block):
            own = slice(start, min(start + block, rows.stop))
            part = Pool(pool.relevance[own], pool.proposed[own], pool.size[own])
            places[own] = _most_varied(made(own), part, n_steps, (k, width))

    over_rows(len(pools), work)
    return pools.placed(places)


def _most_varied(variety: Variety, pool: Pool, n_steps: int, sizes: tuple[int, int]) -> Int32Array:
    """Places in the pool [B, width] of the slates whose first k are the most varied."""
    k, width = sizes
    n_rows = len(pool.size)
    slates = np.empty((n_rows, 1 + n_steps, k), np.int32)
    slates[:, 0] = _first(pool, k)
    strengths = np.broadcast_to(np.arange(1, n_steps + 1) / STEPS, (n_rows, n_steps))
    slates[:, 1:] = variety.slates(pool, np.ascontiguousarray(strengths), k)
    measure = variety.measure(slates)
    step = np.argmax(measure >= measure.max(axis=1, keepdims=True) - _SAME, axis=1)
    if width == k:
        chosen: Int32Array = slates[np.arange(n_rows), step]
        return chosen
    wide = variety.slates(pool, np.maximum(step, 1)[:, None] / STEPS, width)[:, 0]
    return np.where(step[:, None] > 0, wide, _first(pool, width))


def _first(pool: Pool, n: int) -> Int32Array:
    """int32 [B, n], the first places of pools."""
    place = np.arange(n, dtype=np.int32)
    return np.where(place < pool.size[:, None], place, np.int32(PADDING))


def _maker(
    method: Method, pools: ItemsBatch, sides: Sides, window: int
) -> Callable[[slice], Variety]:
    """What makes a method for some rows of the pools."""
    if method in ("mmr", "dpp"):
        kind = Mmr if method == "mmr" else Dpp
        vectors = kernel_view(sides.vectors, np.float32)
        return lambda rows: kind(cosines(pools.ids[rows], vectors), window)
    code = np.where(pools.ids == PADDING, np.int32(-1), np.append(sides.code, -1)[pools.ids])
    code = code.astype(np.int32)
    if method == "categories":
        return lambda rows: Categories(code[rows], window)
    had_ptr, had = kernel_view(sides.had_ptr, np.int64), kernel_view(sides.had, np.int32)
    return lambda rows: Calibrated(code[rows], had_ptr[rows.start : rows.stop + 1], had)


def _check(pools: ItemsBatch, k: int, strength: float, method: Method, sides: Sides) -> None:
    if method not in get_args(Method):
        known = ", ".join(get_args(Method))
        raise DataError(f"there is no way to vary slates called {method!r}; there are {known}")
    if not 0 <= strength <= 1:
        raise DataError(f"the strength of variety is {strength}; it must lie in 0..1")
    if k < 1:
        raise DataError(f"slates of {k} places were asked for; they need at least 1")
    by_vectors = method in ("mmr", "dpp")
    n_known, what = (len(sides.vectors), "vectors") if by_vectors else (len(sides.code), "codes")
    # The kernels do not check bounds.
    if pools.ids.size and not PADDING <= pools.ids.min() <= pools.ids.max() < n_known:
        raise DataError(
            f"a pool holds item {pools.ids.max()}, and there are {n_known} {what}; "
            f"method {method!r} needs one for every item"
        )
    n_bounds, last = len(sides.had_ptr), int(sides.had_ptr[-1]) if len(sides.had_ptr) else 0
    by_history = method in ("interests", "popularity")
    if by_history and (n_bounds != len(pools) + 1 or last != len(sides.had)):
        raise DataError(
            f"had_ptr has {n_bounds} bounds up to {last}; method {method!r} needs "
            f"{len(pools) + 1} up to {len(sides.had)}: the past of every person"
        )


def _check_sizes(k: int, window: int | None, width: int | None, method: Method) -> None:
    if window is not None and window < 1:
        raise DataError(f"a window of {window} items was given; give at least 1, or None for all")
    if window is not None and method in ("interests", "popularity"):
        raise DataError(
            f"a window of {window} was given with method {method!r}, which weighs slates as "
            f"a whole; leave it out, or use 'mmr', 'dpp' or 'categories'"
        )
    if width is not None and width < k:
        raise DataError(f"width is {width}; it must be at least the {k} places that are measured")
