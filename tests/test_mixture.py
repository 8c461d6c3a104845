"""Several sources as one: fitted twice, weighed by what none of them saw."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.worlds import crowd, quick, shop, words_of

from tailrec.candidates.content import Content
from tailrec.candidates.linear import Linear
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.popular import Popular
from tailrec.data.histories import settle_repeats
from tailrec.data.split import inner_split, leave_one_out
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import Engine, EngineRecipe
from tailrec.errors import RecipeError
from tailrec.evaluation.report import evaluate
from tailrec.features.build import FeatureRecipe
from tailrec.items import PADDING
from tailrec.mixture import LEAST, Mixture, MixtureModel
from tailrec.ranking.attention import Attention, AttentionModel
from tailrec.ranking.blend import Blend, BlendModel
from tailrec.training.recipes import Course

PARTS = (Linear(ridge=5), ItemKnn(), Content())
ATTENTION = Attention(width=8, fewest=20, course=Course(steps=30, rate=2e-2, check_every=15))


@pytest.fixture(scope="module")
def data() -> Dataset:
    """A crowd, the same for every test."""
    return crowd(np.random.default_rng(5), n_users=300)


def fitted(recipe: Mixture, data: Dataset) -> MixtureModel:
    """The recipe's model, always from the same seed."""
    return recipe.fit(data, words_of(data), rng=np.random.default_rng(3))


def engine_of(recipe: Mixture | Linear, data: Dataset) -> Engine:
    """An engine with words alone."""
    return EngineRecipe(source=recipe, features=FeatureRecipe(encode=False)).fit(data)


def test_parts_do_not_see_what_the_ranker_learns_from(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Dataset] = []
    plain = ItemKnn.fit

    def noted(self: ItemKnn, known: Dataset, *rest: Any, **more: Any) -> Any:
        seen.append(known)
        return plain(self, known, *rest, **more)

    monkeypatch.setattr(ItemKnn, "fit", noted)
    fitted(Mixture(parts=PARTS), data)
    inner, whole = seen
    split = inner_split(data, "all")
    assert inner.n_events == split.train.n_events < data.n_events
    assert whole.n_events == data.n_events
    target = set(zip(np.repeat(split.users, np.diff(split.target_ptr)), split.target, strict=True))
    assert not target & set(zip(inner.user, inner.item, strict=True))


def test_a_mixture_is_no_worse_than_its_parts() -> None:
    """One source is blind to words, one to behaviour; some people are told by either."""
    rng = np.random.default_rng(1)
    titles = [f"kind{n % 6} thing{n}" for n in range(60)]
    by_word = [
        rng.permutation(np.arange(60)[np.arange(60) % 6 == g])[:5]
        for g in rng.integers(6, size=150)
    ]
    by_habit = [rng.permutation(np.arange(10) * 6 + np.arange(10) % 6)[:5] for _ in range(150)]
    split = leave_one_out(shop([*map(list, by_word), *map(list, by_habit)], titles))
    features = words_of(split.train)
    masks: dict[str, Any] = {}
    figure = {}
    for recipe in (
        ItemKnn(),
        Content(neighbours=59),
        Mixture(parts=(ItemKnn(), Content(neighbours=59))),
    ):
        model = recipe.fit(split.train, features, rng=np.random.default_rng(0))
        figure[recipe.kind] = evaluate(split, model.candidates, masks=masks).figures["ndcg@10"]
    assert figure["mixture"] >= 0.98 * max(figure["itemknn"], figure["content"])


def test_beyond_the_pool_the_first_source_goes_on(data: Dataset) -> None:
    model = fitted(Mixture(parts=PARTS, depth=4), data)
    queries = data.queries()
    whole = model.candidates(queries, 40)
    pool = model.pools(queries)
    first = model.models["linear"].candidates(queries, 40)
    for row in range(len(queries)):
        own, scores = whole[row].ids, whole[row].scores
        known = set(pool[row].ids.tolist())
        assert set(own[: len(known)].tolist()) == known
        rest = [item for item in first[row].ids.tolist() if item not in known]
        assert own[len(known) :].tolist() == rest[: len(own) - len(known)]
        assert (scores[len(known) :] < LEAST).all()
        assert (scores[: len(known)] >= LEAST).all()


def test_too_little_to_learn_from_weighs_all_alike() -> None:
    two = shop([[0, 1], [1]], ["red thing", "red ball", "blue ball"])
    model = fitted(Mixture(parts=PARTS), two)
    assert (model.ranker.weights == 1).all()
    assert (model.candidates(two.queries(), 1).ids[:, 0] != PADDING).any()


