"""Commands that fill a shop and empty it: init, ingest, export, erase."""

from pathlib import Path
from typing import Annotated

import typer

from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.columns import TABLES
from tailrec.data.export import export_table
from tailrec.data.ingest import IngestResult
from tailrec.data.ingest import ingest as run_ingest
from tailrec.data.mapping import parse_pairs
from tailrec.data.plaintext import UTF8
from tailrec.data.read import Query
from tailrec.errors import DataError
from tailrec.settings import Settings
from tailrec.shop import Shop


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new shop.")],
    as_json: JsonOption = False,
) -> None:
    """Make a new, empty shop."""
    with Shop.create(folder, store_url=Settings.read().store_url):
        pass
    if as_json:
        print_json({"shop": str(folder)})
    else:
        typer.echo(f"{folder} is a shop now; next: tailrec ingest items FILE --shop {folder}")


def ingest(
    table: Annotated[str, typer.Argument(help="items, users, events or aliases.")],
    files: Annotated[
        list[str], typer.Argument(help="CSV, Parquet or JSON Lines files; or a SELECT with --url.")
    ],
    *,
    shop: ShopOption = HERE,
    map_: Annotated[
        str,
        typer.Option("--map", help="ours=theirs,...; join columns with + (text) or > (category)."),
    ] = "",
    fill: Annotated[str, typer.Option(help="column=constant,... for columns the file lacks.")] = "",
    preset: Annotated[str | None, typer.Option(help="online-retail, movielens or amazon.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Database that FILES, then SELECT statements, are asked of.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of text files.")] = UTF8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only; write nothing.")] = False,
    rejected: Annotated[
        Path | None, typer.Option(help="Where refused rows go (.csv or .parquet), with reasons.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read files into the shop: cleaned, reported, all or nothing."""
    if table not in TABLES:
        raise DataError(f"table is {table!r}; it must be one of {', '.join(TABLES)}")
    sources = [Query(url, text) if url else text for text in files]
    with open_shop(shop) as opened, progress_bar() as tell:
        result = run_ingest(
            opened.store,
            table,
            sources,
            mapping=parse_pairs(map_),
            fill=parse_pairs(fill),
            preset=preset,
            cleaning=opened.recipe.cleaning,
            dry_run=dry_run,
            rejected=None
            if dry_run
            else rejected or opened.folder / "reports" / f"rejected-{table}.csv",
            progress=lambda stage, rows: tell(stage, rows, 0),
            encoding=encoding,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        print_report(result)


def print_report(result: IngestResult) -> None:
    """What became of each file's rows."""
    for table, report in result.reports.items():
        print_table(
            f"{table}: {report.rows:,} rows, {report.kept:,} kept, {report.rejected:,} refused",
            ["rule", "changed", "refused", "examples"],
            report.table_rows(),
            note="; ".join(report.notes),
        )
    verb = "would offer" if result.dry_run else "new in the store:"
    counts = ", ".join(f"{n:,} {table}" for table, n in result.new_rows.items())
    typer.echo(f"{verb} {counts}")


def export(
    table: Annotated[str, typer.Argument(help="events, items, users or aliases.")],
    out: Annotated[Path, typer.Option(help="File to write: .parquet, .csv or .jsonl.")],
    *,
    shop: ShopOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Write a table of the shop to a file."""
    with open_shop(shop) as opened:
        n_rows = export_table(opened.store, table, out)
    if as_json:
        print_json({"table": table, "rows": n_rows, "file": str(out)})
    else:
        typer.echo(f"{n_rows:,} {table} written to {out}")


def erase(
    user: Annotated[str, typer.Argument(help="Id of the person.")],
    *,
    shop: ShopOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Erase a person: events, attributes, aliases. The next fit learns nothing of them."""
    with open_shop(shop) as opened:
        erased = opened.erase(user)
    if as_json:
        print_json({"user_id": user, "erased": erased})
    else:
        counts = ", ".join(f"{n:,} {table}" for table, n in erased.items())
        typer.echo(f"erased of {user}: {counts}")
