"""Rates of purchases after looks, shrunk to the mean by what is known of each item."""

import numpy as np
import pytest

from tailrec.errors import DataError
from tailrec.reranking.conversion import conversion


def test_the_rate_of_what_is_known_and_the_mean_of_what_is_not(rng: np.random.Generator) -> None:
    truth = rng.beta(4, 16, 3_000)
    looks = rng.choice([0.0, 2.0, 400.0], 3_000)
    bought = rng.binomial(looks.astype(int), truth).astype(float)
    rate = conversion(looks, bought)
    much, none = looks == 400, looks == 0
    assert np.abs(rate[much] - truth[much]).mean() < 0.02
    np.testing.assert_allclose(rate[none], bought.sum() / looks.sum(), rtol=1e-3)
    # Beta(4, 16) weighs as 20 looks: two looks move the mean by two parts in 22.
    two = looks == 2
    expected = (bought[two] + 20 * 0.2) / 22
    np.testing.assert_allclose(rate[two], expected, rtol=0.1)
    # Nearer to the truth than the raw rate, and than the mean for all.
    raw = np.divide(bought, looks, out=np.full(3_000, 0.2), where=looks > 0)
    assert ((rate - truth) ** 2).mean() < 0.5 * ((raw - truth) ** 2).mean()
    assert ((rate - truth) ** 2).mean() < 0.8 * ((0.2 - truth) ** 2).mean()


def test_no_purchases_and_purchases_without_looks() -> None:
    assert conversion(np.array([3.0, 0.0]), np.zeros(2)).tolist() == [1, 1]
    rate = conversion(np.array([0.0, 10.0]), np.array([3.0, 1.0]))
    assert 0 < rate[1] < rate[0] <= 1
    assert conversion(np.zeros(0), np.zeros(0)).shape == (0,)


def test_optimism_raises_what_is_little_known_most() -> None:
    looks, bought = np.array([1_000.0, 10.0, 0.0, 500.0]), np.array([200.0, 2.0, 0.0, 20.0])
    plain = conversion(looks, bought)
    raised = conversion(looks, bought, optimism=1.0) - plain
    assert 0 < raised[0] < raised[1] < raised[2]
    np.testing.assert_allclose(
        conversion(looks, bought, optimism=2.0) - plain, 2 * raised, rtol=1e-4
    )


def test_bad_counts_are_refused() -> None:
    with pytest.raises(DataError, match="from 0 up"):
        conversion(np.array([1.0]), np.array([-1.0]))
    with pytest.raises(DataError, match="as many are needed"):
        conversion(np.zeros(2), np.zeros(3))
