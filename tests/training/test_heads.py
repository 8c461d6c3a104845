"""Heads taught beside the objective, and fine-tuning against moved word embeddings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.training.test_finetune import (
    COLOUR,
    COLOURS,
    TASTE,
    THINGS,
    TITLES,
    encoded,
    material,
    purity,
)
from tests.training.tiny import tiny_encoder
from tests.worlds import shop

from tailrec import columns as c
from tailrec.dataset import Catalog, Dataset
from tailrec.errors import DataError, RecipeError
from tailrec.features.weights import read_card
from tailrec.training.finetune import Material, finetune
from tailrec.training.heads import (
    HELD_OUT,
    SIGHTS,
    Labels,
    categories,
    explained,
    purchases,
    ratings,
)
from tailrec.training.recipes import Adapt, Course, Finetune, Heads
from tailrec.training.run_folder import RunFolder

N = len(TITLES)


def of_types(events: list[tuple[int, str, float]], n_items: int = N) -> Dataset:
    """One person's events: item, type, value."""
    data = shop([[item for item, _, _ in events]], TITLES[:n_items])
    types = np.array([c.EVENT_TYPES.index(kind) for _, kind, _ in events], np.int8)
    return replace(data, type=types, value=np.array([value for _, _, value in events], np.float32))


def sorted_by_colour(data: Dataset) -> Dataset:
    """Red and blue things are for the home, others for the garden; shelves by colour."""
    shelves = [
        f"{'home' if t == 0 else 'garden'} > {COLOURS[k]}"
        for t, k in zip(TASTE, COLOUR, strict=True)
    ]
    table = data.catalog.table.with_columns(pl.Series(c.CATEGORY, shelves))
    return replace(data, catalog=Catalog(table))


def test_categories_are_cut_at_a_level() -> None:
    table = pl.DataFrame(
        {c.ITEM_ID: list("abcd"), c.CATEGORY: ["home > mugs", "home", None, "garden > mugs"]}
    )
    data = replace(shop([], ["x"] * 4), catalog=Catalog(table))
    broad, known = categories(data, 1)
    assert broad.tolist() == [1, 1, -1, 0]
    assert known.tolist() == [True, True, False, True]
    fine, known = categories(data, 2)
    assert fine.tolist() == [1, -1, -1, 0]  # mugs of the home are not those of the garden
    assert known.tolist() == [True, False, False, True]
    assert not categories(shop([], ["x"]), 1)[1].any()


def test_ratings_are_means_in_standard_deviations() -> None:
    nan = float("nan")
    data = of_types(
        [
            (0, "rating", 5),
            (0, "rating", 3),
            (1, "rating", 2),
            (2, "purchase", 9),
            (3, "rating", nan),
        ]
    )
    values, known = ratings(data)
    assert known.nonzero()[0].tolist() == [0, 1]
    assert values[:2].tolist() == [1, -1]  # means 4 and 2


def test_purchases_are_shares_of_sights_drawn_to_that_of_all() -> None:
    seen = [(0, "view", 0.0)] * 30 + [(0, "purchase", 0.0)] * 10 + [(1, "impression", 0.0)] * 10
    values, known = purchases(of_types(seen))
    assert known.nonzero()[0].tolist() == [0, 1]
    whole = 10 / 40
    assert values[0] == pytest.approx((10 + SIGHTS * whole) / (30 + SIGHTS))
    assert values[1] == pytest.approx(SIGHTS * whole / (10 + SIGHTS))


def test_without_views_purchases_are_how_many_items_are_had_less_often() -> None:
    values, known = purchases(shop([[0, 1, 1, 2, 2, 2, 3]], TITLES))
    assert known.nonzero()[0].tolist() == [0, 1, 2, 3]
    assert values[:4].tolist() == [0.25, 0.625, 0.875, 0.25]


def test_labels_keep_items_apart_and_leave_others_out() -> None:
    data = sorted_by_colour(shop([], TITLES))
    labels = Labels.of("category", data, level=1, seed=0)
    assert labels.n_classes == 2
    assert len(labels.held_out) == round(HELD_OUT * N)
    assert sorted([*labels.taught, *labels.held_out]) == list(range(N))
    assert not np.array_equal(
        labels.held_out, Labels.of("category", data, level=1, seed=1).held_out
    )
    for name in ("category", "rating", "purchase"):
        with pytest.raises(DataError, match=f"leave the head `{name}` out"):
            Labels.of(name, shop([[0, 1]], TITLES), level=1, seed=0)


