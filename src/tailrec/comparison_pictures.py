"""Pictures of a comparison: each contender has one colour and mark on all of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from tailrec.comparison import Comparison
from tailrec.comparison_labels import Label, place_labels
from tailrec.comparison_words import headline_figures
from tailrec.contender import Contender
from tailrec.evaluation.tail import shown
from tailrec.items import Float64Array, Int64Array
from tailrec.pages import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    canvas,
    literal,
)
from tailrec.tail.exposure_report import lorenz

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, GREY)
MARKS: Final = ("o", "s", "^", "D", "v", "P", "X", "h", "<", ">", "p")
THIN: Final = {"P": 2, "X": 2, "^": 1, "v": 1}
"""What makes thin marks as easy to see as round ones, in points."""
DASHES: Final = ("-", "--", ":")
SIZE: Final = (6.2, 4.2)
COLD: Final = "cold"
DECILES: Final = tuple(f"decile_{number}" for number in range(1, 11))
HISTORIES: Final = {
    "history_0": "none",
    "history_1_2": "1 to 2",
    "history_3_5": "3 to 5",
    "history_6_10": "6 to 10",
    "history_11_20": "11 to 20",
    "history_21_up": "21 and more",
}
"""Groups of requests by events of history, and their names for people."""


class Look(NamedTuple):
    """How a contender is drawn."""

    colour: str
    mark: str
    dash: str
    first: bool

    @property
    def line(self) -> float:
        """Width of its lines: the contender judged stands out."""
        return 3.0 if self.first else 1.6

    @property
    def point(self) -> dict[str, Any]:
        """How its mark is drawn."""
        size = (9 if self.first else 7) + THIN.get(self.mark, 0)
        return {"marker": self.mark, "ms": size, "mec": "white", "mew": 0.7}

    @property
    def layer(self) -> int:
        """The contender judged is drawn over the others."""
        return 5 if self.first else 3


def looks(contenders: Sequence[Contender]) -> dict[str, Look]:
    """The look of each contender, by name."""
    return {
        one.name: Look(
            COLOURS[place % len(COLOURS)],
            MARKS[place % len(MARKS)],
            DASHES[place // len(COLOURS) % len(DASHES)],
            place == 0,
        )
        for place, one in enumerate(contenders)
    }


def draw_plane(comparison: Comparison) -> "Figure":
    """Each contender as a point: NDCG of all targets across, recall of tail targets up.

    Bars are the 95 % intervals. A contender without tail targets found, or asked, stands at 0.
    """
    across, up = headline_figures(comparison)
    short, long = comparison.rules.at[0], comparison.rules.at[-1]
    figure, axes = canvas(
        "Accuracy overall and on the tail",
        f"NDCG@{short}, all targets",
        f"Recall@{long}, tail targets (least popular 80 %)",
        size=SIZE,
    )
    labels, bars = [], []
    drawn = looks(comparison.contenders)
    for one in comparison.contenders:
        look = drawn[one.name]
        x, y = one.figures[across], one.figures.get(up, 0.0)
        known = comparison.intervals[one.name]
        style: dict[str, Any] = {
            "color": look.colour,
            "lw": 1.6 if look.first else 1.0,
            "zorder": look.layer,
        }
        for name, line in ((across, axes.hlines), (up, axes.vlines)):
            if name in known:
                line(y if name == across else x, known[name].low, known[name].high, **style)
        bars += [(known[across].low, y, known[across].high, y)] if across in known else []
        bars += [(x, known[up].low, x, known[up].high)] if up in known else []
        axes.plot(x, y, color=look.colour, zorder=look.layer, **look.point)
        labels.append(Label(shortened(one.name), x, y, look.colour, look.first))
    axes.margins(0.12)
    # Points at nothing stand on the axis, and nothing is below it.
    for low, high, limit in (
        (*axes.get_xlim(), axes.set_xlim),
        (*axes.get_ylim(), axes.set_ylim),
    ):
        limit(max(low, -0.03 * high), high)
    place_labels(axes, labels, bars)
    return figure


def draw_deciles(comparison: Comparison) -> "Figure":
    """Recall of each contender on targets of each tenth of the items, the least popular left."""
    long = comparison.rules.at[-1]
    figure, axes = canvas(
        "What is found, by popularity of the item",
        "items by popularity, a tenth each",
        f"Recall@{long}, targets of that tenth",
        size=SIZE,
    )
    drawn = looks(comparison.contenders)
    for one in comparison.contenders:
        look = drawn[one.name]
        values = [one.figures.get(f"recall@{long}/{decile}", np.nan) for decile in DECILES]
        style = {"color": look.colour, "zorder": look.layer, **look.point}
        axes.plot(range(1, 11), values, ls=look.dash, lw=look.line, **style)
        cold = one.figures.get(f"recall@{long}/{COLD}", np.nan)
        axes.plot([-0.3], [cold], ls="none", **style)
    axes.axvline(0.35, color=GREY, lw=0.8, ls=":")
    ticks = ["1, rarest", *map(str, range(2, 10)), "10, top"]
    axes.set_xticks([-0.3, *range(1, 11)], [COLD, *ticks])
    axes.set_xlim(-0.8, 10.5)
    axes.set_ylim(bottom=min(-0.01, -0.02 * axes.get_ylim()[1]))
    legend(axes, drawn)
    return figure


def draw_lorenz(comparison: Comparison) -> "Figure":
    """How the places of all slates are shared among the items, least shown items left.

    The events of the train parts are drawn beside them.
    """
    figure, axes = canvas(
        "How places are shared among the items",
        "share of the items, least shown first",
        "share of all places",
        size=SIZE,
    )
    across = np.linspace(0, 1, GRID)
    drawn = looks(comparison.contenders)
    for one in comparison.contenders:
        look = drawn[one.name]
        curve = exposure_curve(comparison, one)
        axes.plot(across, curve, color=look.colour, lw=look.line, ls=look.dash, zorder=look.layer)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    axes.annotate("all alike", (0.5, 0.5), (-4, 6), textcoords="offset points", ha="right")
    events = np.mean([_on_grid(counts) for counts in comparison.item_counts], axis=0)
    axes.plot(across, events, color=BLACK, lw=2, ls=":", zorder=4)
    for axis, limit in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        axis.set_major_formatter("{x:.0%}")
        limit(0, 1.005)
    legend(axes, drawn, lines=True, also={"events learnt from": ":"})
    return figure


GRID: Final = 401


def exposure_curve(comparison: Comparison, one: Contender) -> Float64Array:
    """The mean Lorenz curve of a contender's slates over splits and seeds, on `GRID` points.

    The area above it belongs to the mean of the Gini figures. Slates that are all empty share
    nothing, and count as the line of equality, as in `gini` of `exposure`.
    """
    curves = []
    for split, part in zip(comparison.splits, one.parts, strict=True):
        for run in part.runs:
            places = shown(run.ids, comparison.rules.at[-1])
            curves.append(_on_grid(np.bincount(places, minlength=split["n_items"])))
    return np.asarray(np.mean(curves, axis=0))


def _on_grid(counts: Int64Array) -> Float64Array:
    grid = np.linspace(0, 1, GRID)
    return np.interp(grid, *lorenz(counts)) if counts.any() else grid


def draw_histories(comparison: Comparison) -> "Figure":
    """NDCG of each contender by how many events the history of the request has."""
    short = comparison.rules.at[0]
    groups = history_groups(comparison)
    figure, axes = canvas(
        "What is found, by length of history",
        "events in the person's history",
        f"NDCG@{short}, all targets",
        size=SIZE,
    )
    drawn = looks(comparison.contenders)
    n = len(drawn)
    step = 0.7 / max(n - 1, 1)
    for place, one in enumerate(comparison.contenders):
        look = drawn[one.name]
        values = [one.figures.get(f"ndcg@{short}/{group}", np.nan) for group in groups]
        at = np.arange(len(groups)) + (place - (n - 1) / 2) * step * (n > 1)
        axes.vlines(at, 0, values, color=look.colour, lw=look.line, alpha=0.45)
        axes.plot(at, values, color=look.colour, ls="none", zorder=look.layer, **look.point)
    for edge in range(1, len(groups)):
        axes.axvline(edge - 0.5, color="#dddddd", lw=0.8)
    axes.grid(visible=False, axis="x")
    axes.set_xticks(range(len(groups)), [HISTORIES[group] for group in groups])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, max(len(groups), 1) - 0.5)
    axes.set_ylim(bottom=0)
    legend(axes, drawn, lines=False)
    return figure


def history_groups(comparison: Comparison) -> list[str]:
    """The groups of histories that have requests, shortest first."""
    short = comparison.rules.at[0]
    names = {name for one in comparison.contenders for name in one.figures}
    return [group for group in HISTORIES if f"ndcg@{short}/{group}" in names]


def legend(
    axes: "Axes",
    drawn: Mapping[str, Look],
    *,
    lines: bool | None = None,
    also: Mapping[str, str] | None = None,
) -> None:
    """Names below the picture, where nothing is hidden by them.

    Args:
        axes: the picture.
        drawn: look of each name.
        lines: True draws lines alone, False marks alone, None both.
        also: dashes of black lines by their names.
    """
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            ls="none" if lines is False else look.dash,
            lw=look.line,
            **(look.point | ({"marker": ""} if lines else {})),
            # A name that starts with an underscore would be left out.
            label="\N{ZERO WIDTH SPACE}" + literal(shortened(name)),
        )
        for name, look in drawn.items()
    ]
    handles += [
        Line2D([], [], color=BLACK, lw=2, ls=dash, label=name)
        for name, dash in (also or {}).items()
    ]
    longest = max(len(str(handle.get_label())) for handle in handles)
    axes.figure.legend(
        handles=handles,
        loc="outside lower left",
        # So many that the longest name fits as often.
        ncols=max(1, min(4, int(SIZE[0] * 72 / (40 + 4.9 * longest)))),
        frameon=False,
        columnspacing=1.2,
        fontsize=9.5,
    )


def shortened(name: str, at_most: int = 22) -> str:
    """A name that fits a picture; the page's tables give it whole."""
    return name if len(name) <= at_most else f"{name[: at_most - 1]}…"
