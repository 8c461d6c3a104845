from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.worlds import checkerboard, cold_twin, crowd, quick, shop

from tailrec import columns as c
from tailrec.artifact import load_artifact, save_artifact
from tailrec.candidates.ease import Ease
from tailrec.candidates.linear import LinearModel
from tailrec.candidates.popular import Popular
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import AnySource, Engine, EngineRecipe
from tailrec.errors import DataError, RecipeError, UnknownItem
from tailrec.features.build import FeatureRecipe
from tailrec.features.words import Words
from tailrec.items import PADDING, ItemsBatch
from tailrec.reranking.variety import Method, Sides, varied
from tailrec.shop import Shop
from tailrec.tuning_spaces import SPACES

WORDS_ALONE = FeatureRecipe(encode=False, words=Words())


def fitted_on(data: Dataset, source: AnySource | None = None) -> Engine:
    options = {} if source is None else {"source": source}
    return EngineRecipe(features=WORDS_ALONE, **options).fit(data)


def rows_of(slates: ItemsBatch) -> list[list[int]]:
    return [[int(i) for i in row if i != PADDING] for row in slates.ids]


def test_people_get_the_item_of_their_colour_they_lack() -> None:
    data = checkerboard()
    first = fitted_on(data).recommend(data.queries(), 5).ids[:, 0]
    assert first.tolist() == list(range(20))


def test_somebody_new_gets_what_is_popular() -> None:
    data = shop([[0, 1], [0, 2], [0, 1], [0, 3]], ["a", "b", "c", "d", "e"])
    engine = fitted_on(data)
    slates = engine.recommend(data.queries(np.array([-1], np.int32)), 3)
    assert slates.ids[0, :2].tolist() == [0, 1]
    assert slates.scores.tolist() == [[-1.0, -2.0, -3.0]]


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("k", [1, 7, 50, 100_000])
def test_slates_are_unique_sorted_and_short_only_when_all_is_shown(
    kind: str, k: int, rng: np.random.Generator
) -> None:
    data = crowd(rng)
    engine = fitted_on(data, quick(kind))
    queries = data.queries()
    slates = engine.recommend(queries, k)
    assert slates.ids.shape == (data.n_users, min(k, data.n_items))
    sold = int((data.item_counts > 0).sum())
    for row, shown in enumerate(rows_of(slates)):
        seen = set(queries[row].exclude.tolist())
        assert len(set(shown)) == len(shown)
        assert not seen & set(shown)
        assert len(shown) >= min(k, sold - len(seen))
        scores = slates.scores[row, : len(shown)]
        assert (np.diff(scores) <= 0).all()
        assert (slates.ids[row, len(shown) :] == PADDING).all()
        assert np.isneginf(slates.scores[row, len(shown) :]).all()


def test_what_fills_up_stands_below_and_is_not_there_yet(rng: np.random.Generator) -> None:
    data = crowd(rng)
    engine = fitted_on(data, Ease())
    queries = data.queries()
    proposed, slates = engine.model.candidates(queries, 40), engine.recommend(queries, 40)
    own = proposed.ids != PADDING
    np.testing.assert_array_equal(slates.ids[own], proposed.ids[own])
    filled = (slates.ids != PADDING) & ~own
    assert filled.any()
    assert (slates.scores[filled] < 0).all()
    popular = [int(i) for i in engine.newcomers.ids]
    for row in np.flatnonzero(filled.any(axis=1)):
        taken = set(proposed.ids[row].tolist()) | set(queries[row].exclude.tolist())
        expected = [item for item in popular if item not in taken]
        got = slates.ids[row][filled[row]].tolist()
        assert got == expected[: len(got)]


def test_hidden_items_never_appear_and_others_move_up(rng: np.random.Generator) -> None:
    data = crowd(rng)
    engine = fitted_on(data)
    hidden = np.zeros(data.n_items, bool)
    hidden[[0, 1, 5, 20]] = True
    users = np.array([0, 3, 7, -1], np.int32)
    plain = engine.recommend(engine.queries(data, users), 30)
    slates = engine.recommend(engine.queries(data, users, hidden=hidden), 10)
    for all_of_them, shown in zip(rows_of(plain), rows_of(slates), strict=True):
        assert shown == [item for item in all_of_them if not hidden[item]][:10]


