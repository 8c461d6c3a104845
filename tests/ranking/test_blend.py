"""Weights: the source that is right is trusted, by kind of item and of history."""

from dataclasses import replace

import numpy as np
import pytest

from tailrec.errors import RecipeError
from tailrec.items import Array, Int64Array, ItemsBatch, QueryBatch
from tailrec.ranking.blend import Blend, BlendModel
from tailrec.ranking.greedy import Greedy
from tailrec.ranking.known import Known
from tailrec.ranking.lambdamart import LambdaMart, LambdaMartModel, seen_by_trees
from tailrec.ranking.lesson import Lesson
from tailrec.ranking.logit import Choices, Weights
from tailrec.ranking.pools import SCORE, columns_of, names_of, pooled

N_ITEMS, N_REQUESTS = 40, 900


def requests(lengths: Int64Array, tail: float = 0.0) -> QueryBatch:
    """Requests with histories of some lengths, of item 0 again and again."""
    ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    item = np.zeros(ptr[-1], np.int32)
    some = np.ones(ptr[-1], np.float32)
    none = np.zeros(len(ptr), np.int64), np.zeros(0, np.int32)
    return QueryBatch(ptr, item, item, some, some, *none, tail)


def proposals(right: Array, skill: Array, rng: np.random.Generator) -> ItemsBatch:
    """All items, the right one [B] among the first the likelier the greater the skill [B]."""
    scores = rng.random((len(right), N_ITEMS)).astype(np.float32) + 0.1
    scores[np.arange(len(right)), right] += skill * rng.random(len(right)) * 2
    ids = np.argsort(-scores, axis=1).astype(np.int32)
    return ItemsBatch(ids, np.take_along_axis(scores, ids, axis=1))


def lesson(rng: np.random.Generator) -> Lesson:
    """One source knows popular items (0-19), one the others, and one nothing."""
    right = rng.integers(0, N_ITEMS, N_REQUESTS)
    popular = right < 20
    pools = pooled(
        {
            "behaviour": proposals(right, np.where(popular, 1.0, 0.0), rng),
            "words": proposals(right, np.where(popular, 0.0, 1.0), rng),
            "noise": proposals(right, np.zeros(N_REQUESTS), rng),
        }
    )
    counts = np.where(np.arange(N_ITEMS) < 20, 50, 2)
    lengths = rng.integers(1, 9, N_REQUESTS)
    answers = np.arange(N_REQUESTS + 1), right.astype(np.int32)
    return Lesson.of(requests(lengths), pools, answers, Known.of(counts), counts < 20)


def each_alone(asked: Lesson) -> list[float]:
    """NDCG@10 of each source by itself."""
    names = ("behaviour", "words", "noise")
    return [asked.figures(asked.pools.columns[SCORE + name]).means[0] for name in names]


def test_each_source_is_trusted_where_it_is_right(rng: np.random.Generator) -> None:
    learnt = lesson(rng)
    model = Blend(histories=()).fit(learnt, rng=rng)
    assert (model.weights >= 0).all()
    rare, popular = (
        next(row for row in model.shares() if row["item"] == name) for name in ("0-3", "40+")
    )
    assert rare["words"] > 0.6 > 0.3 > rare["behaviour"]
    assert popular["behaviour"] > 0.6 > 0.3 > popular["words"]
    asked = lesson(np.random.default_rng(99))
    alone = each_alone(asked)
    blended = asked.figures(model.values(asked.queries, asked.pools)).means[0]
    assert blended > 1.1 * max(alone)


def test_the_tail_is_raised_within_what_may_be_lost(rng: np.random.Generator) -> None:
    learnt, asked = lesson(rng), lesson(np.random.default_rng(7))
    strict, loose = (Blend(histories=(), keep=keep).fit(learnt, rng=rng) for keep in (1.0, 0.8))
    assert loose.lean > strict.lean
    figures = [
        asked.figures(model.values(asked.queries, asked.pools)).means for model in (strict, loose)
    ]
    assert figures[1][1] > figures[0][1]
    assert figures[1][0] >= 0.75 * figures[0][0]


