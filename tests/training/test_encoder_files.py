"""A trained encoder is a folder that is whole, with a card that changes no vector."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tests.training.tiny import tiny_encoder

from tailrec.errors import ArtifactError
from tailrec.features.text import TextEncoder
from tailrec.features.weights import CARD, PACKAGED, find_model, fingerprint, read_card
from tailrec.training.encoder_files import save_encoder
from tailrec.training.masked_model import load_encoder

WORDS = ("red", "blue", "lip", "stick", "hair", "oil")
TEXTS = ["red lip stick", "hair oil", "blue"]


@pytest.fixture
def model(tmp_path: Path) -> SentenceTransformer:
    return load_encoder(tiny_encoder(WORDS, tmp_path / "tiny"))


def changed(model: SentenceTransformer) -> SentenceTransformer:
    with torch.no_grad():
        next(model.parameters())[:] += 0.5
    return model


@pytest.mark.parametrize(
    ("form", "least"), [("fp32", 0.9999), pytest.param("int8", 0.98, marks=pytest.mark.slow)]
)
def test_what_is_saved_is_read_by_the_features(
    model: SentenceTransformer, tmp_path: Path, form: Literal["fp32", "int8"], least: float
) -> None:
    folder = tmp_path / "run" / "encoder"
    save_encoder(model, folder, {"kind": "test", "seconds": np.float32(1.5)})
    assert read_card(folder) == {"kind": "test", "seconds": 1.5}
    assert find_model(str(folder)) == folder
    expected = model.encode(TEXTS, normalize_embeddings=True)
    vectors = TextEncoder(model=str(folder), form=form).prepare().encode_texts(TEXTS)
    assert (vectors * expected).sum(axis=1).min() > least


def test_weights_are_safetensors_only(model: SentenceTransformer, tmp_path: Path) -> None:
    save_encoder(model, tmp_path / "encoder", {})
    names = {path.suffix for path in (tmp_path / "encoder").rglob("*") if path.is_file()}
    assert ".safetensors" in names
    assert not names & {".bin", ".pt", ".pkl", ".pickle"}


def test_the_fingerprint_follows_weights_and_not_the_card(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    marks = []
    for seconds in (1.0, 2.0):
        save_encoder(model, folder, {"seconds": seconds})
        marks.append(fingerprint(folder))
    # What the tokenizer was last asked to cut is no part of the model either.
    model.encode(["red " * 40])
    model.tokenizer(["red lip"], truncation=True, max_length=4)
    save_encoder(model, folder, {})
    marks.append(fingerprint(folder))
    assert len(set(marks)) == 1
    save_encoder(changed(model), folder, {"seconds": 1.0})
    assert fingerprint(folder) != marks[0]


def test_an_encoder_is_replaced_and_nothing_is_left_beside(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    folder = tmp_path / "place" / "encoder"
    save_encoder(model, folder, {"n": 1})
    save_encoder(changed(model), folder, {"n": 2})
    assert read_card(folder) == {"n": 2}
    assert [path.name for path in folder.parent.iterdir()] == ["encoder"]


def test_a_failure_leaves_the_old_one(
    model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "place" / "encoder"
    save_encoder(model, folder, {"n": 1})
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == f".encoder.{os.getpid()}":
            raise OSError("disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="disk"):
        save_encoder(model, folder, {"n": 2})
    assert read_card(folder) == {"n": 1}
    assert [path.name for path in folder.parent.iterdir()] == ["encoder"]


def test_other_folders_are_not_replaced(model: SentenceTransformer, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow", "utf-8")
    with pytest.raises(ArtifactError, match="photos holds no encoder"):
        save_encoder(model, tmp_path / "photos", {})
    assert (tmp_path / "photos" / "cat.jpg").exists()


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_card_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / CARD).write_text(text, "utf-8")
    with pytest.raises(ArtifactError, match="train the encoder again"):
        read_card(tmp_path)


def test_models_from_elsewhere_have_no_card() -> None:
    assert read_card(find_model(PACKAGED)) == {}
