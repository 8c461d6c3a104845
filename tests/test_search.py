import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.features.build import FeatureModel, FeatureRecipe
from tailrec.search import search
from tailrec.shop import Shop

TITLES = ["red ceramic mug", "blue ceramic bowl", "garden hose", "red garden gnome", ""]


@pytest.fixture(scope="module")
def by_words() -> FeatureModel:
    ids = [f"i{number}" for number in range(len(TITLES))]
    catalog = Catalog(pl.DataFrame({c.ITEM_ID: ids, c.TITLE: TITLES}))
    return FeatureRecipe(encode=False).fit(catalog)


def test_the_item_with_all_the_words_comes_first(by_words: FeatureModel) -> None:
    found = search("red mug", by_words, 5)
    assert found.ids[0] == 0
    assert (np.diff(found.scores) <= 0).all()
    assert 4 not in found.ids


def test_no_more_than_asked_and_none_that_is_hidden(by_words: FeatureModel) -> None:
    assert len(search("garden", by_words, 1)) == 1
    hidden = np.array([False, False, True, False, False])
    assert search("garden hose", by_words, 5, hidden=hidden).ids[0] == 3
    assert not len(search("garden", by_words, 5, hidden=np.ones(5, bool)))


def test_words_nobody_uses_find_nothing(by_words: FeatureModel) -> None:
    assert not len(search("xylophonequartz", by_words, 5))


def test_meaning_finds_what_words_miss(fitted: Shop) -> None:
    """No title says timepiece; clocks are what it means."""
    engine = fitted.engine()
    titles = dict(fitted.store.read("items", columns=[c.ITEM_ID, c.TITLE]).iter_rows())
    assert not any("timepiece" in title for title in titles.values())
    found = search("timepiece", engine.features, 5)
    assert sum("clock" in titles[engine.ids[item]] for item in found.ids) >= 3
