"""Teaching an encoder with a shop's data: what with, what is held out, where the run is kept.

A run's name is made of its kind and of all that it depends on: the same recipe on the same data
goes on where it was stopped, or is found done; anything else begins a run of its own.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomllib

from tailrec.data.histories import settle_repeats
from tailrec.data.seen import LEARNT, learnt
from tailrec.dataset import Dataset
from tailrec.features.weights import CARD, ENCODERS, find_model
from tailrec.recipe import Recipe
from tailrec.recipe_file import replace_table
from tailrec.shop import Shop
from tailrec.shop_recipe import RECIPE, ShopRecipe
from tailrec.teaching import held_out, judged_on, lessons_of
from tailrec.training.course import Outcome
from tailrec.training.curves import write_curve
from tailrec.training.distil import Distil, distil
from tailrec.training.encoder_files import read_card
from tailrec.training.finetune import Finetune, Material, finetune
from tailrec.training.pretrain import Pretrain
from tailrec.training.run_folder import Progress, RunFolder
from tailrec.training.taught import Taught
from tailrec.training.tracking import Several, TensorBoard, Tracker, WeightsAndBiases
from tailrec.tuning_search import inner_split

RUNS = "runs"
PROJECT = "tailrec"
Watch = Literal["tensorboard", "wandb", "wandb-offline"]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run left.

    Attributes:
        encoder: its folder, from the shop's folder on: what `[features.text] model` takes.
        run: folder of the run.
        outcome: how it ended.
        card: what it learnt from, how it ended, figures.
    """

    encoder: str
    run: Path
    outcome: Outcome
    card: Mapping[str, Any]


def pretrain_encoder(
    shop: Shop,
    recipe: Pretrain,
    *,
    watch: Watch = "tensorboard",
    progress: Progress | None = None,
) -> Trained:
    """Pre-train an encoder on the texts of a shop's items, reviews and searches.

    Args:
        shop: whose texts are read.
        recipe: how.
        watch: where the run can be watched.
        progress: told steps and the loss.

    Raises:
        DataError: the shop has too few texts.
        RecipeError: the model cannot be found, or not be pre-trained.
    """
    texts = shop.store.read("events").drop_nulls("text")
    corpus = recipe.texts.gather(shop.dataset().catalog, texts)
    base = find_model(recipe.model, shop.folder)
    run = _run(shop, "pretrain", recipe, recipe.mark(corpus, base))
    with _watched(run, watch, recipe) as tracker:
        outcome = pretrain(recipe, corpus, base, run, tracker=tracker, progress=progress)
    return _done(shop, run, outcome, base)


def finetune_encoder(
    shop: Shop,
    recipe: Finetune,
    *,
    everything: bool = False,
    watch: Watch = "tensorboard",
    progress: Progress | None = None,
) -> Trained:
    """Fine-tune an encoder on a shop's behaviour.

    Unless told otherwise it learns from what the choice of options learns from: `fit --budget` and
    an evaluation of the same kind then ask for events that the encoder has not seen.

    Args:
        shop: whose behaviour is learnt.
        recipe: how.
        everything: learn from all events; figures on them mean nothing afterwards.
        watch: where the run can be watched.
        progress: told steps and the loss.

    Raises:
        DataError: there is too little behaviour to learn from.
        RecipeError: the model cannot be found.
    """
    whole = shop.dataset(whole=True)
    split = None if everything else inner_split(whole, shop.recipe.histories.repeats)
    known = whole if split is None else split.whole
    material = material_of(shop.recipe, recipe, known, shop.cache, shop.folder, progress=progress)
    run = _run(shop, "finetune", recipe, material.mark(recipe))
    with _watched(run, watch, recipe) as tracker:
        outcome = finetune(recipe, material, run, tracker=tracker, progress=progress)
    return _done(shop, run, outcome, material.base, [learnt(known, split)])


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
        cache: folder of vectors made before.
        home: folder of the shop.
        progress: told how many texts are encoded.

    Raises:
        DataError: there is too little behaviour.
        RecipeError: the model cannot be found.
    """
    rng = np.random.default_rng([recipe.course.seed, len(known.catalog)])
    reader = shop.features.text.model_copy(update={"model": recipe.model})
    features = shop.features.model_copy(update={"text": reader, "encode": True})
    vectors = features.fit(known.catalog, cache=cache, home=home, progress=progress).features
    inner = held_out(known, shop.histories.repeats, rng)
    settled = settle_repeats(known, shop.histories.repeats)
    judged = judged_on(inner, settled, rng)
    lessons = lessons_of(inner.train, vectors, hard=recipe.objective.hard > 0, rng=rng)
    texts = [reader.item_prefix + text for text in reader.texts(known.catalog)]
    return Material(find_model(recipe.model, home), texts, vectors.dense, lessons, judged)


def use_encoder(shop: Shop, encoder: str) -> None:
    """Name an encoder in tailrec.toml: the next fit, and what serves it, read with it.

    Args:
        shop: its recipe is changed.
        encoder: as `Trained.encoder` says.

    Raises:
        RecipeError: `[features.text]` stands there in a form that cannot be changed line by line.
    """
    path = shop.folder / RECIPE
    find_model(encoder, shop.folder)
    there = tomllib.loads(path.read_text("utf-8")).get("features", {}).get("text", {})
    replace_table(path, "features.text", there | {"model": encoder})
    shop.recipe = ShopRecipe.load(path)


def _run(shop: Shop, kind: str, recipe: Recipe, mark: str) -> RunFolder:
    run = RunFolder(shop.folder / RUNS / f"{kind}-{mark[:8]}", mark)
    run.write_recipe(recipe)
    return run


@contextmanager
def _watched(run: RunFolder, watch: Watch, recipe: Recipe) -> Iterator[Tracker]:
    """TensorBoard's files, always, and Weights & Biases where it was asked for."""
    with ExitStack() as held:
        trackers: list[Tracker] = [held.enter_context(TensorBoard.of(run))]
        if watch != "tensorboard":
            mode: Literal["online", "offline"] = "online" if watch == "wandb" else "offline"
            options = recipe.model_dump(mode="json")
            other = WeightsAndBiases(run, project=PROJECT, mode=mode, options=options)
            trackers.append(held.enter_context(other))
        yield Several(*trackers)


def _done(shop: Shop, run: RunFolder, outcome: Outcome, more: Mapping[str, Any]) -> Trained:
    """Draw the curve, write the cards, and put the encoder among the shop's."""
    card = read_card(run.encoder) | dict(more)
    run.write_card(card)
    (run.encoder / CARD).write_text((run.folder / "card.json").read_text("utf-8"), "utf-8")
    if any("loss" in line for line in run.curve()):
        write_curve(run, str(card.get("watched", "")))
    name = f"{ENCODERS}/{run.folder.name}"
    _published(run.encoder, shop.folder / name)
    return Trained(name, run.folder, outcome, card)


def _published(encoder: Path, place: Path) -> None:
    """The encoder at another place, its files shared with the run's, whole or not at all."""
    if place.exists():
        shutil.rmtree(place)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.copytree(encoder, beside, copy_function=_linked)
    beside.rename(place)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # no links on this disk
        shutil.copy2(source, target)