def test_the_dial_to_the_tail_raises_its_share(fitted: Shop) -> None:
    engine, data = fitted.engine(), fitted.dataset()
    rare = engine.counts <= np.quantile(engine.counts, 0.8)
    shares = []
    for tail in (0.0, 0.25, 0.5, 1.0):
        ids = engine.recommend(engine.queries(data, tail=tail), 10).ids
        shares.append(rare[ids].mean())
    assert shares == sorted(shares)
    assert shares[-1] > shares[0] + 0.05


def test_queries_speak_the_engines_numbers() -> None:
    """The engine knows fewer items than the shop, in another order."""
    data = checkerboard()
    engine = fitted_on(data)
    order = np.arange(20)[::-1]
    new = pl.DataFrame({c.ITEM_ID: ["a new one"], c.TITLE: ["never seen"]})
    catalog = Catalog(pl.concat([new, data.catalog.table[order]]))
    place = np.argsort(order) + 1
    other = replace(data, catalog=catalog, item=place[data.item].astype(np.int32))
    # The first person also has the item that the engine does not know.
    item = other.item.copy()
    item[0] = 0
    asked = engine.queries(replace(other, item=item))
    known = data.queries()
    assert asked.ptr.tolist() == [0, *(known.ptr[1:] - 1)]
    np.testing.assert_array_equal(asked.item, known.item[1:])
    np.testing.assert_array_equal(asked.age, known.age[1:])
    np.testing.assert_array_equal(asked.exclude, known.exclude[1:])
    assert asked.exclude_ptr.tolist() == asked.ptr.tolist()


def test_explanations_add_up_to_the_served_score(fitted: Shop) -> None:
    engine, data = fitted.engine(), fitted.dataset()
    for tail in (0.0, 0.5):
        for user in (0, 17, 60):
            query = engine.queries(data, np.array([user], np.int32), tail=tail)
            slate = engine.recommend(query, 5)[0]
            for rank, (item, score) in enumerate(zip(slate.ids, slate.scores, strict=True), 1):
                why = engine.explain(query, engine.ids[item])
                assert why.rank == rank
                assert not why.excluded
                assert why.parts.score == pytest.approx(score, rel=1e-4)
                assert set(why.parts.ids) <= set(query.item)


def test_explanations_say_why_not() -> None:
    data = cold_twin()
    engine = fitted_on(data)
    query = data.queries(np.array([0], np.int32))
    had = engine.explain(query, "i0")
    assert (had.rank, had.excluded) == (None, True)
    twin = engine.explain(query, "i3")
    assert twin.rank is not None
    # Nobody had it, so what speaks for it is words alone.
    np.testing.assert_allclose(twin.parts.behaviour, 0, atol=1e-6)
    assert twin.parts.text.sum() > 0
    with pytest.raises(UnknownItem, match="'i9' is not among the 4"):
        engine.explain(query, "i9")
    with pytest.raises(RecipeError, match="'ease' gives no reasons"):
        fitted_on(data, Ease()).explain(query, "i0")


def test_an_item_that_arrives_after_the_fit_is_recommended_by_its_words() -> None:
    data = cold_twin()
    engine = fitted_on(replace(data, catalog=Catalog(data.catalog.table[:3])))
    assert isinstance(engine.model, LinearModel)
    wider = engine.with_items(data.catalog)
    assert wider.ids.tolist() == ["i0", "i1", "i2", "i3"]
    assert wider.counts.tolist() == [*engine.counts, 0]
    shown = wider.recommend(wider.queries(data, np.array([3], np.int32)), 4)
    assert 3 in shown.ids[0]
    assert shown.scores[0][shown.ids[0].tolist().index(3)] > 0
    assert wider.with_items(data.catalog) is wider
    # What it said of the items it knew stays.
    before = engine.recommend(engine.queries(data), 2)
    after = wider.recommend(replace(wider.queries(data)), 4)
    for old, new in zip(rows_of(before), rows_of(after), strict=True):
        assert [item for item in new if item != 3][: len(old)] == old


