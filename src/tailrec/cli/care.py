"""Commands that look after a shop, and the demonstration: doctor, demo."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tailrec import columns as c
from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.learn import print_contenders
from tailrec.cli.output import FAILURE, print_json, print_table, progress_bar
from tailrec.comparison import compare
from tailrec.comparison_report import write_comparison
from tailrec.data.ingest import ingest
from tailrec.doctor import examine
from tailrec.errors import DataError
from tailrec.shop import Shop, source_named
from tailrec.simulate import Simulation, simulate
from tailrec.slates import Ask, explained, recommended
from tailrec.tail.exposure_report import tail_table, write_report

DEMO_SOURCES = ("linear", "popular", "ease")


def doctor(shop: ShopOption = HERE, json: JsonOption = False) -> None:
    """Check store, model, encoder and disk; say what is wrong and what to do."""
    with open_shop(shop) as opened:
        findings = examine(opened)
    if json:
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
    users: Annotated[int, typer.Option(help="People of the simulated shop.", min=50)] = 1500,
    items: Annotated[int, typer.Option(help="Products of the simulated shop.", min=50)] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed makes another shop.", min=0)] = 7,
    json: JsonOption = False,
) -> None:
    """From raw files to slates on a simulated shop: ingest, tail, fit, evaluate, explain."""
    if (folder / "tailrec.toml").exists():
        raise DataError(f"{folder} is a shop already; name another folder, or remove it")
    world = simulate(Simulation(n_users=users, n_items=items), seed=seed)
    with Shop.create(folder) as shop, progress_bar() as tell:
        with tempfile.TemporaryDirectory() as raw:
            paths = world.write(Path(raw), dirty=True)
            reports = [
                ingest(
                    shop.store, path.stem, [path], rejected=folder / "reports" / f"{path.stem}.csv"
                )
                for path in paths
            ]
        data = shop.dataset()
        tiers = tail_table(data)
        write_report(data, folder / "reports" / "tail")
        fitted = shop.fit(progress=tell)
        contenders = compare(
            shop.recipe.engine(),
            [source_named(kind) for kind in DEMO_SOURCES],
            shop.splits("time", windows=1),
            cache=shop.cache,
        )
        write_comparison(contenders, folder / "reports" / "evaluation", [10, 20])
        user = data.user_ids[int((data.ptr[1:] - data.ptr[:-1]).argmax())]
        slate = recommended(shop, user=user, ask=Ask(k=8))
        verdict, parts = explained(shop, user, slate[c.ITEM_ID][0])
    if json:
        print_json(
            {
                "shop": str(folder),
                "ingest": [report.to_dict() for report in reports],
                "tiers": tiers.to_dicts(),
                "model": fitted.version,
                "sources": [one.to_dict() for one in contenders],
                "slate": slate.to_dicts(),
                "explanation": {**verdict, "parts": parts.to_dicts()},
            }
        )
        return
    for report in reports:
        print_reports(report)
    print_table("the tail, by four definitions", tiers.columns, tiers.rows())
    print_contenders(contenders, [10, 20])
    print_table(f"a slate for {user}", slate.columns, slate.rows())
    print_table(
        f"why {slate['title'][0]!r} stands first", parts.columns, parts.rows(), note=verdict["why"]
    )
    typer.echo(f"{folder} is a shop like any other now; its pictures are in {folder}/reports")
