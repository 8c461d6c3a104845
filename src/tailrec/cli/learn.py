"""Commands that learn: tail, fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tailrec import columns as c
from tailrec.cli.app import HERE, BudgetOption, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.cli.parse import instant, seconds
from tailrec.cli.tune import trials_told
from tailrec.errors import DataError
from tailrec.tail.exposure_report import tail_table, write_report
from tailrec.tuning_spaces import SPACES


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
    budget: BudgetOption = "0",
    update: Annotated[
        bool,
        typer.Option("--update", help="Go on from the model that is served, with its options."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn a model from the shop and serve it from now on."""
    budget_s = seconds(budget)
    if update and budget_s:
        raise DataError("--update keeps the model's options; leave out --budget, or --update")
    with open_shop(shop) as opened, progress_bar() as tell:
        if update:
            fitted = opened.update(until=instant(until))
        else:
            fitted = opened.fit(
                until=instant(until),
                budget_s=budget_s,
                progress=tell,
                on_trial=trials_told(tell, budget_s),
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


def _searched(card: Mapping[str, Any]) -> str:
    if "updated" in card:
        return f"options and weights as in model {card['updated']}, which it goes on from"
    if "validation" not in card:
        told = "options as in the recipe"
        searched = SPACES[card["source"]["kind"]]
        return f"{told}; --budget 60s chooses them on validation" if searched else told
    told = f"options chosen from {card['n_trials']} trials; on validation {card['validation']}"
    return "; ".join([told, *card["afforded"]])
