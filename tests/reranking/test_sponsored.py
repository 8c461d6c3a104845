"""Sold places: auctions worked by hand, a plain reading, promises, and budgets over a day."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.dataset import DAY_US
from tailrec.errors import DataError, RecipeError
from tailrec.items import PADDING, Float64Array, Int32Array, ItemsBatch
from tailrec.reranking.auction import (
    CAMPAIGN,
    CHARGE,
    HEADROOM,
    ORGANIC,
    SPONSORED,
    CompiledSponsored,
    paced,
)
from tailrec.reranking.sponsored import Sponsored

PAGE = Path(__file__).parents[2] / "docs" / "sponsored.md"

N_ITEMS = 20
SHOP = pl.DataFrame(
    {
        "item_id": [f"i{number}" for number in range(N_ITEMS)],
        "tier": ["head"] * 10 + ["tail"] * 10,
    }
)
NOON = int(datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp() * 1e6)


def campaign(name: str, *items: int, bid: float = 1.0, **more: Any) -> dict[str, Any]:
    named = [f"i{number}" for number in items]
    return {"name": name, "items": named, "bid": bid, "budget": 100.0} | more


def sale(*campaigns: dict[str, Any], **options: Any) -> CompiledSponsored:
    return Sponsored.parse({"campaigns": campaigns, **options}).compiled(SHOP)


def batch(*rows: dict[int, float], width: int | None = None) -> ItemsBatch:
    """Items with scores, in the order given."""
    shape = len(rows), width or max(map(len, rows))
    ids = np.full(shape, PADDING, np.int32)
    scores = np.full(shape, -np.inf, np.float32)
    for number, row in enumerate(rows):
        ids[number, : len(row)], scores[number, : len(row)] = list(row), list(row.values())
    return ItemsBatch(ids, scores)


def sold(
    own: CompiledSponsored,
    slates: ItemsBatch,
    pools: ItemsBatch,
    p: Float64Array | float = 0.1,
    **more: Any,
) -> ItemsBatch:
    """Slates after a sale at the recipe's bids, nothing being spent yet."""
    offers = own.offers(pools)
    chance = np.broadcast_to(np.asarray(p, np.float64), offers.ids.shape)
    return own.placed(slates, offers, chance, own.terms[:, 0], **more)


def shown(slates: ItemsBatch) -> list[list[int]]:
    return [[item for item in row if item != PADDING] for row in slates.ids.tolist()]


SLATE = batch({0: 9, 1: 8, 2: 7, 3: 6, 4: 5})
ADS = batch({11: 8, 12: 8, 13: 8})


def test_the_highest_product_wins_and_pays_what_the_next_one_makes_it() -> None:
    own = sale(
        campaign("a", 11, bid=1.0),
        campaign("b", 12, bid=2.0),
        campaign("c", 13, bid=0.5),
        positions=[1, 3],
    )
    # p·bid: 0.2, 0.3 and 0.1.
    slates = sold(own, SLATE, ADS, [[0.2, 0.15, 0.2]])
    assert shown(slates) == [[12, 0, 11, 1, 2]]
    assert slates.columns[SPONSORED].tolist() == [[1, ORGANIC, 0, ORGANIC, ORGANIC]]
    np.testing.assert_allclose(slates.columns[CHARGE], [[0.2 / 0.15, 0, 0.1 / 0.2, 0, 0]])
    np.testing.assert_array_equal(slates.scores, [[8, 9, 8, 8, 7]])
    assert slates.columns[SPONSORED].dtype == np.int16
    assert slates.columns[CHARGE].dtype == np.float32


def test_the_last_one_pays_the_reserve() -> None:
    own = sale(campaign("a", 11), campaign("b", 12, bid=0.3), positions=[1, 2, 3], reserve=0.25)
    slates = sold(own, SLATE, ADS)
    assert shown(slates) == [[11, 12, 0, 1, 2]]
    np.testing.assert_allclose(slates.columns[CHARGE], [[0.3, 0.25, 0, 0, 0]], rtol=1e-6)


def test_the_reserve_stands_above_a_lower_rival() -> None:
    own = sale(campaign("a", 11), campaign("b", 12, bid=0.3), positions=[1], reserve=0.2)
    # Per click of the first, the second would give 0.06.
    slates = sold(own, SLATE, ADS, [[0.5, 0.1]])
    np.testing.assert_allclose(slates.columns[CHARGE][0, 0], 0.2, rtol=1e-6)


