"""Attention: meaning is trusted where behaviour is silent, and what serves is what was learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from tailrec.errors import RecipeError
from tailrec.items import PADDING, Array, ItemsBatch, QueryBatch
from tailrec.ranking.attention import Attention, AttentionModel, turned
from tailrec.ranking.attention_fit import Batch, Sizes, Weighing
from tailrec.ranking.blend import Blend, BlendModel
from tailrec.ranking.known import Known
from tailrec.ranking.lesson import Lesson
from tailrec.ranking.pools import pooled
from tailrec.training.recipes import Course

N_ITEMS, N_REQUESTS, N_GROUPS = 60, 700, 6
RECIPE = Attention(
    width=8,
    requests=64,
    blend=Blend(items=(10,), histories=()),
    course=Course(steps=200, rate=5e-2, check_every=50, keep_every=200),
)


def world(rng: np.random.Generator) -> Lesson:
    """Popular items (0-29) follow their partner in behaviour, rare ones share their group's text.

    Each person's last four events are noise but for one, the last, and sources know nothing.
    """
    group = np.arange(N_ITEMS) % N_GROUPS
    meaning = np.eye(N_GROUPS, 12)[group] + rng.normal(0, 0.1, (N_ITEMS, 12))
    partner = np.append(rng.permutation(30), np.full(30, PADDING))
    said = np.zeros((N_ITEMS, N_ITEMS))
    said[np.arange(30), partner[:30]] = 1
    past = rng.integers(0, N_ITEMS, (N_REQUESTS, 4))
    popular = (rng.random(N_REQUESTS) < 0.5) & (past[:, -1] < 30)
    rare = rng.integers(0, 5, N_REQUESTS) * N_GROUPS + 30 + group[past[:, -1]]
    right = np.where(popular, partner[past[:, -1]], rare)
    ptr = np.arange(0, 4 * N_REQUESTS + 1, 4)
    age = np.tile(np.arange(3, -1, -1), N_REQUESTS).astype(np.int32)
    nothing = np.zeros(len(ptr), np.int64), np.zeros(0, np.int32)
    ones = np.ones(past.size, np.float32)
    queries = QueryBatch(
        ptr, past.ravel().astype(np.int32), age, age.astype(np.float32), ones, *nothing
    )
    ids = np.stack([rng.permutation(N_ITEMS) for _ in range(N_REQUESTS)]).astype(np.int32)
    scores = np.sort(rng.random(ids.shape).astype(np.float32))[:, ::-1]
    counts = np.where(np.arange(N_ITEMS) < 30, 40, 2)
    known = Known.of(counts, sparse.csr_array(said.astype(np.float32)))
    answers = np.arange(N_REQUESTS + 1), right.astype(np.int32)
    pools = pooled({"noise": ItemsBatch(ids, scores)})
    lesson = Lesson.of(queries, pools, answers, known, counts < 10)
    return replace(lesson, meaning=meaning.astype(np.float32))


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    """A world, the same for every test."""
    return world(np.random.default_rng(4))


@pytest.fixture(scope="module")
def model(lesson: Lesson) -> AttentionModel:
    """What was learnt of it."""
    learnt = RECIPE.fit(lesson, rng=np.random.default_rng(0))
    assert isinstance(learnt, AttentionModel)
    return learnt


def test_meaning_is_trusted_where_behaviour_is_silent(
    lesson: Lesson, model: AttentionModel
) -> None:
    rare, popular = model.tiers()
    assert (rare["item"], popular["item"]) == ("0-9", "10+")
    assert rare["alpha"] > popular["alpha"] + 0.1
    assert all(0 < tier[name] < 1 for tier in (rare, popular) for name in ("alpha", "beta"))
    plain = lesson.figures(model.blend.values(lesson.queries, lesson.pools)).means[0]
    asked = world(np.random.default_rng(4))
    assert asked.figures(model.values(asked.queries, asked.pools)).means[0] > 1.5 * plain


def test_the_latest_event_is_attended_to(lesson: Lesson, model: AttentionModel) -> None:
    looked = model.looked(lesson.queries, lesson.pools)
    np.testing.assert_allclose(looked.shares.sum(axis=-1), 1, atol=1e-5)
    shares = looked.shares.mean(axis=(0, 1))
    assert shares[-1] == shares.max() > 0.4


def test_numpy_serves_what_pytorch_learnt(lesson: Lesson) -> None:
    """Through every parameter: none is left where it started."""
    blend = RECIPE.blend.fit(lesson, rng=np.random.default_rng(0))
    task = Weighing(Sizes(8, 20, 64), blend, lesson, 1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in task.module.named_parameters():
            scale = 50 if name.startswith("moved") else 0.5
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    parts = task.learnt()
    vectors = turned(lesson.meaning, parts["centre"], parts["turn"])
    model = AttentionModel(RECIPE, blend, {**parts, "vectors": vectors}, lesson.known)
    rows = np.arange(40)
    batch: Batch = task.batch_of(rows)
    logits = task.module(batch).detach().numpy()
    some = lesson.take(rows)
    np.testing.assert_allclose(model.values(some.queries, some.pools), logits, atol=2e-4)


def test_what_is_added_is_told_by_event(lesson: Lesson, model: AttentionModel) -> None:
    added, offset = model.added(lesson.queries, lesson.pools)
    for row, column in ((0, 0), (5, 30), (9, 7)):
        told = model.by_event(lesson.queries.rows(row, row + 1), int(lesson.pools.ids[row, column]))
        whole = told.behaviour.sum() + told.text.sum() + told.taste + told.offset
        expected = added[row, column].sum() + offset[row, column]
        assert whole == pytest.approx(expected, abs=1e-5)
        assert told.past.tolist() == lesson.queries[row].item.tolist()


def test_an_artifact_gives_the_same_model(lesson: Lesson, model: AttentionModel) -> None:
    restored = RECIPE.restore(model.arrays(), model.names, lesson.known)
    np.testing.assert_array_equal(
        restored.values(lesson.queries, lesson.pools), model.values(lesson.queries, lesson.pools)
    )


def test_a_new_item_is_placed_by_its_meaning(lesson: Lesson, model: AttentionModel) -> None:
    counts = np.append(lesson.counts, 0)
    wider = model.over(Known.of(counts, lesson.known.said), lesson.meaning[40:41])
    asked = lesson.queries.rows(0, 8)
    ids = np.tile(np.array([[40, N_ITEMS]], np.int32), (8, 1))
    pool = ItemsBatch(ids, np.ones(ids.shape, np.float32))
    values = wider.values(asked, pool)
    np.testing.assert_allclose(values[:, 1], values[:, 0], atol=1e-5)
    # It is no part of what is kept.
    assert len(wider.arrays()["attention.vectors"]) == N_ITEMS


def test_somebody_without_a_past_gets_what_sources_say(
    lesson: Lesson, model: AttentionModel
) -> None:
    none = np.zeros(2, np.int64), np.zeros(0, np.int32)
    nobody = QueryBatch(
        none[0], none[1], none[1], np.zeros(0, np.float32), np.zeros(0, np.float32), *none
    )
    added, _ = model.added(nobody, lesson.pools.rows(slice(0, 1)))
    assert (added == 0).all()


def test_without_meanings_behaviour_is_attended_to_alone(lesson: Lesson) -> None:
    blind = replace(lesson, meaning=np.zeros((N_ITEMS, 0), np.float32))
    model = RECIPE.fit(blind, rng=np.random.default_rng(0))
    assert isinstance(model, AttentionModel)
    values = model.values(lesson.queries, lesson.pools)
    assert np.isfinite(values).all()
    plain = lesson.figures(model.blend.values(lesson.queries, lesson.pools)).means[0]
    assert lesson.figures(values).means[0] > plain


def test_with_few_answers_weights_stand_alone(lesson: Lesson) -> None:
    few = lesson.take(np.arange(50))
    model = RECIPE.fit(few, rng=np.random.default_rng(0))
    assert isinstance(model, BlendModel)
    restored = RECIPE.restore(model.arrays(), model.names, few.known)
    np.testing.assert_array_equal(
        restored.values(few.queries, few.pools), model.values(few.queries, few.pools)
    )


def test_what_is_said_is_looked_up(rng: np.random.Generator) -> None:
    dense = rng.random((9, 9)) * (rng.random((9, 9)) < 0.4)
    known = Known.of(np.ones(11, np.int64), sparse.csr_array(dense.astype(np.float32)))
    ids = np.stack([rng.permutation(11)[:6] for _ in range(20)]).astype(np.int32)
    ids[:, -1] = PADDING
    past = rng.integers(-1, 11, (20, 5)).astype(np.int32)
    wide: Array = np.zeros((12, 12), np.float32)
    wide[:9, :9] = dense
    expected = wide[past[:, None, :], ids[:, :, None]]
    np.testing.assert_array_equal(known.said_for(ids, past), expected)
    nothing = Known.of(np.ones(11, np.int64))
    assert (nothing.said_for(ids, past) == 0).all()


def test_options_of_encoders_are_refused() -> None:
    with pytest.raises(RecipeError, match="leave them out here"):
        Attention.parse({"course": {"checkpointing": True}})
