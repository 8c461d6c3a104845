"""Teaching an encoder with a shop's data: what with, what is held out, where the run is kept.

A run's name is made of its kind and of all that it depends on: the same recipe on the same data
goes on where it was stopped, or is found done; anything else begins a run of its own.
"""

import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.data.histories import settle_repeats
from tailrec.data.seen import LEARNT, learnt
from tailrec.data.split import inner_split
from tailrec.dataset import Dataset
from tailrec.errors import DataError, RecipeError
from tailrec.features.text import Progress
from tailrec.features.weights import ENCODERS, find_model, read_card
from tailrec.recipe import Recipe
from tailrec.recipe_file import replace_table
from tailrec.shop import Shop
from tailrec.shop_recipe import RECIPE, ShopRecipe
from tailrec.teaching import held_out, judged_on, lessons_of
from tailrec.training.attempts import Between, Found, OneOf, Space, Value
from tailrec.training.behaviour import WATCHED
from tailrec.training.course import Outcome
from tailrec.training.curves import write_curve
from tailrec.training.devices import Devices, is_main
from tailrec.training.distil import distil
from tailrec.training.encoder_files import whole_folder, write_card
from tailrec.training.finetune import Material, finetune
from tailrec.training.masked_model import find_base
from tailrec.training.memory import Memory
from tailrec.training.pretrain import pretrain
from tailrec.training.recipes import Distil, Finetune, Pretrain, StaticDistil
from tailrec.training.reworded import reworded
from tailrec.training.run_folder import RunFolder
from tailrec.training.search import Attempt, Reports, search
from tailrec.training.static import distil_static
from tailrec.training.taught import Taught
from tailrec.training.tracking import Several, TensorBoard, Tracker, WeightsAndBiases

RUNS = "runs"
PROJECT = "tailrec"
TEXTS: Final = "texts"
"""What a lesson is of, where it is not of behaviour."""
SPACE: Final[Space] = {
    "rate": Between(1e-5, 3e-3, log=True),
    "weight_decay": Between(1e-3, 1.0, log=True),
    "temperature": Between(0.03, 0.3, log=True),
    "batch": OneOf((64, 128, 256, 512)),
}
"""What a search varies: of the course, the objective (contrastive), and the batch."""

Wandb = Literal["online", "offline"]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run left.

    Attributes:
        encoder: its folder, from the shop's folder on: what `[features.text] model` takes.
        run: folder of the run.
        outcome: how it ended; None where nothing is trained in steps.
        card: what it learnt from, how it ended, figures.
        before: held-out figures of what it began with.
    """

    encoder: str
    run: Path
    outcome: Outcome | None
    card: Mapping[str, Any]
    before: Mapping[str, float]


def pretrain_encoder(
    shop: Shop,
    recipe: Pretrain,
    *,
    everything: bool = False,
    wandb: Wandb | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Pre-train an encoder on the texts of a shop's items, reviews and searches.

    A review tells what somebody had. So unless told otherwise only those are read that were
    written before what an evaluation asks for.

    Args:
        shop: whose texts are read.
        recipe: how.
        everything: read all that was written; figures on it mean nothing afterwards.
        wandb: watch with Weights & Biases, too.
        progress: told steps and the loss.

    Raises:
        DataError: the shop has too few texts.
        RecipeError: the model cannot be found, or not be pre-trained.
    """
    written, lessons = _written(shop, everything=everything)
    corpus = recipe.texts.gather(shop.dataset().catalog, written)
    base = find_base(recipe.model, shop.folder)
    run = _run(shop, "pretrain", recipe, recipe.mark(corpus, base))
    with _watched(run, wandb, recipe) as tracker:
        outcome = pretrain(recipe, corpus, base, run, tracker=tracker, progress=progress)
    return _done(shop, run, outcome, base if recipe.own is None else None, lessons)


