"""How `evaluate --fair-by` prints."""

import typer

from tailrec.cli.output import print_table
from tailrec.comparison_pictures import HISTORIES
from tailrec.evaluation.significance import Interval
from tailrec.fair_view import JUDGED, LEAST_TARGETS, FairView

MERIT = (
    "exposure: share of the looks; merit: share of the targets, which people turned to in the "
    "test part; treatment: exposure over merit, 1 is in proportion."
)


def print_fairness(view: FairView) -> None:
    """The groups worst off, the figures of all groups, and people by length of history."""
    columns = ("group", "items", "targets", "exposure", "merit", "treatment")
    shown = view.worst
    title = f"fairness by {view.by}, slates of {view.at}"
    if len(shown) < len(view.groups):
        title += f": the worst off {len(shown)} of {len(view.groups):,} groups"
    if not shown["judged"].all():
        title += f"; those with fewer than {LEAST_TARGETS} targets last, which are mostly luck"
    print_table(title, ["", *columns[1:]], shown.select(columns).rows())
    typer.echo(MERIT)
    outside = view.ungrouped
    if outside["items"]:
        typer.echo(
            f"{outside['items']:,} items have no {view.by}, and stand in no group: "
            f"{outside['exposure']:.1%} of all exposure, {outside['targets']:.1%} of all targets"
        )
    _print_figures(view)
    _print_people(view)


def _print_figures(view: FairView) -> None:
    """All figures, those of the groups judged alone beside those of all."""
    head = ["", "all", f"groups of {LEAST_TARGETS} targets or more"]
    rows = [
        [name, value, view.figures.get(f"{name}/{JUDGED}")]
        for name, value in view.figures.items()
        if not name.endswith(f"/{JUDGED}")
    ]
    print_table("how equal it is", head, rows)


def _print_people(view: FairView) -> None:
    people = view.people
    if people is None:
        (name,) = view.n_requests
        typer.echo(f"all histories have {HISTORIES[name]} events: no groups of people to compare")
        return
    rows = [
        [HISTORIES[name], view.n_requests[name], _spelt(mean)]
        for name, mean in people.means.items()
    ]
    head = ["", "requests", f"{view.accuracy} (95 % interval)"]
    print_table("people by events in their history", head, rows)
    best, worst = HISTORIES[people.best], HISTORIES[people.worst]
    typer.echo(f"the gap between the best ({best}) and the worst ({worst}): {_spelt(people.gap)}")


def _spelt(interval: Interval) -> str:
    return f"{interval.mid:.4f} ({interval.low:.4f}–{interval.high:.4f})"
