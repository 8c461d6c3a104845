"""Signs of value are what they say, are left out when absent, and find hidden quality."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.simulate import Simulation, simulate
from tailrec.tail.value import shrunk_mean, valuable_tail


def table_of(found):
    return found.table.sort(c.ITEM_ID)


def test_a_shop_without_signs_says_so_and_prefers_nobody(counted):
    found = valuable_tail(counted([9, 1, 1, 1, 0]))
    assert found.signs == ()
    assert set(found.absent) == {"margin", "price", "rating", "conversion", "repeat", "demand"}
    assert found.absent["price"] == "no item has a price"
    assert found.table["score"].to_list() == [0.5] * 4
    assert found.table["shown"].null_count() == 4


def test_the_tail_by_sales_is_ranked_and_the_head_left_out(shop):
    rows = [(f"u{n}", 0, "purchase", n, 1.0) for n in range(9)]
    found = valuable_tail(shop(5, rows, price=[1.0, 5.0, 4.0, 3.0, 2.0]))
    assert found.table[c.ITEM_ID].to_list() == ["i1", "i2", "i3", "i4"]
    assert found.table["price_percentile"].to_list() == pytest.approx([0.9, 0.7, 0.5, 0.3])
    assert found.table["score"].to_list() == found.table["price_percentile"].to_list()
    assert found.table["tier"].to_list() == ["cold"] * 4


def test_little_exposure_makes_a_best_seller_a_candidate(shop):
    rows = [(f"u{n}", 0, "purchase", n, 1.0) for n in range(9)] + [("u0", 1, "purchase", 20, 1.0)]
    data = shop(5, rows, price=[1.0, 5.0, 4.0, 3.0, 2.0])
    found = valuable_tail(data, shown=np.array([2, 90, 5, 5, 5]))
    assert "i0" in found.table[c.ITEM_ID]
    assert table_of(found)["shown"].to_list() == [2, 90, 5, 5, 5]


def test_margin_is_price_less_cost_and_an_item_without_cost_counts_as_the_middle(shop):
    rows = [("u", 4, "purchase", 0, 1.0)]
    data = shop(5, rows, price=[10.0, 10.0, 10.0, 10.0, 10.0], cost=[1.0, 9.0, None, 5.0, 5.0])
    table = table_of(valuable_tail(data))
    assert table["margin"].to_list() == [9.0, 1.0, None, 5.0]
    assert table["margin_percentile"].to_list() == pytest.approx([0.875, 0.125, None, 0.5])
    # All prices are alike, so that every price is in the middle too.
    assert table["score"].to_list() == pytest.approx([0.6875, 0.3125, 0.5, 0.5])


def test_repeat_counts_people_who_come_back_not_rows_of_one_basket(shop):
    rows = [("a", 0, "purchase", 0, 1.0), ("a", 0, "purchase", 5, 1.0)]
    rows += [("b", 0, "purchase", 0, 1.0), ("b", 0, "purchase", 7, 1.0)]
    rows += [(u, 1, "purchase", 3, 1.0) for u in "abab"]  # twice in one basket each
    rows += [(u, 1, "purchase", 3, 1.0) for u in "cd"]
    rows += [(u, 2, "view", day, 1.0) for u in "ab" for day in (1, 2)]  # looking is not buying
    found = valuable_tail(shop(4, rows), shown=np.array([9, 1, 1, 1]))
    assert "repeat" in found.signs
    again = dict(found.table.select(c.ITEM_ID, "repeat").iter_rows())
    assert again["i1"] == 0.0
    assert again["i2"] is None
    assert "nobody bought" in valuable_tail(shop(4, rows[4:])).absent["repeat"]


def test_conversion_needs_purchases_and_prefers_views_to_impressions(shop):
    views = [(f"u{n}", item, "view", n, 0.0) for item in (0, 1) for n in range(50)]
    shown = [(f"u{n}", item, "impression", n, 0.0) for item in (0, 1) for n in range(60)]
    bought = [(f"u{n}", 1, "purchase", n, 0.0) for n in range(40)]
    assert "conversion" in valuable_tail(shop(3, views)).absent
    by_view = valuable_tail(shop(3, views + bought), shown=np.array([9, 1, 1]))
    rates = dict(by_view.table.select(c.ITEM_ID, "conversion").iter_rows())
    assert rates["i1"] == pytest.approx(40 / 50, abs=0.03)
    assert rates["i2"] is None
    by_impression = valuable_tail(shop(3, shown + bought))
    rates = dict(by_impression.table.select(c.ITEM_ID, "conversion").iter_rows())
    assert rates["i1"] == pytest.approx(40 / 60, abs=0.03)
    assert by_impression.table["events"].to_list() == [40, 0, 0]  # to be shown is no event of value


def test_demand_is_high_next_to_best_sellers_and_ignores_an_items_own_sales(shop):
    angles = np.array([0.0, 0.1, 1.2, 1.5, 3.1])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    vectors[4] = 0  # an item without text
    rows = [(f"u{n}", 0, "purchase", n, 1.0) for n in range(20)]
    found = valuable_tail(shop(5, rows), vectors=vectors)
    demand = table_of(found)["demand"].to_list()
    assert demand[:3] == pytest.approx((20 * np.cos([0.1, 1.2, 1.5])).tolist(), rel=1e-5)
    assert demand[3] is None
    everything = valuable_tail(shop(5, rows), vectors=vectors, shown=np.array([0, 1, 1, 1, 9]))
    assert table_of(everything)["demand"][0] == 0.0


def test_rows_must_fit_the_catalogue(counted):
    with pytest.raises(ValueError, match="vectors has 3 rows; the catalogue has 2"):
        valuable_tail(counted([1, 1]), vectors=np.zeros((3, 4), np.float32))


def test_shrinking_is_the_beta_posterior_and_beats_both_extremes(rng):
    a, b = 2.0, 18.0
    rate = rng.beta(a, b, 4000)
    n = rng.integers(0, 60, 4000)
    hits = rng.binomial(n, rate).astype(np.float64)
    shrunk = shrunk_mean(hits, hits, n)
    known = n > 0
    assert np.isnan(shrunk[~known]).all()
    assert shrunk[known] == pytest.approx((hits + a)[known] / (n + a + b)[known], abs=0.01)

    def error(estimate):
        return ((estimate - rate[known]) ** 2).mean()

    assert error(shrunk[known]) < error(hits[known] / n[known])
    assert error(shrunk[known]) < error(hits.sum() / n.sum())


@given(st.lists(st.lists(st.floats(1, 5), min_size=1, max_size=6), min_size=1, max_size=8))
def test_a_shrunk_mean_lies_between_the_groups_mean_and_the_common_mean(groups):
    total = np.array([sum(g) for g in groups])
    square = np.array([sum(x * x for x in g) for g in groups])
    n = np.array([len(g) for g in groups])
    shrunk, own, overall = shrunk_mean(total, square, n), total / n, total.sum() / n.sum()
    assert (shrunk >= np.minimum(own, overall) - 1e-9).all()
    assert (shrunk <= np.maximum(own, overall) + 1e-9).all()


def test_ratings_of_well_rated_items_hold_and_a_single_five_is_not_believed(shop):
    rows = [(f"u{n}", 0, "rating", n, 5.0 - (n % 10 == 0)) for n in range(60)]
    rows += [(f"u{n}", 1, "review", n, 2.0 + n % 2) for n in range(60)]
    rows += [("u0", 2, "rating", 0, 5.0), ("u1", 3, "purchase", 0, 1.0)]
    rows += [("u2", 2, "review", 0, float("nan"))]  # words without stars
    found = valuable_tail(shop(10, rows), shown=np.zeros(10, np.int64) + 1)
    rating = dict(found.table.select(c.ITEM_ID, "rating").iter_rows())
    assert rating["i2"] < 5.0
    assert rating["i3"] is None
    table = valuable_tail(shop(10, rows), shown=np.arange(10)[::-1]).table
    assert table.filter(pl.col(c.ITEM_ID) == "i2")["rating_percentile"].item() > 0.3


def test_conversion_and_ratings_find_hidden_quality(shop):
    simulated = simulate(Simulation(n_users=1500, n_items=1000, impressions=False), seed=4)
    day = (pl.col(c.TIMESTAMP) - pl.col(c.TIMESTAMP).min()).dt.total_days()
    numbers = simulated.events.select(
        c.USER_ID, pl.col(c.ITEM_ID).str.slice(1).cast(pl.Int64), c.TYPE, day, c.VALUE
    )
    found = valuable_tail(shop(1000, [(u, i, t, d, v or 0.0) for u, i, t, d, v in numbers.rows()]))
    assert set(found.signs) == {"rating", "conversion", "repeat"}
    quality = simulated.truth.quality[found.table[c.ITEM_ID].str.slice(1).cast(pl.Int64)]
    tenth = len(quality) // 10
    # Quality is standard normal: the best-scored tenth lies well above, the last well below.
    assert quality[:tenth].mean() > 0.4
    assert quality[-tenth:].mean() < -0.4
