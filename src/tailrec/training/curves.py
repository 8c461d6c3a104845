"""A run's curve as a picture: the loss above, what was measured on held-out data below."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from tailrec.errors import DataError
from tailrec.items import Float64Array
from tailrec.pages import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    literal,
    png,
    tidy,
    write_bytes,
)
from tailrec.training.run_folder import PICTURE, RunFolder

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = (BLUE, GREEN, ORANGE, PURPLE, SKY)
_LOSS, _RATE, _STEP = "loss", "rate", "step"
_WINDOWS: Final = 50
"""The drawn mean of the loss spans a fiftieth of the run."""


def write_curve(run: RunFolder, watched: str) -> Path:
    """Draw a run's curve into its folder.

    Args:
        run: has made one step at least.
        watched: the figure whose best state is kept.

    Returns:
        Path of the picture.

    Raises:
        DataError: the run has made no step.
    """
    lines = run.curve()
    if not any(_LOSS in line for line in lines):
        raise DataError(f"the run in {run.folder} has made no step, so there is no curve to draw")
    return write_bytes(run.folder / PICTURE, png(draw_curve(lines, watched, run.folder.name)))


def draw_curve(lines: Sequence[dict[str, float]], watched: str, name: str) -> "Figure":
    """Loss and held-out figures over the steps.

    Args:
        lines: of a curve, as `RunFolder.curve` gives them.
        watched: the figure whose best state is kept; its best measurement is marked.
        name: of the run.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = sorted({key for line in lines for key in line} - {_LOSS, _RATE, _STEP})
    figure = Figure(figsize=(8, 6.5 if figures else 3.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(literal(name), x=0.01, ha="left", fontweight="bold")
    axes = figure.subplots(2 if figures else 1, sharex=True, squeeze=False)[:, 0]
    _draw_loss(axes[0], lines)
    if figures:
        _draw_figures(axes[1], lines, figures, watched)
    axes[-1].set_xlabel("step")
    return figure


def _draw_loss(axes: "Axes", lines: Sequence[dict[str, float]]) -> None:
    step, loss = _points(lines, _LOSS)
    axes.plot(step, loss, color=GREY, alpha=0.5, lw=0.8)
    span = max(len(loss) // _WINDOWS, 1)
    whole = np.concatenate([[0.0], np.cumsum(loss)])
    # The mean of the steps up to each; of fewer at the beginning.
    start = np.maximum(np.arange(1, len(loss) + 1) - span, 0)
    mean = (whole[1:] - whole[start]) / (np.arange(1, len(loss) + 1) - start)
    label = f"mean of {span} steps, {mean[-1]:.3f} at last"
    axes.plot(step, mean, color=VERMILION, lw=1.8, label=label)
    axes.set_ylabel("loss")
    _named(axes)


def _draw_figures(
    axes: "Axes", lines: Sequence[dict[str, float]], figures: Sequence[str], watched: str
) -> None:
    # The watched one first: it gets the strongest colour.
    ordered = sorted(figures, key=lambda one: one != watched)
    for number, name in enumerate(ordered):
        step, value = _points(lines, name)
        colour = COLOURS[number % len(COLOURS)]
        style = "-" if number < len(COLOURS) else "--"
        axes.plot(step, value, style, color=colour, lw=1.6, marker=".", label=literal(name))
        if name == watched and not np.isnan(value).all():
            best = int(np.nanargmax(value))
            label = f"best: {value[best]:.4f} after step {step[best]:,.0f}"
            axes.plot(step[best], value[best], "*", color=VERMILION, ms=14, ls="none", label=label)
    axes.set_ylabel("on held-out data")
    _named(axes)


def _points(lines: Sequence[dict[str, float]], name: str) -> tuple[Float64Array, Float64Array]:
    own = [(line[_STEP], line[name]) for line in lines if name in line]
    step, value = np.array(own, dtype=np.float64).reshape(-1, 2).T
    return step, value


def _named(axes: "Axes") -> None:
    # Above the axes: curves may pass every corner.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=9)
    tidy(axes)