def all_count(engine: Engine) -> Engine:
    """The engine, whatever its ranker has learnt, with all columns counting."""
    model = engine.model
    assert isinstance(model, MixtureModel)
    ranker = model.ranker
    blend = ranker.blend if isinstance(ranker, AttentionModel) else ranker
    assert isinstance(blend, BlendModel)
    even = replace(blend, weights=np.ones_like(blend.weights))
    if isinstance(ranker, AttentionModel):
        parts = {**ranker.parts, "offset": np.full_like(ranker.parts["offset"], 0.7)}
        ranker = replace(ranker, blend=even, parts=parts)
    else:
        ranker = even
    return replace(engine, model=replace(model, ranker=ranker))


@pytest.mark.parametrize("ranker", [Blend(), ATTENTION])
@pytest.mark.parametrize("tail", [0.0, 0.4])
def test_reasons_add_up_to_the_score(data: Dataset, tail: float, ranker: Blend | Attention) -> None:
    engine = all_count(engine_of(Mixture(parts=PARTS, depth=8, ranker=ranker), data))
    attentive = {"taste"} if ranker.kind == "attention" else set()
    for user in (3, 40, 41):
        query = engine.queries(data, np.array([user], np.int32), tail=tail)
        slate = engine.model.candidates(query, 30)[0]
        for rank, (number, score) in enumerate(zip(slate.ids, slate.scores, strict=True)):
            found = engine.explain(query, engine.ids[number])
            assert found.rank == rank + 1
            assert found.parts.score == pytest.approx(score, abs=1e-5)
            if rank == 0:
                names = {"linear", "itemknn", "content", "base"} | attentive
                assert found.parts.others.keys() == names
                assert found.parts.behaviour.sum() > 0
    seen = engine.explain(query, engine.ids[query.item[0]])
    assert seen.excluded
    assert seen.parts.others == {}


def test_without_a_linear_part_there_are_no_reasons(data: Dataset) -> None:
    engine = engine_of(Mixture(parts=(ItemKnn(), Content())), data)
    query = engine.queries(data, np.array([3], np.int32))
    with pytest.raises(RecipeError, match="'mixture' gives no reasons"):
        engine.explain(query, "i0")


def test_an_item_that_arrives_after_the_fit_is_recommended_by_its_words() -> None:
    rng = np.random.default_rng(1)
    kinds = [np.flatnonzero(np.arange(60) % 6 == kind) for kind in rng.integers(6, size=150)]
    titles = [f"kind{n % 6} thing{n}" for n in range(60)]
    data = shop([rng.permutation(kind)[:5].tolist() for kind in kinds], titles)
    table = data.catalog.table
    twin = table.head(1).with_columns(item_id=pl.lit("twin"))
    grown = Catalog(table.vstack(twin))
    had = np.unique(data.user[data.item == 0]).astype(np.int32)
    found = {}
    for recipe in (PARTS[0], Mixture(parts=PARTS)):
        wider = engine_of(recipe, data).with_items(grown)
        assert wider.ids[-1] == "twin"
        slates = wider.recommend(wider.queries(data, had), 20).ids
        found[recipe.kind] = float((slates == len(table)).any(axis=1).mean())
    assert found["mixture"] >= 0.8 * found["linear"] > 0


def test_attention_sees_what_meanings_and_behaviour_say(data: Dataset) -> None:
    features = words_of(data)
    groups = np.eye(5, dtype=np.float32)[np.arange(len(features)) % 5]
    features = replace(features, dense=groups)
    model = Mixture(parts=PARTS, ranker=ATTENTION).fit(data, features, rng=np.random.default_rng(3))
    ranker = model.ranker
    assert isinstance(ranker, AttentionModel)
    np.testing.assert_array_equal(ranker.known.counts, data.item_counts)
    assert ranker.known.said.nnz == model.models["linear"].matrix.nnz
    query = data.queries(np.array([3], np.int32))
    told = ranker.by_event(query, 7)
    assert np.abs(told.behaviour).sum() > 0
    assert np.abs(told.text).sum() > 0
    assert told.taste != 0
    slate = model.candidates(query, 9)[0]
    why = model.reasons(query)
    for number, score in zip(slate.ids.tolist(), slate.scores.tolist(), strict=True):
        assert why(number).score == pytest.approx(score, abs=1e-5)
    restored = model.recipe.restore(model.arrays())
    np.testing.assert_array_equal(
        restored.candidates(data.queries(), 9).scores, model.candidates(data.queries(), 9).scores
    )


