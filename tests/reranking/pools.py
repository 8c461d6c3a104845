"""Pools for the tests of variety, and plain readings of what the kernels do to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tailrec.items import PADDING, Array, Float64Array, ItemsBatch
from tailrec.reranking.variety import Method, Sides

METHODS: tuple[Method, ...] = ("mmr", "dpp", "categories", "interests", "popularity")
WINDOWED: tuple[Method, ...] = ("mmr", "dpp", "categories")


@dataclass(frozen=True)
class World:
    """Some pools and all that any method asks for."""

    pools: ItemsBatch
    sides: Sides


def unit(vectors: Array) -> Array:
    """Rows of unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def pools_of(scores: Sequence[Sequence[float]]) -> ItemsBatch:
    """Pools of items 0, 1, 2, ...; -inf is padding."""
    values = np.array(scores, np.float32)
    ids = np.where(np.isfinite(values), np.arange(values.shape[1]), PADDING)
    return ItemsBatch(ids.astype(np.int32), values)


def generic(seed: int, n_rows: int = 2, size: int = 9, dim: int = 12) -> World:
    """A world without ties: everything is drawn from continuous ranges."""
    rng = np.random.default_rng(seed)
    n_items = 2 * size
    ids = np.stack([rng.permutation(n_items)[:size] for _ in range(n_rows)]).astype(np.int32)
    scores = -np.sort(-rng.random((n_rows, size)).astype(np.float32), axis=1)
    return World(ItemsBatch(ids, scores), sides_of(rng, n_rows, n_items, dim))


def sides_of(rng: np.random.Generator, n_rows: int, n_items: int, dim: int) -> Sides:
    """Items with something in common, a few codes, and histories, some empty."""
    vectors = unit(rng.normal(size=(n_items, dim)) + 0.7)
    code = rng.integers(-1, 4, n_items).astype(np.int32)
    ptr = np.concatenate([[0], np.cumsum(rng.integers(0, 8, n_rows))])
    return Sides(vectors, code, ptr, rng.integers(-1, 6, ptr[-1]).astype(np.int32))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Worlds full of ties: equal scores, equal and zero vectors, items that only fill up."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    n_items = width + draw(st.integers(0, 5))
    sides = sides_of(rng, n_rows, n_items, 3)
    kinds = np.vstack([np.zeros((1, 3), np.float32), sides.vectors[:3]])
    vectors = kinds[rng.integers(0, len(kinds), n_items)]
    ids = np.stack([rng.permutation(n_items)[:width] for _ in range(n_rows)]).astype(np.int32)
    values = rng.choice([2.0, 1.5, 1.0, 0.3, 0.0, -1.0, -2.0], (n_rows, width))
    scores = -np.sort(-values, axis=1).astype(np.float32)
    padded = np.arange(width) >= rng.integers(0, width + 1, n_rows)[:, None]
    ids[padded], scores[padded] = PADDING, -np.inf
    pools = ItemsBatch(ids, scores, {"place": np.tile(np.arange(width), (n_rows, 1))})
    return World(pools, Sides(vectors, sides.code, sides.had_ptr, sides.had))


def relevance_of(scores: Array) -> Float64Array:
    """Scores of one pool without padding, scaled as it is documented."""
    proposed = scores[scores >= 0] if (scores >= 0).any() else scores
    low, high = float(proposed.min()), float(proposed.max())
    if high == low:
        return (scores >= low).astype(float)
    return np.clip((scores.astype(float) - low) / (high - low), 0, 1)


def greedy(
    scores: Array, n: int, gain: Callable[[list[int], int], float | tuple[float, ...]]
) -> list[int]:
    """Places of one pool, the highest gain first, proposals before what only fills up."""
    chosen: list[int] = []
    fills = (scores < 0) & (scores >= 0).any()
    while len(chosen) < min(n, len(scores)):
        left = [at for at in range(len(scores)) if at not in chosen]
        left = [at for at in left if not fills[at]] or left
        chosen.append(max(left, key=lambda at: gain(chosen, at)))
    return chosen


def by_method(
    world: World, row: int, method: Method, strength: float, window: int
) -> Callable[[list[int], int], float | tuple[float, ...]]:
    """The gain of one more item, read from the formula of the method."""
    pool = world.pools[row]
    relevance = relevance_of(pool.scores)
    if method == "categories":
        code = world.sides.code[pool.ids]

        def new(chosen: list[int], at: int) -> tuple[float, ...]:
            fits = relevance[at] >= (1 - strength) ** 3
            return fits, fits and code[at] >= 0 and code[at] not in code[chosen[-window:]]

        return new
    if method in ("interests", "popularity"):
        return lambda chosen, at: (
            (1 - strength) * relevance[at] - strength * divergence(world, row, [*chosen, at])
        )
    cosine = world.sides.vectors[pool.ids] @ world.sides.vectors[pool.ids].T
    if method == "mmr":
        return lambda chosen, at: (
            (1 - strength) * relevance[at]
            - strength * max([0.0, *(float(cosine[at, above]) for above in chosen[-window:])])
        )
    likeness = (1 + cosine.astype(float)) / 2
    np.fill_diagonal(likeness, 1)  # up to rounding, which would break ties of the first place
    bent = np.exp((1 - strength) / (2 * strength) * relevance)
    kernel = bent[:, None] * likeness * bent
    return lambda chosen, at: float(np.linalg.det(kernel[np.ix_(*[[*chosen[-window:], at]] * 2)]))


def measured(world: World, row: int, method: Method, slate: list[int], window: int) -> float:
    """How varied a slate of one pool is, by the measure of the method."""
    ids = world.pools[row].ids[slate]
    if method in ("interests", "popularity"):
        return -divergence(world, row, slate)
    if method == "categories":
        code = world.sides.code[ids].tolist()
        return sum(
            one >= 0 and one not in code[max(at - window, 0) : at] for at, one in enumerate(code)
        )
    vectors = world.sides.vectors[ids].astype(float)
    pairs = [
        1 - float(vectors[a] @ vectors[b])
        for a in range(len(ids))
        for b in range(max(a - window, 0), a)
    ]
    return float(np.mean(pairs)) if pairs else 0.0


def divergence(world: World, row: int, slate: list[int]) -> float:
    """KL(p || q) with q mixed with 1 % of p; 0 without a history."""
    had = world.sides.had[world.sides.had_ptr[row] : world.sides.had_ptr[row + 1]]
    had = had[had >= 0]
    shown = world.sides.code[world.pools[row].ids[slate]]
    shown = shown[shown >= 0]
    total = 0.0
    for group in np.unique(had):
        p = float((had == group).mean())
        q = float((shown == group).mean()) if len(shown) else 0.0
        total += p * np.log(p / (0.99 * q + 0.01 * p))
    return total
