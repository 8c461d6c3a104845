"""The setting of a knob that answers a question, found by measuring between grid points."""

from collections.abc import Callable, Mapping
from typing import Final

from tailrec.frontier_bench import Bench, Knob, Measured

GRIDS: Final[Mapping[Knob, tuple[float, ...]]] = {
    "tail": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "diversity": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "exposure": (0.0, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
}
"""The settings of each knob that are always measured."""
UNITS: Final[Mapping[Knob, float]] = {"tail": 0.005, "diversity": 1 / 32, "exposure": 0.0005}
"""What settings between them are whole numbers of; diversity itself goes up in such steps."""
HALVINGS: Final = 6
"""Settings measured between two grid points for one question, at most."""


class Curve:
    """What was measured along a knob.

    Args:
        bench: measures.
        knob: what is turned.
    """

    def __init__(self, bench: Bench, knob: Knob) -> None:
        self.knob: Knob = knob
        self.base = bench.base
        self._bench = bench
        self._points: dict[float, Measured] = {}

    def at(self, value: float) -> Measured:
        """A setting's figures; measured once."""
        if value not in self._points:
            self._points[value] = self._bench.measured(self.knob, value)
        return self._points[value]

    @property
    def points(self) -> list[Measured]:
        """Everything measured so far, the lowest setting first."""
        return [self._points[value] for value in sorted(self._points)]

    def narrow(self, low: float, high: float, holds: Callable[[Measured], bool]) -> None:
        """Measure settings between two of which one holds and one does not, by halving."""
        below = holds(self.at(low))
        unit = UNITS[self.knob]
        for _ in range(HALVINGS):
            middle = round(round((low + high) / 2 / unit) * unit, 6)
            if not low < middle < high:
                break
            if holds(self.at(middle)) == below:
                low = middle
            else:
                high = middle


def look_for_more(curve: Curve, more: float) -> None:
    """Measure around the lowest setting with so much more tail exposure than plain slates.

    Args:
        curve: with its grid measured.
        more: share of the plain slates' tail exposure.
    """
    points = curve.points
    first = next((n for n, one in enumerate(points) if has_more(curve, one, more)), 0)
    if first:
        ends = points[first - 1].value, points[first].value
        curve.narrow(*ends, lambda one: has_more(curve, one, more))


def look_within(curve: Curve, at_most: float) -> None:
    """Measure around the setting with the most tail exposure that loses no more NDCG than that.

    Args:
        curve: with its grid measured.
        at_most: share of the plain slates' NDCG@10.
    """
    points = curve.points
    kept = [n for n, one in enumerate(points) if is_within(curve, one, at_most)]
    best = max(kept, key=lambda n: points[n].exposure, default=len(points))
    after = points[best + 1 : best + 2]
    if after and not is_within(curve, after[0], at_most):
        ends = points[best].value, after[0].value
        curve.narrow(*ends, lambda one: is_within(curve, one, at_most))


def most_exposed(curve: Curve) -> Measured:
    """The setting with the most tail exposure; of equal ones the lowest."""
    return max(curve.points, key=lambda one: one.exposure)


def least_with_more(curve: Curve, more: float) -> Measured | None:
    """The lowest setting measured that has so much more tail exposure; None: none has."""
    return next((one for one in curve.points if has_more(curve, one, more)), None)


def most_within(curve: Curve, at_most: float) -> Measured | None:
    """The setting measured with the most tail exposure that loses no more NDCG than that.

    None where none of them has more tail exposure than plain slates.
    """
    kept = [one for one in curve.points if is_within(curve, one, at_most)]
    best = max(kept, key=lambda one: one.exposure, default=curve.base)
    return best if best.exposure > curve.base.exposure else None


def has_more(curve: Curve, one: Measured, more: float) -> bool:
    """Whether a setting has so much more tail exposure than plain slates."""
    return one.exposure >= (1 + more) * curve.base.exposure


def is_within(curve: Curve, one: Measured, at_most: float) -> bool:
    """Whether a setting loses no more than that of the plain slates' NDCG@10."""
    return one.ndcg >= (1 - at_most) * curve.base.ndcg
