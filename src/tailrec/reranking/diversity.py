"""More kinds of product in a slate: maximal marginal relevance over item vectors."""

from dataclasses import dataclass

import numpy as np

from tailrec.items import PADDING, Array, Float32Array, Float64Array, Int32Array
from tailrec.kernels import compiled, kernel_view
from tailrec.reranking.pool import Pool


@dataclass(frozen=True, slots=True)
class Mmr:
    """Maximal marginal relevance.

    Greedy: next comes the item with the highest (1 - s)·relevance - s·(highest cosine to what
    stands above it, at least 0).

    Attributes:
        cosine: float32 [B, P, P], of all pairs of a pool; see `cosines`.
        window: how many of the items above an item count.

    Source:
        Carbonell and Goldstein 1998, doi:10.1145/290941.291025.
    """

    cosine: Float32Array
    window: int

    def slates(self, pool: Pool, strengths: Float64Array, n: int) -> Int32Array:
        """The greedy slates; see `pool.Variety`. Cost: n·P for each strength."""
        places = np.full((*strengths.shape, n), PADDING, np.int32)
        sizes = pool.proposed, pool.size
        _arrange(self.cosine, (pool.relevance, *sizes), strengths, self.window, places)
        return places

    def measure(self, slates: Int32Array) -> Float64Array:
        """Mean distance of the pairs; see `mean_distance`."""
        return mean_distance(self.cosine, slates, self.window)


def cosines(ids: Int32Array, vectors: Float32Array) -> Float32Array:
    """Cosines of all pairs of every pool.

    The matrix library is not asked: its threads, one call a row, take milliseconds where they
    have to wait for a core.

    Args:
        ids: int32 [B, P], rows of `vectors`, `PADDING` at the end.
        vectors: float32 [J, D], rows of unit length or zero.

    Returns:
        float32 [B, P, P]; whatever it is beyond a pool's size.

    Cost:
        D·P² for every pool.
    """
    cosine = np.empty((*ids.shape, ids.shape[1]), np.float32)
    _multiply(kernel_view(ids), kernel_view(vectors), cosine)
    return cosine


def mean_distance(cosine: Float32Array, slates: Int32Array, window: int) -> Float64Array:
    """Mean of 1 - cosine over the pairs of items no more than `window` places apart.

    Args:
        cosine: float32 [B, P, P], of all pairs of a pool.
        slates: int32 [B, S, k], places in the pool, `PADDING` at the end.
        window: places.

    Returns:
        float64 [B, S]; 0 where there is no pair.
    """
    distance = np.empty(slates.shape[:2])
    _measure(cosine, slates, window, distance)
    return distance


@compiled
def _multiply(ids: Int32Array, vectors: Float32Array, out: Float32Array) -> None:
    """Fill `out` [B, P, P].

    Dimensions are outermost, eight at a time: the innermost loop is then a sum of vectors, which
    compiles to vector instructions, and every cosine is summed in one order wherever it stands.
    """
    dim = vectors.shape[1]
    padded = (dim + 7) // 8 * 8
    turned = np.zeros((padded, ids.shape[1]), np.float32)
    for row in range(len(ids)):
        size = 0
        while size < ids.shape[1] and ids[row, size] != PADDING:
            for d in range(dim):
                turned[d, size] = vectors[ids[row, size], d]
            size += 1
        cosine = out[row]
        cosine[:size, :size] = 0
        for d in range(0, padded, 8):
            for i in range(size):
                _add_products(turned[d : d + 8, i:size], cosine[i, i:size])
        for i in range(size):
            for j in range(i):
                cosine[i, j] = cosine[j, i]


@compiled
def _add_products(x: Float32Array, to: Float32Array) -> None:
    """Add to `to` [n] the products of the first column of `x` [8, n] with every column."""
    a, b, c, d, e, f, g, h = x[0, 0], x[1, 0], x[2, 0], x[3, 0], x[4, 0], x[5, 0], x[6, 0], x[7, 0]
    for j in range(len(to)):
        first = (a * x[0, j] + b * x[1, j]) + (c * x[2, j] + d * x[3, j])
        second = (e * x[4, j] + f * x[5, j]) + (g * x[6, j] + h * x[7, j])
        to[j] += first + second


@compiled
def _arrange(
    cosine: Float32Array,
    pool: tuple[Array, Array, Array],
    strengths: Float64Array,
    window: int,
    places: Int32Array,
) -> None:
    """Fill `places` [B, S, n]; `pool` is relevance, proposed and size."""
    n_items = cosine.shape[1]
    near = np.empty(n_items, np.float32)
    behind = np.empty((min(window, places.shape[2]), n_items), np.float32)
    for row in range(len(places)):
        relevance, proposed, size = pool[0][row], pool[1][row], pool[2][row]
        for step in range(places.shape[1]):
            strength, chosen = strengths[row, step], places[row, step]
            taken = np.zeros(size, np.bool_)
            for place in range(min(len(chosen), size)):
                _look_back(cosine[row], chosen, place, window, (near, behind))
                older = behind[place % window]
                low, high = (0, proposed) if place < proposed else (proposed, size)
                best, best_gain = -1, -np.inf
                for at in range(low, high):
                    alike = max(near[at], older[at])
                    gain = (1 - strength) * relevance[at] - strength * alike
                    if not taken[at] and gain > best_gain:
                        best, best_gain = at, gain
                chosen[place] = best
                taken[best] = True


@compiled
def _look_back(
    cosine: Float32Array,
    chosen: Int32Array,
    place: int,
    window: int,
    highest: tuple[Float32Array, Float32Array],
) -> None:
    """Bring up to `place` the highest cosines to the `window` items above it.

    Places are cut into blocks of one window. `near` holds the highest cosines to the items of
    the block of `place`, `behind` [m] those to the items from the m-th on of the block before:
    together the window, with one look at each item (van Herk 1992).
    """
    near, behind = highest
    if place % window:
        above = cosine[chosen[place - 1]]
        for at in range(len(near)):
            near[at] = max(near[at], above[at])
        return
    near[:] = 0
    behind[:] = 0
    if place == 0:
        return
    for m in range(window - 1, -1, -1):
        above = cosine[chosen[place - window + m]]
        for at in range(len(near)):
            later = behind[m + 1, at] if m + 1 < window else np.float32(0)
            behind[m, at] = max(later, above[at])


@compiled
def _measure(cosine: Float32Array, slates: Int32Array, window: int, out: Float64Array) -> None:
    """Fill `out` [B, S] with mean distances."""
    for row in range(len(slates)):
        for step in range(slates.shape[1]):
            slate = slates[row, step]
            total, n_pairs = 0.0, 0
            for place in range(len(slate)):
                if slate[place] == PADDING:
                    break
                for above in range(max(place - window, 0), place):
                    total += 1.0 - cosine[row, slate[place], slate[above]]
                    n_pairs += 1
            out[row, step] = total / max(n_pairs, 1)
