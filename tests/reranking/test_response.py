"""Chances of a response: what is known is recovered, order is kept, and real slates are honest."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.data.histories import Histories, build_dataset
from tailrec.data.split import leave_one_out, validation
from tailrec.engine import EngineRecipe
from tailrec.errors import DataError
from tailrec.evaluation.response import expected_calibration_error, log_loss
from tailrec.features.build import FeatureRecipe
from tailrec.hits import find_hits
from tailrec.items import PADDING, BoolArray, Float64Array, ItemsBatch
from tailrec.reranking.attention import power
from tailrec.reranking.response import FEATURES, ResponseCurve, fit_response


def slates_of(scores: Float64Array) -> ItemsBatch:
    """Items numbered through, in the order of their scores, -inf at the end being padding."""
    falling = -np.sort(-scores, axis=1).astype(np.float32)
    ids = np.broadcast_to(np.arange(scores.shape[1], dtype=np.int32), scores.shape)
    return ItemsBatch(np.where(np.isfinite(falling), ids, PADDING).astype(np.int32), falling)


def random_slates(seed: int, n: int = 40, k: int = 12) -> tuple[ItemsBatch, BoolArray]:
    """Slates with ties, fill-ups below zero and padding, and clicks at random."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.gamma(0.5, 1.0, (n, k)), 1)
    scores[rng.random((n, k)) < 0.2] = -1
    scores[rng.random((n, k)) < 0.2] = -np.inf
    slates = slates_of(scores)
    hits = (rng.random((n, k)) < 0.3) & (slates.ids != PADDING)
    hits[0, 0] = slates.ids[0, 0] != PADDING
    return slates, hits


@pytest.mark.parametrize("feature", FEATURES)
def test_the_feature_that_decides_is_found_and_its_curve_recovered(
    feature: str, rng: np.random.Generator
) -> None:
    slates = slates_of(rng.gamma(1.0, 1.0, (8000, 10)))
    place = np.broadcast_to(np.arange(1, 11), slates.ids.shape)
    share = slates.scores / slates.scores[:, :1]
    truth = {
        "score": 0.5 * (1 - np.exp(-slates.scores / 4)),
        "share": 0.3 * share**2,
        "rank": 0.3 / place,
    }[feature]
    curve = fit_response(slates, rng.random(truth.shape) < truth)
    assert curve.feature == feature
    assert min(curve.log_loss, key=lambda name: curve.log_loss[name]) == feature
    assert np.abs(curve.probability(slates) - truth).mean() < 0.01


def test_attention_is_taken_out(rng: np.random.Generator) -> None:
    """Half as many clicks where half as many look."""
    slates = slates_of(rng.gamma(1.0, 1.0, (20_000, 8)))
    attention = power(8, 0.8)
    truth = np.minimum(0.1 * slates.scores, 0.6)
    clicked = rng.random(truth.shape) < attention * truth
    corrected = fit_response(slates, clicked, attention=attention).probability(slates)
    assert np.abs(corrected - truth).mean() < 0.012
    plain = fit_response(slates, clicked).probability(slates)
    assert np.abs(plain - truth).mean() > 0.03


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_chances_are_inside_and_never_rise_along_a_row(seed: int) -> None:
    slates, hits = random_slates(seed)
    hits[1, 0] = slates.ids[1, 0] != PADDING
    if not hits.any():
        return
    curve = fit_response(slates, hits)
    chance = curve.probability(slates)
    there = slates.ids != PADDING
    assert chance.dtype == np.float32
    assert ((chance[there] > 0) & (chance[there] < 1)).all()
    assert (chance[~there] == 0).all()
    assert (np.diff(chance, axis=1) <= 0).all()
    one = ItemsBatch(slates.ids[:1], slates.scores[:1])
    np.testing.assert_array_equal(curve.probability(one), chance[:1])