def test_a_tie_goes_to_the_first_offer_at_its_own_bid() -> None:
    own = sale(campaign("a", 12, bid=0.3), campaign("b", 11, bid=0.3), positions=[1])
    slates = sold(own, SLATE, ADS)
    assert shown(slates)[0][0] == 11
    assert slates.columns[CHARGE][0, 0] == np.float32(0.3)


def test_a_campaign_has_one_place_and_is_no_rival_of_its_own() -> None:
    own = sale(campaign("a", 11, 12, bid=1.0), campaign("b", 13, bid=0.2), positions=[1, 2])
    slates = sold(own, SLATE, ADS, [[0.1, 0.2, 0.1]])
    assert shown(slates) == [[12, 13, 0, 1, 2]]
    np.testing.assert_allclose(slates.columns[CHARGE][0, :2], [0.02 / 0.2, 0])


def test_an_item_of_two_campaigns_is_shown_once() -> None:
    own = sale(campaign("a", 11, bid=1.0), campaign("b", 11, bid=2.0), positions=[1, 2])
    slates = sold(own, SLATE, ADS)
    assert shown(slates) == [[11, 0, 1, 2, 3]]
    assert slates.columns[SPONSORED][0].tolist() == [1, *[ORGANIC] * 4]
    np.testing.assert_allclose(slates.columns[CHARGE][0, 0], 1.0)


def test_an_item_further_down_is_moved_up_and_marked() -> None:
    own = sale(campaign("a", 3), positions=[2])
    slates = sold(own, SLATE, SLATE)
    assert shown(slates) == [[0, 3, 1, 2, 4]]
    assert slates.columns[SPONSORED].tolist() == [[-1, 0, -1, -1, -1]]


@pytest.mark.parametrize("item", [0, 1])
def test_nobody_pays_for_a_place_they_have_or_a_worse_one(item: int) -> None:
    slates = sold(sale(campaign("a", item), positions=[2]), SLATE, SLATE)
    assert shown(slates) == [[0, 1, 2, 3, 4]]
    assert (slates.columns[SPONSORED] == ORGANIC).all()


def test_what_stands_at_a_sold_place_moves_down_and_may_be_sold_next() -> None:
    own = sale(campaign("a", 1), campaign("b", 11, bid=3.0), positions=[2, 3])
    pools = batch({1: 8, 11: 8})
    # Item 1 stands at place 2 by itself; once 11 has that place, it stands at 3 by itself.
    slates = sold(own, SLATE, pools)
    assert shown(slates) == [[0, 11, 1, 2, 3]]
    assert slates.columns[SPONSORED].tolist() == [[-1, 1, -1, -1, -1]]
    np.testing.assert_array_equal(slates.columns[CHARGE], 0)


@pytest.mark.parametrize(
    ("floor", "against", "score", "wins"),
    [
        (0.5, "place", 3.5, True),
        (0.5, "place", 3.4, False),
        (0.5, "best", 4.5, True),
        (0.5, "best", 4.4, False),
        (1.0, "place", 7.0, True),
        (0.0, "place", -9.0, True),
        (0.01, "place", 0.0, False),
    ],
)
def test_what_is_sold_meets_the_floor(floor: float, against: str, score: float, wins: bool) -> None:
    own = sale(campaign("a", 11), positions=[3], floor=floor, against=against)
    slates = sold(own, SLATE, batch({11: score}))
    assert (shown(slates)[0][2] == 11) == wins


def test_beside_what_only_fills_up_an_item_needs_as_good_a_score() -> None:
    own = sale(campaign("a", 11), campaign("b", 12), positions=[2], floor=0.5)
    filled = batch({0: 3.0, 1: -1.0, 2: -2.0})
    assert shown(sold(own, filled, batch({11: -1.5, 12: -1.0}))) == [[0, 12, 1]]


def test_a_pin_without_score_does_not_lower_the_floor() -> None:
    own = sale(campaign("a", 11), positions=[1], floor=0.5)
    pinned = batch({5: 0.0, 0: 9.0, 1: 8.0})
    assert shown(sold(own, pinned, batch({11: 4.0}))) == [[5, 0, 1]]
    assert shown(sold(own, pinned, batch({11: 4.5}))) == [[11, 5, 0]]


