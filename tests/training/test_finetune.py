"""Fine-tuning in a world whose behaviour the words do not tell, and what a run leaves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from tests.training.tiny import tiny_encoder
from tests.worlds import shop

from tailrec.features.text import TextEncoder
from tailrec.features.weights import read_card
from tailrec.items import Float32Array
from tailrec.training.adapt import Adapt
from tailrec.training.behaviour import Judged, Lessons, Objective
from tailrec.training.course import Course
from tailrec.training.finetune import Finetune, Material, finetune
from tailrec.training.pairs import Affinity
from tailrec.training.run_folder import RunFolder

COLOURS = ("red", "blue", "green", "black")
THINGS = ("lamp", "mug", "rug", "vase", "bowl", "tray")
TITLES = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
COLOUR = np.arange(len(TITLES)) % len(COLOURS)
TASTE = COLOUR // 2
"""People like red and blue, or green and black: no text says so."""
COLD = np.array([20, 21, 22, 23])
"""The trays: nobody has any, so only words can tell that a red tray goes with blue things."""


def lessons() -> Lessons:
    """Everybody had all things of one taste but the trays."""
    histories = [np.flatnonzero(taste == TASTE)[:-2].tolist() for taste in (0, 1)] * 6
    same = (TASTE[:, None] == TASTE).astype(np.float32)
    same[COLD] = same[:, COLD] = 0
    alike = np.array([[n ^ 2, (n + 2) % 24] for n in range(24)], np.int32)
    return Lessons(shop(histories, TITLES), Affinity.of(sparse.csr_array(same)), alike)


def purity(vectors: Float32Array) -> float:
    """Share of the things nearest to a tray, among those of other colours, of its taste."""
    like = vectors[COLD] @ vectors.T
    like[:, COLD] = like[COLOUR[COLD][:, None] == COLOUR] = -2
    nearest = np.argsort(-like, axis=1)[:, :5]
    return float((TASTE[nearest] == TASTE[COLD][:, None]).mean())


def judged(n: int = len(TITLES)) -> Judged:
    def judge(vectors: Float32Array) -> dict[str, float]:
        return {"tail recall@20": purity(vectors), "cold recall@20": purity(vectors)}

    return Judged(np.arange(n), judge)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder([*COLOURS, *THINGS], tmp_path_factory.mktemp("base") / "tiny")


def material(base: Path) -> Material:
    vectors = encoded(base)
    return Material(base, TITLES, vectors, lessons(), judged())


def encoded(folder: Path) -> Float32Array:
    data = shop([], TITLES)
    return TextEncoder(model=str(folder), form="fp32").prepare().encode(data.catalog)


def course(**options: object) -> Course:
    return Course(steps=60, rate=5e-3, check_every=20, device="cpu", **options)


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        ("map", Objective()),
        ("map", Objective(pairs="people")),
        ("map", Objective(hard=2)),
        ("map", Objective(popularity=1.0)),
        ("map", Objective(kind="autoencoder")),
        ("full", Objective()),
        ("full", Objective(kind="autoencoder")),
        ("lora", Objective()),
    ],
)
def test_cold_items_come_to_lie_with_what_goes_with_them(
    base: Path, tmp_path: Path, kind: str, objective: Objective
) -> None:
    given = material(base)
    before = purity(given.vectors)
    recipe = Finetune(
        model=str(base), adapt=Adapt(kind=kind), objective=objective, course=course(), batch=16
    )
    run = RunFolder(tmp_path / "run", given.mark(recipe))
    outcome = finetune(recipe, given, run)
    after = purity(encoded(run.encoder))
    assert after > before + 0.2
    assert after >= outcome.best["cold recall@20"] - 0.11  # the same vectors, saved and read
    card = read_card(run.encoder)
    assert card["kind"] == "finetune"
    assert card["steps"] == 60


def test_a_stopped_run_goes_on_to_the_same_encoder(base: Path, tmp_path: Path) -> None:
    given = material(base)
    recipe = Finetune(model=str(base), adapt=Adapt(kind="lora"), course=course(), batch=16)
    whole, broken = (RunFolder(tmp_path / name, given.mark(recipe)) for name in "ab")
    finetune(recipe, given, whole)

    def stop(_: str, step: int, __: int) -> None:
        if step == 33:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, given, broken, progress=stop)
    finetune(recipe, given, broken)
    assert broken.curve() == whole.curve()
    assert np.array_equal(encoded(broken.encoder), encoded(whole.encoder))


def test_a_mark_tells_recipes_texts_and_behaviour_apart(base: Path) -> None:
    given = material(base)
    recipe = Finetune(model=str(base), course=course())
    marks = {given.mark(recipe), given.mark(Finetune(model=str(base), course=course(), batch=4))}
    other = Material(base, [*TITLES[1:], "x"], given.vectors, given.lessons, given.judged)
    fewer = Material(base, TITLES, given.vectors, given.lessons, judged(20))
    assert len(marks | {other.mark(recipe), fewer.mark(recipe)}) == 4
    assert given.mark(recipe) == material(base).mark(recipe)
    exact = replace(given, form="fp32")
    assert exact.mark(recipe) != given.mark(recipe)
