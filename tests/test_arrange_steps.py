"""Exposure, fairness, launches and sales in slates, each told apart from what the others do."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.crowded import N_ITEMS, crowd_engine, crowd_queries, crowd_rules

from tailrec import columns as c
from tailrec.arrange import (
    SOURCE,
    SOURCES,
    Arrangement,
    Launching,
    Selling,
    Steering,
    Variety,
    Worth,
    _joined,
    pools_of,
    slates_of,
)
from tailrec.engine import Engine
from tailrec.items import PADDING, BoolArray, ItemsBatch, QueryBatch
from tailrec.reranking.attention import dcg
from tailrec.reranking.auction import CHARGE, SPONSORED, CompiledSponsored
from tailrec.reranking.exposure_prices import WORTH
from tailrec.reranking.fairness import CompiledFairness
from tailrec.reranking.launch import LAUNCHED, Course, Launch
from tailrec.reranking.response import ResponseCurve
from tailrec.reranking.rules import Rules
from tailrec.reranking.rules_compiled import CompiledRules
from tailrec.reranking.sponsored import Sponsored

K = 6
CURVE = ResponseCurve(
    "score",
    np.array([0.0, 100.0]),
    np.array([0.01, 0.9]),
    0.005,
    {"score": 0, "share": 1, "rank": 1},
)
WORTH_OF = Worth(CURVE, dcg(200))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return crowd_engine()


@pytest.fixture(scope="module")
def queries(engine: Engine) -> QueryBatch:
    return crowd_queries(engine)


@pytest.fixture(scope="module")
def rules() -> CompiledRules:
    return crowd_rules()


@pytest.fixture(scope="module")
def rare() -> BoolArray:
    """Every third item."""
    return np.arange(N_ITEMS) % 3 == 2


def steering(rare: BoolArray, cost: float) -> Steering:
    return Steering(np.where(rare, np.float32(10), np.float32(0)), cost)


def value_of(slates: ItemsBatch) -> np.ndarray:
    """What each slate is expected to bring."""
    return WORTH_OF.of(slates) @ dcg(slates.ids.shape[1])


@pytest.mark.parametrize("cost", [0.0, 0.02, 0.2, 1.0])
def test_steering_shows_more_of_what_has_a_price_and_keeps_the_cost(
    engine: Engine, queries: QueryBatch, rare: BoolArray, cost: float
) -> None:
    plain = slates_of(engine, queries, Arrangement(K))
    how = Arrangement(K, worth=WORTH_OF, steering=steering(rare, cost))
    slates = slates_of(engine, queries, how)
    proposed = plain.scores > 0
    kept, best = value_of(slates), value_of(plain)
    assert (kept >= (1 - cost) * best - 1e-6).all()
    share = (rare[slates.ids] & (slates.ids != PADDING)).sum()
    assert share >= (rare[plain.ids] & proposed).sum()
    if cost == 1.0:
        # Everything rare that the engine has a reason for comes first.
        wide = pools_of(engine, queries, how)
        n_rare = (rare[wide.ids] & (wide.scores > 0)).sum(axis=1)
        lead = rare[slates.ids].cumprod(axis=1).sum(axis=1)
        assert (lead >= np.minimum(n_rare, K)).all()
    # Scores are the engine's own, whatever the order.
    said = [dict(zip(i, s, strict=True)) for i, s in zip(*wide_of(engine, queries), strict=True)]
    for row, (ids, scores) in enumerate(zip(slates.ids, slates.scores, strict=True)):
        for item, score in zip(ids[scores > 0], scores[scores > 0], strict=True):
            assert said[row][item] == score


def wide_of(engine: Engine, queries: QueryBatch) -> tuple[np.ndarray, np.ndarray]:
    every = engine.model.candidates(queries, N_ITEMS)
    return every.ids, every.scores


def test_a_pool_is_joined_by_what_is_sought_once_and_best_first(
    engine: Engine, queries: QueryBatch, rare: BoolArray
) -> None:
    how = Arrangement(2, worth=WORTH_OF, steering=steering(rare, 1.0))
    narrow = pools_of(engine, queries, Arrangement(2, Variety(1.0)))
    wide = pools_of(engine, queries, how)
    assert wide.ids.shape[1] > narrow.ids.shape[1]
    more = 0
    for row in range(len(queries)):
        ids, scores = wide.ids[row], wide.scores[row]
        there = ids[ids != PADDING]
        assert len(np.unique(there)) == len(there)
        assert (np.diff(scores[ids != PADDING]) <= 0).all()
        added = set(there.tolist()) - set(narrow.ids[row].tolist())
        assert all(rare[item] for item in added)
        assert not np.isin(there, queries[row].exclude).any()
        more += len(added)
    assert more


def test_variety_and_steering_together_are_a_slate(
    engine: Engine, queries: QueryBatch, rare: BoolArray, rules: CompiledRules
) -> None:
    how = Arrangement(K, Variety(0.5), rules=rules, worth=WORTH_OF, steering=steering(rare, 0.1))
    slates = slates_of(engine, queries, how)
    assert slates.ids.shape == (len(queries), K)
    for ids in slates.ids:
        there = ids[ids != PADDING]
        assert len(np.unique(there)) == len(there)
    assert (slates.ids[:, 1] == 49).all()


def test_protected_items_are_in_every_prefix(
    engine: Engine, queries: QueryBatch, rare: BoolArray
) -> None:
    fairness = CompiledFairness(rare, 0.5, 0.1, ())
    slates = slates_of(engine, queries, Arrangement(K, fairness=fairness))
    wide = pools_of(engine, queries, Arrangement(K, fairness=fairness))
    least = fairness.minimum(K)
    assert least[-1] > 0
    held = np.cumsum(rare[slates.ids] & (slates.ids != PADDING), axis=1)
    there = (rare[wide.ids] & (wide.ids != PADDING)).sum(axis=1)
    assert (held >= np.minimum(least, there[:, None])).all()


def course(waiting: BoolArray) -> Course:
    none = np.zeros(N_ITEMS)
    return Course(none, none, none, np.where(waiting, 1.0, np.inf))


def test_what_waits_is_launched_and_says_how_likely(engine: Engine, queries: QueryBatch) -> None:
    waiting = np.zeros(N_ITEMS, np.bool_)
    waiting[[30, 31, 32]] = True
    recipe = Launch(impressions=1_000, position=3, days=30)
    launching = Launching(recipe, course(waiting), waiting, np.random.default_rng(5))
    plain = slates_of(engine, queries, Arrangement(K))
    slates = slates_of(engine, queries, Arrangement(K, worth=WORTH_OF, launching=launching))
    new = slates.columns[LAUNCHED]
    assert new.any()
    assert waiting[slates.ids[new]].all()
    assert not new[:, :2].any()
    assert (new.sum(axis=1) <= 1).all()
    np.testing.assert_array_equal(slates.columns[SOURCE][new], SOURCES.index("launch"))
    chance = slates.columns[c.PROPENSITY]
    assert ((chance[new] > 0) & (chance[new] < 1)).all()
    np.testing.assert_array_equal(slates.ids[:, :2], plain.ids[:, :2])
    # Nobody is shown what they may not see.
    for row in range(len(queries)):
        assert not np.isin(slates.ids[row][new[row]], queries[row].exclude).any()
    nobody = replace(launching, waiting=np.zeros(N_ITEMS, np.bool_))
    same = slates_of(engine, queries, Arrangement(K, worth=WORTH_OF, launching=nobody))
    np.testing.assert_array_equal(same.ids, plain.ids)


@pytest.fixture(scope="module")
def terms() -> CompiledSponsored:
    """One place, two campaigns."""
    told = {
        "positions": (2,),
        "floor": 0.0,
        "reserve": 0.1,
        "campaigns": (
            {"name": "a", "items": ("i20", "i21"), "bid": 2.0, "budget": 10.0},
            {"name": "b", "items": ("i40",), "bid": 1.0, "budget": 10.0},
        ),
    }
    table = pl.DataFrame({c.ITEM_ID: [f"i{number}" for number in range(N_ITEMS)]})
    return Sponsored.parse(told).compiled(table)


def test_a_sold_place_is_marked_and_nothing_hidden_is_sold(
    engine: Engine, queries: QueryBatch, terms: CompiledSponsored
) -> None:
    selling = Selling(terms, np.array([2.0, 1.0]))
    slates = slates_of(engine, queries, Arrangement(K, worth=WORTH_OF, selling=selling))
    sold = slates.columns[SPONSORED] >= 0
    assert sold.any()
    assert sold[:, 1].sum() == sold.sum()
    assert np.isin(slates.ids[sold], [20, 21, 40]).all()
    np.testing.assert_array_equal(slates.columns[SOURCE][sold], SOURCES.index("sponsored"))
    charge = slates.columns[CHARGE]
    assert ((charge[sold] >= 0.1) & (charge[sold] <= 2.0)).all()
    assert (charge[~sold] == 0).all()
    hidden = np.ones(N_ITEMS, np.bool_) if queries.hidden is None else queries.hidden.copy()
    hidden[[20, 21, 40]] = True
    none = slates_of(
        engine, replace(queries, hidden=hidden), Arrangement(K, worth=WORTH_OF, selling=selling)
    )
    assert not (none.columns[SPONSORED] >= 0).any()


def test_all_steps_together_keep_their_promises(
    engine: Engine,
    queries: QueryBatch,
    rules: CompiledRules,
    rare: BoolArray,
    terms: CompiledSponsored,
) -> None:
    waiting = np.zeros(N_ITEMS, np.bool_)
    waiting[[30, 31, 32]] = True
    launching = Launching(
        Launch(impressions=50), course(waiting), waiting, np.random.default_rng(5)
    )
    how = Arrangement(
        K,
        Variety(0.4, "categories", code=(np.arange(N_ITEMS) % 4).astype(np.int32)),
        rules=rules,
        worth=replace(WORTH_OF, value=np.full(N_ITEMS, 2, np.float32)),
        steering=steering(rare, 0.1),
        fairness=CompiledFairness(rare, 0.3, 0.1, ()),
        launching=launching,
        selling=Selling(terms, np.array([2.0, 1.0])),
    )
    slates = slates_of(engine, queries, how)
    assert (slates.ids[:, 1] == 49).all()
    chance = slates.columns[c.PROPENSITY]
    assert ((chance > 0) & (chance <= 1))[slates.ids != PADDING].all()
    marked = slates.columns[SPONSORED] >= 0
    assert np.isin(slates.ids[marked], [20, 21, 40]).all()
    assert (slates.columns[WORTH] >= 0).all()
    for row, ids in enumerate(slates.ids):
        there = ids[ids != PADDING]
        assert len(np.unique(there)) == len(there)
        assert not np.isin(there, [0, 7]).any()
        assert not np.isin(there, queries[row].exclude).any()


def test_offers_are_judged_beside_the_pool() -> None:
    """By a curve over places, an offer that would stand third has the chance of the third."""
    at, chance = np.log([1, 2, 3, 4]), np.array([0.8, 0.4, 0.2, 0.1])
    losses = {"score": 1.0, "share": 1.0, "rank": 0.0}
    worth = Worth(ResponseCurve("rank", at, chance, 0.01, losses), dcg(4))
    pools = ItemsBatch(np.array([[1, 2, 3]], np.int32), np.array([[9, 8, 1]], np.float32))
    offers = ItemsBatch(np.array([[7, 8]], np.int32), np.array([[5, 0.5]], np.float32))
    np.testing.assert_allclose(worth.response(pools, offers), [[0.2, at_five(at, chance)]])


def at_five(at: np.ndarray, chance: np.ndarray) -> float:
    return float(np.interp(np.log(5), at, chance))


def test_launches_take_places_of_the_slate_and_not_of_the_pool(
    engine: Engine, queries: QueryBatch, rules: CompiledRules, rare: BoolArray
) -> None:
    """Steps that hand on the whole pool leave launches and sales to the places that are seen."""
    waiting = np.zeros(N_ITEMS, np.bool_)
    waiting[[30, 31, 32]] = True
    for own in (None, rules):
        launching = Launching(
            Launch(impressions=1_000, position=2),
            course(waiting),
            waiting,
            np.random.default_rng(5),
        )
        how = Arrangement(K, rules=own, worth=WORTH_OF, launching=launching)
        for bent in (how, replace(how, steering=steering(rare, 0.1))):
            slates = slates_of(engine, queries, bent)
            assert slates.ids.shape[1] == K
            assert slates.columns[LAUNCHED].any(axis=1).mean() > 0.5


def test_padding_is_not_the_last_item_of_the_row_before() -> None:
    source = np.zeros((2, 2), np.int8)
    pools = ItemsBatch(
        np.array([[0, 1], [2, PADDING]], np.int32),
        np.array([[9, 8], [9, -np.inf]], np.float32),
        {SOURCE: source},
    )
    more = ItemsBatch(
        np.array([[5, PADDING], [5, PADDING]], np.int32),
        np.array([[7, -np.inf], [7, -np.inf]], np.float32),
        {SOURCE: source},
    )
    joined = _joined(pools, more)
    assert [set(row[row != PADDING].tolist()) for row in joined.ids] == [{0, 1, 5}, {2, 5}]


def test_a_pin_is_not_sold_and_what_is_buried_is_not_launched(
    engine: Engine, queries: QueryBatch, terms: CompiledSponsored
) -> None:
    told = {"pin": [{"item": "i20", "position": 2}], "bury": [{"items": ["i40"], "factor": 0}]}
    table = pl.DataFrame({c.ITEM_ID: [f"i{number}" for number in range(N_ITEMS)]})
    own = Rules.parse(told).compiled(table)
    selling = Selling(terms, np.array([2.0, 1.0]))
    slates = slates_of(engine, queries, Arrangement(K, rules=own, worth=WORTH_OF, selling=selling))
    may = np.array([20 not in queries[row].exclude for row in range(len(queries))])
    assert (slates.ids[may, 1] == 20).all()
    assert not (slates.columns[SPONSORED][may, 1] >= 0).any()
    assert not (slates.ids == 40).any()
    sold = slates.columns[SPONSORED] >= 0
    assert set(np.unique(slates.ids[sold]).tolist()) <= {21}
