from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tests.training.tiny import DIM, tiny_encoder

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import DataError
from tailrec.features.original import quiet
from tailrec.features.text import TextEncoder
from tailrec.features.weights import read_card
from tailrec.training.course import Course
from tailrec.training.distil import Distil, Imitation, distil
from tailrec.training.likeness import LIKENESS, OVERLAP, hold_out, likeness, overlap
from tailrec.training.run_folder import RunFolder
from tailrec.training.taught import Taught

COLOURS = ("red", "blue", "green", "black", "white", "golden")
THINGS = ("mug", "hose", "lamp", "towel", "brush", "kettle", "plate", "chair")
PLACES = ("kitchen", "garden", "bath", "office", "camping")
TITLES = [f"{a} {b} for the {p}" for a in COLOURS for b in THINGS for p in PLACES]
COURSE = Course(steps=20, rate=3e-3, check_every=10, keep_every=10, device="cpu")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    folder = tmp_path_factory.mktemp("teacher")
    tiny_encoder([*COLOURS, *THINGS, *PLACES], folder, layers=3)
    with quiet():
        model = SentenceTransformer(str(folder), device="cpu")
        with torch.no_grad():  # as made, its layers change next to nothing
            for layer in model[0].auto_model.encoder.layer:
                for part in layer.modules():
                    if isinstance(part, torch.nn.Linear):
                        part.weight *= 6
        model.save(str(folder), create_model_card=False)
    return TextEncoder(model=str(folder), max_length=16)


@pytest.fixture(scope="module")
def taught(teacher: TextEncoder) -> Taught:
    table = pl.DataFrame({c.ITEM_ID: [str(n) for n in range(len(TITLES))], c.TITLE: TITLES})
    return Taught.of(teacher, Catalog(table))


def test_the_teacher_is_asked_once_a_text(teacher: TextEncoder) -> None:
    titles = ["red mug", "", "red mug", "hose"]
    table = pl.DataFrame({c.ITEM_ID: list("abcd"), c.TITLE: titles})
    asking = teacher.model_copy(update={"item_prefix": "a "})
    taught = Taught.of(asking, Catalog(table))
    assert taught.texts == ["a red mug", "a hose"]
    exact = asking.model_copy(update={"form": "fp32"}).prepare().encode(Catalog(table))
    np.testing.assert_array_equal(taught.vectors, exact[[0, 3]])


def test_a_student_comes_nearer_to_its_teacher(taught: Taught, tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "mark")
    outcome = distil(Distil(layers=1, course=COURSE), taught, run)
    first = next(line for line in run.curve() if OVERLAP in line)
    assert outcome.best[LIKENESS] > first[LIKENESS]
    assert outcome.best[OVERLAP] > first[OVERLAP]
    assert read_card(run.encoder)["held_out"] == pytest.approx(outcome.best)
    student = SentenceTransformer(str(run.encoder), device="cpu")
    assert len(student[0].auto_model.encoder.layer) == 1
    # What is in the folder is what was measured, in either form.
    _, held = hold_out(taught.texts, 0.1, np.random.default_rng(COURSE.seed))
    texts = [taught.texts[row] for row in held]
    for form in ("fp32", "int8"):
        recipe = TextEncoder(model=str(run.encoder), form=form, max_length=16)
        found = recipe.prepare().encode_texts(texts)
        assert likeness(found, taught.vectors[held]) == pytest.approx(
            outcome.best[LIKENESS], abs=1e-5 if form == "fp32" else 1e-2
        )


def test_a_student_of_another_width_has_a_map(taught: Taught, tmp_path: Path) -> None:
    other = tiny_encoder(["mug", "lamp"], tmp_path / "other", seed=3, layers=1)
    wide = Taught(
        taught.teacher,
        taught.folder,
        taught.texts,
        np.repeat(taught.vectors, 2, axis=1) / np.float32(np.sqrt(2)),
    )
    run = RunFolder(tmp_path / "run", "mark")
    outcome = distil(Distil(model=str(other), course=COURSE), wide, run)
    first = next(line for line in run.curve() if OVERLAP in line)
    assert first[LIKENESS] > 0.3  # the map begins as the best there is
    assert outcome.best[OVERLAP] > first[OVERLAP]
    assert SentenceTransformer(str(run.encoder)).get_embedding_dimension() == DIM


def test_a_stopped_run_ends_as_one_that_was_not(taught: Taught, tmp_path: Path) -> None:
    recipe = Distil(layers=1, choose="even", course=COURSE)
    whole = distil(recipe, taught, RunFolder(tmp_path / "whole", "mark"))

    def stop(_: str, done: int, __: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    run = RunFolder(tmp_path / "parts", "mark")
    with pytest.raises(KeyboardInterrupt):
        distil(recipe, taught, run, progress=stop)
    assert distil(recipe, taught, run).best == whole.best


def test_one_process_of_several_writes_the_encoder(
    taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.training.distil.is_main", lambda: False)
    run = RunFolder(tmp_path, "mark")
    course = COURSE.model_copy(update={"steps": 1})
    distil(Distil(layers=1, choose="even", course=course), taught, run)
    assert not run.encoder.exists()


def test_a_perfect_student_has_no_loss(taught: Taught) -> None:
    learnt, held = hold_out(taught.texts, 0.1, np.random.default_rng(0))
    student = SentenceTransformer(str(taught.folder), device="cpu").eval()
    task = Imitation(Distil(), student, taught, learnt=learnt, held=held)
    batch = task.batch(0, np.random.default_rng(0))
    with torch.no_grad():
        assert float(task.loss(batch)) == pytest.approx(0, abs=1e-4)
        torch.nn.init.normal_(student[0].auto_model.embeddings.word_embeddings.weight)
        assert float(task.loss(batch)) > 1e-3
    # Nothing that is measured on is ever learnt from.
    rows = np.flatnonzero([(taught.vectors == v).all(axis=1).any() for v in batch.target.numpy()])
    seen = {tuple(v) for v in batch.target.numpy()}
    assert len(rows)
    assert not seen & {tuple(v) for v in taught.vectors[held]}


def test_a_mark_tells_runs_apart(taught: Taught, tmp_path: Path) -> None:
    fewer = Taught(taught.teacher, taught.folder, taught.texts[1:], taught.vectors[1:])
    other = tiny_encoder(["mug"], tmp_path / "encoders" / "other", layers=1)
    home = Taught(taught.teacher, taught.folder, taught.texts, taught.vectors, tmp_path)
    marks = {
        Distil().mark(taught),
        Distil(layers=2).mark(taught),
        Distil().mark(fewer),
        Distil(model="encoders/other").mark(home),
    }
    assert len(marks) == 4
    assert Distil().mark(home) in marks
    assert Distil(model="encoders/other").student(home) == other


def test_overlap_counts_neighbours_shared() -> None:
    angle = np.linspace(0, 3, 40)
    line = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    assert overlap(line, line * 3) == 1
    wide = np.concatenate([line, np.zeros((40, 3), np.float32)], axis=1)
    assert overlap(wide, line) == 1
    shuffled = line[np.random.default_rng(0).permutation(40)]
    assert overlap(shuffled, line) < 0.5
    assert likeness(line, -line) == pytest.approx(-1)


def test_texts_must_be_left_to_learn_from() -> None:
    texts = [f"text {number}" for number in range(40)]
    with pytest.raises(DataError, match=r"held_out = 0\.99 leaves none of 40 texts"):
        hold_out(texts, 0.99, np.random.default_rng(0))
