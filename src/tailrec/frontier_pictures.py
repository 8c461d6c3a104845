"""The picture of a frontier: relevance against tail exposure, coverage and distance."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tailrec.frontier import Frontier, Setting
from tailrec.frontier_answers import GRIDS
from tailrec.frontier_bench import NDCG, TAIL_EXPOSURE, Knob
from tailrec.frontier_words import per_cent, spelt
from tailrec.items import Float64Array
from tailrec.pages import BLACK, BLUE, GREEN, GREY, ORANGE, tidy

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final[Mapping[Knob, str]] = {"tail": BLUE, "diversity": ORANGE, "exposure": GREEN}
MARKS: Final[Mapping[Knob, str]] = {"tail": "o", "diversity": "s", "exposure": "^"}
LOWEST: Final = 0.7
"""The main panel shows no less of the plain slates' NDCG, where lines go further down."""
APART: Final = 26.0
"""Points of print between two settings whose values are written, at least."""


def draw_frontier(frontier: Frontier) -> "Figure":
    """NDCG@10 over tail exposure, both relative to plain slates; over coverage, and distance.

    The main panel, to the left, shows the intervals of NDCG and the answers.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1))
    main = figure.add_subplot(grid[:, 0])
    _over_exposure(main, frontier)
    others = (("coverage@20", "coverage@20 of the catalogue"), ("ild@10", "intra-list distance@10"))
    for place, (name, title) in enumerate(others):
        axes = figure.add_subplot(grid[place, 1])
        _over_figure(axes, frontier, name)
        axes.set_xlabel(title)
    figure.suptitle(
        f"What the long tail costs: source {frontier.source}, {frontier.n_requests:,} requests of "
        f"validation",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    return figure


def _over_exposure(axes: "Axes", frontier: Frontier) -> None:
    for knob in frontier.knobs:
        settings = frontier.of(knob)
        across, ndcg = _ratios(settings, TAIL_EXPOSURE), _ratios(settings, NDCG)
        colour = COLOURS[knob]
        axes.fill_between(across[:, 1], ndcg[:, 0], ndcg[:, 2], color=colour, alpha=0.15, lw=0)
        axes.plot(
            across[:, 1], ndcg[:, 1], color=colour, lw=2, label=knob, **_on_grid(knob, settings)
        )
    axes.plot(
        [1], [1], "D", color=BLACK, mfc="white", mew=1.6, ms=8, zorder=6, label="plain slates"
    )
    _answers(axes, frontier)
    _limit(axes)
    tidy(axes)
    axes.set_xlabel("tail exposure, times that of plain slates")
    axes.set_ylabel("NDCG@10, times that of plain slates")
    _values(axes, frontier)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=6,
        frameon=False,
        fontsize=9,
        handlelength=1.6,
        columnspacing=1.2,
    )


def _over_figure(axes: "Axes", frontier: Frontier, name: str) -> None:
    """NDCG over a figure, both as they are."""
    for knob in frontier.knobs:
        settings = frontier.of(knob)
        across = [setting.figures.get(name, np.nan) for setting in settings]
        up = [setting.figures[NDCG] for setting in settings]
        axes.plot(across, up, color=COLOURS[knob], lw=1.6, **_on_grid(knob, settings, size=4))
    base = frontier.base
    if name in base:
        axes.plot(
            [base[name]], [base[NDCG]], "D", color=BLACK, mfc="white", mew=1.4, ms=6, zorder=6
        )
    axes.set_ylabel("NDCG@10")
    tidy(axes)


def _answers(axes: "Axes", frontier: Frontier) -> None:
    """What was asked for as lines, and the settings that answer."""
    asked = {answer.question: answer.wanted for answer in frontier.answers}
    if "more" in asked:
        axes.axvline(1 + asked["more"], color=GREY, lw=1, ls="--", zorder=1)
    if "at_most" in asked:
        axes.axhline(1 - asked["at_most"], color=GREY, lw=1, ls=":", zorder=1)
    marks: dict[str, dict[str, Any]] = {
        "more": {"marker": "s", "ms": 13},
        "at_most": {"marker": "o", "ms": 13},
    }
    for question, wanted in asked.items():
        name = f"{per_cent(wanted)} more" if question == "more" else f"at most {per_cent(wanted)}"
        style: dict[str, Any] = {"ls": "none", "mfc": "none", "mew": 1.6, **marks[question]}
        axes.plot([], [], color=BLACK, label=name, **style)
        for answer in frontier.answers:
            if answer.question == question and answer.met and answer.setting is not None:
                x, y = _place(answer.setting)
                axes.plot([x], [y], color=COLOURS[answer.knob], zorder=7, **style)


def _limit(axes: "Axes") -> None:
    """The part of the panel in which the choice is made, where lines leave it far behind."""
    low, high = axes.get_ylim()
    if low < LOWEST:
        axes.set_ylim(LOWEST, high)


def _values(axes: "Axes", frontier: Frontier) -> None:
    """Values of the knobs beside their lines, where they stand on nothing else."""
    axes.figure.figure.draw_without_rendering()  # settles where the axes are
    unit = axes.figure.figure.dpi / 72
    inside = axes.get_window_extent()
    answers = [answer.setting for answer in frontier.answers if answer.met and answer.setting]
    taken = [axes.transData.transform(_place(setting)) for setting in answers]
    for setting in frontier.settings:
        point = _place(setting)
        at = axes.transData.transform(point)
        near = any(np.hypot(*(at - other)) < APART * unit for other in taken)
        between = setting.value == 0 or setting.value not in GRIDS[setting.knob]
        if near or between or not inside.contains(*at):
            continue
        taken.append(at)
        axes.annotate(
            spelt(setting.value),
            point,
            (6, 6),
            textcoords="offset points",
            color=COLOURS[setting.knob],
            fontsize=9,
        )


def _place(setting: Setting) -> tuple[float, float]:
    """Where a setting stands in the main panel."""
    return setting.ratios[TAIL_EXPOSURE].mid, setting.ratios[NDCG].mid


def _ratios(settings: list[Setting], name: str) -> Float64Array:
    """float64 [S, 3], bounds of a figure and the figure, over plain slates."""
    return np.array([setting.ratios[name] for setting in settings])


def _on_grid(knob: Knob, settings: list[Setting], size: float = 6) -> dict[str, Any]:
    """Marks at the settings of the grid alone; those between them were measured for answers."""
    places = [place for place, one in enumerate(settings) if one.value in GRIDS[knob]]
    return {"marker": MARKS[knob], "ms": size, "markevery": places, "mec": "white", "mew": 0.6}
