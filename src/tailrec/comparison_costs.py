"""Time and memory of the contenders: bars, and the table behind them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from tailrec.comparison import Comparison
from tailrec.comparison_pictures import SIZE, Look, looks, shortened
from tailrec.comparison_words import duration, memory
from tailrec.contender import MEMORY, Contender
from tailrec.pages import Cell, html_table, literal, number

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNKNOWN: Final = "not known"
UNSEARCHED: Final = "no search"
_LOGARITHMIC_FROM: Final = 30.0
"""Ratio of the largest to the smallest from which short bars could not be seen."""


class CostKind(NamedTuple):
    """One kind of cost: its name, its value for a contender, and how that is written."""

    title: str
    value: Callable[[Contender], float | None]
    written: Callable[[float], str]


def _rate(one: Contender) -> float | None:
    seconds = one.costs.get("slate_seconds")
    return 1 / seconds if seconds else None


def _search_seconds(one: Contender) -> float | None:
    """Seconds of the search for options; 0 where there was none."""
    seconds = one.costs.get("search_seconds")
    # What is not searched still takes the microseconds of finding that out.
    return seconds if seconds is None or seconds > 1e-3 else 0.0


KINDS: Final = (
    CostKind("seconds to choose options", _search_seconds, duration),
    CostKind("seconds to fit", lambda one: one.costs.get("fit_seconds"), duration),
    CostKind("slates per second", _rate, "{:,.0f}".format),
    CostKind("peak memory", lambda one: one.costs.get(MEMORY), memory),
    CostKind("memory on top", lambda one: one.costs.get("extra_bytes"), memory),
)


def written_cost(kind: CostKind, one: Contender) -> str:
    """A cost as the page writes it."""
    value = kind.value(one)
    if value is None:
        return UNKNOWN
    return kind.written(value) if value else UNSEARCHED


def cost_table(comparison: Comparison) -> str:
    """The costs of each contender as HTML; means over the splits, and the highest peak."""
    drawn = looks(comparison.contenders)
    rows = [
        [
            Cell(
                one.name,
                look="first" if drawn[one.name].first else "",
                colour=drawn[one.name].colour,
            ),
            *(number(written_cost(kind, one)) for kind in KINDS),
        ]
        for one in comparison.contenders
    ]
    return html_table(["", *(kind.title for kind in KINDS)], rows)


def draw_costs(comparison: Comparison) -> "Figure":
    """Four pictures of bars: search, fit, slates per second and peak memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    contenders = comparison.contenders
    figure = Figure(figsize=(SIZE[0], 2.0 + 0.5 * len(contenders)), dpi=150)
    figure.set_layout_engine("constrained", hspace=0.08)
    FigureCanvasAgg(figure)
    drawn = looks(contenders)
    for place, kind in enumerate(KINDS[:4]):
        axes = figure.add_subplot(2, 2, place + 1)
        _bars(axes, kind, contenders, drawn)
        names = [literal(shortened(one.name)) if place % 2 == 0 else "" for one in contenders]
        axes.set_yticks(range(len(contenders)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(contenders) - 0.4, -0.6)
    return figure


def _bars(
    axes: "Axes", kind: CostKind, contenders: list[Contender], drawn: dict[str, Look]
) -> None:
    values = [kind.value(one) or 0.0 for one in contenders]
    above = [value for value in values if value > 0]
    logarithmic = bool(above) and max(above) > _LOGARITHMIC_FROM * min(above)
    start = min(above) / 3 if logarithmic else 0.0
    for row, (one, value) in enumerate(zip(contenders, values, strict=True)):
        look = drawn[one.name]
        if value:
            axes.barh(row, value - start, left=start, color=look.colour, height=0.62)
        axes.annotate(
            written_cost(kind, one),
            (value or start, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color="#333333" if value else "#777777",
        )
    title = f"{kind.title}{' (log scale)' if logarithmic else ''}"
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    # The bars bear their numbers; there is nothing to read off the edges.
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if logarithmic:
        axes.set_xscale("log")
        # Room for the number at the end of the longest bar.
        axes.set_xlim(start, max(above) * (max(above) / start) ** 0.45)
    else:
        axes.set_xlim(0, max(above, default=1.0) * 1.45)
    axes.tick_params(axis="x", which="both", labelbottom=False, length=0)
