"""Attention: the formulas, what estimators recover of a known one, and when they must not try."""

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tailrec import columns as c
from tailrec.errors import DataError
from tailrec.items import Float64Array
from tailrec.reranking.attention import Attention, ClickLog, dcg, power
from tailrec.simulate import SimulatedShop, Simulation, simulate

Method = Literal["em", "pairs", "rates"]
METHODS: tuple[Method, ...] = ("em", "pairs", "rates")


def drawn(
    attention: Float64Array, n: int, rng: np.random.Generator, *, sorted_by_liking: float = 0.0
) -> ClickLog:
    """Clicks by the position-based model; liked items may stand high more often."""
    liked = rng.beta(2, 8, 60)
    item = rng.integers(60, size=n).astype(np.int32)
    free = rng.integers(len(attention), size=n)
    by_rank = (np.argsort(np.argsort(-liked))[item] * len(attention)) // 60
    place = np.where(rng.random(n) < sorted_by_liking, by_rank, free)
    clicked = rng.random(n) < attention[place] * liked[item]
    return ClickLog(item, (place + 1).astype(np.int32), clicked)


def of_shop(shop: SimulatedShop) -> ClickLog:
    """The impressions of a simulated shop."""
    clicks = shop.events.filter(pl.col(c.TYPE) == "click").select(
        c.SLATE_ID, c.ITEM_ID, clicked=pl.lit(value=True)
    )
    shown = shop.events.filter(pl.col(c.TYPE) == "impression").join(
        clicks, on=[c.SLATE_ID, c.ITEM_ID], how="left"
    )
    return ClickLog(
        shown[c.ITEM_ID].str.slice(1).cast(pl.Int32).to_numpy(),
        shown[c.POSITION].to_numpy(),
        shown["clicked"].fill_null(value=False).to_numpy(),
    )


def estimated(method: Method, k: int, log: ClickLog, smoothing: float = 5.0) -> Float64Array:
    recipe = Attention(kind="estimated", method=method, smoothing=smoothing, min_clicks=50)
    curve = recipe.curve(k, log)
    assert (curve.kind, curve.reason) == ("estimated", "")
    return curve.attention


def test_the_formulas_by_hand() -> None:
    np.testing.assert_allclose(dcg(3), [1, 1 / np.log2(3), 0.5])
    np.testing.assert_allclose(power(4, 0.5), [1, 0.5**0.5, 3**-0.5, 0.5])
    assert Attention().curve(3).attention.tolist() == dcg(3).tolist()
    assert Attention(kind="power", exponent=1.0).curve(2).attention.tolist() == [1.0, 0.5]
    assert power(5, 0).tolist() == [1.0] * 5


@pytest.fixture(scope="module")
def simulated_log() -> tuple[ClickLog, Float64Array]:
    shop = simulate(Simulation(n_users=700, n_items=300, visits=20, n_days=60), seed=5)
    return of_shop(shop), shop.truth.attention


@pytest.mark.parametrize("method", METHODS)
def test_the_attention_of_the_simulated_shop_is_recovered(
    method: Method, simulated_log: tuple[ClickLog, Float64Array]
) -> None:
    log, truth = simulated_log
    assert np.abs(estimated(method, 10, log) - truth).max() < 0.08
    assert np.abs(dcg(10) - truth).max() > 0.08, "the bound would not tell it from dcg"


@pytest.mark.parametrize("method", ["em", "pairs"])
def test_liked_items_on_top_are_not_taken_for_attention(
    method: Method, rng: np.random.Generator
) -> None:
    truth = power(6, 0.4)
    log = drawn(truth, 200_000, rng, sorted_by_liking=0.6)
    found = estimated(method, 6, log, smoothing=1e-3)
    assert np.abs(found - truth).max() < 0.06
    naive = estimated("rates", 6, log, smoothing=1e-3)
    assert np.abs(naive - truth).max() > 0.15


