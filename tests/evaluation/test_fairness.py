"""Exposure against merit, gaps and the worst off: by hand, and against plain resampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.rows import slates

from tailrec.errors import DataError
from tailrec.evaluation.fairness import (
    Groups,
    fairness,
    generalised_lorenz,
    group_exposure,
    group_gap,
    item_exposure,
    treatment,
    welfare,
    worst_off,
)
from tailrec.tail.exposure_report import gini, lorenz

ATTENTION = np.array([1.0, 0.5, 0.25])


def test_exposure_by_hand() -> None:
    ids = slates([[0, 1, 2], [1, 0], [3], []], k=3)
    found = item_exposure(ids, ATTENTION, 5)
    np.testing.assert_array_equal(found, [1.5, 1.5, 0.25, 1, 0])
    np.testing.assert_array_equal(item_exposure(ids, ATTENTION[:1], 5), [1, 1, 0, 1, 0])
    longer = np.append(ATTENTION, 9.0)
    np.testing.assert_array_equal(item_exposure(ids, longer, 5), found)
    sellers = np.array([0, 1, 1, -1, 2], np.int32)
    np.testing.assert_array_equal(group_exposure(found, sellers, 4), [1.5, 1.75, 0, 0])


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 6))
def test_exposure_is_attention_handed_on(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(9)[: rng.integers(0, k + 1)].tolist() for _ in range(5)]
    attention = rng.random(k)
    found = item_exposure(slates(rows, k), attention, 9)
    expected = np.zeros(9)
    for row in rows:
        for place, item in enumerate(row):
            expected[item] += attention[place]
    np.testing.assert_allclose(found, expected)
    code = rng.integers(-1, 3, 9).astype(np.int32)
    by_group = group_exposure(found, code, 3)
    np.testing.assert_allclose(by_group, [found[code == group].sum() for group in range(3)])


def test_treatment_by_hand() -> None:
    # Shares of exposure 0.6, 0.3 and 0.1; of merit 0.4, 0.4 and 0.2.
    found = treatment(np.array([6.0, 3, 1]), np.array([2.0, 2, 1]))
    np.testing.assert_allclose(found.of_groups, [1.5, 0.75, 0.5])
    assert found.ratio == pytest.approx(1 / 3)
    assert found.difference == pytest.approx(0.2)
    assert found.worst == pytest.approx(0.5)


def test_groups_without_merit_have_no_treatment_but_take_from_others() -> None:
    found = treatment(np.array([1.0, 1, 2]), np.array([3.0, 3, 0]))
    np.testing.assert_array_equal(found.of_groups, [0.5, 0.5, np.nan])
    assert found.ratio == 1
    assert found.difference == 0.5
    nothing = treatment(np.array([0.0, 2]), np.array([1.0, 0]))
    assert np.isnan(nothing.ratio)
    assert nothing.difference == 1


@given(seed=st.integers(0, 2**32 - 1))
def test_exposure_in_proportion_is_fair_in_any_unit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    merit = rng.random(6) + 0.01
    fair = treatment(merit * 7, merit / 3)
    assert fair.ratio == pytest.approx(1)
    assert fair.difference == pytest.approx(0, abs=1e-12)
    other = treatment(rng.random(6) + 0.01, merit)
    assert 0 < other.ratio <= 1
    assert 0 <= other.difference <= 1
    assert other.worst <= 1 + 1e-12, "not all groups can have more than their share"


@pytest.mark.parametrize(
    ("exposure", "merit", "fault"),
    [
        ([1.0], [1.0, 2], r"exposure is \(1,\) and merit \(2,\)"),
        ([1.0, -1], [1.0, 2], "from -1"),
        ([1.0, np.nan], [1.0, 2], "at least 0"),
        ([0.0, 0], [1.0, 2], "exposure is 0.0"),
        ([1.0, 0], [0.0, 0], "merit 0.0"),
    ],
)
def test_treatment_of_what_has_no_shares_is_refused(
    exposure: list[float], merit: list[float], fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        treatment(np.array(exposure), np.array(merit))


def test_exposure_of_what_does_not_fit_is_refused() -> None:
    ids = slates([[0, 5]], k=2)
    with pytest.raises(DataError, match=r"items 0\.\.5; there are 5"):
        item_exposure(ids, ATTENTION, 5)
    for wrong in (np.array([1.0, -0.5]), np.array([np.nan]), np.ones((2, 2))):
        with pytest.raises(DataError, match="at least 0 a place"):
            item_exposure(ids, wrong, 6)
    with pytest.raises(DataError, match=r"groups of \(2,\) items"):
        group_exposure(np.ones(3), np.zeros(2, np.int32), 1)
    with pytest.raises(DataError, match="from 0 to 4; there are 3"):
        group_exposure(np.ones(2), np.array([0, 4], np.int32), 3)


def test_gaps_by_hand() -> None:
    values = np.array([0.2, 0.4, 0.9, np.nan, 0.5])
    groups = {
        "a": np.array([True, True, False, True, False]),
        "b": np.array([False, False, True, False, False]),
        "c": np.array([False, False, False, False, True]),
        "none": np.array([False, False, False, True, False]),
    }
    found = group_gap(values, groups, draws=50, rng=np.random.default_rng(0))
    assert list(found.means) == ["a", "b", "c"]
    assert [mean.mid for mean in found.means.values()] == pytest.approx([0.3, 0.9, 0.5])
    assert (found.best, found.worst) == ("b", "a")
    assert found.gap.mid == pytest.approx(0.6)
    assert found.ratio is not None
    assert found.ratio.mid == pytest.approx(1 / 3)


def test_bounds_are_those_of_drawing_people_again() -> None:
    rng = np.random.default_rng(5)
    n = 900
    group = rng.random(n) < 0.3
    values = rng.beta(2, 3, n) * np.where(group, 0.7, 1.0)
    users = np.arange(n) // 3
    groups = {"few": group, "many": ~group}
    found = group_gap(values, groups, users=users, draws=4000, rng=rng)
    gaps, ratios = [], []
    for _ in range(2000):
        rows = (rng.integers(0, n // 3, n // 3)[:, None] * 3 + np.arange(3)).ravel()
        few, many = (values[rows][group[rows] == own].mean() for own in (True, False))
        gaps.append(many - few)
        ratios.append(few / many)
    assert found.ratio is not None
    for interval, drawn in ((found.gap, gaps), (found.ratio, ratios)):
        low, high = np.quantile(drawn, [0.025, 0.975])
        # A tenth of the width: what 2,000 draws leave open, and terms of second order.
        np.testing.assert_allclose(
            [interval.low, interval.high], [low, high], atol=(high - low) / 10
        )
        assert interval.low < interval.mid < interval.high


def test_where_all_are_served_alike_there_is_no_gap() -> None:
    groups = {"a": np.arange(8) < 4, "b": np.arange(8) >= 4}
    found = group_gap(np.full(8, 0.5), groups, draws=100, rng=np.random.default_rng(0))
    assert found.gap == (0, 0, 0)
    assert found.ratio == (1, 1, 1)
    nothing = group_gap(np.zeros(8), groups, draws=100, rng=np.random.default_rng(0))
    assert nothing.ratio is None


def test_gaps_need_two_groups_of_these_requests() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="1 groups have the figure"):
        group_gap(np.ones(2), {"a": np.ones(2, bool), "b": np.zeros(2, bool)}, rng=rng)
    with pytest.raises(DataError, match=r"group 'a' is \(3,\)"):
        group_gap(np.ones(2), {"a": np.ones(3, bool)}, rng=rng)


def test_the_worst_off_by_hand() -> None:
    values = np.array([0.9, np.nan, 0.1, 0.3, 0.5])
    assert worst_off(values, 0.5) == pytest.approx(0.2)
    assert worst_off(values) == 0.1, "at least one counts"
    assert worst_off(values, 1.0) == pytest.approx(0.45)
    assert np.isnan(worst_off(np.full(3, np.nan)))
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="share is"):
            worst_off(values, share)


VALUES = st.lists(st.integers(0, 50), min_size=1, max_size=30).map(np.array)


@given(VALUES)
def test_the_generalised_curve_is_the_lorenz_curve_times_the_mean(values: np.ndarray) -> None:
    across, up = generalised_lorenz(values.astype(float))
    assert (up[0], up[-1]) == (0, pytest.approx(values.mean()))
    assert (np.diff(up, 2) >= -1e-12).all(), "it bends upwards"
    if values.sum():
        own_across, own_up = lorenz(values)
        np.testing.assert_allclose(across, own_across)
        np.testing.assert_allclose(up, own_up * values.mean())


@given(VALUES)
def test_welfare_is_the_mean_times_what_gini_leaves(values: np.ndarray) -> None:
    own = values.astype(float)
    expected = own.mean() * (1 - gini(values)) if values.sum() else 0
    assert welfare(own) == pytest.approx(expected)
    assert welfare(own, np.ones(len(own))) == pytest.approx(own.mean())
    only = np.zeros(len(own))
    only[0] = 2
    assert welfare(own, only) == own.min()


@settings(deadline=None)
@given(VALUES, st.integers(0, 10**6))
def test_what_is_given_from_the_better_to_the_worse_off_raises_welfare(
    values: np.ndarray, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    own = values.astype(float)
    rich, poor = int(own.argmax()), int(own.argmin())
    given_on = own.copy()
    given_on[rich] -= (own[rich] - own[poor]) / 4
    given_on[poor] += (own[rich] - own[poor]) / 4
    weights = np.sort(rng.random(len(own)))[::-1]
    assert welfare(given_on, weights) >= welfare(own, weights) - 1e-9
    assert (generalised_lorenz(given_on)[1] >= generalised_lorenz(own)[1] - 1e-9).all()


def test_welfare_of_what_does_not_fit_is_refused() -> None:
    values = np.array([1.0, 2])
    for weights in ([1.0], [1.0, 2], [1.0, -1], [0.0, 0]):
        with pytest.raises(DataError, match="weights for 2 values"):
            welfare(values, np.array(weights))
    for wrong in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(DataError, match="finite"):
            welfare(wrong)
        with pytest.raises(DataError, match="finite"):
            generalised_lorenz(wrong)


SELLERS = Groups(np.array([0, 0, 1, -1], np.int32), ("x", "y"), np.array([1.0, 1.0]))


def test_all_figures_by_hand() -> None:
    ids = slates([[0, 2], [1, 3]], k=2)
    per_user = {"ndcg@2": np.array([0.2, 0.6]), "ild@2": np.full(2, np.nan)}
    people = {"new": np.array([True, False]), "old": np.array([False, True])}
    found = fairness(ids, ATTENTION, SELLERS, at=(1, 2), per_user=per_user, user_groups=people)
    assert found == {
        "exposure_gini@1": pytest.approx(0.5),
        "treatment_ratio@1": 0,
        "treatment_difference@1": 0.5,
        "worst_treatment@1": 0,
        "exposure@1/x": 1,
        "treatment@1/x": 2,
        "exposure@1/y": 0,
        "treatment@1/y": 0,
        "exposure_gini@2": pytest.approx(gini(np.array([4, 4, 2, 2]))),
        "treatment_ratio@2": pytest.approx(0.25),
        "treatment_difference@2": pytest.approx(0.3),
        "worst_treatment@2": pytest.approx(0.4),
        "exposure@2/x": pytest.approx(0.8),
        "treatment@2/x": pytest.approx(1.6),
        "exposure@2/y": pytest.approx(0.2),
        "treatment@2/y": pytest.approx(0.4),
        "ndcg@2/worst_off": 0.2,
        "ndcg@2/welfare": pytest.approx(0.3),
        "ndcg@2/new": 0.2,
        "ndcg@2/old": 0.6,
        "ndcg@2/gap": pytest.approx(0.4),
        "ndcg@2/gap_ratio": pytest.approx(1 / 3),
    }


def test_figures_without_a_look_or_merit_are_left_out() -> None:
    empty = slates([[], []], k=2)
    assert fairness(empty, ATTENTION, SELLERS, at=(2,)) == {}
    unknown = Groups(SELLERS.code, SELLERS.names, np.zeros(2))
    assert list(fairness(slates([[0]], k=1), ATTENTION, unknown, at=(1,))) == ["exposure_gini@1"]
    wrong = Groups(SELLERS.code, SELLERS.names, np.ones(1))
    with pytest.raises(DataError, match=r"merit is \(1,\); there are 2 groups"):
        fairness(empty, ATTENTION, wrong, at=(2,))
