"""The bootstrap of ratios: exact cases, theory, and a plain bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec.errors import DataError
from tailrec.evaluation.significance import Bootstrap, holm, ratio_interval


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


def test_bounds_agree_with_drawing_users_one_by_one(rng: np.random.Generator) -> None:
    n_users = 40
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
    a, b = rng.random((2, 600))
    holes = np.arange(600) % 3 == 0
    with_holes = ratio_interval(
        np.where(holes, np.nan, a), np.where(holes, np.nan, b), rng=np.random.default_rng(0)
    )
    without = ratio_interval(a[~holes], b[~holes], rng=np.random.default_rng(0))
    assert with_holes.mid == pytest.approx(without.mid)
    # Here a draw holds any number of users with the figure, there always as many.
    assert with_holes == pytest.approx(without, abs=0.1 * (without.high - without.low))
    with pytest.raises(DataError, match="same users"):
        ratio_interval(np.where(holes, np.nan, a), b, rng=rng)
    with pytest.raises(DataError, match="undefined for all 2 requests"):
        ratio_interval(np.full(2, np.nan), np.full(2, np.nan), rng=rng)


def test_draws_without_a_denominator_are_infinite_or_nothing() -> None:
    a, b = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    low, mid, high = ratio_interval(a, b, rng=np.random.default_rng(0))
    assert (low, mid, high) == (0, 1, np.inf)


def test_there_is_no_ratio_to_nothing(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="0 for every user"):
        ratio_interval(rng.random(10), np.zeros(10), rng=rng)


def test_a_person_is_drawn_with_all_requests(rng: np.random.Generator) -> None:
    """The same request ten times over is no more evidence than once."""
    a, b = rng.random((2, 120))
    once = ratio_interval(a, b, rng=np.random.default_rng(0))
    people = np.repeat(rng.permutation(120) * 7, 10)
    tenfold = [np.repeat(figure, 10) for figure in (a, b)]
    together = ratio_interval(*tenfold, groups=people, rng=np.random.default_rng(0))
    assert together == pytest.approx(once, abs=0.1 * (once.high - once.low))
    apart = ratio_interval(*tenfold, rng=np.random.default_rng(0))
    assert (once.high - once.low) / (apart.high - apart.low) == pytest.approx(np.sqrt(10), rel=0.1)


def test_clusters_agree_with_drawing_people_one_by_one(rng: np.random.Generator) -> None:
    people = rng.integers(30, size=90)
    a, b = rng.choice([0.0, 0.5, 1.0], size=(2, 90))
    low, _, high = ratio_interval(a, b, groups=people, draws=20_000, rng=rng)
    own = np.unique(people)
    sums = np.array([[figure[people == person].sum() for person in own] for figure in (a, b)])
    drawn = rng.integers(len(own), size=(20_000, len(own)))
    plain = np.quantile(sums[0][drawn].sum(1) / sums[1][drawn].sum(1), [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(plain), rel=0.03)


def test_all_figures_are_on_the_same_draws(rng: np.random.Generator) -> None:
    a, b, c = rng.random((3, 200))
    bootstrap = Bootstrap(np.arange(200), draws=500, rng=rng)
    together = bootstrap.ratios([(a, b), (c, b), (a, c)])
    assert together == [bootstrap.ratios([pair])[0] for pair in ((a, b), (c, b), (a, c))]
    assert bootstrap.ratios([]) == []


def test_the_size_of_a_chunk_changes_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = rng.random((2, 50))
    bootstrap = Bootstrap(np.arange(50), draws=300, rng=rng)
    ((whole, p),) = bootstrap.ratios([(a, b)])
    monkeypatch.setattr("tailrec.evaluation.significance._CELLS", 7 * 50)
    ((parts, again),) = bootstrap.ratios([(a, b)])
    assert (*parts, again) == pytest.approx((*whole, p))


def test_equal_models_are_not_told_apart_and_unequal_ones_are(rng: np.random.Generator) -> None:
    b = rng.random(100)
    bootstrap = Bootstrap(np.arange(100), draws=999, rng=rng)
    same, better, worse = bootstrap.ratios([(b.copy(), b), (b * 1.1, b), (b, b * 1.1)])
    assert same == ((1, 1, 1), 1.0)
    # No draw speaks against it: only the one added to either kind.
    assert better.p == worse.p == 2 / 1000


def test_the_p_value_is_uniform_where_nothing_differs(rng: np.random.Generator) -> None:
    p = []
    for _ in range(400):
        a, b = rng.exponential(size=(2, 80))
        p += [Bootstrap(np.arange(80), draws=200, rng=rng).ratios([(a, b)])[0].p]
    # Four standard errors of a share of 400.
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=4 * 0.015)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=4 * 0.025)


def test_the_interval_and_the_p_value_say_the_same(rng: np.random.Generator) -> None:
    for _ in range(50):
        a, b = rng.random((2, 60))
        ((interval, p),) = Bootstrap(np.arange(60), draws=400, rng=rng).ratios([(a, b)])
        beyond = interval.low > 1 or interval.high < 1
        assert beyond == (p < 0.05) or abs(p - 0.05) < 0.011


def test_means_agree_with_theory(rng: np.random.Generator) -> None:
    hits = (rng.random(4000) < 0.2).astype(float)
    sparse = np.where(rng.random(4000) < 0.5, rng.random(4000), np.nan)
    own = Bootstrap(np.arange(4000), rng=rng).means([hits, sparse])
    for (low, mid, high), figure in zip(own, (hits, sparse), strict=True):
        error = np.nanstd(figure) / np.sqrt((~np.isnan(figure)).sum())
        assert mid == np.nanmean(figure)
        assert low == pytest.approx(mid - 1.96 * error, abs=0.15 * error)
        assert high == pytest.approx(mid + 1.96 * error, abs=0.15 * error)


def test_nothing_to_draw_from_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="0 requests and 10000 draws"):
        Bootstrap(np.zeros(0, int), rng=rng)
    with pytest.raises(DataError, match="2 requests and 0 draws"):
        Bootstrap(np.arange(2), draws=0, rng=rng)
    with pytest.raises(DataError, match="here 3 requests"):
        Bootstrap(np.arange(3), rng=rng).ratios([(np.ones(2), np.ones(2))])


def test_holm_by_hand() -> None:
    # Sorted: .005 x 4, .01 x 3, .03 x 2, .04 x 1; the last may not be below the one before.
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.zeros(0)).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_none_and_bonferroni_and_keeps_the_order(values: list[float]) -> None:
    p = np.array(values)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * len(p), 1)).all()
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= 0).all()
    # The step-down rule as Holm wrote it: reject while the i-th smallest is within its level.
    within = np.cumprod(np.sort(p) <= 0.05 / np.arange(len(p), 0, -1)).sum()
    assert abs((adjusted <= 0.05).sum() - within) <= (np.abs(adjusted - 0.05) < 1e-9).sum()
