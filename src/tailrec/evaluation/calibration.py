"""Whether a slate keeps the proportions of the person's own history."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tailrec.evaluation.accuracy import PerUser, cut
from tailrec.items import PADDING, Array, Float64Array, Int8Array, Int32Array, Int64Array
from tailrec.kernels import compiled
from tailrec.tail.segments import COLD, HEAD, TAIL

SMOOTHING: Final = 0.01
"""Part of the history's shares that is mixed into the slate's: Steck's alpha."""


def miscalibration(
    past_ptr: Int64Array,
    past: Int32Array,
    ids: Int32Array,
    category: Int32Array,
    at: Sequence[int],
) -> PerUser:
    """How far a slate's categories are from those of the person's history.

    The divergence KL(p || q) in nats, of the shares p of the categories in the history and
    q in the slate, each event and each place counting one, with q mixed with 1 % of p. Events
    and places without a category are left out. Slates in which no place has a category get
    the worst value, so that NaN depends on the person alone: where the history has none.

    Args:
        past_ptr: int64 [B + 1], bounds of the histories.
        past: int32 [E], catalogue numbers.
        ids: int32 [B, K], slates, `PADDING` at the end.
        category: int32 [I], codes from 0, below 0 where an item has none.
        at: slate lengths k.

    Returns:
        ``"miscalibration@<k>"`` to float64 [B], 0 (the same shares) to -ln 0.01 = 4.61.

    Source:
        Steck 2018, doi:10.1145/3240323.3240372.
    """
    n_codes = int(category.max(initial=0)) + 1
    had, shown = np.zeros(n_codes), np.zeros(n_codes)
    divergence = np.empty(ids.shape)
    _diverge((past_ptr, past), ids, category, (had, shown), divergence)
    return cut("miscalibration", divergence, at)


@compiled
def _diverge(
    past: tuple[Array, Array],
    ids: Int32Array,
    code: Int32Array,
    counts: tuple[Float64Array, Float64Array],
    out: Float64Array,
) -> None:
    """Fill `out` [B, K] with the divergence up to each place; `counts` hold zeros."""
    had, shown = counts
    own = np.empty(len(had), np.int32)
    for row in range(len(ids)):
        n_own, n_had, n_shown = 0, 0, 0
        for item in past[1][past[0][row] : past[0][row + 1]]:
            if code[item] >= 0:
                if had[code[item]] == 0:
                    own[n_own] = code[item]
                    n_own += 1
                had[code[item]] += 1
                n_had += 1
        for place in range(ids.shape[1]):
            item = ids[row, place]
            if item != PADDING and code[item] >= 0:
                shown[code[item]] += 1
                n_shown += 1
            total = 0.0 if n_had else np.nan
            for kind in own[:n_own]:
                p = had[kind] / n_had
                q = shown[kind] / n_shown if n_shown else 0.0
                total += p * np.log(p / ((1 - SMOOTHING) * q + SMOOTHING * p))
            # Equal shares give 0 up to rounding.
            out[row, place] = total if not total < 0 else 0.0
        for kind in own[:n_own]:
            had[kind] = 0
        for item in ids[row]:
            if item != PADDING and code[item] >= 0:
                shown[code[item]] = 0


def popularity_deviation(
    past_ptr: Int64Array, past: Int32Array, ids: Int32Array, tier: Int8Array, at: Sequence[int]
) -> PerUser:
    """How far a slate's mix of head, middle and tail is from that of the person's history.

    The Jensen-Shannon divergence to base 2. Cold items count as tail. NaN for people without
    history, and where a slate is empty.

    Args:
        past_ptr: int64 [B + 1], bounds of the histories.
        past: int32 [E], catalogue numbers.
        ids: int32 [B, K], slates, `PADDING` at the end.
        tier: int8 [I], codes of `columns.TIERS`, counted on train.
        at: slate lengths k.

    Returns:
        ``"popularity_deviation@<k>"`` to float64 [B], 0 (the same mix) to 1.

    Source:
        Abdollahpouri et al. 2021, doi:10.1145/3450613.3456821 (user popularity deviation).
    """
    tier = np.where(tier == COLD, np.int8(TAIL), tier)
    n_tiers = TAIL - HEAD + 1
    row = np.repeat(np.arange(len(ids), dtype=np.int64), np.diff(past_ptr))
    cells = np.bincount(row * n_tiers + tier[past], minlength=len(ids) * n_tiers)
    had = _shares(cells.reshape(len(ids), n_tiers))
    figures = {}
    for k in at:
        top = ids[:, :k]
        places = np.where(top == PADDING, np.int8(-1), tier[top])
        shown = _shares(np.stack([(places == code).sum(1) for code in range(n_tiers)], axis=1))
        half = (had + shown) / 2
        figures[f"popularity_deviation@{k}"] = (_relative(had, half) + _relative(shown, half)) / 2
    return figures


def _shares(counts: Int64Array) -> Float64Array:
    """Rows [B, T] as shares of their sums; NaN where there is nothing."""
    total = counts.sum(1, keepdims=True)
    shares: Float64Array = np.full(counts.shape, np.nan)
    np.divide(counts, total, out=shares, where=total > 0)
    return shares


def _relative(p: Float64Array, q: Float64Array) -> Float64Array:
    """float64 [B], KL(p || q) of each row in bits; q is above 0 where p is."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p != 0)
    bits: Float64Array = (p * np.log2(ratio)).sum(1)
    return np.maximum(bits, 0.0)
