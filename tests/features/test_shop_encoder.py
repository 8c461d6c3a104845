"""A shop's own encoder: found wherever the shop stands, and never mixed with another."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from tailrec import columns as c
from tailrec.batch import recommended
from tailrec.doctor import examine
from tailrec.errors import ArtifactError, RecipeError
from tailrec.frontier import Asked
from tailrec.shop import Shop
from tailrec.slates import found

NAME = "encoders/own"


def write_encoder(folder: Path, texts: list[str], seed: int) -> None:
    """A table of vectors of the words in some texts."""
    words = sorted({word for text in texts for word in text.lower().split()})
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    table = np.random.default_rng(seed).standard_normal((len(vocabulary), 8)).astype(np.float32)
    shutil.rmtree(folder, ignore_errors=True)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)])
    model.save(str(folder), create_model_card=False)


def titles(shop: Shop) -> list[str]:
    return list(shop.store.read("items", columns=[c.TITLE])[c.TITLE].drop_nulls())


@pytest.fixture
def folder(shop_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop fitted with an encoder of its own, from another folder than its own."""
    (shop_folder / "cache").unlink()
    monkeypatch.chdir(tmp_path)
    (shop_folder / "tailrec.toml").write_text(f'[features.text]\nmodel = "{NAME}"\n', "utf-8")
    with Shop.open(shop_folder) as shop:
        write_encoder(shop_folder / NAME, titles(shop), seed=0)
        shop.fit()
    return shop_folder


def told(folder: Path, part: str) -> tuple[bool, str]:
    (finding,) = [finding for finding in examine(folder) if finding.part == part]
    return finding.well, finding.says


def add_item(shop: Shop) -> None:
    shop.store.write("items", pl.DataFrame({c.ITEM_ID: ["fresh"], c.TITLE: titles(shop)[:1]}))


def test_a_shop_can_be_moved_with_its_encoder(folder: Path) -> None:
    with Shop.open(folder) as shop:
        version = shop.versions()[-1]
        saved = (shop.models / version / "recipe.toml").read_text("utf-8")
        assert f'model = "{NAME}"' in saved
        words = titles(shop)[0]
        before = found(shop, words, 5)
    moved = folder.rename(folder.with_name("moved"))
    assert told(moved, "encoder") == (True, "gives vectors of 8 numbers")
    with Shop.open(moved) as shop:
        assert found(shop, words, 5).equals(before)
        add_item(shop)
        engine = shop.engine()
        assert "fresh" in engine.index
        np.testing.assert_allclose(
            engine.arrivals.dense, engine.features.transform_queries([words]).dense, atol=1e-5
        )


def test_everything_that_reads_texts_finds_the_encoder(folder: Path) -> None:
    with Shop.open(folder) as shop:
        shop.compare(shop.splits("leave-one-out"))
        shop.frontier(Asked(knobs=("tail",), n_requests=40, draws=20))
        shop.tune(budget_s=0.1)


def test_a_changed_encoder_is_not_mixed_with_the_fitted_one(folder: Path) -> None:
    with Shop.open(folder) as shop:
        user = str(shop.dataset().user_ids[0])
        before = recommended(shop, user=user)
        write_encoder(folder / NAME, titles(shop), seed=1)
        # What was fitted needs no encoder.
        assert recommended(shop, user=user).equals(before)
        changed = f"encoder '{NAME}' has changed since the fit.*run `tailrec fit`"
        with pytest.raises(ArtifactError, match=changed):
            found(shop, "red", 5)
        add_item(shop)
        with pytest.raises(ArtifactError, match=changed):
            shop.engine()
        shop.fit()
        assert "fresh" in shop.engine().index


def test_an_encoder_that_is_gone_is_named(folder: Path) -> None:
    with Shop.open(folder) as shop:
        user = str(shop.dataset().user_ids[0])
        before = recommended(shop, user=user)
        shutil.rmtree(folder / NAME)
        assert recommended(shop, user=user).equals(before)
        with pytest.raises(ArtifactError, match=f"encoder '{NAME}' is not there.*`tailrec fit`"):
            found(shop, "red", 5)
        with pytest.raises(RecipeError, match=f"encoder '{NAME}' is not there"):
            shop.fit()
    well, says = told(folder, "encoder")
    assert not well
    assert str(folder / NAME) in says
