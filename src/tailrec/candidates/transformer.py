"""A small transformer over events, as serving runs it: numpy alone.

An event attends to all events of its own step and of the steps before, and a bias learnt for how
many steps and days lie between two events takes the place of positions: a history may be of any
length, and the order within a basket, which means nothing, changes nothing. `sequence_net` is the
same in PyTorch, for training.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from tailrec.items import Array, BoolArray, Float32Array, Int32Array

STEPS: Final = (1, 2, 3, 4, 6, 10, 20)
"""Bounds of the classes of steps between two events."""
DAYS: Final = (1 / 24, 1, 3, 7, 14, 30, 90, 365)
"""Bounds of the classes of days between two events."""
N_CLASSES: Final = (len(STEPS) + 1) * (len(DAYS) + 1)
EPSILON: Final = 1e-5
"""Added to a variance before its root is taken."""

Parameters = Mapping[str, Float32Array]
"""Parameters of a block, by their names in `sequence_net.Block`; matrices are [out, in]."""


def classes(step: Int32Array, day: Float32Array) -> tuple[Int32Array, BoolArray]:
    """How far apart events are, and which may be attended to.

    Args:
        step: int32 [B, L], number of each event's step, rising; -1 pads.
        day: float32 [B, L], days at which they happened, from any origin.

    Returns:
        int32 [B, L, L], class of (event, earlier event); bool, whether the second is a real event
        of the first one's step or one before. Padding attends to itself.
    """
    back = step[:, :, None] - step[:, None, :]
    days = np.abs(day[:, :, None] - day[:, None, :])
    seen = (back >= 0) & (step >= 0)[:, None, :]
    seen |= np.eye(step.shape[1], dtype=np.bool_)
    by_step = np.searchsorted(STEPS, np.maximum(back, 0), side="right")
    by_day = np.searchsorted(DAYS, days, side="right")
    return (by_step * (len(DAYS) + 1) + by_day).astype(np.int32), seen


def contextual(
    vectors: Float32Array,
    between: Int32Array,
    seen: BoolArray,
    blocks: list[Parameters],
    heads: int,
) -> Float32Array:
    """What each event says in the light of those before.

    Args:
        vectors: float32 [B, L, W], of the events' items.
        between: int32 [B, L, L]; see `classes`.
        seen: bool [B, L, L]; see `classes`.
        blocks: parameters of each block.
        heads: of attention; W is a multiple of it.

    Returns:
        float32 [B, L, W], before the last norm.

    Source:
        Kang and McAuley 2018, doi:10.1109/ICDM.2018.00035; norms before each part as in Xiong et
        al. 2020, arXiv:2002.04745.
    """
    x = vectors
    for block in blocks:
        x = x + _attended(normed(x, block, "before"), between, seen, block, heads)
        inner = normed(x, block, "between") @ block["wide.weight"].T + block["wide.bias"]
        gated: Float32Array = inner / (1 + np.exp(-inner))
        x = x + gated @ block["narrow.weight"].T + block["narrow.bias"]
    return x


def normed(x: Float32Array, parameters: Parameters, name: str) -> Float32Array:
    """Layer norm over the last axis."""
    middle = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(middle).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
    out: Float32Array = middle / spread * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]
    return out


def _attended(
    x: Float32Array, between: Int32Array, seen: BoolArray, block: Parameters, heads: int
) -> Float32Array:
    n, length, width = x.shape
    parts = (x @ block["attend.weight"].T).reshape(n, length, 3, heads, width // heads)
    query, key, value = np.moveaxis(parts, (2, 3), (0, 2))  # each [B, H, L, W / H]
    logits = query @ key.swapaxes(-1, -2) / np.float32(np.sqrt(width // heads))
    logits += np.moveaxis(block["bias"][between], -1, 1)
    logits[~np.broadcast_to(seen[:, None], logits.shape)] = -np.inf
    logits -= logits.max(axis=-1, keepdims=True)
    shares: Array = np.exp(logits)
    shares /= shares.sum(axis=-1, keepdims=True)
    joined = (shares @ value).swapaxes(1, 2).reshape(n, length, width)
    out: Float32Array = joined @ block["join.weight"].T
    return out
