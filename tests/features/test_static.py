import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tests.training.tiny import tiny_encoder, tiny_tokenizer

from tailrec.errors import RecipeError
from tailrec.features.static import Static, is_static
from tailrec.features.text import TextEncoder

TEXTS = ["red mug", "", "厨", "a mug, red and white", "mug " * 300, "!?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    whole = tmp_path_factory.mktemp("static")
    module = StaticEmbedding(tiny_tokenizer(["red", "mug", "white"]), embedding_dim=12)
    SentenceTransformer(modules=[module, Normalize()], device="cpu").save(
        str(whole), create_model_card=False
    )
    return whole


def test_vectors_are_those_of_sentence_transformers(folder: Path, tmp_path: Path) -> None:
    assert is_static(folder)
    model = SentenceTransformer(str(folder), device="cpu")
    expected = model.encode(TEXTS, show_progress_bar=False)
    for options in ({}, {"form": "fp32"}):
        encoder = TextEncoder(model=str(folder), max_length=400, **options).prepare(cache=tmp_path)
        assert encoder.dim == 12
        found = encoder.encode_texts(TEXTS)
        np.testing.assert_allclose(found, expected * (np.array(TEXTS) != "")[:, None], atol=1e-5)


def test_only_the_beginning_of_a_long_text_is_read(folder: Path) -> None:
    short = Static(folder, max_length=4)
    found = short.vectors(["red red red red white", "red red red red"])
    np.testing.assert_array_equal(found[0], found[1])
    assert short.vectors([]).shape == (0, 12)


def test_a_table_kept_apart_is_put_together(folder: Path, tmp_path: Path) -> None:
    """As model2vec writes it: rows that tokens share, and a weight a token."""
    other = shutil.copytree(folder, tmp_path / "other")
    (path,) = other.rglob("model.safetensors")
    table = load_file(path)["embedding.weight"]
    rng = np.random.default_rng(0)
    mapping = rng.integers(0, 5, len(table))
    weights = rng.random(len(table)).astype(np.float32)
    save_file({"embeddings": table[:5], "mapping": mapping, "weights": weights}, path)
    expected = SentenceTransformer(str(other), device="cpu").encode(TEXTS, show_progress_bar=False)
    found = Static(other, max_length=400).vectors(TEXTS)
    norms = np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(found / norms, expected, atol=1e-5)


def test_a_static_model_has_no_int8_form(folder: Path) -> None:
    with pytest.raises(RecipeError, match="is static; form 'auto' is its fast form"):
        TextEncoder(model=str(folder), form="int8").prepare()


def test_a_transformer_is_not_static(tmp_path: Path) -> None:
    assert not is_static(tiny_encoder(["mug"], tmp_path))


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (path,) = other.rglob("tokenizer.json")
    path.unlink()
    with pytest.raises(RecipeError, match="static encoder 'other' cannot be read"):
        Static(other, max_length=8)
    (other / "modules.json").write_text(json.dumps([{"idx": 0}]), "utf-8")
    with pytest.raises(RecipeError, match=r"'other' has no readable modules\.json"):
        is_static(other)


def test_using_it_takes_no_pytorch(folder: Path) -> None:
    code = (
        "import sys; from tailrec.features.text import TextEncoder;"
        f"encoder = TextEncoder(model={str(folder)!r}).prepare();"
        "assert encoder.encode_texts(['red mug']).shape == (1, 12);"
        "slow = {'torch', 'transformers', 'sentence_transformers', 'onnx'} & set(sys.modules);"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
