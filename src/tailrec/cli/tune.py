"""The command that searches options."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tailrec.cli.app import (
    HERE,
    JsonOption,
    KeepOption,
    ObjectiveOption,
    ShopOption,
    open_shop,
)
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.cli.parse import seconds
from tailrec.shop_recipe import RECIPE
from tailrec.tuning import AT, OnTrial
from tailrec.tuning_report import write_history
from tailrec.tuning_search import Tuned
from tailrec.tuning_spaces import source_named
from tailrec.tuning_study import Trial

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""


def tune(
    *,
    shop: ShopOption = HERE,
    budget: Annotated[
        str, typer.Option(help="Time to search, as 60s or 10m; 0: take what was found before.")
    ] = "10m",
    source: Annotated[
        str | None, typer.Option(help="Kind of source.", show_default="the shop's")
    ] = None,
    objective: ObjectiveOption = None,
    keep: KeepOption = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the choice into [source] of tailrec.toml.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a picture and a table of all trials.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search the options of a source on validation; later calls go on where this one ends."""
    budget_s = seconds(budget)
    with open_shop(shop) as opened:
        own = opened.recipe.source
        start = own if source is None or source.strip() == own.kind else source_named(source)
        goal = opened.recipe.goal(objective, keep)
        try:
            with progress_bar() as tell:
                tuned = opened.tune(
                    start,
                    goal,
                    budget_s=budget_s,
                    progress=tell,
                    on_trial=trials_told(tell, budget_s),
                )
        except KeyboardInterrupt as error:
            typer.echo("tailrec: stopped before anything was measured", err=True)
            raise typer.Exit(STOPPED) from error
        files = write_history(tuned, report) if report else []
        written = write and not tuned.stopped
        if written:
            opened.set_source(tuned.chosen.source)
    if as_json:
        print_json(_facts(tuned) | {"written": written, "files": files})
    else:
        _print(tuned, shop, asked=write, written=written)
        for path in files:
            typer.echo(path)
    if tuned.stopped:
        typer.echo("tailrec: stopped early; what was measured is kept", err=True)
        raise typer.Exit(STOPPED)


def trials_told(tell: Callable[[str, int, int], None], budget_s: float) -> OnTrial:
    """Moves a bar of the seconds spent with each trial."""

    def on_trial(spent: float, _: Trial) -> None:
        tell("searching options, seconds", int(min(spent, budget_s)), int(budget_s))

    return on_trial


def _facts(tuned: Tuned) -> dict[str, Any]:
    """All of a search but its trials, for programs."""
    return {
        "source": tuned.chosen.source.model_dump(),
        "changed": {n: {"given": a, "chosen": b} for n, (a, b) in tuned.changed.items()},
        "validation": {"given": _figures(tuned.given), "chosen": _figures(tuned.chosen)},
        "objective": tuned.goal.objective,
        "keep": tuned.goal.keep,
        "tail": tuned.goal.tail,
        "n_trials": len(tuned.trials),
        "n_new": tuned.n_new,
        "stopped": tuned.stopped,
        "study": tuned.study,
    }


def _figures(trial: Trial) -> dict[str, float]:
    return {f"ndcg@{AT}": trial.ndcg, f"tail_ndcg@{AT}": trial.tail_ndcg}


def _print(tuned: Tuned, shop: Path, *, asked: bool, written: bool) -> None:
    goal = tuned.goal
    kept = "overall" if goal.objective == "tail" else "tail"
    typer.echo(
        f"{tuned.chosen.source.kind}: {len(tuned.trials):,} trials, {tuned.n_new:,} new; chosen is "
        f"the best {goal.objective} NDCG that keeps {goal.keep:.4g} of the best {kept} one"
    )
    rows = [[name, "none" if a is None else a, b] for name, (a, b) in tuned.changed.items()]
    if rows:
        print_table("options changed", ["option", "given", "chosen"], rows)
    else:
        typer.echo("the options given are the best so far")
    named = (("given", tuned.given), ("chosen", tuned.chosen))
    figures = [[name, trial.ndcg, trial.tail_ndcg] for name, trial in named]
    head = ["options", f"NDCG@{AT}", f"tail NDCG@{AT} ({goal.tail})"]
    print_table("on validation", head, figures)
    if written:
        typer.echo(f"[source] of {shop / RECIPE} holds the choice; `tailrec fit` learns with it")
    elif asked:
        typer.echo("nothing is written after a stop; --budget 0 --write takes the best so far")
    elif rows:
        typer.echo(f"--budget 0 --write puts the choice into [source] of {shop / RECIPE}")
