"""What steers slates now, from the shop's options and from sums that all workers share."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.arrange import Arrangement, slates_of
from tailrec.assortment import Assortment
from tailrec.data.counters import Counters
from tailrec.data.store import Store
from tailrec.errors import RecipeError
from tailrec.items import QueryBatch
from tailrec.looks import Looks, attention_of, click_log, conversion_of
from tailrec.reranking.attention import Attention, dcg
from tailrec.reranking.response import ResponseCurve
from tailrec.shop import Shop
from tailrec.shop_recipe import ShopRecipe
from tailrec.steering import Controls, Helm, Ledger, counted

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
TODAY, YESTERDAY = "2026-05-04", "2026-05-03"
CURVE = ResponseCurve(
    "score", np.array([0.0, 1.0]), np.array([0.1, 0.2]), 0.05, {"score": 0, "share": 1, "rank": 1}
)
GOALS: dict[str, object] = {
    "exposure": {"goals": [{"name": "tail", "tier": ["tail", "cold"], "floor": 0.5}]}
}


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Counters]:
    with Store.open(tmp_path / "counters.db", create=True) as store:
        yield Counters(store)


@pytest.fixture
def stand(fitted: Shop) -> Assortment:
    """The simulated shop, whose model knows how slates are looked at."""
    plain = fitted.assortment()
    bought = np.linspace(0.1, 0.3, len(plain.engine.ids), dtype=np.float32)
    return replace(plain, model=replace(plain.model, looks=Looks(CURVE, dcg(200), bought)))


def add(counters: Counters, *rows: tuple[str, str, str, float]) -> None:
    names = ["kind", "name", "day", "amount"]
    counters.add(pl.DataFrame(rows, schema=names, orient="row"))


def controls_of(
    recipe: dict[str, object], counters: Counters, stand: Assortment, now: datetime = NOW
) -> Controls:
    """What bends slates, by what was counted so far."""
    ledger = Ledger(counters)
    ledger.read()
    made = Helm(ShopRecipe.parse(recipe), ledger).controls(stand, now, {})
    assert made is not None
    return made


def test_a_ledger_follows_the_counters_by_day(counters: Counters) -> None:
    ledger = Ledger(counters)
    ids = np.array(["a", "b", "c"], object)
    ledger.read()
    assert ledger.amount("exposure", ledger.slots(ids), [TODAY]).tolist() == [0, 0, 0]
    add(counters, ("exposure", "a", TODAY, 2), ("exposure", "b", YESTERDAY, 3))
    add(counters, ("impressions", "a", TODAY, 9), ("worth", "", TODAY, 0.5))
    ledger.read()
    add(counters, ("exposure", "c", TODAY, 1), ("exposure", "a", TODAY, 1))
    ledger.read()
    slots = ledger.slots(ids)
    assert ledger.amount("exposure", slots, [TODAY]).tolist() == [3, 0, 1]
    assert ledger.amount("exposure", slots, [TODAY, YESTERDAY]).tolist() == [3, 3, 1]
    assert ledger.amount("impressions", slots, [TODAY]).tolist() == [9, 0, 0]
    assert ledger.worth([TODAY, YESTERDAY]) == 0.5
    assert ledger.days() == [YESTERDAY, TODAY]


def test_what_is_counted_of_slates(counters: Counters) -> None:
    looked = dcg(2)
    slates = [(["a", "b", "c"], np.array([0.5, 0.25, 1.0])), (["b"], np.array([0.5]))]
    counters.add(counted(slates, looked, NOW.date()))
    rows, _ = counters.since()
    told = {(kind, name): amount for kind, name, _, amount, _ in rows.iter_rows()}
    # Below the places whose attention is known, the last of it goes on.
    assert told == {
        ("exposure", "a"): 1.0,
        ("exposure", "b"): pytest.approx(1.0 + looked[1]),
        ("exposure", "c"): pytest.approx(looked[1]),
        ("impressions", "a"): 1.0,
        ("impressions", "b"): 2.0,
        ("impressions", "c"): 1.0,
        ("worth", ""): pytest.approx(0.5 + 0.25 * looked[1] + looked[1] + 0.5),
    }


def test_a_price_rises_with_what_is_missing(counters: Counters, stand: Assortment) -> None:
    tail = [str(stand.engine.ids[n]) for n in np.flatnonzero(np.isin(stand.tier, (2, 3)))[:5]]
    head = [str(stand.engine.ids[n]) for n in np.flatnonzero(stand.tier == 0)[:5]]
    prices = []
    for _ in range(3):
        add(counters, *(("exposure", name, TODAY, 40.0) for name in head))
        add(counters, ("worth", "", TODAY, 20.0))
        controls = controls_of(GOALS, counters, stand)
        assert controls.steering is not None
        assert controls.prices is not None
        prices.append(float(controls.prices[0]))
    assert 0 < prices[0] < prices[1] < prices[2]
    is_tail = np.isin(stand.tier, (2, 3)) & ~stand.hidden
    assert (controls.steering.price[is_tail] == np.float32(prices[2])).all()
    assert not controls.steering.price[stand.tier == 0].any()
    add(counters, *(("exposure", name, TODAY, 400.0) for name in tail))
    controls = controls_of(GOALS, counters, stand)
    assert controls.prices is not None
    assert controls.prices[0] == 0  # more than enough


def test_yesterday_says_where_prices_start(counters: Counters, stand: Assortment) -> None:
    head = [str(stand.engine.ids[n]) for n in np.flatnonzero(stand.tier == 0)[:5]]
    add(counters, *(("exposure", name, YESTERDAY, 400.0) for name in head))
    add(counters, ("worth", "", YESTERDAY, 300.0), ("exposure", head[0], TODAY, 0.01))
    add(counters, ("worth", "", TODAY, 0.001))
    known = controls_of(GOALS, counters, stand).prices
    # The day after, what was counted two days before is out of all windows.
    late = controls_of(GOALS, counters, stand, NOW + timedelta(days=9)).prices
    assert known is not None
    assert late is not None
    assert known[0] > 0
    assert late[0] == 0


def test_launches_are_counted_from_the_first_day_on(counters: Counters, stand: Assortment) -> None:
    recipe: dict[str, object] = {"launch": {"impressions": 10, "days": 14}}
    created = stand.table[c.CREATED_AT]
    youngest = int(np.argmax(created.dt.epoch("us").fill_null(0).to_numpy()))
    born = created[youngest]
    name = str(stand.engine.ids[youngest])
    add(counters, ("impressions", name, YESTERDAY, 4), ("impressions", name, TODAY, 5))
    add(counters, ("exposure", name, TODAY, 2.5), ("clicks", name, TODAY, 30))
    made = controls_of(recipe, counters, stand, born + timedelta(days=2))
    assert made.launch is not None
    _, course, waiting = made.launch
    assert waiting[youngest]
    assert course.shown[youngest] == 9
    assert course.looked[youngest] == 2.5
    assert course.clicks[youngest] == 9  # never more than impressions
    assert course.age_days[youngest] == pytest.approx(2)
    add(counters, ("impressions", name, TODAY, 1))
    made = controls_of(recipe, counters, stand, born + timedelta(days=2))
    assert made.launch is not None
    assert not made.launch[2][youngest]
    made = controls_of(recipe, counters, stand, born + timedelta(days=15))
    assert made.launch is not None
    assert not made.launch[2].any()


def test_bids_know_what_is_spent(counters: Counters, stand: Assortment) -> None:
    item = str(stand.engine.ids[0])
    campaign = {"name": "spring", "items": [item], "bid": 1.0, "budget": 2.0}
    recipe = ShopRecipe.parse({"sponsored": {"campaigns": [campaign]}})
    helm = Helm(recipe, Ledger(counters))
    bids = []
    for spent in (0.0, 1.0, 1.02, 2.0):
        made = helm.controls(stand, NOW, {"spring": spent, "another": 99.0})
        assert made is not None
        assert made.selling is not None
        bids.append(float(made.selling[1][0]))
    assert bids[0] == bids[1] == 1.0  # noon: half is due
    assert 1.0 > bids[2] > bids[3] == 0.0


def test_without_options_nothing_is_bent(counters: Counters, stand: Assortment) -> None:
    assert Helm(ShopRecipe(), Ledger(counters)).controls(stand, NOW, {}) is None


def test_a_model_that_has_not_learnt_it_is_refused(counters: Counters, fitted: Shop) -> None:
    helm = Helm(ShopRecipe.parse(GOALS), Ledger(counters))
    with pytest.raises(RecipeError, match="run `tailrec fit`"):
        helm.controls(fitted.assortment(), NOW, {})


def test_new_items_are_covered_and_another_model_is_not(
    counters: Counters, stand: Assortment
) -> None:
    item = str(stand.engine.ids[0])
    campaign = {"name": "spring", "items": [item], "bid": 1.0, "budget": 2.0}
    recipe = GOALS | {
        "launch": {"impressions": 10},
        "sponsored": {"campaigns": [campaign]},
        "slate": {"value": "price"},
    }
    made = controls_of(recipe, counters, stand)
    assert made.covering(stand) is not None
    told = pl.DataFrame({c.ITEM_ID: ["new-1", "new-2"], c.TITLE: ["a new lamp", "a new vase"]})
    later = stand.after(told, (), stand.revision + 1)
    covering = made.covering(later)
    n = len(later.engine.ids)
    assert covering is not None
    assert covering.steering is not None
    assert covering.launch is not None
    assert covering.selling is not None
    assert covering.worth.value is not None
    assert len(covering.steering.price) == len(covering.worth.value) == n
    assert len(covering.launch[1].shown) == len(covering.launch[2]) == n
    assert len(covering.selling[0].ptr) == n + 1
    assert not covering.launch[2][-2:].any()
    assert covering.selling[0].items.tolist() == [0]
    how = covering.on(Arrangement(5), np.random.default_rng(0))
    assert how.worth is covering.worth
    assert how.steering is covering.steering
    assert how.launching is not None
    assert how.selling is not None
    another = replace(stand, model=replace(stand.model, version="another"))
    assert made.covering(another) is None


def test_values_of_items(stand: Assortment) -> None:
    price, cost = stand.table[c.PRICE].to_numpy(), stand.table[c.COST].to_numpy()
    assert stand.value("one") is None
    by_price, by_margin = stand.value("price"), stand.value("margin")
    assert by_price is not None
    np.testing.assert_allclose(by_price[~np.isnan(price)], price[~np.isnan(price)], rtol=1e-6)
    if not np.isnan(cost).all():
        assert by_margin is not None
        told = ~np.isnan(price - cost)
        np.testing.assert_allclose(
            by_margin[told], np.maximum(price - cost, 0)[told], rtol=1e-5, atol=1e-5
        )
    bare = replace(stand, table=stand.table.with_columns(pl.lit(None, pl.Float64).alias(c.COST)))
    assert bare.value("margin") is None


def test_conversion_is_a_value_and_orders_slates(counters: Counters, stand: Assortment) -> None:
    value = stand.value("conversion")
    assert value is not None
    assert stand.model.looks is not None
    np.testing.assert_array_equal(value, stand.model.looks.conversion)
    told = pl.DataFrame({c.ITEM_ID: ["new-1"], c.TITLE: ["a new lamp"]})
    later = stand.after(told, (), stand.revision + 1).value("conversion")
    assert later is not None
    assert later[-1] == pytest.approx(value.mean())
    made = controls_of({"slate": {"value": "conversion"}}, counters, stand)
    assert made.steering is not None
    assert not made.steering.price.any()
    assert made.goals is None
    queries = QueryBatch(
        np.array([0, 1]),
        np.array([3], np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
        np.zeros(2, np.int64),
        np.zeros(0, np.int32),
    )
    how = made.on(Arrangement(10), np.random.default_rng(0))
    slate = slates_of(stand.engine, queries, how)
    worth = made.worth.of(slate)[0]
    assert (np.diff(worth) <= 1e-9).all()


def test_conversion_is_counted_of_events() -> None:
    events = pl.DataFrame(
        {
            c.TYPE: ["view", "click", "purchase", "view", "view", "impression", "purchase"],
            c.ITEM_ID: ["a", "a", "a", "b", "b", "b", "gone"],
        }
    )
    rate = conversion_of(events, np.array(["a", "b", "c"], object))
    assert rate[0] > rate[2] > rate[1] > 0


def test_a_click_log_tells_people_apart() -> None:
    slates = pl.DataFrame(
        {
            c.SLATE_ID: ["s1", "s2"],
            c.USER_ID: ["u", "v"],
            c.ITEM_IDS: ['["a", "b"]', '["a"]'],
        }
    )
    events = pl.DataFrame(
        {
            c.TYPE: ["click", "click", "view", "click"],
            c.SLATE_ID: ["s1", "s1", "s2", None],
            c.ITEM_ID: ["b", "b", "a", "a"],
        }
    )
    log = click_log(slates, events)
    assert log.position.tolist() == [1, 2, 1]
    assert log.clicked.tolist() == [False, True, False]
    assert len(set(log.item.tolist())) == 3
    few = attention_of(Attention(kind="estimated"), slates, events)
    assert few.kind == "dcg"
    assert few.reason
    assert attention_of(Attention(kind="power", exponent=1), slates, events).attention[1] == 0.5


def test_slates_without_a_place_are_counted_as_nothing(counters: Counters) -> None:
    counters.add(counted([([], np.zeros(0))], dcg(2), NOW.date()))
    rows, _ = counters.since()
    assert rows["amount"].sum() == 0


def test_controls_of_a_newer_catalogue_fit_an_older_one(
    counters: Counters, stand: Assortment
) -> None:
    """A request may hold the catalogue of a moment ago."""
    told = pl.DataFrame({c.ITEM_ID: ["new-1"], c.TITLE: ["a new lamp"]})
    later = stand.after(told, (), stand.revision + 1)
    made = controls_of(GOALS | {"launch": {"impressions": 10}}, counters, later)
    covering = made.covering(stand)
    assert covering is not None
    assert covering.steering is not None
    assert covering.launch is not None
    assert len(covering.steering.price) == len(covering.launch[2]) == len(stand.engine.ids)
    other = pl.DataFrame({c.ITEM_ID: ["another"], c.TITLE: ["a new vase"]})
    assert made.covering(stand.after(other, (), stand.revision + 1)) is None
