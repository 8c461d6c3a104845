"""Predicted responses: against scikit-learn, by hand, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from tailrec.errors import DataError
from tailrec.evaluation.response import auc, expected_calibration_error, log_loss, response
from tailrec.tail.segments import COLD, HEAD, TAIL


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 30))
def test_auc_and_log_loss_are_those_of_scikit_learn(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    # Few steps: many equal probabilities, exact zeros and ones among them.
    probability = rng.integers(0, steps + 1, 50) / steps
    outcome = rng.random(50) < probability * 0.5 + 0.2
    outcome[:2] = [True, False]
    assert auc(probability, outcome) == pytest.approx(roc_auc_score(outcome, probability))
    assert log_loss(probability, outcome) == pytest.approx(sklearn_log_loss(outcome, probability))


def test_calibration_error_is_that_of_scikit_learns_curve(rng: np.random.Generator) -> None:
    probability = rng.beta(1, 20, 4000)
    outcome = rng.random(4000) < probability**0.9
    true, said = calibration_curve(outcome, probability, n_bins=10, strategy="quantile")
    # Bins of equal size weigh alike.
    expected = np.abs(true - said).mean()
    assert expected_calibration_error(probability, outcome) == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    probability = np.array([0.1, 0.1, 0.6, 0.8])
    outcome = np.array([False, True, True, True])
    assert expected_calibration_error(probability, outcome, 2) == pytest.approx(
        (abs(0.2 - 1) + abs(1.4 - 2)) / 4
    )
    assert expected_calibration_error(probability, outcome, 1) == pytest.approx(abs(1.6 - 3) / 4)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bins=st.integers(1, 12))
def test_the_order_of_the_cases_does_not_matter(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    probability, outcome = rng.integers(0, 5, 40) / 4, rng.random(40) < 0.5
    mixed = rng.permutation(40)
    both = [
        expected_calibration_error(probability[own], outcome[own], bins)
        for own in (np.arange(40), mixed)
    ]
    assert both[0] == pytest.approx(both[1])
    assert 0 <= both[0] <= 1


def test_honest_probabilities_have_no_error_and_shifted_ones_theirs(
    rng: np.random.Generator,
) -> None:
    probability = rng.uniform(0.2, 0.6, 200_000)
    outcome = rng.random(200_000) < probability
    assert expected_calibration_error(probability, outcome) < 0.01
    assert expected_calibration_error(probability + 0.1, outcome) == pytest.approx(0.1, abs=0.01)


def test_tiers_are_told_apart_and_what_is_undefined_left_out() -> None:
    probability = np.array([0.9, 0.1, 0.2, 0.7, 0.3])
    outcome = np.array([True, False, True, False, False])
    tier = np.array([HEAD, HEAD, TAIL, TAIL, COLD], np.int8)
    figures = response(probability, outcome, tier=tier)
    assert figures["auc/head"] == 1
    assert figures["auc/tail"] == 0
    assert figures["log_loss/cold"] == pytest.approx(-np.log(0.7))
    assert figures["calibration_error/cold"] == pytest.approx(0.3)
    assert "auc/cold" not in figures, "all its outcomes are alike"
    assert not any(name.endswith("middle") for name in figures)
    overall = response(probability, outcome)
    assert overall == {name: figures[name] for name in ("auc", "log_loss", "calibration_error")}


def test_what_is_no_prediction_is_refused() -> None:
    yes = np.array([True, False])
    with pytest.raises(DataError, match=r"probabilities from -0\.5 to 0\.5; they lie in 0\.\.1"):
        response(np.array([-0.5, 0.5]), yes)
    with pytest.raises(DataError, match="they lie in"):
        response(np.array([np.nan, 0.5]), yes)
    with pytest.raises(DataError, match=r"\(3,\) probabilities and \(2,\) outcomes"):
        response(np.array([0.1, 0.2, 0.3]), yes)
    with pytest.raises(DataError, match="at least one"):
        response(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ValueError, match="bins is 0"):
        expected_calibration_error(np.array([0.1, 0.2]), yes, 0)
