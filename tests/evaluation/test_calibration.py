"""Calibration: by hand, against scipy, and at its ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from tests.evaluation.rows import ragged, slates

from tailrec.evaluation.calibration import SMOOTHING, miscalibration, popularity_deviation
from tailrec.tail.segments import COLD, HEAD, MIDDLE, TAIL

WORST = -np.log(SMOOTHING)
CATEGORY = np.array([0, 0, 1, 1, 2, -1], np.int32)
TIER = np.array([HEAD, HEAD, MIDDLE, TAIL, TAIL, COLD], np.int8)


def test_a_slate_worked_by_hand() -> None:
    ids = slates([[0, 2]], k=2)
    figures = miscalibration(*ragged([[0, 1, 2, 4]]), ids, CATEGORY, at=(1, 2))
    # History: half category 0, a quarter each of 1 and 2.
    first = 0.5 * np.log(0.5 / (0.99 + 0.01 * 0.5)) + 0.5 * WORST
    assert figures["miscalibration@1"] == pytest.approx([first])
    both = 0.5 * np.log(0.5 / (0.99 * 0.5 + 0.005)) + 0.25 * np.log(0.25 / (0.99 * 0.5 + 0.0025))
    assert figures["miscalibration@2"] == pytest.approx([both + 0.25 * WORST])


def test_the_ends_of_the_scale_and_what_is_undefined() -> None:
    past = ragged([[0, 2], [0], [0], [5], [], [0, 5]])
    ids = slates([[3, 1], [4, 2], [5], [0], [0], []], k=2)
    figures = miscalibration(*past, ids, CATEGORY, at=(2,))["miscalibration@2"]
    # The same shares; nothing in common; no category in the slate; none in the history, or no
    # history; an empty slate.
    expected = [0, WORST, WORST, np.nan, np.nan, WORST]
    np.testing.assert_allclose(figures, expected, atol=1e-12)


@settings(deadline=None)  # the first call compiles
@given(seed=st.integers(0, 2**32 - 1))
def test_divergences_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    category = rng.integers(-1, 5, 20).astype(np.int32)
    tier = rng.integers(0, 4, 20).astype(np.int8)
    pasts = [rng.integers(0, 20, rng.integers(0, 7)).tolist() for _ in range(4)]
    shown = [rng.permutation(20)[: rng.integers(0, 9)].tolist() for _ in range(4)]
    ids, past = slates(shown, 8), ragged(pasts)
    got = miscalibration(*past, ids, category, at=(3, 8))
    for k in (3, 8):
        for row, (before, slate) in enumerate(zip(pasts, shown, strict=True)):
            p, q = (
                np.array([sum(category[i] == code for i in own) for code in range(5)])
                for own in (before, slate[:k])
            )
            if p.sum():
                mixed = 0.99 * q / max(q.sum(), 1) + 0.01 * p / p.sum()
                # scipy makes shares of both; the missing part of an empty slate is put back.
                expected = entropy(p, mixed) - np.log(mixed.sum())
            else:
                expected = np.nan
            own = got[f"miscalibration@{k}"][row]
            assert own == pytest.approx(expected, abs=1e-9, nan_ok=True)
    got = popularity_deviation(*past, ids, tier, at=(3, 8))
    merged = np.minimum(tier, TAIL)
    for k in (3, 8):
        for row, (before, slate) in enumerate(zip(pasts, shown, strict=True)):
            p, q = (
                np.bincount(merged[own[:k] if own is slate else own], minlength=3)
                for own in (before, slate)
            )
            both = p.sum() and q.sum()
            expected = jensenshannon(p, q, base=2) ** 2 if both else np.nan
            own = got[f"popularity_deviation@{k}"][row]
            assert own == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_popularity_mix_by_hand() -> None:
    past = ragged([[0, 3], [0], [0, 1], [], [4]])
    ids = slates([[1, 4], [2, 3], [0], [0], [5]], k=2)
    figures = popularity_deviation(*past, ids, TIER, at=(2,))["popularity_deviation@2"]
    # The same mix; nothing in common; the same; no history; a cold item stands for the tail.
    np.testing.assert_allclose(figures, [0, 1, 0, np.nan, 0], atol=1e-12)
