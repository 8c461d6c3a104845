import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tailrec.errors import RecipeError
from tailrec.features import onnx
from tailrec.features.onnx import Int8, load_int8
from tailrec.features.original import Original
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
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "_LEAST_LIKENESS", 1.01)
    with pytest.raises(RecipeError, match="use form = 'fp32'"):
        load(tiny_model, tmp_path)
    (left,) = (tmp_path / "forms").iterdir()
    assert [path.name for path in left.iterdir()] == ["model.onnx"][:0] + ["form.json"]


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
