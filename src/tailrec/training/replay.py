"""Pairs of earlier periods among those of a batch."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator

from tailrec.items import Array
from tailrec.training.pairs import Affinity, Pairs


class Source(Protocol):
    """What pairs are drawn from."""

    def draw(self, size: int, rng: Generator) -> Pairs:
        """Pairs, at most so many."""
        ...


@dataclass(frozen=True)
class Replay:
    """Pairs of two sources.

    Attributes:
        earlier: of periods before.
        share: of a batch that is drawn from these.
    """

    earlier: Affinity
    share: float

    def beside(self, own: Source) -> Source:
        """Draws from both."""
        return _Both(self, own)


@dataclass(frozen=True)
class _Both:
    replay: Replay
    own: Source

    def draw(self, size: int, rng: Generator) -> Pairs:
        n_earlier = round(self.replay.share * size)
        parts = [
            source.draw(n, rng)
            for source, n in ((self.own, size - n_earlier), (self.replay.earlier, n_earlier))
            if n
        ]
        width = max(part.anchor.shape[1] for part in parts)
        return Pairs(
            np.concatenate([_padded(part.anchor, width, -1) for part in parts]),
            np.concatenate([_padded(part.weight, width, 0) for part in parts]),
            np.concatenate([part.target for part in parts]),
        )


def _padded(values: Array, width: int, fill: int) -> Array:
    room = ((0, 0), (0, width - values.shape[1]))
    return np.pad(values, room, constant_values=fill)
