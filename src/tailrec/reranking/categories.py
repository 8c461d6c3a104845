"""As many categories in a slate as its items' relevance allows."""

from dataclasses import dataclass

import numpy as np

from tailrec.items import PADDING, Array, Float64Array, Int32Array
from tailrec.kernels import compiled
from tailrec.reranking.pool import Pool


@dataclass(frozen=True, slots=True)
class Categories:
    """Distinct categories above a floor of relevance.

    Greedy: next comes the most relevant item of a category that does not stand above yet, then
    the most relevant of all; both among items with a relevance of at least (1 - s)³. Those below
    follow, the most relevant first, where no other is left. Scores of a pool fall steeply: a floor
    of 1 - s would leave the lower half of the knob without effect.

    Attributes:
        code: int32 [B, P], categories of the pools' items; below 0 where an item has none. Such
            an item is never a new category.
        window: how many of the items above an item count.
    """

    code: Int32Array
    window: int

    def slates(self, pool: Pool, strengths: Float64Array, n: int) -> Int32Array:
        """The greedy slates; see `pool.Variety`. Cost: n·P for each strength."""
        places = np.full((*strengths.shape, n), PADDING, np.int32)
        sizes = pool.proposed, pool.size
        last = np.empty(int(self.code.max(initial=0)) + 1, np.int64)
        _arrange((self.code, last), (pool.relevance, *sizes), strengths, self.window, places)
        return places

    def measure(self, slates: Int32Array) -> Float64Array:
        """float64 [B, S], places whose category is not among the `window` places above.

        Where the window holds the slate: how many categories it shows.
        """
        kinds = np.empty(slates.shape[:2])
        last = np.empty(int(self.code.max(initial=0)) + 1, np.int64)
        _measure((self.code, last), slates, self.window, kinds)
        return kinds


@compiled
def _arrange(
    codes: tuple[Array, Array],
    pool: tuple[Array, Array, Array],
    strengths: Float64Array,
    window: int,
    places: Int32Array,
) -> None:
    """Fill `places` [B, S, n]; `pool` is relevance, proposed and size.

    With the codes comes room for the place where each stood last.
    """
    last = codes[1]
    for row in range(len(places)):
        relevance, proposed, size = pool[0][row], pool[1][row], pool[2][row]
        code = codes[0][row]
        for step in range(places.shape[1]):
            chosen, floor = places[row, step], (1 - strengths[row, step]) ** 3
            taken = np.zeros(size, np.bool_)
            for at in range(size):
                if code[at] >= 0:
                    last[code[at]] = -window - 1
            for place in range(min(len(chosen), size)):
                low, high = (0, proposed) if place < proposed else (proposed, size)
                first, best = -1, -1
                for at in range(low, high):
                    if taken[at]:
                        continue
                    first = at if first < 0 else first
                    if relevance[at] < floor:
                        break
                    if code[at] >= 0 and last[code[at]] < place - window:
                        best = at
                        break
                best = best if best >= 0 else first
                chosen[place] = best
                taken[best] = True
                if code[best] >= 0:
                    last[code[best]] = place


@compiled
def _measure(
    codes: tuple[Array, Array], slates: Int32Array, window: int, out: Float64Array
) -> None:
    """Fill `out` [B, S]; with the codes comes room for the place where each stood last."""
    last = codes[1]
    for row in range(len(slates)):
        code = codes[0][row]
        for step in range(slates.shape[1]):
            slate, n_kinds = slates[row, step], 0
            for at in slate:
                if at != PADDING and code[at] >= 0:
                    last[code[at]] = -window - 1
            for place in range(len(slate)):
                at = slate[place]
                if at != PADDING and code[at] >= 0:
                    if last[code[at]] < place - window:
                        n_kinds += 1
                    last[code[at]] = place
            out[row, step] = n_kinds
