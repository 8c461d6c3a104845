"""An update goes on from what was learnt, and knows what came since."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.worlds import crowd

from tailrec.candidates.linear import Linear
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.sequence import Sequential, SequentialModel
from tailrec.data.histories import Histories
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import Engine, EngineRecipe
from tailrec.errors import ArtifactError, RecipeError
from tailrec.features.build import FeatureRecipe
from tailrec.mixture import Mixture, MixtureModel
from tailrec.ranking.attention import Attention, AttentionModel
from tailrec.ranking.blend import Blend
from tailrec.training.recipes import Course
from tailrec.updating import updated

SEQUENCE = Sequential(
    width=8,
    blocks=1,
    heads=1,
    dropout=0.0,
    held_out=0,
    again=0.1,
    course=Course(steps=100, rate=1e-2, device="cpu", check_every=100, keep_every=100),
)
ATTENTION = Attention(
    width=4, fewest=20, course=Course(steps=20, rate=2e-2, check_every=10, keep_every=20)
)


@pytest.fixture(scope="module")
def now() -> Dataset:
    return crowd(np.random.default_rng(5), n_users=300)


@pytest.fixture(scope="module")
def before(now: Dataset) -> Dataset:
    """Without everybody's last step, and with the catalogue turned round and one item short."""
    last = now.step[now.ptr[1:] - 1]
    then = now.keep(now.step < last[now.user])
    order = np.arange(now.n_items - 1)[::-1].copy()
    number = np.full(now.n_items, -1)
    number[order] = np.arange(len(order))
    then = then.keep(number[then.item] >= 0)
    catalog = Catalog(now.catalog.table[order.tolist()])
    return replace(then, catalog=catalog, item=number[then.item].astype(np.int32))


def engine_of(source: Sequential | Mixture | Linear, data: Dataset) -> Engine:
    recipe = EngineRecipe(source=source, features=FeatureRecipe(encode=False))
    return recipe.fit(data)


def moved(one: SequentialModel, other: SequentialModel, numbers: np.ndarray) -> float:
    """How far items' vectors lie apart, against how long they are."""
    a, b = one.parts["items"], other.parts["items"][numbers]
    return float(np.linalg.norm(a - b, axis=1).mean() / np.linalg.norm(a, axis=1).mean())


def test_what_is_trained_goes_on_from_where_it_was(before: Dataset, now: Dataset) -> None:
    engine = engine_of(SEQUENCE, before)
    later = updated(engine, now, engine.recipe.histories)
    fresh = engine_of(SEQUENCE, now)
    assert isinstance(engine.model, SequentialModel)
    assert isinstance(later.model, SequentialModel)
    assert isinstance(fresh.model, SequentialModel)
    assert later.ids.tolist() == now.catalog.ids.tolist()
    numbers = np.array([later.index[name] for name in engine.ids])
    assert moved(engine.model, later.model, numbers) < 0.5 * moved(
        engine.model, fresh.model, numbers
    )
    np.testing.assert_array_equal(later.counts, now.item_counts)
    assert later.features.features.words.shape[0] == now.n_items
    # What is new has a place and is answered for.
    assert np.isfinite(later.model.parts["items"]).all()
    slates = later.recommend(later.queries(now), 5)
    assert (slates.ids >= 0).all()


@pytest.mark.parametrize("ranker", [Blend(), ATTENTION], ids=lambda one: one.kind)
def test_a_mixture_keeps_its_weights(
    before: Dataset, now: Dataset, ranker: Blend | Attention
) -> None:
    source = Mixture(parts=(Linear(ridge=5), ItemKnn(), SEQUENCE), ranker=ranker)
    engine = engine_of(source, before)
    later = updated(engine, now, engine.recipe.histories)
    assert isinstance(engine.model, MixtureModel)
    assert isinstance(later.model, MixtureModel)
    own, anew = engine.model.ranker, later.model.ranker
    if isinstance(own, AttentionModel):
        assert isinstance(anew, AttentionModel)
        numbers = np.array([later.index[name] for name in engine.ids])
        np.testing.assert_allclose(anew.parts["vectors"][numbers], own.parts["vectors"], atol=1e-5)
        own, anew = own.blend, anew.blend
    np.testing.assert_array_equal(anew.weights, own.weights)
    np.testing.assert_array_equal(later.model.ranker.counts, now.item_counts)
    # The quick parts are those of a fit to everything.
    whole = Linear(ridge=5).fit(now, later.features.features, rng=np.random.default_rng(0))
    linear = later.model.models["linear"]
    np.testing.assert_allclose(linear.matrix.toarray(), whole.matrix.toarray(), atol=1e-6)


def test_arrivals_are_taken_in(now: Dataset) -> None:
    """Items that came after the fit, and stood beside it, have a number like any other."""
    engine = engine_of(SEQUENCE, now)
    more = now.catalog.table.head(1).with_columns(item_id=pl.lit("twin"))
    grown = Catalog(now.catalog.table.vstack(more))
    later = updated(engine.with_items(grown), replace(now, catalog=grown), engine.recipe.histories)
    assert later.ids[-1] == "twin"
    assert len(later.arrivals) == 0
    assert len(later.features.features) == len(grown)


def test_an_update_of_what_is_fitted_in_seconds_is_refused(now: Dataset) -> None:
    with pytest.raises(RecipeError, match="leave out --update"):
        updated(engine_of(Linear(), now), now, Histories())


def test_an_update_with_histories_made_otherwise_is_refused(now: Dataset) -> None:
    with pytest.raises(RecipeError, match=r"\[histories\] of the recipe has changed"):
        updated(engine_of(SEQUENCE, now), now, Histories(repeats="all"))


def test_a_model_of_an_earlier_version_is_named(now: Dataset) -> None:
    engine = engine_of(SEQUENCE, now)
    assert isinstance(engine.model, SequentialModel)
    parts = {name: values for name, values in engine.model.parts.items() if name != "own"}
    older = replace(engine, model=replace(engine.model, parts=parts))
    with pytest.raises(ArtifactError, match="run `tailrec fit` once"):
        updated(older, now, Histories())


def test_few_news_change_something_whatever_is_held_out() -> None:
    """What the earlier model has learnt from cannot say which state is the better one."""
    now = crowd(np.random.default_rng(5), n_users=900)
    last = now.step[now.ptr[1:] - 1]
    then = now.keep((now.user >= 20) | (now.step < last[now.user]))
    source = SEQUENCE.model_copy(update={"held_out": 80})
    engine = engine_of(source, then)
    later = updated(engine, now, Histories())
    assert isinstance(engine.model, SequentialModel)
    assert isinstance(later.model, SequentialModel)
    assert later.model.recipe == source
    assert moved(engine.model, later.model, np.arange(now.n_items)) > 0
