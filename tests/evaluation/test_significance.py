"""The bootstrap of ratios: exact cases, theory, and a plain bootstrap."""

import numpy as np
import pytest

from tailrec.errors import DataError
from tailrec.evaluation.significance import ratio_interval


def test_a_constant_ratio_has_no_spread(rng: np.random.Generator) -> None:
    b = rng.random(300)
    interval = ratio_interval(2 * b, b, rng=rng)
    assert interval == pytest.approx((2, 2, 2))


def test_users_stay_paired(rng: np.random.Generator) -> None:
    """Unpaired, the spread of the users would hide a gain that every user has."""
    b = rng.exponential(size=400)
    low, mid, high = ratio_interval(b * rng.uniform(1.01, 1.03, 400), b, rng=rng)
    assert 1.015 < low < mid < high < 1.025


def test_bounds_agree_with_theory(rng: np.random.Generator) -> None:
    a, b = rng.binomial(1, [[0.30], [0.25]], size=(2, 4000)).astype(float)
    low, mid, high = ratio_interval(a, b, rng=rng)
    assert mid == pytest.approx(a.mean() / b.mean())
    # Delta method: the ratio's error is that of (a - ratio b) / mean(b).
    error = (a - mid * b).std() / b.mean() / np.sqrt(len(a))
    assert low == pytest.approx(mid - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(mid + 1.96 * error, abs=0.15 * error)


@pytest.mark.parametrize("n_users", [40, 200], ids=["one by one", "counted together"])
def test_bounds_agree_with_drawing_users_one_by_one(rng: np.random.Generator, n_users: int) -> None:
    a, b = rng.choice([0, 0, 0.4, 1], size=(2, n_users))
    low, _, high = ratio_interval(a, b, draws=20_000, rng=rng)
    users = rng.integers(n_users, size=(20_000, n_users))
    plain = np.quantile(a[users].mean(1) / b[users].mean(1), [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(plain), rel=0.03)


def test_it_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    true, covered = 0.3 / 0.2, 0
    for _ in range(200):
        a, b = rng.binomial(1, [[0.3], [0.2]], size=(2, 800)).astype(float)
        low, _, high = ratio_interval(a, b, draws=1000, rng=rng)
        covered += low <= true <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_seed_decides(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 100))
    runs = [ratio_interval(a, b, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_undefined_users_are_left_out_of_both(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 100))
    holes = np.arange(100) % 3 == 0
    with_holes = ratio_interval(
        np.where(holes, np.nan, a), np.where(holes, np.nan, b), rng=np.random.default_rng(0)
    )
    without = ratio_interval(a[~holes], b[~holes], rng=np.random.default_rng(0))
    assert with_holes == without
    with pytest.raises(DataError, match="same users"):
        ratio_interval(np.where(holes, np.nan, a), b, rng=rng)


def test_draws_without_a_denominator_are_infinite_or_nothing() -> None:
    a, b = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    low, mid, high = ratio_interval(a, b, rng=np.random.default_rng(0))
    assert (low, mid, high) == (0, 1, np.inf)


def test_there_is_no_ratio_to_nothing(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="0 for every user"):
        ratio_interval(rng.random(10), np.zeros(10), rng=rng)
