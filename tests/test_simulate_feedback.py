"""Worlds with feedback: the same people and chance for all arms, and sums that add up."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.errors import DataError
from tailrec.items import PADDING, ItemsBatch
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.launch import Launch
from tailrec.simulate import SimulatedShop, Simulation, simulate
from tailrec.simulate_answers import Stage, uniform
from tailrec.simulate_arms import WithExposure, by_model, by_popularity
from tailrec.simulate_feedback import Arm, Day, feedback
from tailrec.simulate_outcome import FIGURES, Outcome, pooled

DAYS = 6
DAY_S = 86_400


@pytest.fixture(scope="module")
def shop() -> SimulatedShop:
    """Ninety products of which some come in the last days."""
    world = Simulation(n_users=70, n_items=90, n_days=24, visits=8, arriving=0.5)
    return simulate(world, seed=4)


@pytest.fixture(scope="module")
def outcome(shop: SimulatedShop) -> Outcome:
    arms = {
        "model": by_model,
        "again": by_model,
        "popular": by_popularity,
        "launch": WithExposure(launch=Launch(impressions=15, places=2)),
    }
    return feedback(shop, arms, days=DAYS, k=10, refit_days=3, traffic=3, milestone=15, seed=2)


def test_uniform_numbers_depend_on_their_keys_alone() -> None:
    day, item = np.array([3]), np.arange(50_000)
    numbers = uniform(1, 1, day, item)
    np.testing.assert_array_equal(uniform(1, 1, day, item[::-1])[::-1], numbers)
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] / 2500 - 1).max() < 0.1
    for other in (
        uniform(2, 1, day, item),
        uniform(1, 2, day, item),
        uniform(1, 1, day + 1, item),
        uniform(1, 1, day, item + 1),
        uniform(1, 1, item, day),
    ):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 4 / np.sqrt(len(item))


def test_a_higher_place_never_loses_a_click(shop: SimulatedShop) -> None:
    """The same items in another order: who clicks below clicks above, and buys the same."""
    stage = Stage.of(shop, DAYS, traffic=4, seed=1)
    rng = np.random.default_rng(0)
    n = len(stage.visitors[2])
    rows = rng.permuted(np.tile(np.arange(40, dtype=np.int32), (n, 1)), axis=1)
    one, other = stage.answers(2, rows), stage.answers(2, rows[:, ::-1])
    back = [values[:, ::-1] for values in (other.clicked, other.bought, other.looked)]
    assert one.clicked.sum() > 50
    assert not (one.clicked & ~back[0] & (one.looked < back[2])).any()
    both = one.clicked & back[0]
    assert one.bought.any()
    np.testing.assert_array_equal(one.bought[both], back[1][both])


def test_answers_are_the_truths_within_binomial_error(shop: SimulatedShop) -> None:
    stage = Stage.of(shop, DAYS, traffic=30, seed=1)
    n = len(stage.visitors[0])
    rows = np.tile(np.arange(12, dtype=np.int32), (n, 1))
    rows[:, 10:] = PADDING
    answers = stage.answers(0, rows)
    user, item = np.repeat(stage.visitors[0], 10), np.tile(np.arange(10, dtype=np.int32), n)
    click = shop.truth.probability(user, item).reshape(n, 10)
    click *= np.arange(1.0, 11) ** -shop.truth.recipe.attention
    error = np.sqrt((click * (1 - click)).sum(axis=0))
    assert (np.abs(answers.clicked[:, :10].sum(axis=0) - click.sum(axis=0)) < 4 * error).all()
    bought = click * shop.truth.probability(user, item, of="purchase").reshape(n, 10)
    np.testing.assert_allclose(answers.expected[:, :10], bought)
    assert abs(answers.bought.sum() - bought.sum()) < 4 * np.sqrt(bought.sum())
    assert not answers.clicked[:, 10:].any()
    assert not answers.expected[:, 10:].any()
    table = stage.events(0, answers)
    assert table.schema == stage.history.schema
    assert table[c.TYPE].value_counts(sort=True).rows() == [
        ("click", int(answers.clicked.sum())),
        ("purchase", int(answers.bought.sum())),
    ]
    assert table[c.EVENT_ID].n_unique() == len(table)


def test_people_come_at_the_rate_of_the_history_once_they_have_joined(
    shop: SimulatedShop,
) -> None:
    stage = Stage.of(shop, DAYS, traffic=50, seed=1)
    joined = (shop.users[c.CREATED_AT] - shop.truth.recipe.start).dt.total_days().to_numpy()
    sessions = stage.history.group_by(c.USER_ID).agg(pl.col(c.SESSION_ID).n_unique())
    known = dict(sessions.rows())
    made = np.bincount(np.concatenate(stage.visitors), minlength=70)
    for user, name in enumerate(shop.users[c.USER_ID]):
        if joined[user] < stage.cut:
            visits = known.get(name, 0) / max(stage.cut - joined[user], 14)
            expected = 50 * DAYS * visits
            assert abs(made[user] - expected) <= 5 * np.sqrt(expected)
    late = np.flatnonzero(joined > stage.cut)
    assert len(late)
    for user in late:
        days = [day for day, own in enumerate(stage.visitors) if user in own]
        assert min(days, default=DAYS) >= joined[user] - stage.cut
    for day, seconds in enumerate(stage.seconds):
        assert (np.diff(seconds) >= 0).all()
        assert ((seconds // DAY_S) == stage.cut + day).all()


@dataclass
class Probe:
    """An arm that keeps what it was told, and shows what an inner arm shows."""

    inner: Callable[[Day], ItemsBatch] = by_model
    days: list[Day] = field(default_factory=list)
    slates: list[ItemsBatch] = field(default_factory=list)

    def __call__(self, day: Day) -> ItemsBatch:
        self.days.append(day)
        self.slates.append(self.inner(day))
        return self.slates[-1]


def test_an_arm_is_told_what_was_known(shop: SimulatedShop) -> None:
    probe = Probe()
    feedback(shop, {"one": probe}, days=DAYS, k=10, refit_days=3, traffic=3, seed=2)
    cut = shop.truth.recipe.n_days - DAYS
    shown = dict.fromkeys(shop.items[c.ITEM_ID], 0)
    born = dict(zip(shop.items[c.ITEM_ID], shop.truth.born_s, strict=True))
    available = dict(shop.items.select(c.ITEM_ID, c.AVAILABLE).rows())
    for day, slates in zip(probe.days, probe.slates, strict=True):
        ids = day.engine.ids.tolist()
        now_s = (cut + day.number) * DAY_S
        assert set(ids) == {name for name, at in born.items() if at <= now_s}
        assert len(day.queries) == len(day.visitors) == len(slates)
        assert day.impressions.tolist() == [shown[name] for name in ids]
        new = [born[name] >= cut * DAY_S for name in ids]
        assert np.isfinite(day.age_days).tolist() == new
        for name, age in zip(ids, day.age_days, strict=True):
            assert not np.isfinite(age) or age == pytest.approx((now_s - born[name]) / DAY_S)
        assert day.queries.hidden is not None
        assert day.queries.hidden.tolist() == [not available[name] for name in ids]
        assert not day.tail[np.array(new)].any()
        assert (day.exposure <= day.impressions).all()
        assert (day.clicks <= day.impressions).all()
        for name in day.engine.ids[slates.ids[slates.ids != PADDING]]:
            shown[name] += 1
    assert len(probe.days[-1].past) == DAYS - 1
    last = probe.days[-1]
    known, before = last.past[-1], probe.days[-2]
    np.testing.assert_array_equal(
        last.engine.ids[known.slates.ids], before.engine.ids[probe.slates[-2].ids]
    )
    assert sum(one.clicked.sum() for one in last.past) == last.clicks.sum()


def test_what_was_clicked_is_in_the_histories_of_the_next_day(shop: SimulatedShop) -> None:
    probe = Probe()
    feedback(shop, {"one": probe}, days=2, k=10, traffic=10, seed=2)
    first, second = probe.days
    (past,) = second.past
    people = {}
    for row, visitor in enumerate(second.visitors):
        people[int(visitor)] = set(second.queries[row].item.tolist())
    seen = 0
    for row, visitor in enumerate(first.visitors):
        if int(visitor) in people:
            clicked = past.slates.ids[row][past.clicked[row]]
            assert set(clicked.tolist()) <= people[int(visitor)]
            seen += len(clicked)
    assert seen > 5


def test_engines_are_fitted_anew_only_when_it_is_time(shop: SimulatedShop) -> None:
    probe = Probe()
    feedback(shop, {"one": probe}, days=DAYS, k=10, refit_days=3, traffic=3, seed=2)
    models = [day.engine.features for day in probe.days]
    fitted = [number for number in range(1, DAYS) if models[number] is not models[number - 1]]
    assert fitted == [3]
    counts = [int(day.engine.counts.sum()) for day in probe.days]
    assert counts[0] == counts[2] < counts[3] == counts[5]


def test_two_arms_that_do_the_same_have_the_same(outcome: Outcome) -> None:
    for name in FIGURES:
        np.testing.assert_array_equal(
            outcome.figures["again"][name], outcome.figures["model"][name]
        )
    found = outcome.ratios("model", draws=50, rng=np.random.default_rng(0))
    same = found.filter(pl.col("arm") == "again")
    assert same.select("low", "ratio", "high", "p").unique().rows() == [(1.0, 1.0, 1.0, 1.0)]
    other = found.filter((pl.col("arm") == "popular") & (pl.col("figure") == "expected_tail_sales"))
    assert other["high"].item() < 1


def test_sums_add_up(outcome: Outcome) -> None:
    daily, totals = outcome.daily(), outcome.totals()
    assert len(daily) == 4 * DAYS
    assert totals["arm"].to_list() == ["model", "again", "popular", "launch"]
    for row in totals.iter_rows(named=True):
        own = outcome.figures[row["arm"]]
        assert row["visits"] == len(outcome.day) == len(outcome.visitors)
        for name in FIGURES:
            assert row[name] == pytest.approx(own[name].sum())
        assert row["tail_exposure_share"] == pytest.approx(
            own["tail_exposure"].sum() / own["exposure"].sum()
        )
        assert (own["tail_sales"] + own["new_sales"] <= own["sales"]).all()
        assert (own["sales"] <= own["clicks"]).all()
        spread = np.sqrt(own["expected_sales"].sum())
        assert abs(own["sales"].sum() - own["expected_sales"].sum()) < 4 * spread
        assert own["revenue"].sum() > 0


def test_launches_bring_new_items_their_first_impressions(outcome: Outcome) -> None:
    totals = {row["arm"]: row for row in outcome.totals().iter_rows(named=True)}
    assert totals["launch"]["launched"] > totals["model"]["launched"]
    assert totals["launch"]["new_exposure"] > totals["model"]["new_exposure"]
    assert totals["popular"]["launched"] == 0
    own = outcome.launches.filter(pl.col("arm") == "launch")
    reached = own["impressions"] >= 15
    np.testing.assert_array_equal(own["hours"].is_not_null(), reached)


def test_days_on_which_hardly_anybody_comes_are_days_too() -> None:
    small = simulate(Simulation(n_users=20, n_items=60, n_days=20), seed=1)
    goal = {"tier": ["tail"], "floor": 0.5}
    arms: dict[str, Arm] = {
        "model": by_model,
        "launch": WithExposure(Exposure.parse({"goals": [goal]}), Launch(impressions=5)),
    }
    got = feedback(small, arms, days=8, traffic=0.3, seed=3)
    assert 0 in np.bincount(got.day, minlength=8)
    assert got.totals()["impressions"].to_list() == [20 * len(got.day)] * 2


def test_the_hours_to_a_milestone_by_hand(shop: SimulatedShop) -> None:
    """An arm that shows one new item to every second visit, and nothing else."""
    stage = Stage.of(shop, DAYS, traffic=3, seed=2)
    item = int(np.flatnonzero(stage.new)[0])
    name = shop.items[c.ITEM_ID][item]

    def one_item(day: Day) -> ItemsBatch:
        ids = np.full((len(day.queries), 1), PADDING, np.int32)
        if name in day.engine.index:
            ids[::2] = day.engine.index[name]
        return ItemsBatch(ids, np.where(ids == PADDING, -np.inf, 1).astype(np.float32))

    got = feedback(shop, {"one": one_item}, days=DAYS, k=3, traffic=3, milestone=12, seed=2)
    first = int(shop.truth.born_s[item] // DAY_S) + 1 - stage.cut
    seconds = np.concatenate([own[::2] for own in stage.seconds[first:]])
    row = got.launches.row(by_predicate=pl.col(c.ITEM_ID) == name, named=True)
    assert row["impressions"] == len(seconds)
    assert row["hours"] == pytest.approx((seconds[11] - shop.truth.born_s[item]) / 3600)
    others = got.launches.filter(pl.col(c.ITEM_ID) != name)
    assert others["hours"].null_count() == len(others) == stage.new.sum() - 1


def test_several_worlds_are_pooled_as_different_people(
    shop: SimulatedShop, outcome: Outcome
) -> None:
    other = feedback(
        shop,
        dict.fromkeys(outcome.figures, by_popularity),
        days=3,
        k=10,
        traffic=3,
        milestone=15,
        seed=5,
    )
    whole = pooled([outcome, other])
    n_first = len(outcome.day)
    assert len(whole.visitors) == len(whole.day) == n_first + len(other.day)
    assert not set(whole.visitors[:n_first].tolist()) & set(whole.visitors[n_first:].tolist())
    rows = zip(
        whole.totals().to_dicts(),
        outcome.totals().to_dicts(),
        other.totals().to_dicts(),
        strict=True,
    )
    for both, one, two in rows:
        for name in (*FIGURES, "visits", "launched"):
            assert both[name] == pytest.approx(one[name] + two[name])
    alone = pooled([outcome])
    np.testing.assert_array_equal(alone.visitors, outcome.visitors)
    with pytest.raises(DataError, match="2 outcomes with the arms"):
        pooled([outcome, feedback(shop, {"model": by_model}, days=1, k=5)])
    with pytest.raises(DataError, match="0 outcomes"):
        pooled([])


def test_a_course_is_the_ratio_of_the_sums_until_each_day(outcome: Outcome) -> None:
    figure = "expected_sales"
    course = outcome.course("model", figure, draws=50, rng=np.random.default_rng(0))
    assert course["arm"].unique(maintain_order=True).to_list() == ["again", "popular", "launch"]
    for row in course.iter_rows(named=True):
        until = outcome.day <= row["day"]
        own, base = (outcome.figures[arm][figure][until].sum() for arm in (row["arm"], "model"))
        assert row["ratio"] == pytest.approx(own / base)
        assert row["low"] <= row["ratio"] <= row["high"]
    last = course.filter(pl.col("day") == DAYS - 1).select("arm", "ratio")
    whole = outcome.ratios("model", figures=[figure], draws=50, rng=np.random.default_rng(0))
    assert last.rows() == [
        (arm, pytest.approx(ratio)) for arm, ratio in whole.select("arm", "ratio").rows()
    ]
    with pytest.raises(DataError, match="base 'nobody'"):
        outcome.course("nobody", figure, rng=np.random.default_rng(0))


def test_bad_input_is_refused(shop: SimulatedShop) -> None:
    def broken(change: Callable[[ItemsBatch], ItemsBatch]) -> None:
        feedback(shop, {"bad": lambda day: change(by_model(day))}, days=1, k=5, seed=1)

    with pytest.raises(DataError, match=r"arm 'bad' gave .* slates with an item twice on day 0"):
        broken(lambda slates: ItemsBatch(np.zeros_like(slates.ids), slates.scores))
    with pytest.raises(DataError, match="arm 'bad' gave items 999 to 999"):
        broken(lambda slates: replace(slates, ids=np.full_like(slates.ids, 999)))
    with pytest.raises(DataError, match=r"arm 'bad' gave slates of \(1, 5\)"):
        broken(lambda slates: ItemsBatch(slates.ids[:1], slates.scores[:1]))
    with pytest.raises(DataError, match="0 arms"):
        feedback(shop, {})
    with pytest.raises(DataError, match="traffic=0"):
        feedback(shop, {"model": by_model}, traffic=0)
    with pytest.raises(DataError, match="24 days were asked for and the shop's history has 24"):
        feedback(shop, {"model": by_model}, days=24)


def test_ratios_name_what_is_not_there(outcome: Outcome) -> None:
    with pytest.raises(DataError, match="base 'nobody'"):
        outcome.ratios("nobody", rng=np.random.default_rng(0))
    with pytest.raises(DataError, match=r"figures \['profit'\]"):
        outcome.ratios("model", figures=["profit"], rng=np.random.default_rng(0))
