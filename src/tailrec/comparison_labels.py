"""Names beside points, so that none lies on another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tailrec.items import Float64Array
from tailrec.pages import literal

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes

_REACH: Final = (11, 20, 32, 46, 62, 80)
"""Distances of a name from its point that are tried, in points of print."""
_TURNS: Final = 16
_LED: Final = 20
"""From this distance on, a line leads from the name to its point."""
_MARK: Final = 8.0
"""Half the side of the box around a point that names keep out of."""


Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


class Label(NamedTuple):
    """A name and its point, in the units of the axes."""

    text: str
    x: float
    y: float
    colour: str
    bold: bool = False


def place_labels(axes: "Axes", labels: Sequence[Label], bars: Sequence[Box] = ()) -> None:
    """Write each name near its point: where it hits no other name, no point, and no edge.

    Args:
        axes: with everything else drawn and its limits set.
        labels: what is written; an earlier one has the better place.
        bars: thin boxes to be kept free too, in the units of the axes.
    """
    figure = axes.figure.figure
    figure.draw_without_rendering()  # settles where the axes are
    unit = figure.dpi / 72
    inside = np.array(axes.get_window_extent().extents)
    points = axes.transData.transform([(label.x, label.y) for label in labels])
    taken = [np.array([*(p - _MARK * unit), *(p + _MARK * unit)]) for p in points]
    for bar in bars:
        low, high = axes.transData.transform([bar[:2], bar[2:]])
        taken.append(np.concatenate([low - 2 * unit, high + 2 * unit]))
    for label, point in zip(labels, points, strict=True):
        note = axes.annotate(
            literal(label.text),
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            color=label.colour if label.bold else "#333333",
            fontweight="bold" if label.bold else "normal",
            ha="center",
            va="center",
            zorder=6,
        )
        extent = note.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2 + unit
        offset, box = _best(point, half, taken, inside, unit)
        note.set_position((offset[0] / unit, offset[1] / unit))
        taken.append(box)
        if np.hypot(*_gap(point, box)) > _LED * unit:
            line = {"arrowstyle": "-", "color": "#999999", "lw": 0.8, "shrinkB": 5}
            axes.annotate(
                "",
                (label.x, label.y),
                tuple(offset / unit),
                xycoords="data",
                textcoords="offset points",
                arrowprops=line,
            )


def _best(
    point: Float64Array,
    half: Float64Array,
    taken: Sequence[Float64Array],
    inside: Float64Array,
    unit: float,
) -> tuple[Float64Array, Float64Array]:
    """The offset of a name's middle from its point, and the box it takes, all in pixels."""
    others = np.array(taken)
    best: tuple[float, Float64Array, Float64Array] | None = None
    for reach in _REACH:
        for turn in np.arange(_TURNS) * 2 * np.pi / _TURNS:
            way = np.array([np.cos(turn), np.sin(turn)])
            offset = way * (reach * unit + half * np.abs(way))
            box = np.concatenate([point + offset - half, point + offset + half])
            cost = _covered(box, others) + 4 * _outside(box, inside) + reach * unit
            if best is None or cost < best[0]:
                best = (cost, offset, box)
    assert best is not None
    return best[1], best[2]


def _covered(box: Float64Array, others: Float64Array) -> float:
    """Area of a box [4] that lies on others [N, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    return float(np.clip(high - low, 0, None).prod(1).sum())


def _outside(box: Float64Array, inside: Float64Array) -> float:
    """Area of a box that lies outside another."""
    area = float((box[2:] - box[:2]).prod())
    return area - _covered(box, inside[None])


def _gap(point: Float64Array, box: Float64Array) -> Float64Array:
    """How far a point is from a box, across and up."""
    return np.asarray(np.maximum(0, np.maximum(box[:2] - point, point - box[2:])))