def _written(shop: Shop, *, everything: bool) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Events with a text that may be read, and what is to be told of them."""
    texts = shop.store.read("events").drop_nulls(c.TEXT)
    if texts.is_empty():
        return texts, []
    whole = shop.dataset(whole=True)
    split = None if everything else inner_split(whole, shop.recipe.histories.repeats)
    known = whole if split is None else split.whole
    if split is not None and split.cut is not None:
        texts = texts.filter(pl.col(c.TIMESTAMP).dt.epoch("us") < split.cut)
    elif split is not None:
        last = pl.DataFrame({c.USER_ID: known.user_ids[known.user].astype(str), "last": known.time})
        texts = (
            texts.join(last.group_by(c.USER_ID).max(), on=c.USER_ID)
            .filter(pl.col(c.TIMESTAMP).dt.epoch("us") <= pl.col("last"))
            .drop("last")
        )
    return texts, [learnt(known, split) | {"of": TEXTS}]


def finetune_encoder(
    shop: Shop,
    recipe: Finetune,
    *,
    everything: bool = False,
    wandb: Wandb | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Fine-tune an encoder on a shop's behaviour.

    Unless told otherwise it learns from what the choice of options learns from: `fit --budget` and
    an evaluation of the same kind then ask for events that the encoder has not seen. A recipe with
    `continual` learns from what happened since its encoder learnt.

    Args:
        shop: whose behaviour is learnt.
        recipe: how.
        everything: learn from all events; figures on them mean nothing afterwards.
        wandb: watch with Weights & Biases, too.
        progress: told steps and the loss.

    Raises:
        DataError: there is too little behaviour to learn from, or nothing new.
        RecipeError: the model cannot be found.
        ArtifactError: the encoder to go on from left no memory.
    """
    whole = shop.dataset(whole=True)
    split = None if everything else inner_split(whole, shop.recipe.histories.repeats)
    known = whole if split is None else split.whole
    told, earlier = learnt(known, split), None
    if recipe.continual is not None:
        known = _since(shop, recipe.model, known)
        earlier = Memory.read(shop.folder / RUNS / Path(recipe.model).name)
    material = material_of(shop.recipe, recipe, known, shop.cache, shop.folder, progress=progress)
    material = replace(material, earlier=earlier)
    run = _run(shop, "finetune", recipe, material.mark(recipe))
    with _watched(run, wandb, recipe) as tracker:
        outcome = finetune(recipe, material, run, tracker=tracker, progress=progress)
    return _done(shop, run, outcome, material.base, [told])


def _since(shop: Shop, model: str, known: Dataset) -> Dataset:
    """What happened after an encoder learnt.

    Raises:
        DataError: it was not fine-tuned here, or nothing happened.
    """
    card = read_card(find_model(model, shop.folder))
    lessons = [lesson for lesson in card.get(LEARNT, []) if lesson.get("of") != TEXTS]
    if not lessons:
        raise DataError(
            f"encoder {model!r} has learnt no behaviour of this shop, so there is nothing to go on "
            "from; name one that `tailrec train finetune` made, or leave out --continue"
        )
    # A cut in time leaves out what happened at its very instant.
    first = max(lesson["until_us"] + (not lesson["cut"]) for lesson in lessons)
    new = known.time >= first
    if not new.any():
        raise DataError(f"nothing happened since encoder {model!r} learnt; ingest newer events")
    return known.keep(new)


