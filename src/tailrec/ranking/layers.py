"""A small network over what is known of a case, as serving runs it: numpy alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from scipy.special import expit

from tailrec.items import Array, Float32Array, Float64Array

FAR: Final = 5.0
"""Spreads from the mean beyond which a number says no more."""


@dataclass(frozen=True, eq=False)
class Scale:
    """How numbers are read: in units of their spread, and beside them which are missing.

    Attributes:
        mean: float32 [F].
        spread: float32 [F], above 0.
    """

    mean: Float32Array
    spread: Float32Array

    @classmethod
    def of(cls, known: Float32Array) -> Self:
        """The scale of some cases [N, F]; a number that is nowhere known counts as 0."""
        there = ~np.isnan(known)
        n = np.maximum(there.sum(axis=0), 1)
        mean = np.where(there, known, 0).sum(axis=0) / n
        variance = np.square(np.where(there, known - mean, 0)).sum(axis=0) / n
        spread = np.sqrt(variance)
        return cls(mean.astype(np.float32), np.where(spread > 0, spread, 1).astype(np.float32))

    def __call__(self, known: Float32Array) -> Float32Array:
        """float32 [N, 2F], cases [N, F] as the network reads them."""
        missing = np.isnan(known)
        told = np.where(missing, 0, (known - self.mean) / self.spread)
        both = [np.clip(told, -FAR, FAR), missing]
        return np.concatenate(both, axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Layers:
    """A fitted network.

    Attributes:
        scale: how numbers are read.
        weights: float32 [in, out] of each layer; the last is 1 wide.
        offsets: float32 [out] of each layer.
    """

    scale: Scale
    weights: tuple[Float32Array, ...]
    offsets: tuple[Float32Array, ...]

    def odds(self, known: Float32Array) -> Float64Array:
        """float64 [N], log-odds of cases [N, F]."""
        x = self.scale(known)
        for number, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            if number:
                x = x * expit(x)
            x = x @ weight + offset
        return x[:, 0].astype(np.float64)

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        found: dict[str, Array] = {"mean": self.scale.mean, "spread": self.scale.spread}
        for number, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            found |= {f"weight.{number}": weight, f"offset.{number}": offset}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The network that gave these arrays."""
        n = sum(name.startswith("weight.") for name in arrays)
        return cls(
            Scale(arrays["mean"], arrays["spread"]),
            tuple(arrays[f"weight.{number}"] for number in range(n)),
            tuple(arrays[f"offset.{number}"] for number in range(n)),
        )
