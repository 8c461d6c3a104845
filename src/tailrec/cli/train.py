"""Commands that teach encoders: train pretrain, finetune, distil, search."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.cli.parse import seconds
from tailrec.cli.tune import STOPPED
from tailrec.recipe import Recipe
from tailrec.shop import Shop
from tailrec.shop_recipe import RECIPE
from tailrec.training.run_folder import Progress

if TYPE_CHECKING:
    from tailrec.shop_training import Trained

R = TypeVar("R", bound=Recipe)

train = typer.Typer(
    name="train",
    help="Teach a language model the shop's words and behaviour.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Encoder to begin with: a folder of the shop, or a name on the hub.",
        show_default="as in the recipe",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Steps of the optimiser.", min=1, show_default="as in the recipe"),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(help="End early after so many minutes.", min=0.01, show_default="never"),
]
SeedOption = Annotated[
    int | None, typer.Option(help="Of all that is drawn.", show_default="as in the recipe")
]
WriteOption = Annotated[
    bool, typer.Option("--write", help="Name the encoder in [features.text] of tailrec.toml.")
]
WandbOption = Annotated[
    str | None,
    typer.Option(help="Watch with Weights & Biases, too: online or offline.", metavar="MODE"),
]


def pretrain(
    *,
    shop: ShopOption = HERE,
    model: ModelOption = None,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = None,
    write: WriteOption = False,
    wandb: WandbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pre-train an encoder on the shop's own texts: it learns to say words that are hidden."""
    from tailrec.shop_training import pretrain_encoder  # loads PyTorch

    with open_shop(shop) as opened:
        recipe = _changed(opened.recipe.train.pretrain, model, steps, minutes, seed)
        _teach(
            opened,
            lambda tell: pretrain_encoder(opened, recipe, wandb=wandb, progress=tell),
            write=write,
            as_json=as_json,
        )


def finetune(
    *,
    shop: ShopOption = HERE,
    model: ModelOption = None,
    adapt: Annotated[
        str | None,
        typer.Option(
            help="What is trained: map, full, lora, adalora, prefix or adapter.",
            show_default="as in the recipe",
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="Learn from all events; nothing is left to evaluate the encoder on."
        ),
    ] = False,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = None,
    write: WriteOption = False,
    wandb: WandbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune an encoder on behaviour: what the same people had comes to lie near."""
    from tailrec.shop_training import finetune_encoder

    with open_shop(shop) as opened:
        recipe = _changed(opened.recipe.train.finetune, model, steps, minutes, seed)
        if adapt is not None:
            recipe = _updated(recipe, adapt={**recipe.adapt.model_dump(), "kind": adapt})
        _teach(
            opened,
            lambda tell: finetune_encoder(
                opened, recipe, everything=everything, wandb=wandb, progress=tell
            ),
            write=write,
            as_json=as_json,
        )


def distil(
    *,
    shop: ShopOption = HERE,
    into: Annotated[
        str | None,
        typer.Option(
            help="What the encoder becomes: layers or static.", show_default="as in the recipe"
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(help="Layers that are kept.", min=1, show_default="as in the recipe"),
    ] = None,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = None,
    write: WriteOption = False,
    wandb: WandbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the shop's encoder small: fewer layers, or one vector a token."""
    from tailrec.shop_training import distil_encoder

    with open_shop(shop) as opened:
        recipe = _changed(opened.recipe.train.distil, None, steps, minutes, seed)
        given = {"into": into, "layers": layers}
        recipe = _updated(recipe, **{n: value for n, value in given.items() if value is not None})
        _teach(
            opened,
            lambda tell: distil_encoder(opened, recipe, wandb=wandb, progress=tell),
            write=write,
            as_json=as_json,
        )


def search(
    *,
    shop: ShopOption = HERE,
    budget: Annotated[str, typer.Option(help="Time to search, as 30m or 2h.")] = "30m",
    adapt: Annotated[
        str | None, typer.Option(help="What is trained.", show_default="as in the recipe")
    ] = None,
    write: WriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search how fine-tuning goes best; later calls go on where this one ends."""
    from tailrec.shop_training import search_finetune

    with open_shop(shop) as opened:
        recipe = opened.recipe.train.finetune
        if adapt is not None:
            recipe = _updated(recipe, adapt={**recipe.adapt.model_dump(), "kind": adapt})
        with _stoppable(), progress_bar() as tell:
            found = search_finetune(opened, recipe, budget_s=seconds(budget), progress=tell)
        if write:
            found.write(opened)
    if as_json:
        print_json(found.facts() | {"written": write})
        return
    print_table("attempts", *found.table())
    if write:
        typer.echo(f"[train.finetune] of {shop / RECIPE} holds the best options")