def test_texts_do_not_pass_for_behaviour(data: Dataset) -> None:
    """Of a mixture without any source of behaviour attention knows none."""
    alone = fitted(Mixture(parts=(Content(),), ranker=ATTENTION), data).ranker
    beside = fitted(Mixture(parts=(Content(), ItemKnn()), ranker=ATTENTION), data)
    assert isinstance(alone, AttentionModel)
    assert isinstance(beside.ranker, AttentionModel)
    assert alone.known.said.nnz == 0
    assert beside.ranker.known.said is beside.models["itemknn"].matrix


def test_what_attention_says_by_way_of_texts_is_told_as_text() -> None:
    """With a linear part that knows texts alone, nothing is told as behaviour."""
    rng = np.random.default_rng(1)
    histories = [rng.permutation(60)[:6].tolist() for _ in range(200)]
    data = shop(histories, [f"kind{n % 6} thing{n}" for n in range(60)])
    nobody = data.keep(np.arange(data.n_events) < 0)
    linear = Linear(ridge=5).fit(nobody, words_of(data), rng=np.random.default_rng(0))
    model = fitted(Mixture(parts=(Linear(ridge=5), ItemKnn()), ranker=ATTENTION), data)
    ranker = model.ranker
    assert isinstance(ranker, AttentionModel)
    known = replace(ranker.known, said=linear.matrix)
    texts = replace(
        model, models={**model.models, "linear": linear}, ranker=replace(ranker, known=known)
    )
    query = data.queries(np.array([3], np.int32))
    alike = linear.candidates(query, 1).ids[0, 0]
    parts = texts.explain(query, int(alike))
    np.testing.assert_allclose(parts.behaviour, 0, atol=1e-6)
    assert np.abs(parts.text).sum() > 0


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "one source or more"),
        ([{"kind": "content"}, {"kind": "content"}], "one of each kind"),
        ([{"kind": "linear", "privacy": {"epsilon": 1.0}}], "leave out privacy"),
        ([{"kind": "mixture"}], "mixture"),
    ],
)
def test_what_a_mixture_cannot_be_of_is_refused(parts: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Mixture.parse({"parts": parts})


def test_the_latest_events_are_cut_off_before_repeats_are_settled() -> None:
    """Somebody who buys an item again had it before, so it is no answer to learn from."""
    rng = np.random.default_rng(0)
    histories = [[*rng.permutation(12)[:6], 0, 1] for _ in range(80)]
    whole = shop([list(map(int, history)) for history in histories], ["thing"] * 12)
    settled = settle_repeats(whole, "last")
    recipe = Mixture(parts=PARTS)
    features = words_of(whole)
    naive = recipe._lesson(settled, "all", features, 0)
    right = recipe._lesson(whole, "last", features, 0)
    again = [
        np.isin(lesson.queries.item, [0, 1]).sum() / max(len(lesson), 1)
        for lesson in (naive, right)
    ]
    assert again[0] < again[1]


def test_reasons_of_what_another_source_fills_in_are_that_source(data: Dataset) -> None:
    engine = engine_of(Mixture(parts=(ItemKnn(), *PARTS[:1]), depth=3), data)
    query = engine.queries(data, np.array([3], np.int32))
    slate = engine.model.candidates(query, 30)[0]
    found = engine.explain(query, engine.ids[slate.ids[-1]])
    assert found.parts.score == pytest.approx(slate.scores[-1])
    assert found.parts.others.keys() == {"itemknn"}


def test_nobody_known_gets_an_empty_row_whatever_the_parts(data: Dataset) -> None:
    model = fitted(Mixture(parts=(*PARTS, Popular())), data)
    nobody = data.queries(np.array([-1], np.int32))
    assert (model.candidates(nobody, 5).ids == PADDING).all()


def test_an_engine_is_saved_as_it_was_fitted_whatever_came_later(data: Dataset) -> None:
    recipe = Mixture(parts=(PARTS[0], quick("sequence")), ranker=ATTENTION)
    engine = engine_of(recipe, data)
    twin = data.catalog.table.head(1).with_columns(item_id=pl.lit("twin"))
    wider = engine.with_items(Catalog(data.catalog.table.vstack(twin)))
    before, after = engine.artifact({}).arrays, wider.artifact({}).arrays
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