def distil_encoder(
    shop: Shop,
    recipe: Distil | StaticDistil,
    *,
    wandb: Wandb | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Make a small encoder of the one that the shop reads with.

    Args:
        shop: its recipe names the teacher.
        recipe: fewer layers, or one vector a token.
        wandb: watch with Weights & Biases, too.
        progress: told texts encoded, then steps and the loss.

    Raises:
        DataError: the shop has too few texts.
        RecipeError: the teacher cannot be found, or not be cut down.
    """
    catalog = shop.dataset().catalog
    teacher = shop.recipe.features.text
    taught = Taught.of(teacher, catalog, cache=shop.cache, home=shop.folder, progress=progress)
    if isinstance(recipe, StaticDistil):
        run = _run(shop, "static", recipe, recipe.mark(taught))
        distil_static(recipe, taught, run.encoder, progress=progress)
        return _done(shop, run, None, taught.folder)
    run = _run(shop, "distil", recipe, recipe.mark(taught))
    with _watched(run, wandb, recipe) as tracker:
        outcome = distil(recipe, taught, run, tracker=tracker, progress=progress)
    return _done(shop, run, outcome, taught.folder)


def search_finetune(
    shop: Shop,
    recipe: Finetune,
    *,
    budget_s: float,
    progress: Progress | None = None,
) -> Found:
    """Search how fine-tuning goes best by its held-out items; a search cut short goes on.

    Args:
        shop: whose behaviour is learnt.
        recipe: where the search begins; what it does not vary stays as it is.
        budget_s: seconds; the attempt under way is taken up by the next search.
        progress: told attempts.

    Raises:
        DataError: there is too little behaviour to learn from.
        RecipeError: the first attempts all failed, or nothing that can be compared is measured.
    """
    for option in ("privacy", "continual"):
        if getattr(recipe, option) is not None:
            raise RecipeError(f"a search measures plain runs; leave `{option}` out while it goes")
    whole = shop.dataset(whole=True)
    known = inner_split(whole, shop.recipe.histories.repeats).whole
    material = material_of(shop.recipe, recipe, known, shop.cache, shop.folder)
    mark = material.mark(recipe)
    folder = shop.folder / RUNS / f"search-{mark[:8]}"

    def attempt(one: Attempt) -> float:
        options = with_options(recipe, one.options)
        run = RunFolder(folder / f"attempt-{one.number}", material.mark(options))
        run.write_recipe(options)
        outcome = finetune(options, material, run, tracker=Reports(WATCHED, one))
        return float(outcome.best[WATCHED])

    return search(
        space_of(recipe),
        attempt,
        budget_s=budget_s,
        storage=folder / "attempts.journal",
        seed=recipe.course.seed,
        given=_given(recipe),
        progress=progress,
    )


def space_of(recipe: Finetune) -> Space:
    """What a search varies of a recipe: `SPACE`, but for what its objective has no use for."""
    if recipe.objective.kind == "autoencoder":
        return {name: span for name, span in SPACE.items() if name != "temperature"}
    return SPACE


def with_options(recipe: Finetune, options: Mapping[str, Value]) -> Finetune:
    """A recipe under the options of an attempt; see `space_of`."""
    whole = recipe.model_dump()
    whole["course"] |= {name: options[name] for name in ("rate", "weight_decay")}
    whole["objective"] |= {name: options[name] for name in options if name == "temperature"}
    return Finetune.parse(whole | {"batch": options["batch"]})


def write_finetune(shop: Shop, recipe: Finetune) -> None:
    """Put what a search found into `[train.finetune]` of tailrec.toml.

    These are the options that it varies, and the kind of parameters that they are for.

    Raises:
        RecipeError: the table stands there in a form that cannot be changed line by line.
    """
    path = shop.folder / RECIPE
    chosen: dict[str, dict[str, Any]] = {
        "train.finetune": {"batch": recipe.batch},
        "train.finetune.course": {
            "rate": recipe.course.rate,
            "weight_decay": recipe.course.weight_decay,
        },
        "train.finetune.objective": {"temperature": recipe.objective.temperature},
    }
    if recipe.adapt.kind != shop.recipe.train.finetune.adapt.kind:
        # Options of the former kind go with it.
        replace_table(path, "train.finetune.adapt", {"kind": recipe.adapt.kind})
    for table, options in chosen.items():
        _set(path, table, options)
    shop.recipe = ShopRecipe.load(path)


def material_of(
    shop: ShopRecipe,
    recipe: Finetune,
    known: Dataset,
    cache: Path,
    home: Path,
    *,
    progress: Progress | None = None,
) -> Material:
    """What an encoder is fine-tuned with.

    Args:
        shop: says which texts the encoder reads.
        recipe: of the fine-tuning.
        known: whole histories that may be learnt from; some items of theirs are held out.
        cache: folder of vectors and translations made before.
        home: folder of the shop.
        progress: told how many texts are translated and encoded.

    Raises:
        DataError: there is too little behaviour, or nothing to vary texts with.
        RecipeError: a model cannot be found.
    """
    rng = np.random.default_rng([recipe.course.seed, len(known.catalog)])
    reader = shop.features.text.model_copy(update={"model": recipe.model})
    vary = reworded(recipe, known.catalog, reader, cache=cache, home=home, progress=progress)
    features = shop.features.model_copy(update={"text": reader, "encode": True})
    vectors = features.fit(known.catalog, cache=cache, home=home, progress=progress).features
    inner = held_out(known, shop.histories.repeats, rng)
    settled = settle_repeats(known, shop.histories.repeats)
    judged = judged_on(inner, settled, rng)
    lessons = lessons_of(inner.train, vectors, hard=recipe.objective.hard > 0, rng=rng)
    texts = reader.prefixed(reader.texts(known.catalog))
    base = find_model(recipe.model, home)
    return Material(
        base,
        texts,
        vectors.dense,
        lessons,
        judged,
        max_length=reader.max_length,
        form=reader.form,
        vary=vary,
    )


def use_encoder(shop: Shop, encoder: str) -> None:
    """Name an encoder in tailrec.toml: the next fit, and what serves it, read with it.

    Args:
        shop: its recipe is changed.
        encoder: as `Trained.encoder` says.

    Raises:
        RecipeError: `[features.text]` stands there in a form that cannot be changed line by line.
    """
    find_model(encoder, shop.folder)
    path = shop.folder / RECIPE
    _set(path, "features.text", {"model": encoder})
    shop.recipe = ShopRecipe.load(path)


def _set(path: Path, table: str, options: Mapping[str, Any]) -> None:
    """Some options of a table; the others it has stay."""
    there: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    for name in table.split("."):
        there = there.get(name, {})
    plain = {name: value for name, value in there.items() if not isinstance(value, dict)}
    replace_table(path, table, plain | dict(options))


def _given(recipe: Finetune) -> dict[str, Value]:
    """The options that a search varies, as a recipe has them; the nearest that the space has."""
    course = recipe.course
    space = space_of(recipe)
    sizes = space["batch"].values if isinstance(space["batch"], OneOf) else ()
    given = {"rate": course.rate, "weight_decay": course.weight_decay}
    given["temperature"] = recipe.objective.temperature
    placed: dict[str, Value] = {
        name: float(np.clip(given[name], span.low, span.high))
        for name, span in space.items()
        if isinstance(span, Between)
    }
    return placed | {"batch": min(sizes, key=lambda size: abs(int(str(size)) - recipe.batch))}


def _run(
    shop: Shop, kind: str, recipe: Pretrain | Finetune | Distil | StaticDistil, mark: str
) -> RunFolder:
    run = RunFolder(shop.folder / RUNS / f"{kind}-{mark[:8]}", mark)
    if not isinstance(recipe, StaticDistil):
        Devices(recipe.course.device)  # joins the other processes, if there are any
    if is_main():
        run.write_recipe(recipe)
    return run


@contextmanager
def _watched(run: RunFolder, wandb: Wandb | None, recipe: Recipe) -> Iterator[Tracker]:
    """TensorBoard's files, always, and Weights & Biases where it was asked for."""
    with ExitStack() as held:
        if not is_main():  # one of several processes is watched
            yield Several()
            return
        trackers: list[Tracker] = [held.enter_context(TensorBoard.of(run))]
        if wandb is not None:
            options = recipe.model_dump(mode="json")
            other = WeightsAndBiases(run, project=PROJECT, mode=wandb, options=options)
            trackers.append(held.enter_context(other))
        yield Several(*trackers)


def _done(
    shop: Shop,
    run: RunFolder,
    outcome: Outcome | None,
    base: Path | None,
    lessons: Sequence[Mapping[str, Any]] = (),
) -> Trained:
    """Draw the curve, write the cards, and put the encoder among the shop's.

    What the encoder it began with had seen, this one has seen, too.
    """
    name = f"{ENCODERS}/{run.folder.name}"
    if not is_main():
        return Trained(name, run.folder, outcome, {}, {})
    before = [] if base is None else read_card(base).get(LEARNT, [])
    seen = [*before, *lessons]
    card = read_card(run.encoder) | {LEARNT: seen}
    run.write_card(card)
    write_card(run.encoder, card)
    if any("loss" in line for line in run.curve()):
        write_curve(run, str(card["watched"]))
    _published(run.encoder, shop.folder / name)
    begun = next((line for line in run.curve() if line["step"] == 0), {})
    return Trained(name, run.folder, outcome, card, begun)


def _published(encoder: Path, place: Path) -> None:
    """The encoder at another place, its files shared with the run's, whole or not at all."""
    with whole_folder(place) as beside:
        shutil.copytree(encoder, beside, copy_function=_linked)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # no links on this disk
        shutil.copy2(source, target)
