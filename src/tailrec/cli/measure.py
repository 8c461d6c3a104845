"""Commands that measure: evaluate, compare."""

from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tailrec.cli.app import (
    HERE,
    BudgetOption,
    JsonOption,
    KeepOption,
    ObjectiveOption,
    ShopOption,
    open_shop,
)
from tailrec.cli.fairness import print_fairness
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.cli.parse import names, numbers, pairs, seconds
from tailrec.comparison import PEERS, Comparison, Rules, peers_named
from tailrec.comparison_report import write_report
from tailrec.comparison_words import SIGNS, headline
from tailrec.data.exchange import write_splits
from tailrec.fair_view import FairView, fair_view, group_items, write_fairness
from tailrec.reranking.grouping import GROUP_WORDS
from tailrec.verdicts import Verdict, judged

SplitOption = Annotated[str, typer.Option(help="time, leave-one-out or cold.")]
WindowsOption = Annotated[int, typer.Option(help="Windows of a time split.", min=1)]
DaysOption = Annotated[float | None, typer.Option(help="Days of a window.")]
AtOption = Annotated[str, typer.Option(help="Slate lengths.")]
SeedsOption = Annotated[int, typer.Option(help="Fits of what draws at random (als).", min=1)]
ReportOption = Annotated[
    Path | None, typer.Option(help="Folder for a page with pictures, and the figures as files.")
]


def evaluate(
    *,
    shop: ShopOption = HERE,
    split: SplitOption = "time",
    windows: WindowsOption = 3,
    days: DaysOption = None,
    at: AtOption = "10,20",
    budget: BudgetOption = "0",
    objective: ObjectiveOption = None,
    keep: KeepOption = None,
    fair_by: Annotated[
        str | None,
        typer.Option(
            help=f"Tell, too, how fairly groups of items are shown, by a field: {GROUP_WORDS}.",
        ),
    ] = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the shop's source on events it has not learnt from."""
    with open_shop(shop) as opened:
        goal = opened.recipe.goal(objective, keep)
        rules = Rules(tuple(numbers(at)), seconds(budget), goal)
        splits = opened.splits(split, windows=windows, days=days)
        # Before the fits, which take long: a field that does not serve is told at once.
        groups = None if fair_by is None else group_items(splits, fair_by, opened.recipe.tail)
        with progress_bar() as tell:
            done = count()
            comparison = opened.compare(
                splits,
                rules=rules,
                progress=tell,
                tell=lambda what: tell(f"evaluating {what}", next(done), len(splits)),
            )
        fair = None
        if groups is not None:
            rng = np.random.default_rng(opened.recipe.engine().seed)
            fair = fair_view(comparison.contenders[0], splits, groups, at=rules.at, rng=rng)
    _shown(comparison, split, report, fair, as_json=as_json)


def compare(
    *,
    shop: ShopOption = HERE,
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            help=f"Peers beside the shop's source, comma between: {', '.join(PEERS)}.",
            show_default="all that fit in seconds, but the shop's own kind",
        ),
    ] = None,
    slates: Annotated[
        list[str] | None,
        typer.Option(help="name=FILE: slates of another recommender, as Parquet. Repeatable."),
    ] = None,
    split: SplitOption = "time",
    windows: WindowsOption = 3,
    days: DaysOption = None,
    at: AtOption = "10,20",
    budget: BudgetOption = "30s",
    objective: ObjectiveOption = None,
    keep: KeepOption = None,
    seeds: SeedsOption = 1,
    export: Annotated[
        Path | None,
        typer.Option(help="Write the splits for other recommenders to this folder, and stop."),
    ] = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the shop's source beside peers: same splits, texts, budget; with intervals."""
    with open_shop(shop) as opened:
        goal = opened.recipe.goal(objective, keep)
        rules = Rules(tuple(numbers(at)), seconds(budget), goal, seeds)
        own = opened.recipe.source.kind
        quick = [name for name, peer in PEERS.items() if peer.quick and name != own]
        others = quick if with_ is None else names(with_)
        peers = peers_named(others)
        files = {name: Path(file) for name, file in pairs(slates or []).items()}
        splits = opened.splits(split, windows=windows, days=days)
        if export is not None:
            _files_shown(write_splits(splits, export), as_json=as_json)
            return
        with progress_bar() as tell:
            done, total = count(), len(splits) * (1 + len(peers)) + 1
            comparison = opened.compare(
                splits,
                peers=peers,
                slates=files,
                rules=rules,
                progress=tell,
                tell=lambda what: tell(f"comparing: {what}", next(done), total),
            )
    _shown(comparison, split, report, as_json=as_json)


def _shown(
    comparison: Comparison,
    split: str,
    report: Path | None,
    fair: FairView | None = None,
    *,
    as_json: bool,
) -> None:
    """Print a comparison, and write its page where one is asked for."""
    files = write_report(comparison, report) if report else []
    if report and fair:
        files += write_fairness(fair, report)
    if as_json:
        told = {"split": split, **comparison.to_dict()} | (
            {"fairness": fair.to_dict()} if fair else {}
        )
        print_json(told | {"files": [str(file) for file in files]})
        return
    print_comparison(comparison)
    if fair:
        print_fairness(fair)
    for file in files:
        typer.echo(file)


def _files_shown(files: list[Path], *, as_json: bool) -> None:
    if as_json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        typer.echo(file)


def print_comparison(comparison: Comparison) -> None:
    """Figures and costs of each contender; ratios of the first to the others, with verdicts."""
    short, long = comparison.rules.at[0], comparison.rules.at[-1]
    figures = [f"recall@{short}", f"ndcg@{short}", f"recall@{long}/pareto", f"ndcg@{short}/pareto"]
    figures += [f"recall@{long}/rare", f"recall@{long}/cold", f"coverage@{long}"]
    rows = [
        [one.name, *(one.figures.get(name) for name in figures), *_costs(one.costs)]
        for one in comparison.contenders
    ]
    n_requests = sum(split["n_requests"] for split in comparison.splits)
    title = f"{n_requests:,} requests; {', '.join(split['name'] for split in comparison.splits)}"
    print_table(title, ["", *figures, "fit s", "slates/s", "GiB"], rows)
    shown = [name for name in judged(comparison.rules.at) if name in figures]
    by_other: dict[str, dict[str, Verdict]] = {}
    for verdict in comparison.verdicts:
        by_other.setdefault(verdict.other, {})[verdict.figure] = verdict
    first = comparison.contenders[0].name
    ratios = [
        [f"{first} / {other}", *(_verdict(own.get(name)) for name in shown)]
        for other, own in by_other.items()
    ]
    if ratios:
        typer.echo(headline(comparison))
        note = ", ".join(f"{sign} {word}" for word, sign in SIGNS.items())
        print_table("ratios, with 95 % intervals over users", ["", *shown], ratios, note=note)


def _costs(costs: dict[str, float]) -> list[object]:
    """Seconds of a fit, slates a second, GiB; empty where not known."""
    fit, slate, peak = (costs.get(n) for n in ("fit_seconds", "slate_seconds", "peak_bytes"))
    return [
        None if fit is None else round(fit, 2),
        None if not slate else round(1 / slate),
        None if peak is None else round(peak / 2**30, 2),
    ]


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    if verdict.ratio is None:
        return SIGNS[verdict.word]
    low, mid, high = verdict.ratio
    return f"{SIGNS[verdict.word]} {mid:.2f} ({low:.2f}–{high:.2f})"
