from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from sentence_transformers import SentenceTransformer
from tests.training.tiny import tiny_encoder

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import DataError, RecipeError
from tailrec.features.text import TextEncoder
from tailrec.features.weights import read_card
from tailrec.training.likeness import LIKENESS, OVERLAP
from tailrec.training.static import StaticDistil, _tuned, distil_static, pour
from tailrec.training.taught import Taught

COLOURS = ("red", "blue", "green", "black", "white", "golden")
THINGS = ("mug", "hose", "lamp", "towel", "brush", "kettle", "plate", "chair")
PLACES = ("kitchen", "garden", "bath", "office", "camping")
TITLES = [f"{a} {b} for the {p}" for a in COLOURS for b in THINGS for p in PLACES]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    folder = tmp_path_factory.mktemp("teacher")
    tiny_encoder([*COLOURS, *THINGS, *PLACES], folder)
    table = pl.DataFrame({c.ITEM_ID: [str(n) for n in range(len(TITLES))], c.TITLE: TITLES})
    return Taught.of(TextEncoder(model=str(folder), max_length=16), Catalog(table))


def test_what_is_tuned_is_nearer_to_the_teacher(taught: Taught) -> None:
    plain = pour(StaticDistil(dim=16, tune=False), taught)
    tuned = pour(StaticDistil(dim=16), taught)
    assert plain.ridge is None
    assert tuned.ridge is not None
    assert tuned.figures[OVERLAP] > plain.figures[OVERLAP] + 0.1
    assert tuned.figures[LIKENESS] > max(0.9, plain.figures[LIKENESS])


def test_the_encoder_is_read_without_pytorch_as_sentence_transformers_reads_it(
    taught: Taught, tmp_path: Path
) -> None:
    poured = distil_static(StaticDistil(dim=16), taught, tmp_path / "static")
    vectors = TextEncoder(model=str(tmp_path / "static")).prepare().encode_texts(TITLES)
    model = SentenceTransformer(str(tmp_path / "static"), device="cpu")
    expected = model.encode(TITLES, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    card = read_card(tmp_path / "static")
    assert card["held_out"] == pytest.approx(poured.figures)
    assert card["teacher"]["model"] == taught.teacher.model


def test_frequent_words_become_tokens(taught: Taught) -> None:
    odd = [f"{title} zyx" for title in taught.texts]
    spelt = Taught(taught.teacher, taught.folder, odd, taught.vectors)

    def tokens(words: int) -> list[str]:
        model = pour(StaticDistil(dim=8, words=words, tune=False), spelt).model
        return list(model[0].tokenizer.encode("zyx mug", add_special_tokens=False).tokens)

    assert tokens(0) == ["z", "##y", "##x", "mug"]
    assert tokens(5) == ["zyx", "mug"]


def test_tuning_solves_the_ridge() -> None:
    rng = np.random.default_rng(0)
    dense = rng.random((30, 12)).astype(np.float32) * (rng.random((30, 12)) < 0.4)
    table = rng.standard_normal((12, 3)).astype(np.float32)
    target = rng.standard_normal((30, 3)).astype(np.float32)
    ridge = 0.3 * float((dense**2).sum(axis=0).mean())
    system = dense.T @ dense + ridge * np.eye(12)
    moved = np.linalg.solve(system, dense.T @ (target - dense @ table))
    found = _tuned(table, sparse.csr_array(dense), target, 0.3)
    np.testing.assert_allclose(found, table + moved, atol=1e-4)


def test_a_token_nobody_uses_stays() -> None:
    rng = np.random.default_rng(1)
    means = sparse.csr_array(np.array([[1, 0], [1, 0]], np.float32))
    table, target = (rng.standard_normal((2, 4)).astype(np.float32) for _ in range(2))
    found = _tuned(table, means, target, 0.1)
    np.testing.assert_array_equal(found[1], table[1])
    assert np.abs(found[0] - table[0]).max() > 0.1


def test_too_few_texts_are_refused(taught: Taught) -> None:
    few = Taught(taught.teacher, taught.folder, taught.texts[:50], taught.vectors[:50])
    with pytest.raises(DataError, match="5 of 50 texts can be held out"):
        pour(StaticDistil(), few)


def test_a_table_is_no_teacher(taught: Taught, tmp_path: Path) -> None:
    distil_static(StaticDistil(dim=8, tune=False), taught, tmp_path / "static")
    table = pl.DataFrame({c.ITEM_ID: [str(n) for n in range(len(TITLES))], c.TITLE: TITLES})
    again = Taught.of(TextEncoder(model=str(tmp_path / "static")), Catalog(table))
    with pytest.raises(RecipeError, match="cannot lose tokens"):
        pour(StaticDistil(dim=4), again)
