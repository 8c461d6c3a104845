"""Chances of a click: true ones, whatever the place an item stood at."""

import numpy as np
import pytest
import torch
from numpy.random import Generator
from scipy.special import expit

from tailrec.errors import DataError, RecipeError
from tailrec.evaluation.response import auc, expected_calibration_error
from tailrec.items import Array, Float64Array
from tailrec.ranking.calibrate import Way, calibrated
from tailrec.ranking.ctr import AnyCtr, Ctr, Impressions, NeuralCtr
from tailrec.ranking.layers import Scale
from tailrec.ranking.layers_fit import Net
from tailrec.training.recipes import Course

ATTENTION = 1 / np.arange(1, 11) ** 0.8
NETWORK = NeuralCtr(
    course=Course(steps=600, rate=4e-3, check_every=100, patience=3, keep_every=600, device="cpu")
)
every_kind = pytest.mark.parametrize("recipe", [Ctr(), NETWORK], ids=lambda one: one.kind)


def truth(known: Array) -> Float64Array:
    """The chance of those who look: bent, and with an interaction."""
    odds = -2.5 + 1.5 * np.tanh(2 * known[:, 0]) + known[:, 1] * (known[:, 2] > 0)
    chance: Float64Array = expit(np.nan_to_num(odds, nan=-2.5))
    return chance


def shown(rng: Generator, n: int = 40_000, *, sorted_by: float = 2.0) -> Impressions:
    """Impressions; what is liked stands higher the more `sorted_by`, as a ranker has it."""
    known = rng.normal(size=(n, 4)).astype(np.float32)
    slates = (n + 9) // 10
    order = (sorted_by * known[:, 0] + rng.normal(size=n))[: slates * 10]
    rank = np.argsort(np.argsort(-order.reshape(slates, 10), axis=1), axis=1)
    position = (rank.ravel() + 1).astype(np.int32)
    chance = truth(known) * ATTENTION[position - 1]
    return Impressions(known, position, rng.random(n) < chance, ATTENTION)


@pytest.mark.parametrize("way", ["isotonic", "platt"])
@every_kind
def test_chances_are_true_whatever_the_place(rng: Generator, way: Way, recipe: AnyCtr) -> None:
    model = recipe.model_copy(update={"calibration": way}).fit(shown(rng), rng=rng)
    fresh = shown(np.random.default_rng(77), 20_000, sorted_by=0)
    chance = model.probability(fresh.known)
    assert ((chance > 0) & (chance < 1)).all()
    # Somebody who looks: the truth of an experiment without places.
    answered = np.random.default_rng(1).random(len(fresh)) < truth(fresh.known)
    assert expected_calibration_error(chance, answered) <= 0.02
    best = auc(truth(fresh.known), answered)
    assert auc(chance, answered) > best - 0.02


@every_kind
def test_without_places_what_stands_high_seems_better(rng: Generator, recipe: AnyCtr) -> None:
    seen = shown(rng)
    blind = Impressions(seen.known, seen.position, seen.clicked, np.ones(1))
    fresh = shown(np.random.default_rng(77), 20_000, sorted_by=0)
    real = truth(fresh.known)
    corrected, plain = (
        recipe.fit(data, rng=np.random.default_rng(0)).probability(fresh.known)
        for data in (seen, blind)
    )
    assert np.abs(corrected - real).mean() < 0.5 * np.abs(plain - real).mean()


@every_kind
def test_impressions_without_clicks_give_a_small_chance_to_all(
    rng: Generator, recipe: AnyCtr
) -> None:
    seen = shown(rng, 1000)
    none = Impressions(seen.known, seen.position, np.zeros(1000, bool), ATTENTION)
    chance = recipe.fit(none, rng=rng).probability(seen.known)
    assert 0 < chance[0] < 0.002
    assert (chance == chance[0]).all()
    few = np.zeros(1000, bool)
    few[:5] = True
    some = Impressions(seen.known, seen.position, few, ATTENTION)
    assert recipe.fit(some, rng=rng).probability(seen.known)[0] == pytest.approx(
        5 / some.looked.sum()
    )
    every = Impressions(seen.known, seen.position, np.ones(1000, bool), ATTENTION)
    assert recipe.fit(every, rng=rng).probability(seen.known).max() < 1