def test_what_was_sold_further_up_is_no_measure_for_the_rest() -> None:
    own = sale(campaign("a", 2), campaign("b", 11), positions=[1, 2], floor=0.5)
    varied = batch({0: 3.0, 1: 2.0, 2: 9.0})
    assert shown(sold(own, varied, batch({2: 9.0, 11: 1.5}))) == [[2, 11, 0]]


def test_short_slates_grow_and_sell_nothing_below_their_end() -> None:
    own = sale(campaign("a", 11), campaign("b", 12), positions=[2, 4])
    slates = sold(own, batch({0: 9, 1: 8}, {0: 9}, {}, width=5), batch(*[{11: 8, 12: 8}] * 3))
    assert shown(slates) == [[0, 11, 1], [0], []]
    assert np.isneginf(slates.scores[0, 3:]).all()
    assert (slates.columns[SPONSORED][0] == [-1, 0, -1, -1, -1]).all()


def test_a_person_is_shown_a_campaign_only_so_often() -> None:
    own = sale(campaign("a", 11, frequency=2), campaign("b", 12, bid=0.5), positions=[1])
    slates = batch(*[{0: 9, 1: 8}] * 3)
    pools = batch(*[{11: 8, 12: 8}] * 3)
    found = sold(own, slates, pools, shown=np.array([[1, 50], [2, 50], [3, 50]], np.int32))
    assert shown(found) == [[11, 0], [12, 0], [12, 0]]


def test_without_bids_slates_are_as_they_were() -> None:
    own = sale(campaign("a", 11))
    offers = own.offers(ADS)
    found = own.placed(SLATE, offers, np.full(offers.ids.shape, 0.5), np.zeros(1))
    assert shown(found) == shown(SLATE)
    nothing = own.placed(SLATE, offers, np.zeros(offers.ids.shape), np.ones(1))
    assert shown(nothing) == shown(SLATE), "who is never clicked gives nothing"
    none = sale()
    assert shown(sold(none, SLATE, ADS)) == shown(SLATE)
    assert none.bids(NOON, np.zeros(0)).shape == (0,)


def test_columns_are_carried_from_the_slate_or_from_the_offer() -> None:
    columns = {
        "tier": np.array([[0, 1, 2, 1, 0]], np.int8),
        "why": np.array([["a", "b", "c", "d", "e"]], object),
    }
    slates = ItemsBatch(SLATE.ids, SLATE.scores, columns)
    pools = ItemsBatch(ADS.ids, ADS.scores, {"tier": np.array([[5, 6, 7]], np.int8)})
    own = sale(campaign("a", 12), campaign("b", 3, bid=0.5), positions=[1, 2])
    offers = ItemsBatch.concat([own.offers(pools)])
    both = batch({12: 8, 3: 6})
    found = sold(own, slates, ItemsBatch(both.ids, both.scores, {"tier": np.array([[6, 1]])}))
    assert offers.columns["tier"].tolist() == [[6]]
    assert shown(found) == [[12, 3, 0, 1, 2]]
    assert found.columns["tier"].tolist() == [[6, 1, 0, 1, 2]]
    assert found.columns["why"].tolist() == [[None, "d", "a", "b", "c"]]


def test_offers_are_every_item_with_every_campaign() -> None:
    own = sale(
        campaign("a", 1, 2),
        {"name": "b", "filter": {"tier": "tail"}, "bid": 1.0, "budget": 1.0},
        campaign("c", 2, 15, 99),
    )
    assert own.unknown == ("i99",)
    assert own.items.tolist() == [1, 2, *range(10, 20)]
    offers = own.offers(batch({15: 3, 2: 2, 0: 1}, {}, {0: 5, 1: 4}))
    assert offers.ids.tolist() == [[15, 15, 2, 2], [PADDING] * 4, [1, *[PADDING] * 3]]
    assert offers.columns[CAMPAIGN].tolist() == [[1, 2, 0, 2], [-1] * 4, [0, -1, -1, -1]]
    assert offers.scores[0].tolist() == [3, 3, 2, 2]


