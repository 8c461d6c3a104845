"""Slates that keep the proportions of the person's own history."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from tailrec.items import PADDING, Array, Float64Array, Int32Array, Int64Array
from tailrec.kernels import compiled
from tailrec.reranking.pool import Pool

SMOOTHING: Final = 0.01
"""Part of the history's shares that is mixed into the slate's: Steck's alpha."""
WORST: Final = -math.log(SMOOTHING)
"""Divergence of a slate that shows nothing of what the history holds."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Calibrated recommendations, of any grouping of the items.

    Greedy: next comes the item with the highest (1 - s)·relevance - s·KL(p || q), p the shares
    of the groups in the history, q those in the slate so far and the item, mixed with 1 % of p.
    Every past item and every place counts one; those without a group are left out. Without
    a history, slates are in the order of their pool.

    Attributes:
        code: int32 [B, P], groups of the pools' items; below 0 where an item has none.
        had_ptr: int64 [B + 1], bounds of the histories.
        had: int32 [E], groups of the past items, below 0 where one has none.

    Source:
        Steck 2018, doi:10.1145/3240323.3240372.
    """

    code: Int32Array
    had_ptr: Int64Array
    had: Int32Array

    def slates(self, pool: Pool, strengths: Float64Array, n: int) -> Int32Array:
        """The greedy slates; see `pool.Variety`. Cost: n·P for each strength."""
        places = np.full((*strengths.shape, n), PADDING, np.int32)
        sizes = pool.proposed, pool.size
        history = self.code, self.had_ptr, self.had
        _arrange(history, self._room(), (pool.relevance, *sizes), strengths, places)
        return places

    def measure(self, slates: Int32Array) -> Float64Array:
        """float64 [B, S], less the divergence KL(p || q) in nats; 0 without a history."""
        closeness = np.empty(slates.shape[:2])
        _measure((self.code, self.had_ptr, self.had), self._room(), slates, closeness)
        return closeness

    def _room(self) -> tuple[Float64Array, Float64Array, Float64Array, Int32Array]:
        """By group: share in the history, places in a slate, change of KL; and some groups."""
        n_groups = int(max(self.code.max(initial=0), self.had.max(initial=0))) + 1
        zeros = np.zeros((3, n_groups))
        return zeros[0], zeros[1], zeros[2], np.empty(self.code.shape[1], np.int32)


@compiled
def _remember(code: Int32Array, had: Int32Array, room: tuple[Array, Array, Array, Array]) -> int:
    """Set the shares of a history in those groups that the pool, too, holds, and list these.

    Returns:
        How many those are; -1 where the history has no group.
    """
    share, shown, change, both = room
    n_had, n_both = 0, 0
    for group in code:
        if group >= 0:
            share[group], shown[group], change[group] = 0, 0, 0
    for group in had:
        if group >= 0:
            share[group] = 0
    for group in had:
        if group >= 0:
            share[group] += 1
            n_had += 1
    for group in code:
        if group >= 0 and share[group] > 0 and shown[group] == 0:
            shown[group] = 1  # listed
            both[n_both] = group
            n_both += 1
    for group in both[:n_both]:
        share[group] /= n_had
    return n_both if n_had else -1


@compiled
def _part(share: float, shown: float, n_shown: int) -> float:
    """What one group gives to KL(p || q)."""
    if shown == 0:
        return share * WORST
    q = shown / n_shown
    return share * math.log(share / ((1 - SMOOTHING) * q + SMOOTHING * share))


@compiled
def _arrange(
    history: tuple[Array, Array, Array],
    room: tuple[Array, Array, Array, Array],
    pool: tuple[Array, Array, Array],
    strengths: Float64Array,
    places: Int32Array,
) -> None:
    """Fill `places` [B, S, n]; `pool` is relevance, proposed and size."""
    for row in range(len(places)):
        had = history[2][history[1][row] : history[1][row + 1]]
        size = pool[2][row]
        code = history[0][row, :size]
        n_both = _remember(code, had, room)
        for step in range(places.shape[1]):
            chosen = places[row, step, :size]
            if n_both < 0:
                chosen[:] = np.arange(len(chosen))
            else:
                both = room[3][:n_both]
                own = (pool[0][row, :size], pool[1][row])
                _choose(code, (room[0], room[1], room[2], both), own, strengths[row, step], chosen)


@compiled
def _choose(
    code: Int32Array,
    groups: tuple[Array, Array, Array, Array],
    pool: tuple[Array, int],
    strength: float,
    chosen: Int32Array,
) -> None:
    """Fill `chosen` for one person; `pool` is relevance and how many were proposed."""
    share, shown, change, both = groups
    relevance, proposed = pool
    elsewhere = 1.0
    for group in both:
        shown[group] = 0
        elsewhere -= share[group]
    now, n_shown = WORST, 0
    taken = np.zeros(len(code), np.bool_)
    for place in range(len(chosen)):
        other = max(elsewhere, 0.0) * WORST
        for group in both:
            same = _part(share[group], shown[group], n_shown + 1)
            change[group] = _part(share[group], shown[group] + 1, n_shown + 1) - same
            other += same
        low, high = (0, proposed) if place < proposed else (proposed, len(code))
        best, best_gain = -1, -np.inf
        for at in range(low, high):
            divergence = other + change[code[at]] if code[at] >= 0 else now
            gain = (1 - strength) * relevance[at] - strength * divergence
            if not taken[at] and gain > best_gain:
                best, best_gain = at, gain
        chosen[place] = best
        taken[best] = True
        group = code[best]
        if group >= 0:
            now = other + change[group]
            n_shown += 1
            shown[group] += 1


@compiled
def _measure(
    history: tuple[Array, Array, Array],
    room: tuple[Array, Array, Array, Array],
    slates: Int32Array,
    out: Float64Array,
) -> None:
    """Fill `out` [B, S] with divergences below zero."""
    share, shown = room[0], room[1]
    for row in range(len(slates)):
        code = history[0][row]
        had = history[2][history[1][row] : history[1][row + 1]]
        n_both = _remember(code, had, room)
        for step in range(slates.shape[1]):
            n_shown, elsewhere, total = 0, 1.0, 0.0
            for group in room[3][: max(n_both, 0)]:
                shown[group] = 0
            for at in slates[row, step]:
                if at != PADDING and code[at] >= 0:
                    n_shown += 1
                    shown[code[at]] += 1
            for group in room[3][: max(n_both, 0)]:
                elsewhere -= share[group]
                total += _part(share[group], shown[group], n_shown)
            out[row, step] = -(total + max(elsewhere, 0.0) * WORST) if n_both >= 0 else 0.0
