"""Commands that teach encoders: train pretrain, finetune, distil, search."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.cli.parse import seconds
from tailrec.cli.tune import STOPPED
from tailrec.features.text import Progress
from tailrec.recipe import Recipe
from tailrec.shop import Shop
from tailrec.shop_recipe import RECIPE
from tailrec.training.continual import Continue
from tailrec.training.recipes import Kind

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
AdaptOption = Annotated[
    Kind | None,
    typer.Option(help="Which parameters are trained.", show_default="as in the recipe"),
]
EverythingOption = Annotated[
    bool,
    typer.Option("--everything", help="Learn from all events: nothing is left to evaluate it on."),
]
WriteOption = Annotated[
    bool, typer.Option("--write", help="Name the encoder in [features.text] of tailrec.toml.")
]
WandbOption = Annotated[
    Literal["online", "offline"] | None,
    typer.Option(help="Watch with Weights & Biases, too.", show_default="TensorBoard alone"),
]


def pretrain(
    *,
    shop: ShopOption = HERE,
    model: ModelOption = None,
    everything: EverythingOption = False,
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
            lambda tell: pretrain_encoder(
                opened, recipe, everything=everything, wandb=wandb, progress=tell
            ),
            write=write,
            as_json=as_json,
        )


def finetune(
    *,
    shop: ShopOption = HERE,
    model: ModelOption = None,
    adapt: AdaptOption = None,
    everything: EverythingOption = False,
    go_on: Annotated[
        bool,
        typer.Option(
            "--continue",
            help="Learn what happened since the encoder learnt, and keep what it knows.",
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
        given = opened.recipe.train.finetune
        recipe = given if adapt is None else given.adapted_to(adapt)
        if go_on:
            # Without a name it is the encoder that the shop reads with.
            model = model or opened.recipe.features.text.model
            recipe = recipe.model_copy(update={"continual": recipe.continual or Continue()})
        recipe = _changed(recipe, model, steps, minutes, seed)
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
        Literal["layers", "static"],
        typer.Option(help="Fewer layers, or one vector a token."),
    ] = "layers",
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
        given = opened.recipe.train
        recipe = _changed(
            given.distil if into == "layers" else given.static, None, steps, minutes, seed
        )
        if layers is not None:
            recipe = type(recipe).parse(recipe.model_dump() | {"layers": layers})
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
    adapt: AdaptOption = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the best options into tailrec.toml.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search how fine-tuning goes best; later calls go on where this one ends."""
    from tailrec.shop_training import search_finetune, with_options, write_finetune

    with open_shop(shop) as opened:
        given = opened.recipe.train.finetune
        recipe = given if adapt is None else given.adapted_to(adapt)
        with _stoppable(), progress_bar() as tell:
            found = search_finetune(opened, recipe, budget_s=seconds(budget), progress=tell)
        if write:
            write_finetune(opened, with_options(recipe, found.best.options))
    if as_json:
        print_json(asdict(found) | {"written": write})
        return
    names = list(found.best.options)
    rows = [
        [one.number, *(one.options[name] for name in names), one.state, one.figure or 0.0]
        for one in found.tried
    ]
    note = f"attempt {found.best.number} is the best"
    print_table("attempts", ["attempt", *names, "state", "held out"], rows, note=note)
    if write:
        typer.echo(f"[train.finetune] of {shop / RECIPE} holds the best options")


def _changed(
    recipe: R, model: str | None, steps: int | None, minutes: float | None, seed: int | None
) -> R:
    """A recipe with what the command line says."""
    told = {"steps": steps, "minutes": minutes, "seed": seed}
    whole = recipe.model_dump()
    given = {name: value for name, value in told.items() if value is not None}
    if "course" in whole:
        whole["course"] |= given
    else:
        whole |= given
    return type(recipe).parse(whole | ({} if model is None else {"model": model}))


def _teach(
    shop: Shop, work: Callable[[Progress], "Trained"], *, write: bool, as_json: bool
) -> None:
    """Do the work, name its encoder in the recipe where asked, and print what came of it."""
    from tailrec.shop_training import use_encoder

    with _stoppable(), progress_bar() as tell:
        trained = work(tell)
    if write:
        use_encoder(shop, trained.encoder)
    if as_json:
        facts = {"encoder": trained.encoder, "run": trained.run, "written": write}
        print_json(facts | dict(trained.card))
        return
    held_out = trained.card.get("held_out", {})
    rows = [[name, trained.before.get(name, ""), value] for name, value in held_out.items()]
    print_table(trained.encoder, ["on held-out data", "before", "after"], rows, note=_note(trained))
    recipe = shop.folder / RECIPE
    if write:
        typer.echo(f"[features.text] of {recipe} names it; `tailrec fit` learns with it")
    else:
        typer.echo(f"--write names it in {recipe}, or do: model = {trained.encoder!r}")


def _note(trained: "Trained") -> str:
    if trained.outcome is None:
        return f"files of the run: {trained.run}"
    made = f"{trained.outcome.step:,} steps in {trained.outcome.seconds / 60:.1f} min"
    best = f"the state after step {trained.outcome.best_step:,} is kept"
    return f"{made}, ended by {trained.outcome.ended}; {best}; files of the run: {trained.run}"


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C ends with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo("tailrec: stopped; the same command goes on from the last step", err=True)
        raise typer.Exit(STOPPED) from error