def test_what_does_not_fit_is_refused() -> None:
    own = sale(campaign("a", 11))
    offers, p, bids = own.offers(ADS), np.full((1, 1), 0.1), np.ones(1)
    with pytest.raises(DataError, match="item number 20; the campaigns were compiled for 20"):
        own.offers(batch({20: 1}))
    with pytest.raises(DataError, match="item number 20"):
        own.placed(batch({20: 1}), offers, p, bids)
    with pytest.raises(DataError, match=re.escape("p_click is (1, 2)")):
        own.placed(SLATE, offers, np.full((1, 2), 0.1), bids)
    with pytest.raises(DataError, match=re.escape("bids is (2,)")):
        own.placed(SLATE, offers, p, np.ones(2))
    with pytest.raises(DataError, match=re.escape("shown is (1, 3)")):
        own.placed(SLATE, offers, p, bids, shown=np.zeros((1, 3), np.int32))
    with pytest.raises(DataError, match="offers is 1"):
        own.placed(batch({0: 1}, {0: 1}), offers, p, bids)
    with pytest.raises(DataError, match="campaign is needed"):
        own.placed(SLATE, ItemsBatch(offers.ids, offers.scores), p, bids)
    stranger = ItemsBatch(offers.ids, offers.scores, {CAMPAIGN: np.array([[7]], np.int16)})
    with pytest.raises(DataError, match="campaign 7; there are 1"):
        own.placed(SLATE, stranger, p, bids)
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(DataError, match=r"it lies in 0\.\.1"):
            own.placed(SLATE, offers, np.full((1, 1), wrong), bids)
    with pytest.raises(DataError, match=re.escape("spent is (2,)")):
        own.bids(NOON, np.zeros(2))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"campaigns": [campaign("x", 1, bid=0)]}, "campaign 'x' has a bid of 0"),
        ({"campaigns": [campaign("x", 1, bid=-2)]}, "campaign 'x' has a bid of -2"),
        ({"campaigns": [campaign("x", 1, budget=0)]}, "campaign 'x' has a budget of 0"),
        ({"campaigns": [campaign("x", 1, bid=float("inf"))]}, "finite"),
        ({"campaigns": [campaign("x", 1), campaign("x", 2)]}, "2 campaigns are named 'x'"),
        ({"campaigns": [campaign("x")]}, "neither was given"),
        ({"campaigns": [campaign("x", 1, frequency=0)]}, "greater than or equal to 1"),
        ({"campaigns": [campaign("x", 1, frequency=11)]}, "less than or equal to 10"),
        (
            {"campaigns": [campaign("x", 1, bid=0.1)], "reserve": 0.2},
            "campaign 'x' bids 0.1, below the reserve of 0.2",
        ),
        (
            {
                "campaigns": [
                    campaign("x", 1, starts="2026-05-02T00:00:00Z", ends="2026-05-01T00:00:00Z")
                ]
            },
            "campaign 'x' ends at 2026-05-01",
        ),
        ({"campaigns": [campaign("x", 1, starts="2026-05-02T00:00:00")]}, "timezone"),
        ({"positions": [2, 2]}, "position 2 is for sale twice"),
        ({"positions": []}, "at least 1 item"),
        ({"positions": [0]}, "greater than or equal to 1"),
        ({"reserve": -1}, "greater than or equal to 0"),
        ({"floor": 1.5}, "less than or equal to 1"),
        ({"against": "all"}, "'place' or 'best'"),
    ],
)
def test_bad_recipes_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(fault)):
        Sponsored.parse(options)


# Budgets.


