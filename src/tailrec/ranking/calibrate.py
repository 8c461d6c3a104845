"""From scores that order to chances that are true: Platt's curve, or a rising one of any shape.

Both take positions into account: what stands where only a share of the people look is clicked by
that share of those who would.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from tailrec.items import Array, BoolArray, Float64Array

Way = Literal["isotonic", "platt"]
_LEAST: Final = 1e-7
"""No chance is nearer to 0 or 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A rising curve from log-odds to a chance, straight between its knots.

    Attributes:
        at: float64 [T], log-odds, rising.
        chance: float64 [T], never falling.
    """

    at: Float64Array
    chance: Float64Array

    def __call__(self, odds: Float64Array) -> Float64Array:
        """Chances of log-odds; beyond the ends those at the ends."""
        return np.interp(odds, self.at, self.chance)

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        return {"at": self.at, "chance": self.chance}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The curve that gave these arrays."""
        return cls(arrays["at"], arrays["chance"])


def slopes(chance: Float64Array, click: Float64Array, clicked: BoolArray) -> Float64Array:
    """Slope of minus the log-likelihood in the log-odds of those who look.

    Args:
        chance: float64 [N], of a click by those who look.
        click: float64 [N], the same times the share of those who do; below 1.
        clicked: bool [N].
    """
    return np.where(clicked, chance - 1, click * (1 - chance) / (1 - click))


def calibrated(
    odds: Float64Array, clicked: BoolArray, looked: Float64Array, way: Way
) -> Calibration:
    """Learn the curve on cases that the scores were not learnt from.

    Args:
        odds: float64 [N], log-odds that a model gives, any numbers that order.
        clicked: bool [N].
        looked: float64 [N], in (0, 1], chance that the place was looked at.
        way: `platt`: a logistic curve, two numbers, for few cases; `isotonic`: any rising curve.

    Source:
        Platt 1999, "Probabilistic outputs for support vector machines"; Zadrozny and Elkan 2002,
        doi:10.1145/775047.775151.
    """
    if way == "isotonic" and len(odds):
        return _isotonic(odds, clicked, looked)
    slope, offset = _platt(odds, clicked, looked)
    at = np.linspace(odds.min(initial=-9), odds.max(initial=9), 401)
    return Calibration(at, expit(slope * at + offset))


def _isotonic(odds: Float64Array, clicked: BoolArray, looked: Float64Array) -> Calibration:
    """Of cases with the same odds the mean; then the least squares under a rising curve.

    A click at a place that a share q looks at counts 1 / q, and the case q: the mean of the two is
    the chance of those who look.
    """
    at, place = np.unique(odds, return_inverse=True)
    weight = np.bincount(place, looked)
    rate = np.bincount(place, clicked.astype(np.float64)) / weight
    found = isotonic_regression(rate, weights=weight)
    # The middle of each level: at its ends the curve would jump.
    middle = 0.5 * (found.blocks[:-1] + found.blocks[1:] - 1)
    knots = np.interp(middle, np.arange(len(at)), at)
    chance = found.x[found.blocks[:-1]]
    return Calibration(knots, np.clip(chance, _LEAST, 1 - _LEAST))


def _platt(odds: Float64Array, clicked: BoolArray, looked: Float64Array) -> tuple[float, float]:
    """Slope, at least 0, and offset of the likeliest logistic curve; two cases more, one clicked.

    The two keep the curve finite where all or none of few cases are clicked.
    """
    every = np.concatenate([odds, np.full(2, odds.mean() if len(odds) else 0.0)])
    right = np.concatenate([clicked, [True, False]])
    seen = np.concatenate([looked, np.ones(2)])

    def worse(values: Float64Array) -> tuple[float, Float64Array]:
        chance = np.clip(expit(values[0] * every + values[1]), _LEAST, 1 - _LEAST)
        click = seen * chance
        loss = -np.where(right, np.log(click), np.log1p(-click)).sum()
        slope = slopes(chance, click, right)
        return float(loss), np.array([(slope * every).sum(), slope.sum()])

    start = np.array([1.0, 0.0])
    found = minimize(worse, start, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)])
    return float(found.x[0]), float(found.x[1])