def test_few_requests_of_a_kind_share_the_weights_of_all(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.ranking.blend.LEAST", 200)
    model = Blend(histories=(8, 1000)).fit(lesson(rng), rng=rng)
    np.testing.assert_array_equal(model.weights[1], model.weights[2])
    assert not np.allclose(model.weights[0], model.weights[2])


def test_nothing_to_learn_from_leaves_all_alike(rng: np.random.Generator) -> None:
    whole = lesson(rng)
    blind = replace(whole, right=np.zeros_like(whole.right))
    assert (Blend().fit(blind, rng=rng).weights == 1).all()
    assert (Blend().fit(whole.take(np.zeros(0, np.int64)), rng=rng).weights == 1).all()


def test_scores_are_above_zero_and_in_order(rng: np.random.Generator) -> None:
    learnt = lesson(rng)
    model = Blend().fit(learnt, rng=rng)
    ranked = model.score(learnt.queries, learnt.pools)
    assert (ranked.scores > 0).all()
    assert (np.diff(ranked.scores, axis=1) <= 0).all()
    assert ranked.columns.keys() == learnt.pools.columns.keys()
    values = model.values(learnt.queries, ranked)
    assert (np.diff(values, axis=1) <= 1e-6).all()


def test_leaning_to_the_tail_shows_more_of_it(rng: np.random.Generator) -> None:
    learnt = lesson(rng)
    model = Blend().fit(learnt, rng=rng)
    shown = [
        float(
            learnt.tail[
                model.score(replace(learnt.queries, tail=tail), learnt.pools).ids[:, :10]
            ].mean()
        )
        for tail in (0.0, 0.3, 1.0)
    ]
    assert shown[0] < shown[1] < shown[2]
    assert shown[2] > 0.9


def test_items_counted_anew_change_their_class(rng: np.random.Generator) -> None:
    model = Blend().fit(lesson(rng), rng=rng)
    later = model.over(Known.of(np.array([0, 3, 7, 1000])))
    assert later.kind.tolist() == [0, 0, 1, 3]
    known = Known.of(model.counts)
    restored = model.recipe.restore(
        model.arrays(), names_of(["behaviour", "words", "noise"]), known
    )
    assert (restored.names, restored.lean) == (model.names, model.lean)
    np.testing.assert_array_equal(restored.kind, model.kind)


def test_the_likeliest_weights_are_found() -> None:
    """One column, two items a pool, the better said right in three of four: w = ln 3."""
    said = np.tile(np.array([[[1.0], [0.0]]], np.float32), (400, 1, 1))
    counts = np.tile([[1.0, 0.0]], (400, 1))
    counts[::4] = [0.0, 1.0]
    choices = Choices.of(said, np.zeros((400, 2), np.int8), counts, np.ones((400, 2), bool))
    found = choices.best(Weights.even(1, 1), 0.0)
    assert found.by_class[0, 0] == pytest.approx(np.log(3), abs=1e-3)
    drawn = choices.best(Weights.even(1, 1), 100.0)
    assert drawn.by_class[0, 0] == pytest.approx(1, abs=1e-2)


def test_greedy_takes_the_better_sources_oftener(rng: np.random.Generator) -> None:
    learnt = lesson(rng)
    model = Greedy().fit(learnt, rng=rng)
    (whole,) = model.shares()
    assert whole["noise"] < 0.15 < min(whole["behaviour"], whole["words"])
    alone = each_alone(learnt)
    assert learnt.figures(model.values(learnt.queries, learnt.pools)).means[0] > max(alone)
    restored = Greedy().restore(model.arrays(), model.names, learnt.known)
    np.testing.assert_array_equal(
        restored.values(learnt.queries, learnt.pools), model.values(learnt.queries, learnt.pools)
    )
    blind = replace(learnt, right=np.zeros_like(learnt.right))
    assert (Greedy().fit(blind, rng=rng).weights == 1).all()


def test_trees_trust_each_source_where_it_is_right(rng: np.random.Generator) -> None:
    recipe = LambdaMart(fewest=300, least=20)
    model = recipe.fit(lesson(rng), rng=rng)
    assert isinstance(model, LambdaMartModel)
    asked = lesson(np.random.default_rng(99))
    alone = each_alone(asked)
    figure = asked.figures(model.values(asked.queries, asked.pools)).means[0]
    assert figure > 1.1 * max(alone)
    ranked = model.score(asked.queries, asked.pools)
    assert (ranked.scores > 0).all()
    restored = recipe.restore(model.arrays(), model.names, asked.known)
    np.testing.assert_array_equal(restored.score(asked.queries, asked.pools).ids, ranked.ids)


def test_trees_see_nothing_of_what_came_after(rng: np.random.Generator) -> None:
    learnt = lesson(rng)
    names = columns_of(learnt.pools)
    seen = seen_by_trees(learnt.queries, learnt.pools, names, learnt.counts)
    assert seen.shape == (*learnt.pools.ids.shape, len(names) + 2)
    # Whatever the answers are, what is seen is the same; and no column tells them by itself.
    turned = replace(learnt, right=learnt.right[::-1], n_targets=learnt.n_targets[::-1])
    again = seen_by_trees(turned.queries, turned.pools, names, turned.counts)
    np.testing.assert_array_equal(seen, again)
    best = max(
        learnt.figures(sign * seen[..., column]).means[0]
        for column in range(seen.shape[-1])
        for sign in (1, -1)
    )
    assert best < 0.9


def test_with_few_answers_trees_give_way_to_weights(rng: np.random.Generator) -> None:
    recipe = LambdaMart()
    learnt = lesson(rng)
    model = recipe.fit(learnt, rng=rng)
    assert isinstance(model, BlendModel)
    assert isinstance(recipe.restore(model.arrays(), model.names, learnt.known), BlendModel)


def test_bounds_that_do_not_rise_are_refused() -> None:
    with pytest.raises(RecipeError, match="bounds must rise"):
        Blend.parse({"items": [5, 5]})
