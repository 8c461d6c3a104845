"""Unbiased recall: by hand, its special cases, and that it removes the bias it is made for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.rows import ragged, slates

from tailrec.evaluation.accuracy import accuracy
from tailrec.evaluation.unbiased import recall_ips
from tailrec.hits import count_targets, find_hits


def measured(
    shown: list[list[int]], wanted: list[list[int]], counts: list[int], k: int, gamma: float = 2.0
) -> np.ndarray:
    ids, targets = slates(shown, k), ragged(wanted)
    hits = find_hits(ids, *targets)
    return recall_ips(hits, ids, targets, np.array(counts), at=(k,), gamma=gamma)[f"recall_ips@{k}"]


def test_two_people_worked_by_hand() -> None:
    counts = [4, 1, 0]
    # Weights by gamma 2: 4 ** -1.5 = 1/8, 1, and 1 for the item without events.
    own = measured([[0, 2], [1]], [[0, 1], [1, 2]], counts, k=2)
    total = (1 / 8 + 1) + (1 + 1)
    assert own.mean() == pytest.approx((1 / 8 + 1) / total)
    assert own == pytest.approx(np.array([1 / 8, 1]) / (total / 2))


def test_requests_without_targets_are_left_out() -> None:
    own = measured([[0], [1]], [[], [1]], [3, 2], k=1)
    np.testing.assert_array_equal(own, [np.nan, 1])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_gamma_of_minus_one_pools_plain_recall(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shown = [rng.permutation(10)[:4].tolist() for _ in range(6)]
    wanted = [rng.permutation(10)[: rng.integers(1, 4)].tolist() for _ in range(6)]
    own = measured(shown, wanted, rng.integers(0, 9, 10).tolist(), k=4, gamma=-1)
    n_found = sum(len(set(a) & set(b)) for a, b in zip(shown, wanted, strict=True))
    assert own.mean() == pytest.approx(n_found / sum(map(len, wanted)))


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gamma=st.floats(-1, 4))
def test_it_is_plain_recall_where_items_are_alike_and_lies_in_0_to_1(
    seed: int, gamma: float
) -> None:
    rng = np.random.default_rng(seed)
    shown = [rng.permutation(10)[:4].tolist() for _ in range(6)]
    wanted = [[int(rng.integers(10))] for _ in range(6)]
    alike = measured(shown, wanted, [7] * 10, k=4, gamma=gamma)
    targets = ragged(wanted)
    hits = find_hits(slates(shown, 4), *targets)
    np.testing.assert_allclose(alike, accuracy(hits, count_targets(*targets), (4,))["recall@4"])
    assert (
        0 <= measured(shown, wanted, rng.integers(0, 9, 10).tolist(), 4, gamma).mean() <= 1 + 1e-9
    )


def test_it_undoes_the_bias_of_what_was_met(rng: np.random.Generator) -> None:
    """All items are liked as often, popular ones are met more; a model finds half of the items."""
    counts = np.array([1, 4, 16, 64])
    chance = counts**1.5 / (counts**1.5).sum()
    met = rng.choice(4, 200_000, p=chance)
    finds = [0, 3]  # one rare and one popular item of four: true recall 1/2
    own = measured([finds] * len(met), met[:, None].tolist(), counts.tolist(), k=2)
    assert np.isin(met, finds).mean() > 0.8, "the plain estimate is far off"
    assert own.mean() == pytest.approx(0.5, abs=0.05)


def test_a_gamma_that_favours_the_rare_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gamma is -1\.5; it must be at least -1"):
        measured([[0]], [[0]], [1], k=1, gamma=-1.5)
