"""Commands that learn and measure: tail, fit, evaluate."""

from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from tailrec import columns as c
from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.cli.parse import instant, numbers, seconds
from tailrec.comparison import Contender, Search, compare, ratio
from tailrec.comparison_report import write_comparison
from tailrec.evaluation.significance import Interval
from tailrec.shop import source_named
from tailrec.tail.exposure_report import tail_table, write_report
from tailrec.tuning import Trial

Budget = Annotated[
    str,
    typer.Option(help="Time to choose options on validation, as 60s or 10m; 0: as in the recipe."),
]


def tail(
    *,
    shop: ShopOption = HERE,
    report: Annotated[
        Path | None, typer.Option(help="Folder for curves, tables and a page.")
    ] = None,
    valuable: Annotated[
        int, typer.Option(help="Also list so many tail items with signs of value.", min=0)
    ] = 10,
    moves: Annotated[
        int, typer.Option(help="Also list so many items that rise or fall lately.", min=0)
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """What the tail of this shop is, which of it has value, and what moves."""
    with open_shop(shop) as opened:
        data = opened.dataset()
        table = tail_table(data)
        found = opened.valuable_tail()
        movers = opened.movers().head(moves)
        written = write_report(data, report) if report else []
    items = found.table.head(valuable)
    if as_json:
        files = [str(path) for path in written]
        lists = {"tiers": table.to_dicts(), "valuable": items.to_dicts()}
        lists["movers"] = movers.to_dicts()
        print_json({**lists, "signs": found.signs, "signs_absent": found.absent, "files": files})
        return
    print_table(f"the tail of {shop}", table.columns, table.rows())
    if valuable:
        head = [c.ITEM_ID, c.TITLE, "tier", "events", "score", *found.signs]
        note = "; ".join(f"no {sign}: {why}" for sign, why in found.absent.items())
        print_table("tail items with signs of value", head, items.select(head).rows(), note=note)
    if len(movers):
        head = [c.ITEM_ID, c.TITLE, "direction", "events_before", "events_after", "ratio", "q"]
        title = f"what moves since {movers['start'][0]:%Y-%m-%d}"
        print_table(title, head, movers.select(head).rows())
    for path in written:
        typer.echo(path)


def fit(
    *,
    shop: ShopOption = HERE,
    until: Annotated[
        str | None, typer.Option(help="Learn from events before this instant (ISO 8601).")
    ] = None,
    budget: Budget = "0",
    as_json: JsonOption = False,
) -> None:
    """Learn a model from the shop and serve it from now on."""
    with open_shop(shop) as opened, progress_bar() as tell:
        budget_s = seconds(budget)

        def on_trial(spent: float, trial: Trial) -> None:
            tell(f"options (NDCG@10 {trial.ndcg:.4f})", int(min(spent, budget_s)), int(budget_s))

        fitted = opened.fit(
            until=instant(until), budget_s=budget_s, progress=tell, on_trial=on_trial
        )
    if as_json:
        print_json({"version": fitted.version, **fitted.card})
        return
    data = fitted.card["data"]
    print_table(
        f"model {fitted.version}",
        ["source", "users", "items", "events", "seconds"],
        [
            [
                fitted.card["source"]["kind"],
                data["n_users"],
                data["n_items"],
                data["n_events"],
                fitted.card["seconds"],
            ]
        ],
        note=_searched(fitted.card),
    )


def _searched(card: dict[str, object]) -> str:
    if "validation" not in card:
        return "options as in the recipe; --budget 60s chooses them on validation"
    return f"options chosen from {card['n_trials']} trials; on validation {card['validation']}"


def evaluate(
    *,
    shop: ShopOption = HERE,
    split: Annotated[str, typer.Option(help="time, leave-one-out or cold.")] = "time",
    windows: Annotated[int, typer.Option(help="Windows of a time split.", min=1)] = 3,
    days: Annotated[float | None, typer.Option(help="Days of a window.")] = None,
    at: Annotated[str, typer.Option(help="Slate lengths.")] = "10,20",
    with_: Annotated[
        str, typer.Option("--with", help="Further sources beside the shop's: popular,ease,...")
    ] = "popular",
    budget: Budget = "0",
    keep: Annotated[
        float | None,
        typer.Option(
            help="Share of the best NDCG a choice keeps; within it, the tail decides.",
            show_default="as in the recipe",
            min=0.01,
            max=1,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the figures as JSON and a picture.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the shop's source, beside others, on events it has not learnt from."""
    budget_s = seconds(budget)
    with open_shop(shop) as opened, progress_bar() as tell:
        sources = [opened.recipe.source, *map(source_named, with_.split(",") if with_ else ())]
        splits = opened.splits(split, windows=windows, days=days)
        done = count()
        total = len(sources) * len(splits)

        contenders = compare(
            opened.recipe.engine(),
            sources,
            splits,
            at=numbers(at),
            search=Search(budget_s, opened.recipe.tail, keep or opened.recipe.keep)
            if budget_s
            else None,
            cache=opened.cache,
            progress=tell,
            on_source=lambda name: tell(f"evaluating {name}", next(done), total),
        )
    if report:
        write_comparison(contenders, report, numbers(at))
    if as_json:
        print_json({"split": split, "sources": [one.to_dict() for one in contenders]})
    else:
        print_contenders(contenders, numbers(at))


def print_contenders(contenders: list[Contender], at: list[int]) -> None:
    """The table of a comparison, and the first source's ratios to the others."""
    short, long = at[0], at[-1]
    names = [f"recall@{short}", f"ndcg@{short}", f"recall@{long}/pareto", f"ndcg@{short}/pareto"]
    names += [f"recall@{long}/rare", f"recall@{long}/cold", f"coverage@{long}", f"gini@{long}"]
    rows = [
        [
            one.name,
            *(one.figures.get(name) for name in names),
            round(one.fit_seconds, 2),
            round(1_000 * one.slate_seconds, 3),
        ]
        for one in contenders
    ]
    splits = contenders[0].evaluations
    n_users = sum(len(one.ids) for one in splits)
    title = f"{n_users:,} requests; {', '.join(one.split for one in splits)}"
    print_table(title, ["source", *names, "fit s", "slate ms"], rows)
    first = contenders[0]
    shown = (f"ndcg@{short}", f"recall@{long}/pareto")
    intervals = [
        [f"{first.name} / {other.name}", *(_interval(ratio(first, other, name)) for name in shown)]
        for other in contenders[1:]
    ]
    if intervals:
        print_table("ratios, with 95 % intervals over users", ["pair", *shown], intervals)


def _interval(ratio: Interval | None) -> str:
    return "-" if ratio is None else f"{ratio.mid:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
