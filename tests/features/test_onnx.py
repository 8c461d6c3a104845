import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import BoW, Pooling, Transformer
from tests.training.tiny import DIM, tiny_encoder, tiny_tokenizer
from transformers import (
    AlbertConfig,
    AutoModel,
    DistilBertConfig,
    PretrainedConfig,
    RobertaConfig,
)

from tailrec.errors import RecipeError
from tailrec.features import onnx
from tailrec.features.onnx import Int8, load_int8
from tailrec.features.original import Original, quiet
from tailrec.features.text import TextEncoder
from tailrec.features.weights import PACKAGED, find_model, fingerprint

TEXTS = ["red mug", "a", "blue garden hose with a nozzle", "厨师帽", "mug " * 300]


@pytest.fixture(scope="module")
def cache(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the tiny model's form."""
    folder = tmp_path_factory.mktemp("cache")
    load(tiny_model, folder)
    return folder


def load(model: Path, cache: Path, *, max_length: int = 64, threads: int | None = None) -> Int8:
    mark = fingerprint(model)
    return load_int8(model, mark, cache=cache, max_length=max_length, threads=threads)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / norms


def test_vectors_are_like_the_original(tiny_model: Path, cache: Path) -> None:
    for max_length in (4, 64, 10_000):  # the model itself reads 128 tokens at most
        original = Original(tiny_model, device="cpu", max_length=max_length)
        exact = original.vectors(TEXTS, batch_tokens=100)
        near = load(tiny_model, cache, max_length=max_length).vectors(TEXTS)
        assert near.dtype == np.float32
        assert cosines(exact, near).min() > 0.999


def test_a_vector_depends_on_its_text_alone(tiny_model: Path, cache: Path) -> None:
    form = load(tiny_model, cache, threads=3)
    together = form.vectors(TEXTS)
    alone = np.concatenate([form.vectors([text]) for text in TEXTS])
    np.testing.assert_array_equal(together, alone)
    assert form.vectors([]).shape == (0, form.dim)


def test_a_form_is_made_once(tiny_model: Path, cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (cache / "forms").rglob("*")}
    load(tiny_model, cache)
    assert {path: path.stat().st_mtime_ns for path in (cache / "forms").rglob("*")} == before
    assert len(before) == 4  # one folder of model, tokenizer and card; nothing half made


@pytest.mark.slow
def test_a_damaged_form_is_made_anew(tiny_model: Path, cache: Path) -> None:
    expected = load(tiny_model, cache).vectors(TEXTS)
    (path,) = (cache / "forms").glob("*/model.onnx")
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 255
    path.write_bytes(bytes(whole))
    np.testing.assert_array_equal(load(tiny_model, cache).vectors(TEXTS), expected)
    assert path.read_bytes() != bytes(whole)


@pytest.mark.slow
def test_a_form_unlike_its_original_is_refused(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(onnx, "_LEAST_LIKENESS", 1.01)
    with pytest.raises(RecipeError, match="use form = 'fp32'"):
        load(tiny_model, tmp_path)
    (left,) = (tmp_path / "forms").iterdir()
    assert [path.name for path in left.iterdir()] == ["form.json"]
    # The model is not tried again, and runs as fp32 where the form is left open.
    monkeypatch.setattr(onnx, "_make", None)
    with pytest.raises(RecipeError, match="use form = 'fp32'"):
        TextEncoder(model=str(tiny_model), form="int8").prepare(cache=tmp_path)
    with caplog.at_level("WARNING"):
        found = TextEncoder(model=str(tiny_model)).prepare(cache=tmp_path).encode_texts(TEXTS)
    assert "it runs as fp32, which is slower" in caplog.text
    exact = TextEncoder(model=str(tiny_model), form="fp32").prepare().encode_texts(TEXTS)
    np.testing.assert_array_equal(found, exact)


def dressed(folder: Path, *rest: torch.nn.Module, pooling: str = "mean", layers: int = 2) -> Path:
    """A tiny BERT with other modules behind it."""
    plain = tiny_encoder(["red", "mug"], folder / "plain", layers=layers)
    with quiet():
        first = SentenceTransformer(str(plain), device="cpu")[0]
        model = SentenceTransformer(modules=[first, Pooling(DIM, pooling), *rest], device="cpu")
        model.save(str(folder / "whole"), create_model_card=False)
    return folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "one layer", "roberta", "albert", "distilbert"])