def test_what_fills_up_has_its_own_rate_and_stays_below() -> None:
    scores = np.tile([3.0, 2.0, -1.0, -2.0], (400, 1))
    scores[200:] = [-1.0, -2.0, -3.0, -4.0]
    hits = np.zeros((400, 4), bool)
    hits[:100, 0] = True
    hits[:10, 1] = True
    hits[200:260] = True
    slates = slates_of(scores)
    curve = fit_response(slates, hits)
    chance = curve.probability(slates)
    assert curve.fill == pytest.approx(240 / 1200)
    assert chance[200].tolist() == pytest.approx([0.2] * 4)
    assert chance[0].tolist() == pytest.approx([0.5, 0.05, 0.05, 0.05], abs=0.01)


def test_a_curve_comes_back_from_its_arrays() -> None:
    slates, hits = random_slates(3)
    curve = fit_response(slates, hits)
    again = ResponseCurve.from_arrays(curve.arrays())
    assert (again.feature, again.fill, again.log_loss) == (
        curve.feature,
        curve.fill,
        curve.log_loss,
    )
    np.testing.assert_array_equal(again.probability(slates), curve.probability(slates))


def test_the_slates_of_nobody_known_still_have_a_rate() -> None:
    """All items only fill up."""
    slates = slates_of(np.tile([-1.0, -2.0], (10, 1)))
    hits = np.zeros((10, 2), bool)
    hits[:4, 0] = True
    assert fit_response(slates, hits).probability(slates)[0].tolist() == pytest.approx([0.2, 0.2])


def test_bad_input_is_refused() -> None:
    slates, hits = random_slates(1)
    with pytest.raises(DataError, match=r"hits of \(39, 12\)"):
        fit_response(slates, hits[1:])
    with pytest.raises(DataError, match="with 0 responses"):
        fit_response(slates, np.zeros_like(hits))
    with pytest.raises(DataError, match=r"attention of \(3,\)"):
        fit_response(slates, hits, attention=np.ones(3))
    with pytest.raises(DataError, match=r"attention from 0\.0 to 1\.0"):
        fit_response(slates, hits, attention=np.linspace(0, 1, 12))


@pytest.mark.real
@pytest.mark.slow
def test_chances_learnt_on_validation_are_honest_on_the_test(real_data: Path) -> None:
    folder = real_data / "amazon_beauty"
    data = build_dataset(
        pl.read_parquet(folder / "events.parquet"),
        pl.read_parquet(folder / "items.parquet"),
        Histories(),
        whole=True,
    )
    test = leave_one_out(data)
    inner = validation(test)
    recipe = EngineRecipe(features=FeatureRecipe(encode=False))
    first = recipe.fit(inner.train)
    slates = first.recommend(inner.queries, 20)
    curve = fit_response(slates, find_hits(slates.ids, inner.target_ptr, inner.target))
    second = recipe.fit(test.train, features=first.features)
    shown = second.recommend(test.queries, 20)
    hits = find_hits(shown.ids, test.target_ptr, test.target)
    chance = curve.probability(shown).astype(np.float64).ravel()
    mean = np.full(hits.size, hits.mean())
    assert expected_calibration_error(chance, hits.ravel()) < 0.2 * hits.mean()
    assert log_loss(chance, hits.ravel()) < 0.95 * log_loss(mean, hits.ravel())


def test_scores_that_a_model_tells_apart_are_not_worth_the_same(rng: np.random.Generator) -> None:
    """Along a step of an isotonic curve they would be, and any order would do."""
    scores = -np.sort(-rng.random((400, 20)), axis=1).astype(np.float32)
    ids = np.tile(np.arange(20, dtype=np.int32), (400, 1))
    hits = rng.random(scores.shape) < np.where(scores > 0.7, 0.5, 0.1)
    curve = fit_response(ItemsBatch(ids, scores), hits)
    chance = curve.probability(ItemsBatch(ids, scores))
    assert (np.diff(chance, axis=1) < 0).mean() > 0.98
    # It still says how often: where two rates are, near those.
    assert chance[scores > 0.8].mean() == pytest.approx(0.5, abs=0.06)
    assert chance[scores < 0.6].mean() == pytest.approx(0.1, abs=0.03)