@every_kind
def test_what_is_not_known_may_be_missing(rng: Generator, recipe: AnyCtr) -> None:
    """A number that is missing says that it is: here, that nobody clicks."""
    seen = shown(rng, 20_000)
    seen.known[::3, 0] = np.nan
    seen.known[:, 3] = np.nan
    seen.clicked[::3] = False
    chance = recipe.fit(seen, rng=rng).probability(seen.known)
    assert np.isfinite(chance).all()
    assert chance[::3].mean() < 0.3 * chance[1::3].mean()


@every_kind
def test_one_seed_gives_one_model_and_a_saved_one_the_same(rng: Generator, recipe: AnyCtr) -> None:
    seen = shown(rng, 8000)
    one, other = (recipe.fit(seen, rng=np.random.default_rng(5)) for _ in range(2))
    for name, values in one.arrays().items():
        np.testing.assert_array_equal(other.arrays()[name], values)
    assert one.learner is not None
    restored = recipe.restore(one.arrays())
    np.testing.assert_array_equal(restored.probability(seen.known), one.probability(seen.known))
    bare = recipe.fit(seen.take(np.flatnonzero(~seen.clicked)), rng=rng)
    again = recipe.restore(bare.arrays())
    assert again.curve is None
    np.testing.assert_array_equal(again.probability(seen.known), bare.probability(seen.known))


def test_a_curve_never_falls_and_keeps_the_mean(rng: Generator) -> None:
    odds = rng.normal(size=5000)
    clicked = rng.random(5000) < expit(2 * odds - 1)
    looked = np.ones(5000)
    for way in ("isotonic", "platt"):
        curve = calibrated(odds, clicked, looked, way)
        assert (np.diff(curve.chance) >= 0).all()
        assert curve(odds).mean() == pytest.approx(clicked.mean(), abs=0.005)
        np.testing.assert_allclose(curve(np.array([-1.0, 0, 1])), expit([-3, -1, 1]), atol=0.06)


def test_what_cannot_be_is_refused(rng: Generator) -> None:
    known = np.zeros((3, 2), np.float32)
    place, clicked = np.ones(3, np.int32), np.zeros(3, bool)
    with pytest.raises(DataError, match="position and clicked"):
        Impressions(known, place[:2], clicked, ATTENTION)
    with pytest.raises(DataError, match="a place is 0"):
        Impressions(known, place - 1, clicked, ATTENTION)
    with pytest.raises(DataError, match=r"attention lies in 0\.0"):
        Impressions(known, place, clicked, np.array([1.0, 0.0]))
    with pytest.raises(DataError, match="no impression to learn"):
        Ctr().fit(Impressions(known[:0], place[:0], clicked[:0], ATTENTION), rng=rng)
    model = Ctr().fit(Impressions(known, place, clicked, ATTENTION), rng=rng)
    with pytest.raises(DataError, match=r"2\] was learnt from"):
        model.probability(np.zeros((1, 3), np.float32))


def test_a_network_of_layers_without_width_is_refused() -> None:
    with pytest.raises(RecipeError, match="at least 1 wide"):
        NeuralCtr.parse({"hidden": [8, 0]})


def test_numpy_runs_the_network_that_pytorch_learnt(rng: Generator) -> None:
    known = rng.normal(size=(50, 3)).astype(np.float32)
    known[::4, 1] = np.nan
    scale = Scale.of(known)
    torch.manual_seed(0)
    net = Net(scale, (8, 4), 0.5, 0.7).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape))
        odds = net(torch.as_tensor(scale(known))).numpy()
    np.testing.assert_allclose(0.7 + net.layers().odds(known), odds, atol=1e-4)
