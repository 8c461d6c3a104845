from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.dataset import Catalog, Features
from tailrec.features.build import FeatureRecipe
from tailrec.features.text import TextEncoder
from tailrec.features.words import Words

TITLES = ["red mug", "garden hose", "", "mug with a handle"]


def catalog(titles: list[str]) -> Catalog:
    ids = [f"i{number}" for number in range(len(titles))]
    return Catalog(pl.DataFrame({c.ITEM_ID: ids, c.TITLE: titles}))


def assert_same(one: Features, other: Features) -> None:
    np.testing.assert_array_equal(one.words.toarray(), other.words.toarray())
    np.testing.assert_allclose(one.dense, other.dense, atol=1e-6)


@pytest.fixture
def recipe(tiny_model: Path) -> FeatureRecipe:
    text = TextEncoder(model=str(tiny_model), form="fp32")
    return FeatureRecipe(words=Words(letter_share=0.2), text=text)


def test_fit_gives_features_of_every_item(recipe: FeatureRecipe, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    model = recipe.fit(catalog(TITLES), cache=tmp_path, progress=lambda *what: told.append(what))
    assert told == [("encoding texts", 3, 3)]
    words, dense = model.features.words.toarray(), model.features.dense
    for rows in (words, dense):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 0, 1], atol=1e-6)
    assert words.shape == (4, model.words.dim)
    assert words[0] @ words[3] > words[0] @ words[1]


def test_transform_puts_new_items_into_the_same_space(recipe: FeatureRecipe) -> None:
    model = recipe.fit(catalog(TITLES))
    assert_same(model.transform(catalog(TITLES)), model.features)
    new = model.transform(catalog(["hose garden", "unheard"]))
    assert new.words.shape[1] == model.features.words.shape[1]
    np.testing.assert_allclose(new.words.toarray()[0], model.features.words.toarray()[1], atol=1e-6)


def test_queries_are_items_without_a_catalogue(recipe: FeatureRecipe, tmp_path: Path) -> None:
    model = recipe.fit(catalog(TITLES), cache=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert_same(model.transform_queries(TITLES), model.features)
    model.transform_queries(["never asked before"])
    assert sorted(tmp_path.rglob("*")) == before


def test_arrays_bring_the_model_back(recipe: FeatureRecipe) -> None:
    model = recipe.fit(catalog(TITLES))
    again = recipe.restore(model.arrays())
    assert_same(again.features, model.features)
    new = catalog(["red hose"])
    assert_same(again.transform(new), model.transform(new))


def test_without_a_language_model(recipe: FeatureRecipe) -> None:
    missing = TextEncoder(model="no/such-model")
    plain = recipe.model_copy(update={"encode": False, "text": missing})
    model = plain.restore(plain.fit(catalog(TITLES)).arrays())
    assert model.features.dense.shape == (4, 0)
    assert model.transform(catalog(["mug"])).dense.shape == (1, 0)
    assert model.transform_queries(["mug", ""]).dense.shape == (2, 0)


def test_a_recipe_survives_its_file(recipe: FeatureRecipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.toml(), "utf-8")
    assert FeatureRecipe.load(path) == recipe