def test_bids_follow_the_clock_of_the_campaign() -> None:
    own = sale(
        campaign("always", 1),
        campaign("from noon", 1, starts="2026-05-04T12:00:00Z"),
        campaign("to noon", 1, ends="2026-05-04T14:00:00+02:00"),
    )
    nothing = np.zeros(3)
    assert own.bids(NOON - 1, nothing).tolist() == [1, 0, 1]
    assert own.bids(NOON, nothing).tolist() == [1, 1, 0]
    # At 18:00 half of the second one's day is gone, and three quarters of the first one's.
    spent = np.array([75.0, 75.0, 0.0])
    assert own.bids(NOON + DAY_US // 4, spent).tolist() == [1, 0, 0]


def test_pacing_by_hand() -> None:
    # Headroom is 5 of 100 at midnight, 2.5 at noon, 1 at a fifth before the end, and then 0.
    gone = np.array([0.0, 0.0, 0.5, 0.5, 0.5, 0.8, 0.8, 1.0, 1.0, 1.0])
    spent = np.array([0.0, 2.5, 49.0, 51.0, 53.0, 80.5, 81.5, 99.0, 100.0, 101.0])
    found = paced(np.full(10, 100.0), spent, gone)
    np.testing.assert_allclose(found, [1, 0.5, 1, 0.6, 0, 0.5, 0, 1, 0, 0])


def test_no_more_is_bid_than_is_left() -> None:
    own = sale(campaign("a", 1, bid=3.0, budget=10.0))
    late = NOON + DAY_US // 2 - 1
    assert own.bids(late, np.array([9.0]))[0] == pytest.approx(1)
    assert own.bids(late, np.array([10.0])).tolist() == [0]
    assert own.bids(late, np.array([12.0])).tolist() == [0]


AMOUNTS = st.floats(0, 200)
GONE = st.floats(0, 1)


@given(spent=AMOUNTS, more=AMOUNTS, gone=GONE, later=GONE)
def test_pacing_is_a_share_that_falls_with_spending_and_recovers_with_time(
    spent: float, more: float, gone: float, later: float
) -> None:
    def at(spent: float, gone: float) -> float:
        return float(paced(np.array([100.0]), np.array([spent]), np.array([gone]))[0])

    here = at(spent, gone)
    assert 0 <= here <= 1
    assert at(spent + more, gone) <= here
    assert at(100 + more, gone) == 0
    if spent < 100:
        assert at(spent, max(gone, later)) >= here - 1e-9
    if spent <= 100 * gone and spent < 100:
        assert here == 1
    if spent > 100 * gone + 100 * HEADROOM * (1 - gone) + 1e-9:
        assert here == 0


class Day:
    """A simulated day of one campaign: spending, and when."""

    def __init__(self, traffic: Float64Array, own: CompiledSponsored, rival: float) -> None:
        rng = np.random.default_rng(11)
        self.spent = np.zeros(len(own.names))
        self.largest = 0.0
        self.course = []
        slates, offers = SLATE, own.offers(batch({11: 8, 12: 8}))
        p = np.full(offers.ids.shape, 0.1)
        for step, n_visits in enumerate(traffic):
            now = NOON - DAY_US // 2 + DAY_US * step // len(traffic)
            for _ in range(int(n_visits)):
                bids = own.bids(now, self.spent)
                bids[1:] = rival * rng.random(len(bids) - 1)
                found = own.placed(slates, offers, p, bids)
                place = np.flatnonzero(found.columns[SPONSORED][0] == 0)
                if len(place) and rng.random() < 0.1:
                    charge = float(found.columns[CHARGE][0, place[0]])
                    self.largest = max(self.largest, charge)
                    self.spent[0] += charge
            self.course.append(self.spent[0])


@pytest.mark.parametrize(
    ("shape", "rival"), [("even", 0.0), ("even", 1.0), ("evening", 1.0), ("morning", 0.0)]
)
def test_a_budget_lasts_its_day_and_is_spent(shape: str, rival: float) -> None:
    steps = 96
    along = np.linspace(0, 1, steps)
    weight = {"even": np.ones(steps), "evening": 0.3 + along, "morning": 1.6 - along}[shape]
    traffic = np.round(weight / weight.sum() * 6000)
    own = sale(
        campaign("paced", 11, bid=1.0, budget=25.0),
        campaign("rival", 12, bid=1.0, budget=1e9),
        positions=[1],
        reserve=0.2,
    )
    day = Day(traffic, own, rival)
    # 600 clicks are to be had, for 120 and more.
    # Charges are float32: the last one may be rounded up.
    assert 0.95 * 25 <= day.spent[0] <= 25 * (1 + 1e-6)
    assert 0.2 <= day.largest <= 1
    even = 25 * (np.arange(steps) + 1) / steps
    ahead = np.array(day.course) - even
    assert ahead.max() <= 25 * HEADROOM + 1.0, "spending runs ahead of an even day"
    if shape == "even":
        assert ahead.min() >= -0.1 * 25, "and not far behind it"


def test_late_counters_cost_at_most_what_was_shown_in_between() -> None:
    own = sale(campaign("a", 11, bid=1.0, budget=5.0), positions=[1], reserve=0.2)
    evening = NOON + DAY_US // 2 - 1
    known = np.array([4.9])
    # Nobody reads the counter while fifty people are shown the item, and all of them click.
    bids = own.bids(evening, known)
    slates, pools = batch(*[{0: 9, 1: 8}] * 50), batch(*[{11: 8}] * 50)
    assert bids[0] == pytest.approx(0.1)
    assert sold(own, slates, pools, 0.5).columns[CHARGE].sum() == pytest.approx(50 * 0.2)
    offers = own.offers(pools)
    found = own.placed(slates, offers, np.full(offers.ids.shape, 0.5), bids)
    assert (found.columns[SPONSORED] == ORGANIC).all(), "what is left is below the reserve"
    bids = own.bids(evening, known - 0.2)
    found = own.placed(slates, offers, np.full(offers.ids.shape, 0.5), bids)
    charged = found.columns[CHARGE].sum(dtype=np.float64)
    assert charged == pytest.approx(50 * 0.2)
    assert own.bids(evening, known - 0.2 + charged).tolist() == [0]


# Random sales, held against a plain reading.


class World:
    """Slates, offers and terms, all drawn from one seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 5))
        self.own = sale(
            *(
                campaign(
                    f"c{number}",
                    *rng.permutation(N_ITEMS)[: rng.integers(1, 7)].tolist(),
                    bid=float(rng.integers(2, 9)) / 4,
                    frequency=int(rng.integers(1, 4)),
                )
                for number in range(n)
            ),
            positions=(rng.permutation(7)[: rng.integers(1, 4)] + 1).tolist(),
            reserve=float(rng.integers(0, 3)) / 4,
            floor=float(rng.choice([0, 0.5, 0.9])),
            against=str(rng.choice(["place", "best"])),
        )
        pools = []
        for _ in range(3):
            items = rng.permutation(N_ITEMS)[: rng.integers(0, N_ITEMS + 1)]
            scores = np.sort(rng.integers(-3, 20, len(items)))[::-1] / 2
            pools.append(dict(zip(items.tolist(), scores.tolist(), strict=True)))
        self.pools = batch(*pools, width=N_ITEMS)
        k = int(rng.integers(1, 9))
        heads = ItemsBatch(self.pools.ids[:, :k], self.pools.scores[:, :k])
        # Not always by score: variety and pins come before a sale.
        order = np.tile(np.arange(k), (3, 1))
        for row, own in enumerate(pools):
            order[row, : len(own)] = rng.permutation(min(len(own), k))
        self.slates = heads.ordered(order)
        self.offers = self.own.offers(self.pools)
        self.p = rng.integers(0, 5, self.offers.ids.shape) / 8
        self.bids = self.own.terms[:, 0] * rng.choice([0, 0.5, 1, 1], n)
        self.shown: Int32Array = rng.integers(0, 4, (3, n)).astype(np.int32)

    def placed(self, bids: Float64Array | None = None) -> ItemsBatch:
        own = self.bids if bids is None else bids
        return self.own.placed(self.slates, self.offers, self.p, own, shown=self.shown)


def plainly(world: World, row: int) -> list[tuple[int, int, float]]:
    """One slate, read off the documentation: item, campaign and price by place."""
    own, k = world.own, world.slates.ids.shape[1]
    rest = [
        (item, score)
        for item, score in zip(world.slates.ids[row], world.slates.scores[row], strict=True)
        if item != PADDING
    ]
    best_of_all = max((score for _, score in rest), default=0.0)
    offers = [
        (float(world.bids[c] * p), m, int(item), int(c), float(score), float(p))
        for m, (item, c, score, p) in enumerate(
            zip(
                world.offers.ids[row],
                world.offers.columns[CAMPAIGN][row],
                world.offers.scores[row],
                world.p[row],
                strict=True,
            )
        )
        if item != PADDING
    ]
    offers = [
        offer
        for offer in offers
        if offer[0] > 0
        and world.bids[offer[3]] >= own.reserve
        and world.shown[row, offer[3]] < own.frequency[offer[3]]
    ]
    slate: list[tuple[int, int, float]] = []
    while rest and len(slate) < k:
        best = best_of_all if own.by_best else max(score for _, score in rest)
        need = -np.inf if own.floor == 0 else own.floor * best if best > 0 else best
        there = [item for item, *_ in slate] + [rest[0][0]]
        paid = [c for _, c, _ in slate]
        may = [o for o in offers if o[4] >= need and o[2] not in there and o[3] not in paid]
        may.sort(key=lambda offer: (-offer[0], offer[1]))
        if len(slate) not in own.places or not may:
            slate.append((int(rest.pop(0)[0]), ORGANIC, 0.0))
            continue
        rank, _, item, c, _, p = may[0]
        others = [offer[0] for offer in may if offer[3] != c]
        price = max(own.reserve, others[0] / p if others else 0)
        assert price <= rank / p + 1e-12
        slate.append((item, c, min(price, float(world.bids[c]))))
        rest = [entry for entry in rest if entry[0] != item]
    return slate


SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=200)  # the first call compiles
@given(SEEDS)
def test_sales_agree_with_a_plain_reading(seed: int) -> None:
    world = World(seed)
    before = world.slates.ids.copy()
    found, again = world.placed(), world.placed()
    np.testing.assert_array_equal(found.ids, again.ids)
    np.testing.assert_array_equal(world.slates.ids, before)
    for row in range(3):
        expected = plainly(world, row)
        n = len(expected)
        assert found.ids[row, :n].tolist() == [item for item, *_ in expected]
        assert (found.ids[row, n:] == PADDING).all()
        assert found.columns[SPONSORED][row, :n].tolist() == [c for _, c, _ in expected]
        np.testing.assert_allclose(
            found.columns[CHARGE][row, :n], [price for *_, price in expected], rtol=1e-6
        )


@settings(deadline=None, max_examples=200)
@given(SEEDS)
def test_sales_keep_their_promises(seed: int) -> None:
    world = World(seed)
    own, found = world.own, world.placed()
    mark, charge = found.columns[SPONSORED], found.columns[CHARGE]
    about = {c: {n for n in range(N_ITEMS) if c in own.campaign[own.ptr[n] : own.ptr[n + 1]]}
             for c in range(len(own.names))}  # fmt: skip
    for row, slate in enumerate(shown(found)):
        organic = shown(world.slates)[row]
        marked = [place for place in range(len(slate)) if mark[row, place] != ORGANIC]
        paid = [int(mark[row, place]) for place in marked]
        assert len(slate) == len(set(slate))
        assert set(marked) <= set(own.places.tolist())
        assert len(paid) == len(set(paid)), "one place a campaign"
        # What is not marked is organic, in its old order; what is new is marked.
        plain = [item for place, item in enumerate(slate) if place not in marked]
        assert plain == [item for item in organic if item in plain]
        for place in marked:
            c = mark[row, place]
            assert slate[place] in about[c]
            assert np.float32(own.reserve) <= charge[row, place] <= np.float32(world.bids[c])
            assert world.shown[row, c] < own.frequency[c]
        assert (charge[row][mark[row] == ORGANIC] == 0).all()
        assert (mark[row, len(slate) :] == ORGANIC).all()


@settings(deadline=None, max_examples=200)
@given(SEEDS, st.integers(0, 3), st.sampled_from([1.01, 1.5, 4.0]))
def test_a_higher_bid_never_lowers_a_campaign(seed: int, number: int, factor: float) -> None:
    world = World(seed)
    number %= len(world.own.names)
    raised = world.bids.copy()
    raised[number] *= factor
    before, after = world.placed(), world.placed(raised)
    for row in range(3):
        first = np.flatnonzero(before.columns[SPONSORED][row] == number)
        then = np.flatnonzero(after.columns[SPONSORED][row] == number)
        if len(first):
            assert then[0] <= first[0]


@settings(deadline=None)
@given(SEEDS)
def test_a_batch_is_its_rows_one_by_one(seed: int) -> None:
    world = World(seed)
    found = world.placed()
    for row in range(3):
        one = slice(row, row + 1)
        alone = world.own.placed(
            ItemsBatch(world.slates.ids[one], world.slates.scores[one]),
            world.own.offers(ItemsBatch(world.pools.ids[one], world.pools.scores[one])),
            world.p[one, : int((world.offers.ids[row] != PADDING).sum())],
            world.bids,
            shown=world.shown[one],
        )
        np.testing.assert_array_equal(alone.ids[0], found.ids[row])
        np.testing.assert_array_equal(alone.columns[CHARGE][0], found.columns[CHARGE][row])


def test_the_recipe_on_the_page_is_one() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.M | re.S)
    recipe = Sponsored.parse(tomllib.loads(block)["sponsored"])
    assert [own.name for own in recipe.campaigns] == ["Spring hair oils", "Quill"]
    again = Sponsored.parse(tomllib.loads(recipe.toml()))
    assert again == recipe
    assert hash(again) == hash(recipe), "it is a key to what was compiled"
