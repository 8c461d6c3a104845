"""A comparison as files: figures as JSON, and the plane of accuracy against the tail."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tailrec.comparison import Contender
from tailrec.files import whole_file

if TYPE_CHECKING:  # a second to load, for those who draw
    from matplotlib.figure import Figure


def write_comparison(
    contenders: Sequence[Contender], folder: Path, at: Sequence[int]
) -> list[Path]:
    """Write `comparison.json` and `plane.png`, each whole or not at all.

    Args:
        contenders: of one comparison.
        folder: made where it is missing; files of these names are replaced.
        at: slate lengths of the comparison.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = json.dumps([one.to_dict() for one in contenders], indent=2, default=str)
    text, picture = folder / "comparison.json", folder / "plane.png"
    with whole_file(text) as beside:
        beside.write_text(figures, "utf-8")
    with whole_file(picture) as beside:
        draw_plane(contenders, at).savefig(beside, format="png", dpi=110)
    return [text, picture]


def draw_plane(contenders: Sequence[Contender], at: Sequence[int]) -> "Figure":
    """Each source as a point: NDCG of all targets across, recall of tail targets up."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across, up = f"ndcg@{at[0]}", f"recall@{at[-1]}/pareto"
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, one in enumerate(contenders):
        x, y = one.figures[across], one.figures.get(up, 0.0)
        axes.scatter(x, y, s=90 if place == 0 else 50, color="#0072B2" if place == 0 else "#888888")
        axes.annotate(one.name, (x, y), textcoords="offset points", xytext=(7, 4))
    axes.set_xlabel(f"NDCG@{at[0]}, all targets")
    axes.set_ylabel(f"recall@{at[-1]}, tail targets (least popular 80 %)")
    axes.set_title("Accuracy overall and on the tail, from the same slates")
    # Room for the names on the right, and for points at nothing.
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    axes.set_xlim(-0.03 * right, 1.15 * right)
    axes.set_ylim(-0.03 * top, 1.1 * top)
    axes.grid(alpha=0.3)
    return figure
