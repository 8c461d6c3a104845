"""Launches: promises are kept, places are as agreed, and propensities are true chances."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tailrec import columns as c
from tailrec.errors import DataError
from tailrec.items import PADDING, Float64Array, ItemsBatch
from tailrec.reranking.launch import LAUNCHED, Course, Launch, launched
from tailrec.reranking.response import RESPONSE

N_ITEMS = 40


def batch(*rows: list[int], **columns: object) -> ItemsBatch:
    """Rows of items, padded, scores falling."""
    width = max(map(len, rows))
    ids = np.array([[*row, *[PADDING] * (width - len(row))] for row in rows], np.int32)
    scores = np.where(ids == PADDING, -np.inf, -np.arange(width, dtype=np.float32))
    return ItemsBatch(ids, scores.astype(np.float32), {n: np.array(v) for n, v in columns.items()})


def offered(*rows: list[int], response: float = 0.1) -> ItemsBatch:
    plain = batch(*rows)
    return ItemsBatch(
        plain.ids, plain.scores, {RESPONSE: np.full(plain.ids.shape, response, np.float32)}
    )


def course(
    shown: dict[int, float] | None = None,
    clicks: dict[int, float] | None = None,
    age: dict[int, float] | None = None,
) -> Course:
    """Items from 20 on are a day old, the others were always there."""

    def of(values: dict[int, float] | None, rest: Float64Array) -> Float64Array:
        rest[list(values or {})] = list((values or {}).values())
        return rest

    shown_, clicks_ = of(shown, np.zeros(N_ITEMS)), of(clicks, np.zeros(N_ITEMS))
    ages = np.where(np.arange(N_ITEMS) < 20, np.inf, 1.0)
    return Course(shown_, shown_, clicks_, of(age, ages))


def repeated(rows: ItemsBatch, n: int) -> ItemsBatch:
    return ItemsBatch(
        np.repeat(rows.ids, n, 0),
        np.repeat(rows.scores, n, 0),
        {name: np.repeat(v, n, 0) for name, v in rows.columns.items()},
    )


def test_a_launch_takes_one_place_and_others_move_down(rng: np.random.Generator) -> None:
    slates = batch([0, 1, 2, 3, 4, 5], tier=[[9, 8, 7, 6, 5, 4]])
    recipe = Launch(impressions=1000, position=4)
    got = launched(slates, offered([30]), course(), recipe=recipe, rng=rng)
    place = int(np.flatnonzero(got.ids[0] == 30)[0])
    assert place in (3, 4, 5)
    assert np.delete(got.ids[0], place).tolist() == [0, 1, 2, 3, 4]
    assert got.columns[LAUNCHED][0].tolist() == [at == place for at in range(6)]
    assert np.delete(got.columns["tier"][0], place).tolist() == [9, 8, 7, 6, 5]
    assert got.columns["tier"][0, place] == -1
    assert slates.ids.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_nothing_is_done_where_nothing_is_promised_or_waits(rng: np.random.Generator) -> None:
    slates, offers = batch([0, 1, 2]), offered([30, 31])
    done = course(shown={30: 5, 31: 5})
    young = course(age={30: 8, 31: 8})
    for recipe, how in (
        (Launch(), course()),
        (Launch(impressions=5), done),
        (Launch(impressions=5, days=7), young),
        (Launch(impressions=5), course(age={30: np.inf, 31: np.inf})),
    ):
        got = launched(slates, offers, how, recipe=recipe, rng=rng)
        assert got.ids.tolist() == slates.ids.tolist()
        assert not got.columns[LAUNCHED].any()
        assert (got.columns[c.PROPENSITY] == 1).all()


@pytest.mark.parametrize("places", [1, 2, 3])
def test_propensities_are_the_shares_of_many_draws(places: int, rng: np.random.Generator) -> None:
    """1 / propensity weighs every item and place to 1 on average: each is unbiased."""
    n = 40_000
    slates, offers = batch([0, 1, 2, 3, 4, 5]), offered([30, 31, 32])
    how = course(shown={30: 30, 31: 10}, clicks={30: 6, 31: 1})
    recipe = Launch(impressions=10**6, places=places, position=3)
    got = launched(repeated(slates, n), repeated(offers, n), how, recipe=recipe, rng=rng)
    propensity = got.columns[c.PROPENSITY]
    weights = np.zeros((N_ITEMS, 6))
    squares = np.zeros((N_ITEMS, 6))
    for place in range(6):
        weights[:, place] = np.bincount(got.ids[:, place], 1 / propensity[:, place], N_ITEMS)
        squares[:, place] = np.bincount(got.ids[:, place], propensity[:, place] ** -2.0, N_ITEMS)
    could = weights > 0
    expected = np.zeros((N_ITEMS, 6), bool)
    expected[[0, 1], [0, 1]] = True
    expected[30:33, 2:] = True
    for rank in range(2, 6 - places):
        expected[rank, rank : rank + places + 1] = True
    np.testing.assert_array_equal(could, expected)
    mean = weights[could] / n
    error = np.sqrt(np.maximum(squares[could] / n - mean**2, 1e-12) / n)
    assert (np.abs(mean - 1) < 4.5 * error + 1e-9).all()
    liked = [float((got.ids == item).mean()) for item in (30, 31)]
    assert liked[0] > liked[1] if places == 1 else True


def test_with_one_offer_the_propensities_are_those_of_the_places(rng: np.random.Generator) -> None:
    slates = batch([0, 1, 2, 3])
    recipe = Launch(impressions=9, position=2)
    seen: dict[int, list[float]] = {}
    for _ in range(60):
        got = launched(slates, offered([30]), course(), recipe=recipe, rng=rng)
        place = int(np.flatnonzero(got.ids[0] == 30)[0])
        seen[place] = got.columns[c.PROPENSITY][0].tolist()
    third = 1 / 3
    assert seen == {
        1: pytest.approx([1, third, third, 2 * third]),
        2: pytest.approx([1, 2 * third, third, 2 * third]),
        3: pytest.approx([1, 2 * third, third, third]),
    }


def test_the_draw_is_thompsons(rng: np.random.Generator) -> None:
    """How often each of two offers is launched, against draws of their Beta distributions."""
    n = 20_000
    how = course(shown={30: 40, 31: 10}, clicks={30: 8, 31: 1})
    offers = repeated(offered([30, 31], response=0.2), n)
    recipe = Launch(impressions=10**6, strength=10)
    got = launched(repeated(batch([0, 1]), n), offers, how, recipe=recipe, rng=rng)
    drawn = rng.beta(2 + 8, 8 + 32, 10**6) > rng.beta(2 + 1, 8 + 9, 10**6)
    expected = (64 * drawn.mean() + 0.5) / 65
    assert (got.ids == 30).any(axis=1).mean() == pytest.approx(expected, abs=4 / np.sqrt(n))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    places=st.integers(1, 4),
    position=st.integers(1, 9),
    impressions=st.integers(1, 6),
)
def test_slates_hold_what_they_should(
    seed: int, places: int, position: int, impressions: int
) -> None:
    rng = np.random.default_rng(seed)

    def rows(low: int, high: int, most: int) -> list[list[int]]:
        return [
            (low + rng.permutation(high - low)[: rng.integers(0, most + 1)]).tolist()
            for _ in range(7)
        ] + [list(range(low, low + most))]

    slates, offers = batch(*rows(0, 25, 6)), offered(*rows(20, 40, 5))
    how = course(shown={22: 3, 25: 1, 30: 6})
    recipe = Launch(impressions=impressions, places=places, position=position)
    got = launched(slates, offers, how, recipe=recipe, rng=np.random.default_rng(seed))
    again = launched(slates, offers, how, recipe=recipe, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(got.ids, again.ids)
    assert got.ids.shape == slates.ids.shape
    propensity, new = got.columns[c.PROPENSITY], got.columns[LAUNCHED]
    assert ((propensity > 0) & (propensity <= 1 + 1e-12)).all()
    total = how.shown.copy()
    for row in range(len(slates)):
        own, shown = slates[row].ids.tolist(), got[row].ids.tolist()
        launches = got.ids[row][new[row]].tolist()
        kept = [item for item in shown if item not in launches]
        assert kept == own[: len(kept)]
        assert len(shown) == min(len(own) + len(launches), 6)
        assert len(set(shown)) == len(shown)
        waiting = [
            item
            for item in offers[row].ids.tolist()
            if total[item] < impressions and item not in own
        ]
        assert set(launches) <= set(waiting)
        highest = min(position, len(own) + 1, 6) - 1
        assert len(launches) == min(places, len(waiting), 6 - highest)
        assert not new[row, :highest].any()
        assert (propensity[row, :highest] == 1).all()
        np.add.at(total, shown, 1)


@pytest.mark.parametrize("together", [True, False])
def test_every_promise_is_kept_in_time(together: bool, rng: np.random.Generator) -> None:
    """M items, N impressions: M x N slates are enough, whatever the draws and the clicks."""
    offers = list(range(20, 32))
    how = course(shown={20: 500}, clicks={20: 0})
    promise = Launch(impressions=7)
    bound = 7 * (len(offers) - 1)
    shown = how.shown.copy()
    if together:
        slates = repeated(batch(list(range(10))), bound)
        got = launched(slates, repeated(offered(offers), bound), how, recipe=promise, rng=rng)
        np.add.at(shown, got.ids[got.ids >= 20], 1)
    else:
        for _ in range(bound):
            now = Course(shown, shown, np.zeros(N_ITEMS), how.age_days)
            got = launched(batch(list(range(10))), offered(offers), now, recipe=promise, rng=rng)
            np.add.at(shown, got.ids[got.ids >= 20], 1)
    assert shown[20:32].tolist() == [500.0] + [7.0] * 11


def test_who_is_behind_its_days_comes_first(rng: np.random.Generator) -> None:
    """Item 31 does badly and is late; item 30 does well and has had its share for today."""
    how = course(shown={30: 50, 31: 20}, clicks={30: 45}, age={30: 1.0, 31: 9.0})
    n = 3000
    slates, offers = repeated(batch([0, 1, 2]), n), repeated(offered([30, 31]), n)
    late = Launch(impressions=10**5, days=10**4.0)
    got = launched(slates, offers, how, recipe=late, rng=rng)
    assert (got.ids == 31).any(axis=1).mean() > 0.97
    free = launched(slates, offers, how, recipe=Launch(impressions=10**5), rng=rng)
    assert (free.ids == 30).any(axis=1).mean() > 0.97


def test_what_stood_there_by_chance_keeps_its_chance(rng: np.random.Generator) -> None:
    slates = batch([0, 1, 2], propensity=[[0.5, 0.25, 0.125]])
    got = launched(slates, offered([30]), course(), recipe=Launch(impressions=5), rng=rng)
    assert got.columns[c.PROPENSITY][0].tolist() == [0.5, 0.25, 1.0]


def test_orders_of_two_launches_are_all_as_likely(rng: np.random.Generator) -> None:
    n = 12_000
    how = course(shown={30: 50}, clicks={30: 45})
    slates, offers = repeated(batch([0]), n), repeated(offered([30, 31]), n)
    wide = ItemsBatch(
        np.pad(slates.ids, ((0, 0), (0, 2)), constant_values=PADDING),
        np.pad(slates.scores, ((0, 0), (0, 2)), constant_values=-np.inf),
    )
    recipe = Launch(impressions=10**6, places=2, position=1)
    got = launched(wide, offers, how, recipe=recipe, rng=rng)
    for order in permutations([0, 30, 31]):
        share = (got.ids == order).all(axis=1).mean()
        assert share == pytest.approx(1 / 6, abs=4 * np.sqrt(5 / 36 / n))


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    recipe = Launch(impressions=5)

    def asked(slates: ItemsBatch, offers: ItemsBatch) -> None:
        launched(slates, offers, course(), recipe=recipe, rng=rng)

    with pytest.raises(DataError, match="'response', the predicted response, is needed"):
        asked(batch([0]), batch([30]))
    with pytest.raises(DataError, match="1 slates and 2 rows of offers"):
        asked(batch([0]), offered([30], [31]))
    with pytest.raises(DataError, match="item 40 has no course; there are 40"):
        asked(batch([0]), offered([40]))
    with pytest.raises(DataError, match=r"responses from 1\.5"):
        asked(batch([0]), offered([30], response=1.5))
    with pytest.raises(DataError, match="item 3 has 2 clicks on 1 impressions"):
        course(shown={3: 1}, clicks={3: 2})
    with pytest.raises(DataError, match="each has an entry an item"):
        Course(np.zeros(3), np.zeros(3), np.zeros(2), np.zeros(3))
    with pytest.raises(ValidationError):
        Launch(places=0)