def test_sources_blind_to_words_list_a_new_item_and_never_propose_it() -> None:
    data = cold_twin()
    engine = fitted_on(replace(data, catalog=Catalog(data.catalog.table[:3])), Popular())
    wider = engine.with_items(data.catalog)
    assert "i3" in wider.ids
    assert 3 not in wider.recommend(wider.queries(data), 4).ids


def some_later(shop: Shop) -> tuple[Engine, ItemsBatch]:
    """The engine of a shop, half of whose items came after the fit, and pools of all of them."""
    engine = shop.engine()
    half = len(engine.ids) // 2
    features = replace(engine.features, features=engine.features.features.rows(slice(0, half)))
    arrivals = engine.features.features.rows(slice(half, None))
    pools = engine.recommend(engine.queries(shop.dataset(), np.arange(20, dtype=np.int32)), 30)
    assert (pools.ids >= half).any(axis=1).all()
    return replace(engine, features=features, arrivals=arrivals), pools


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_slates_vary_by_the_vectors_of_old_and_new_items_alike(
    fitted: Shop, method: Method
) -> None:
    engine, pools = some_later(fitted)
    sides = Sides(fitted.engine().features.features.dense)
    expected = varied(pools, 8, 0.6, method=method, sides=sides, window=4, width=12)
    slates = engine.varied(pools, 8, 0.6, method=method, window=4, width=12)
    np.testing.assert_array_equal(slates.ids, expected.ids)
    np.testing.assert_array_equal(slates.scores, expected.scores)
    assert (slates.ids[:, :8] != pools.ids[:, :8]).any()


@pytest.mark.parametrize("method", ["categories", "interests", "popularity"])
def test_slates_vary_by_codes_in_the_engines_numbers(fitted: Shop, method: Method) -> None:
    engine, pools = some_later(fitted)
    code = np.arange(len(engine.ids), dtype=np.int32) % 5
    queries = engine.queries(fitted.dataset(), np.arange(20, dtype=np.int32))
    sides = Sides(code=code, had_ptr=queries.ptr, had=code[queries.item])
    expected = varied(pools, 8, 0.6, method=method, sides=sides)
    had = queries.ptr, queries.item
    slates = engine.varied(pools, 8, 0.6, method=method, code=code, had=had)
    np.testing.assert_array_equal(slates.ids, expected.ids)
    assert (slates.ids != pools.ids[:, :8]).any()
    with pytest.raises(DataError, match="code is of 3 items"):
        engine.varied(pools, 8, 0.6, method=method, code=code[:3], had=had)
    with pytest.raises(DataError, match="there are 0 codes"):
        engine.varied(pools, 8, 0.6, method=method)


def test_short_pools_vary_and_stay_short(fitted: Shop) -> None:
    ids = np.array([[3, 1, PADDING], [PADDING] * 3], np.int32)
    scores = np.where(ids == PADDING, -np.inf, 1.0).astype(np.float32)
    slates = fitted.engine().varied(ItemsBatch(ids, scores), 3, 0.5)
    np.testing.assert_array_equal(slates.ids, ids)
    np.testing.assert_array_equal(slates.scores, scores)


@pytest.mark.parametrize("kind", SPACES)
def test_a_saved_engine_recommends_the_same(
    kind: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    data = crowd(rng)
    engine = fitted_on(data, quick(kind))
    save_artifact(engine.artifact({}), tmp_path / "model")
    loaded = Engine.from_artifact(load_artifact(tmp_path / "model"), engine.recipe, None)
    one, other = (e.recommend(e.queries(data), 12) for e in (engine, loaded))
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.scores, other.scores)
    new = Catalog(pl.DataFrame({c.ITEM_ID: ["new"], c.TITLE: ["word1 word2 thing"]}))
    assert loaded.with_items(new).ids[-1] == "new"


def test_two_fits_are_the_same_to_the_bit(rng: np.random.Generator) -> None:
    data = crowd(rng)
    for kind in SPACES:
        one, other = (fitted_on(data, quick(kind)).artifact({}) for _ in range(2))
        assert one.recipe == other.recipe
        assert one.arrays.keys() == other.arrays.keys()
        for name, values in one.arrays.items():
            assert values.tobytes() == other.arrays[name].tobytes(), (kind, name)
