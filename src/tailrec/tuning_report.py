"""The history of a search for options: a picture, and the table behind it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from tailrec.files import whole_file
from tailrec.items import Float64Array
from tailrec.pages import BLACK, BLUE, GREEN, GREY, VERMILION, png, tidy, write_bytes
from tailrec.tuning import AT
from tailrec.tuning_search import Tuned

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OVERALL: Final = BLUE
TAIL: Final = GREEN
CHOSEN: Final = VERMILION
GIVEN: Final = BLACK
OTHERS: Final = GREY
PICTURE, TABLE = "history.png", "trials.csv"


def write_history(tuned: Tuned, folder: Path) -> list[Path]:
    """Write the picture of a search and its table, each in one step.

    Args:
        tuned: what the search gave.
        folder: made where it is missing; files of the same names are replaced.

    Returns:
        Paths of history.png and trials.csv.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / PICTURE, folder / TABLE]
    write_bytes(paths[0], png(draw_history(tuned)))
    with whole_file(paths[1]) as beside:
        trial_table(tuned).write_csv(beside)
    return paths


def trial_table(tuned: Tuned) -> pl.DataFrame:
    """The numbers behind the picture, one row a trial in the order they were done.

    Returns:
        number (from 1), ndcg@10, tail_ndcg@10, seconds, enough (whether the trial keeps what a
        choice must keep), given and chosen (whether it is that one), then every option.
    """
    trials = tuned.trials
    kept = _kept(tuned)
    table = pl.DataFrame(
        {
            "number": np.arange(1, len(trials) + 1),
            f"ndcg@{AT}": [trial.ndcg for trial in trials],
            f"tail_ndcg@{AT}": [trial.tail_ndcg for trial in trials],
            "seconds": [trial.seconds for trial in trials],
            "enough": kept >= tuned.goal.keep * kept.max(),
            "given": [trial.source == tuned.given.source for trial in trials],
            "chosen": [trial.source == tuned.chosen.source for trial in trials],
        }
    )
    options = pl.DataFrame(
        [trial.source.model_dump() for trial in trials], infer_schema_length=None
    )
    return pl.concat([table, options], how="horizontal")


def draw_history(tuned: Tuned) -> "Figure":
    """Both figures over the trials with the best so far, and the plane of one over the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.05))
    overall = figure.add_subplot(grid[0, 0])
    tail = figure.add_subplot(grid[1, 0], sharex=overall)
    _over_trials(overall, tuned, _overall(tuned), "NDCG@10, all", OVERALL)
    _over_trials(tail, tuned, _tail(tuned), "NDCG@10, tail", TAIL)
    overall.tick_params(labelbottom=False)
    tail.set_xlabel("trial, in the order they were done")
    _plane(figure.add_subplot(grid[:, 1]), tuned)
    kind = tuned.chosen.source.kind
    figure.suptitle(
        f"Search for options of {kind}: {len(tuned.trials):,} trials on validation",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    return figure


def _over_trials(
    axes: "Axes", tuned: Tuned, figures: Float64Array, title: str, colour: str
) -> None:
    from matplotlib.ticker import MaxNLocator

    number = np.arange(1, len(figures) + 1)
    axes.plot(number, figures, ".", color=colour, alpha=0.5, ms=7, mew=0)
    best = np.maximum.accumulate(figures)
    axes.step(number, best, where="post", color=colour, lw=2, label=f"best so far {best[-1]:.4f}")
    for name, place, mark in _marked(tuned):
        axes.plot(number[place], figures[place], **mark, label=f"{name} {figures[place]:.4f}")
    _named(axes)
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _plane(axes: "Axes", tuned: Tuned) -> None:
    across, up = _overall(tuned), _tail(tuned)
    goal = tuned.goal
    kept = _kept(tuned)
    line = goal.keep * kept.max()
    enough = kept >= line
    axes.plot(
        across[~enough], up[~enough], ".", color=OTHERS, alpha=0.7, ms=8, mew=0, label="others"
    )
    axes.plot(across[enough], up[enough], ".", color=OVERALL, ms=8, mew=0, label="may be chosen")
    draw = axes.axvline if goal.objective == "tail" else axes.axhline
    of_what = "overall" if goal.objective == "tail" else "tail"
    draw(line, color=GIVEN, lw=1, ls="--", label=f"{goal.keep:.4g} × best {of_what}")
    for name, place, mark in _marked(tuned):
        axes.plot(across[place], up[place], **mark, label=name)
    _named(axes)
    axes.set_xlabel("NDCG@10, all targets")
    axes.set_ylabel(f"NDCG@10, targets in the tail ({goal.tail})")


def _marked(tuned: Tuned) -> Sequence[tuple[str, int, dict[str, Any]]]:
    """Name, row and look of the two trials that matter."""
    sources = [trial.source for trial in tuned.trials]
    diamond: dict[str, Any] = {
        "marker": "D",
        "ms": 8,
        "color": GIVEN,
        "mfc": "white",
        "mew": 1.6,
        "ls": "none",
    }
    star: dict[str, Any] = {"marker": "*", "ms": 17, "color": CHOSEN, "mec": "white", "ls": "none"}
    return [
        ("given", sources.index(tuned.given.source), diamond),
        ("chosen", sources.index(tuned.chosen.source), star),
    ]


def _named(axes: "Axes") -> None:
    # Above the axes: every corner inside may be full of points.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=5,
        frameon=False,
        fontsize=9,
        handletextpad=0.4,
        handlelength=1.4,
        columnspacing=1.2,
    )
    axes.margins(y=0.09)
    tidy(axes)


def _overall(tuned: Tuned) -> Float64Array:
    return np.array([trial.ndcg for trial in tuned.trials])


def _tail(tuned: Tuned) -> Float64Array:
    return np.array([trial.tail_ndcg for trial in tuned.trials])


def _kept(tuned: Tuned) -> Float64Array:
    """The figure a choice must keep a share of."""
    return _overall(tuned) if tuned.goal.objective == "tail" else _tail(tuned)