def test_explained_is_one_for_the_truth_and_nought_for_the_mean() -> None:
    known = np.array([1.0, 2.0, 4.0])
    assert explained(known, known) == 1
    assert explained(np.full(3, known.mean()), known) == pytest.approx(0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder([*COLOURS, *THINGS], tmp_path_factory.mktemp("base") / "tiny")


def labelled(base: Path) -> Material:
    given = material(base)
    events = [(item, "rating", 1.0 + 2 * TASTE[item]) for item in range(N)]
    events += [(item, "view", 0.0) for item in range(N) for _ in range(30)]
    events += [(item, "purchase", 0.0) for item in np.flatnonzero(TASTE) for _ in range(25)]
    rated = sorted_by_colour(of_types(events))
    return replace(given, lessons=replace(given.lessons, data=rated))


def both_tastes_held_out(data: Dataset, seed: int) -> bool:
    """Of two items each; R2 says nothing where they are alike."""
    sets = [Labels.of(name, data, level=1, seed=seed) for name in ("rating", "purchase")]
    return all(len(set(TASTE[labels.held_out])) == 2 for labels in sets)


def test_heads_say_of_held_out_items_what_they_were_taught_of_others(
    base: Path, tmp_path: Path
) -> None:
    given = labelled(base)
    seed = next(seed for seed in range(99) if both_tastes_held_out(given.lessons.data, seed))
    recipe = Finetune(
        model=str(base),
        heads=Heads(category=1, rating=1, purchase=1),
        course=Course(steps=120, rate=1e-2, check_every=60, device="cpu", seed=seed),
        batch=16,
    )
    run = RunFolder(tmp_path / "run", given.mark(recipe))
    outcome = finetune(recipe, given, run)
    first = run.curve()[0]
    assert first["rating R2"] <= 0  # nothing is known yet
    last = run.curve()[-1]
    assert last["category accuracy"] == 1
    assert last["rating R2"] > 0.5
    assert last["purchase R2"] > 0.5
    assert outcome.best["cold recall@20"] > purity(given.vectors)
    names = run.read_best()
    assert "heads.rating.weight" in names
    assert read_card(run.encoder)["trained_parameters"] == 32 * 32  # without the heads


def test_a_head_alone_pulls_its_fact_into_the_vectors(base: Path, tmp_path: Path) -> None:
    """Pairs are drawn as before, but count a thousandth of the category."""
    given = labelled(base)

    def nearness(heads: Heads, name: str) -> float:
        recipe = Finetune(
            model=str(base),
            heads=heads,
            course=Course(steps=60, rate=1e-2, check_every=60, device="cpu"),
            batch=16,
        )
        run = RunFolder(tmp_path / name, given.mark(recipe))
        finetune(recipe, given, run)
        vectors = encoded(run.encoder)
        like = vectors @ vectors.T
        same = COLOUR[:, None] == COLOUR
        return float(like[same].mean() - like[~same].mean())

    assert nearness(Heads(category=1000, level=2), "with") > nearness(Heads(), "without") + 0.1


def test_a_killed_run_with_heads_goes_on_to_the_same_heads(base: Path, tmp_path: Path) -> None:
    given = labelled(base)
    recipe = Finetune(
        model=str(base),
        adapt=Adapt(kind="adalora", rank=4),
        heads=Heads(category=1),
        course=Course(steps=12, rate=1e-2, check_every=4, device="cpu"),
        batch=8,
    )
    whole, broken = (RunFolder(tmp_path / name, given.mark(recipe)) for name in "ab")
    finetune(recipe, given, whole)

    def stop(_: str, step: int, __: int) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, given, broken, progress=stop)
    finetune(recipe, given, broken)
    assert broken.curve() == whole.curve()


@pytest.mark.parametrize(("kind", "rate"), [("lora", 5e-3), ("adapter", 5e-2)])
def test_fine_tuning_goes_on_against_moved_embeddings(
    base: Path, tmp_path: Path, kind: str, rate: float
) -> None:
    given, losses = material(base), {}
    for adversarial in (0.0, 0.5):
        course = Course(steps=60, rate=rate, check_every=20, device="cpu", adversarial=adversarial)
        recipe = Finetune(model=str(base), adapt=Adapt(kind=kind), course=course, batch=16)
        run = RunFolder(tmp_path / str(adversarial), given.mark(recipe))
        finetune(recipe, given, run)
        losses[adversarial] = [line["loss"] for line in run.curve() if "loss" in line]
        assert purity(encoded(run.encoder)) > purity(given.vectors) + 0.2
    assert losses[0.0][0] == losses[0.5][0]
    assert losses[0.0][-5:] != losses[0.5][-5:]


def test_a_map_has_no_embeddings_to_move(base: Path, tmp_path: Path) -> None:
    given = material(base)
    recipe = Finetune(model=str(base), course=Course(steps=1, adversarial=0.1, device="cpu"))
    with pytest.raises(RecipeError, match="`adversarial` moves word embeddings"):
        finetune(recipe, given, RunFolder(tmp_path / "run", given.mark(recipe)))
