"""Commands that look after a shop, and the demonstration: doctor, demo."""

from pathlib import Path
from typing import Annotated

import typer

from tailrec import columns as c
from tailrec.cli.app import HERE, JsonOption, ShopOption
from tailrec.cli.fill import print_report
from tailrec.cli.measure import print_comparison
from tailrec.cli.output import FAILURE, print_json, print_table, progress_bar
from tailrec.demo import run_demo
from tailrec.doctor import examine
from tailrec.errors import DataError
from tailrec.settings import Settings
from tailrec.simulate import Simulation


def doctor(*, shop: ShopOption = HERE, as_json: JsonOption = False) -> None:
    """Check store, model, encoder and disk; say what is wrong and what to do."""
    findings = examine(shop, store_url=Settings.read().store_url)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        rows = [[f.part, "ok" if f.well else "wrong", f.says] for f in findings]
        print_table(f"{shop}", ["part", "state", "what"], rows)
    if not all(finding.well for finding in findings):
        raise typer.Exit(FAILURE)


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the shop that is made; must not be one yet.")
    ] = Path("demo-shop"),
    *,
    users: Annotated[int, typer.Option(help="People of the simulated shop.", min=50)] = 1500,
    items: Annotated[int, typer.Option(help="Products of the simulated shop.", min=50)] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed makes another shop.", min=0)] = 7,
    as_json: JsonOption = False,
) -> None:
    """From raw files to slates on a simulated shop: ingest, tail, fit, evaluate, explain."""
    if (folder / "tailrec.toml").exists():
        raise DataError(f"{folder} is a shop already; name another folder, or remove it")
    with progress_bar() as tell:
        shown = run_demo(folder, Simulation(n_users=users, n_items=items), seed, tell)
    if as_json:
        print_json(shown.to_dict())
        return
    for report in shown.ingested:
        print_report(report)
    print_table("the tail, by four definitions", shown.tiers.columns, shown.tiers.rows())
    print_comparison(shown.comparison)
    print_table(f"a slate for {shown.user_id}", shown.slate.columns, shown.slate.rows())
    title = f"why {shown.slate[c.TITLE][0]!r} stands first"
    print_table(title, shown.parts.columns, shown.parts.rows(), note=shown.verdict["why"])
    typer.echo(f"{folder} is a shop like any other now; its pictures are in {folder}/reports")