@pytest.mark.parametrize("method", METHODS)
def test_places_without_a_showing_follow_the_law_of_the_others(
    method: Method, rng: np.random.Generator
) -> None:
    log = drawn(power(5, 1.0), 100_000, rng)
    found = estimated(method, 12, log)
    assert found.shape == (12,)
    np.testing.assert_allclose(found[5:], power(12, 1.0)[5:], rtol=0.2)
    np.testing.assert_allclose(estimated(method, 3, log), found[:3], rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(60, 600), method=st.sampled_from(METHODS))
def test_every_estimate_falls_from_one(seed: int, n: int, method: Method) -> None:
    rng = np.random.default_rng(seed)
    log = drawn(rng.random(7), n, rng)
    curve = Attention(kind="estimated", method=method, min_clicks=1).curve(9, log)
    assert curve.attention[0] == 1
    assert (np.diff(curve.attention) <= 0).all()
    assert (curve.attention > 0).all()
    mixed = rng.permutation(n)
    again = ClickLog(log.item[mixed], log.position[mixed], log.clicked[mixed])
    other = Attention(kind="estimated", method=method, min_clicks=1).curve(9, again)
    np.testing.assert_allclose(other.attention, curve.attention, rtol=1e-6)


def test_too_few_clicks_give_dcg_and_say_so(rng: np.random.Generator) -> None:
    log = drawn(power(4, 0.7), 3000, rng)
    n_clicks = int(log.clicked.sum())
    enough = Attention(kind="estimated", min_clicks=n_clicks).curve(4, log)
    assert (enough.kind, enough.clicks) == ("estimated", n_clicks)
    short = Attention(kind="estimated", min_clicks=n_clicks + 1).curve(4, log)
    assert (short.kind, short.attention.tolist()) == ("dcg", dcg(4).tolist())
    assert short.reason == f"{n_clicks} clicks in the log; at least {n_clicks + 1} are needed"
    assert Attention(kind="estimated").curve(4).reason.startswith("0 clicks")


def test_items_that_never_move_give_dcg_and_say_so(rng: np.random.Generator) -> None:
    """Whether an item or its place is liked cannot be told."""
    item = rng.integers(5, size=4000).astype(np.int32)
    log = ClickLog(item, item + np.int32(1), rng.random(4000) < 0.2)
    curve = Attention(kind="estimated", method="pairs").curve(5, log)
    assert curve.kind == "dcg"
    assert curve.reason == "no two places can be compared by 'pairs': items do not move"


def test_bad_input_is_refused() -> None:
    one = np.ones(2, np.int32)
    with pytest.raises(DataError, match="2 items, 2 positions and 1 clicks"):
        ClickLog(one, one, np.array([True]))
    with pytest.raises(DataError, match="positions start at 0"):
        ClickLog(one, np.zeros(2, np.int32), np.array([True, False]))
    with pytest.raises(DataError, match="k is 0"):
        dcg(0)
    with pytest.raises(DataError, match="exponent is -1"):
        power(3, -1)
    with pytest.raises(ValidationError):
        Attention(min_clicks=0)


@pytest.mark.real
def test_a_real_log_of_random_slates_is_nearly_flat(real_data: Path) -> None:
    """Three places beside each other: the middle one, if any, gets more than the left one."""
    parts = [
        pl.read_csv(
            real_data / "open_bandit" / "random" / name / f"{name}.csv",
            columns=["item_id", "position", "click"],
        ).with_columns(pl.col("item_id") + 100 * number)
        for number, name in enumerate(("men", "women"))
    ]
    rows = pl.concat(parts)
    log = ClickLog(
        rows["item_id"].to_numpy().astype(np.int32),
        rows["position"].to_numpy().astype(np.int32),
        rows["click"].to_numpy() == 1,
    )
    for method in METHODS:
        assert estimated(method, 3, log)[2] > 0.8 > dcg(3)[2]
