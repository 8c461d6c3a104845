"""The application, and what all commands take."""

from pathlib import Path
from typing import Annotated

import typer

from tailrec import __version__
from tailrec.settings import Settings
from tailrec.shop import Shop
from tailrec.tuning import Objective

app = typer.Typer(
    name="tailrec",
    help="Recommendations that sell a shop's whole catalogue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ShopOption = Annotated[
    Path, typer.Option("--shop", help="Folder of the shop.", show_default="here")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
BudgetOption = Annotated[
    str,
    typer.Option(help="Time to choose options on validation, as 60s or 10m; 0: as in the recipe."),
]
ObjectiveOption = Annotated[
    Objective | None,
    typer.Option(
        help="What a choice of options raises: tail or overall.", show_default="as in the recipe"
    ),
]
KeepOption = Annotated[
    float | None,
    typer.Option(
        help="Share of the best of the other NDCG that a choice keeps.",
        show_default="as in the recipe",
        min=0.01,
        max=1,
    ),
]
HERE = Path()


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tailrec {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Recommendations that sell a shop's whole catalogue, the long tail included."""
    del version


def open_shop(folder: Path) -> Shop:
    """The shop a command works on."""
    return Shop.open(folder, store_url=Settings.read().store_url)
