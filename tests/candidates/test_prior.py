"""The prior alone, and as a part of the core model's scores."""

from dataclasses import replace

import numpy as np
import pytest
from tests.worlds import crowd, shop, words_of

from tailrec.candidates.linear import Linear, LinearModel
from tailrec.candidates.popular import Popular, PopularModel
from tailrec.candidates.prior import KEPT, Prior
from tailrec.dataset import Dataset
from tailrec.items import PADDING, Float32Array, QueryBatch

PI = 0.05
PLAIN = Linear(ridge=5, tilt=0.0)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """A crowd: one has no history, five items have no events."""
    return crowd(np.random.default_rng(11))


@pytest.fixture(scope="module")
def model(data: Dataset) -> LinearModel:
    """Fitted without a prior: it is given one when slates are made."""
    return PLAIN.fit(data, words_of(data), rng=np.random.default_rng(0))


def with_prior(model: LinearModel, prior: float = PI, **options: object) -> LinearModel:
    return model.served_as(model.recipe.model_copy(update={"prior": prior, **options}))


def one(data: Dataset, user: int, tail: float = 0.0) -> QueryBatch:
    return data.queries(np.array([user], np.int32), tail=tail)


def shares(data: Dataset) -> Float32Array:
    counts = data.item_counts.astype(np.float32)
    return counts / counts.max()


def test_popularity_is_told_against_the_first_and_only_of_the_first() -> None:
    n_items = KEPT + 20
    scores = np.arange(2 * n_items, n_items, -1, dtype=np.float32)
    prior = Prior.of(PopularModel(np.arange(n_items, dtype=np.int32)[::-1], scores))
    assert len(prior.ids) == len(prior.shares) == KEPT
    assert prior.share(n_items - 1) == 1
    assert prior.share(n_items - 2) == pytest.approx(1 - 1 / (2 * n_items))
    assert prior.share(0) == 0


def test_where_nothing_was_had_nothing_is_popular() -> None:
    prior = Prior.of(PopularModel(np.zeros(0, np.int32), np.zeros(0, np.float32)))
    assert len(prior.ids) == 0
    assert prior.share(3) == 0


@pytest.mark.parametrize("tail", [0.0, 0.5])
@pytest.mark.parametrize("tilt", [0.0, -0.2])
def test_a_score_is_what_the_formula_says(
    data: Dataset, model: LinearModel, tail: float, tilt: float
) -> None:
    asked = with_prior(model, tilt=tilt)
    lean = (1.0 + data.item_counts) ** (tail + tilt)
    for user in range(data.n_users):
        query = one(data, user, tail)
        weights = np.zeros(data.n_items)
        np.add.at(weights, query.item, query.weight * 0.7**query.age)
        scores = ((weights * lean) @ model.matrix + PI * shares(data)) / lean
        scores[query.exclude] = 0
        expected = np.sort(scores[scores > 0])[::-1] if len(query.item) else np.zeros(0)
        slate = asked.candidates(query, data.n_items)[0]
        np.testing.assert_allclose(slate.scores, expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(slate.scores, scores[slate.ids], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("half_life", [None, 3.0])
def test_a_prior_above_all_gives_the_order_of_popularity(
    data: Dataset, half_life: float | None
) -> None:
    recipe = PLAIN.model_copy(update={"prior": 1e9, "half_life_days": half_life})
    features, rng = words_of(data), np.random.default_rng(0)
    queries = data.queries()
    ids = recipe.fit(data, features, rng=rng).candidates(queries, 20).ids
    popular = Popular(half_life_days=half_life).fit(data, features, rng=rng)
    expected = popular.candidates(queries, 20).ids
    has_history = np.diff(queries.ptr) > 0
    np.testing.assert_array_equal(ids[has_history], expected[has_history])


def test_the_same_fit_takes_any_prior(data: Dataset, model: LinearModel) -> None:
    recipe = PLAIN.model_copy(update={"prior": PI})
    fitted = recipe.fit(data, words_of(data), rng=np.random.default_rng(0))
    queries = data.queries()
    for one_way, other in ((fitted, with_prior(model)), (with_prior(fitted, 0.0), model)):
        slates, same = one_way.candidates(queries, 20), other.candidates(queries, 20)
        np.testing.assert_array_equal(slates.ids, same.ids)
        np.testing.assert_array_equal(slates.scores, same.scores)
    assert (fitted.candidates(queries, 20).ids != model.candidates(queries, 20).ids).any()


def test_who_has_no_history_is_left_to_others(data: Dataset, model: LinearModel) -> None:
    query = one(data, 0)
    assert len(query.item) == 0
    assert (with_prior(model).candidates(query, 5).ids == PADDING).all()
    assert with_prior(model).explain(query, 0).score == 0


@pytest.mark.parametrize("tail", [0.0, 0.4])
def test_the_parts_and_the_prior_add_up_to_the_score(
    data: Dataset, model: LinearModel, tail: float
) -> None:
    asked = with_prior(model, tilt=0.1)
    for user in range(1, 20):
        slate = asked.candidates(one(data, user, tail), data.n_items)[0]
        for item, score in zip(slate.ids, slate.scores, strict=True):
            why = asked.explain(one(data, user, tail), int(item))
            n_events = data.item_counts[item]
            expected = PI * shares(data)[item] / (1 + n_events) ** (tail + 0.1)
            assert why.popularity == pytest.approx(expected, rel=1e-5)
            assert why.score == pytest.approx(float(score), rel=1e-4)
            assert (why.popularity > 0) == (n_events > 0)


def test_the_tail_dial_lessens_the_prior(data: Dataset, model: LinearModel) -> None:
    asked = with_prior(model, 1.0)
    shown = []
    for tail in (0.0, 0.4, 1.0):
        ids = asked.candidates(data.queries(tail=tail), 5).ids
        shown.append(model.counts[ids[ids != PADDING]].mean())
    assert shown[0] > 1.1 * shown[1] > 1.1 * shown[2]


def test_the_prior_weighs_most_with_those_who_did_little() -> None:
    """Item 1 leads to item 2; item 0 has nothing to do with either, and is popular."""
    histories = [[1, 2], [1, 2], [1], [1, 1, 1, 1], *[[0]] * 10]
    data = shop(histories, ["lamp", "pen", "paper"])
    fitted = Linear(ridge=2, tilt=0.0).fit(data, words_of(data), rng=np.random.default_rng(0))
    query = data.queries(np.array([2, 3], np.int32))
    plain = fitted.candidates(query, 1)
    assert plain.ids.ravel().tolist() == [2, 2]
    little, much = plain.scores.ravel()
    assert much > 1.5 * little
    # Item 0 is this much ahead of item 2 by being popular: more than one event outweighs.
    ahead = (little + much) / 2
    slates = with_prior(fitted, ahead / (1 - 2 / 10)).candidates(query, 1)
    assert slates.ids.ravel().tolist() == [0, 2]


def test_a_new_item_has_no_prior(data: Dataset, model: LinearModel) -> None:
    grown = with_prior(model.extended(words_of(data).rows(slice(0, 2))))
    whole = grown.candidates(replace(data.queries(), tail=0.0), 60).ids
    assert {data.n_items, data.n_items + 1} & set(whole.ravel().tolist())
    why = grown.explain(one(data, 5), data.n_items)
    assert why.popularity == 0
    # It has the words of item 0.
    assert with_prior(model).explain(one(data, 5), 0).popularity == pytest.approx(PI)