def test_models_of_other_makes_have_a_form(kind: str, tmp_path: Path) -> None:
    if kind == "dense":
        model = dressed(tmp_path, Dense(DIM, 16), Normalize(), pooling="cls")
    elif kind == "one layer":
        model = dressed(tmp_path, pooling="max", layers=1)
    else:
        model = other_make(kind, tmp_path)
    exact, near = (
        TextEncoder(model=str(model), form=form).prepare(cache=tmp_path).encode_texts(TEXTS)
        for form in ("fp32", "int8")
    )
    assert exact.shape[1] == (16 if kind == "dense" else DIM)
    assert cosines(exact, near).min() > 0.995


def other_make(kind: str, folder: Path) -> Path:
    """A tiny model of another architecture."""
    tokenizer = tiny_tokenizer(["red", "mug"])
    options = {"vocab_size": len(tokenizer), "max_position_embeddings": 40}
    options |= {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2}
    config: PretrainedConfig
    if kind == "roberta":
        config = RobertaConfig(**options, intermediate_size=64, pad_token_id=0)
    elif kind == "albert":
        config = AlbertConfig(**options, intermediate_size=64, embedding_size=16)
    else:
        config = DistilBertConfig(**options, hidden_dim=64)
    with quiet():
        AutoModel.from_config(config).save_pretrained(folder / "plain")
        tokenizer.save_pretrained(folder / "plain")
        parts = [Transformer(str(folder / "plain"), max_seq_length=16), Pooling(DIM)]
        SentenceTransformer(modules=parts, device="cpu").save(str(folder / "whole"))
    return folder / "whole"


def test_what_is_no_transformer_says_so(tmp_path: Path) -> None:
    model = SentenceTransformer(modules=[BoW(["red", "mug"])], device="cpu")
    model.save(str(tmp_path / "bow"), create_model_card=False)
    with pytest.raises(RecipeError, match=r"has no int8 form .*BoW, is no transformer"):
        TextEncoder(model=str(tmp_path / "bow"), form="int8").prepare(cache=tmp_path)


def test_using_a_form_takes_no_pytorch(encoder_cache: Path) -> None:
    TextEncoder().prepare(cache=encoder_cache)
    code = (
        "import sys; from pathlib import Path; from tailrec.features.build import FeatureRecipe;"
        "from tailrec.features.text import TextEncoder;"
        f"encoder = TextEncoder().prepare(cache=Path({str(encoder_cache)!r}));"
        "assert encoder.encode_texts(['red mug']).shape == (1, 384);"
        "slow = {'torch', 'transformers', 'sentence_transformers', 'onnx'} & set(sys.modules);"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.real
@pytest.mark.slow
def test_real_titles_of_every_length(real_data: Path, encoder_cache: Path) -> None:
    files = ["amazon_beauty/items.parquet", "amazon_sports/items.parquet"]
    titles = pl.concat([pl.read_parquet(real_data / file, columns=["title"]) for file in files])
    length = pl.col("title").str.count_matches(r"\S+").clip(1, 24)
    every = titles.drop_nulls().filter(pl.col("title").str.strip_chars() != "")
    some = every.with_columns(length.alias("length")).filter(
        pl.int_range(pl.len()).shuffle(seed=1).over("length") < 12
    )
    folder = find_model(PACKAGED)
    texts = some["title"].to_list()
    exact = Original(folder, device="cpu", max_length=64).vectors(texts, batch_tokens=2048)
    near = load(folder, encoder_cache).vectors(texts)
    found = some.with_columns(pl.Series("cosine", cosines(exact, near)))
    by_length = found.group_by("length").agg(pl.col("cosine").mean(), least=pl.col("cosine").min())
    assert len(by_length) > 20
    assert by_length["cosine"].min() >= 0.99
    assert by_length["least"].min() >= 0.98
