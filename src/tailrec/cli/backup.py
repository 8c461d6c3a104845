"""Commands that keep a shop safe: backup, restore."""

from pathlib import Path
from typing import Annotated

import typer

from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json
from tailrec.data.backup import back_up
from tailrec.data.backup import restore as run_restore
from tailrec.shop_recipe import RECIPE, ShopRecipe

_ELSEWHERE = "the store is in PostgreSQL and not in the file: docs/deploy.md says how it is kept"
_POINTS = "its recipe names the store at [store] url; see that this is the one you mean"


def backup(
    file: Annotated[Path, typer.Argument(help="The backup, a .tar; replaced if it exists.")],
    *,
    shop: ShopOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Write the shop to one file while it works: store, recipe and models."""
    with open_shop(shop) as opened:
        about = back_up(shop, opened.store, file)
    about["bytes"] = file.stat().st_size
    if as_json:
        print_json(about)
        return
    typer.echo(f"{shop} is in {file}: {about['bytes']:,} bytes, models: {len(about['models'])}")
    if about["store"] != "sqlite":
        typer.echo(_ELSEWHERE)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `tailrec backup` wrote.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the shop; must not exist.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a shop of a backup."""
    about = run_restore(file, folder)
    if as_json:
        print_json(about)
        return
    typer.echo(f"{folder} is the shop as it was at {about['made_at']}; ask `tailrec doctor`")
    if about["store"] != "sqlite":
        typer.echo(_ELSEWHERE)
    if ShopRecipe.load(folder / RECIPE).store.url:
        typer.echo(_POINTS)
