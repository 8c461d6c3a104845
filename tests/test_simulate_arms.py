"""Arms with the controls of a service: what they show, what it costs, what they look back on."""

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.arrange import SOURCE, SOURCES
from tailrec.items import PADDING, Float64Array, ItemsBatch
from tailrec.reranking.attention import dcg
from tailrec.reranking.conversion import conversion as rate_of
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.exposure_prices import WORTH, ExposureSums, goal_prices
from tailrec.reranking.launch import Launch
from tailrec.simulate import SimulatedShop, Simulation, simulate
from tailrec.simulate_arms import (
    RENEWALS,
    Conversion,
    WithExposure,
    by_model,
    response_curve,
)
from tailrec.simulate_feedback import Arm, Day, feedback
from tailrec.simulate_outcome import Outcome

DAYS, K, COST = 6, 10, 0.05
TAIL = Exposure.parse({"goals": [{"tier": ["tail", "cold"], "floor": 0.9}], "cost": COST})
PROMISE = Launch(impressions=15, position=3)


@dataclass
class Probe:
    """An arm that keeps what it was told and what it showed."""

    inner: Arm
    days: list[Day] = field(default_factory=list)
    slates: list[ItemsBatch] = field(default_factory=list)

    def __call__(self, day: Day) -> ItemsBatch:
        self.days.append(day)
        self.slates.append(self.inner(day))
        return self.slates[-1]


STEERED = Probe(WithExposure(TAIL))


@pytest.fixture(scope="module")
def shop() -> SimulatedShop:
    """A hundred products of which some come in the last days."""
    world = Simulation(n_users=90, n_items=100, n_days=24, visits=8, arriving=0.5)
    return simulate(world, seed=4)


@pytest.fixture(scope="module")
def outcome(shop: SimulatedShop) -> Outcome:
    arms: dict[str, Arm] = {
        "model": by_model,
        "nothing": WithExposure(),
        "tail": STEERED,
        "launch": WithExposure(launch=PROMISE),
        "both": WithExposure(TAIL, PROMISE, Conversion()),
        "both again": WithExposure(TAIL, PROMISE, Conversion()),
    }
    return feedback(shop, arms, days=DAYS, k=K, refit_days=3, traffic=6, milestone=15, seed=2)


def test_without_goals_and_promises_slates_are_the_models(outcome: Outcome) -> None:
    for name, figure in outcome.figures["model"].items():
        np.testing.assert_array_equal(outcome.figures["nothing"][name], figure)


def test_the_same_controls_give_the_same_slates(outcome: Outcome) -> None:
    for name, figure in outcome.figures["both"].items():
        np.testing.assert_array_equal(outcome.figures["both again"][name], figure)


def test_a_floor_brings_the_tail_exposure(outcome: Outcome) -> None:
    share = dict(outcome.totals().select("arm", "tail_exposure_share").rows())
    for arm in ("tail", "both"):
        assert share[arm] > share["model"] + 0.02


def test_promises_are_kept_whether_slates_are_steered_or_not(outcome: Outcome) -> None:
    """No launch stands below the end of a slate whose whole pool was put in order."""
    launched = dict(outcome.totals().select("arm", "launched").rows())
    assert launched["launch"] > launched["model"]
    assert launched["both"] >= launched["launch"] - 1


@pytest.mark.usefixtures("outcome")
def test_no_slate_costs_more_than_it_may() -> None:
    seen = 0
    for day, slates in zip(STEERED.days, STEERED.slates, strict=True):
        curve = response_curve(day)
        if curve is None:
            np.testing.assert_array_equal(slates.ids, by_model(day).ids)
            continue
        pools = day.engine.recommend(day.queries, 5 * K)
        best = np.sort(curve.probability(pools), axis=1)[:, ::-1][:, :K] @ dcg(K)
        own = slates.columns[WORTH] @ dcg(K)
        assert (own >= (1 - COST) * best * (1 - 1e-4)).all()
        seen += int((own < best * (1 - 1e-4)).sum())
    assert seen > 20  # and some of it is spent


def hand_sums(slates: list[ItemsBatch], n_items: int) -> ExposureSums:
    """Sums of slates, place by place."""
    exposure: Float64Array = np.zeros(n_items)
    worth = 0.0
    for batch in slates:
        for place in range(batch.ids.shape[1]):
            weight = 1 / np.log2(2 + place)
            np.add.at(exposure, batch.ids[:, place], weight)
            worth += weight * float(batch.columns[WORTH][:, place].sum())
    return ExposureSums(exposure, worth)


@pytest.mark.usefixtures("outcome")
@pytest.mark.parametrize("n_days", [1, 2])
def test_prices_look_back_on_the_window_and_the_one_before(n_days: int) -> None:
    day, today = STEERED.days[5], STEERED.slates[5]
    arm = WithExposure(replace_window(n_days))
    assert day.queries.hidden is not None
    goals = arm.exposure.compiled(day.table, ~day.queries.hidden)
    half = ItemsBatch(today.ids[:7], today.scores[:7], {WORTH: today.columns[WORTH][:7]})
    past, n_items = [one.slates for one in day.past], len(day.engine.ids)
    lately, before = past[len(past) - n_days + 1 :], past[-2 * n_days + 1 :][:n_days]
    start = goal_prices(goals, hand_sums(before, n_items), days=n_days)
    sums = hand_sums([*lately, half], n_items)
    expected = goal_prices(goals, sums, days=n_days - 1 + 0.25, start=start)
    got = arm._prices(day, goals, [half], 5.25)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def replace_window(n_days: float) -> Exposure:
    """The floor, a budget for all of it, and another window."""
    budget = {"name": "budget", "tier": ["tail"], "floor": 300.0, "unit": "budget"}
    goals = [*TAIL.model_dump(exclude_defaults=True)["goals"], budget]
    return Exposure.parse({"goals": goals, "window_days": n_days})


@pytest.mark.usefixtures("outcome")
def test_launches_count_what_was_shown_this_day_and_end_when_it_is_enough() -> None:
    day, slates = STEERED.days[3], STEERED.slates[3]
    arm = WithExposure(launch=PROMISE)
    before, after = arm._launching(day, []), arm._launching(day, [slates])
    assert before is not None
    assert after is not None
    shown = np.bincount(slates.ids[slates.ids != PADDING], minlength=len(day.engine.ids))
    np.testing.assert_array_equal(after.course.shown - before.course.shown, shown)
    new = np.isfinite(day.age_days)
    np.testing.assert_array_equal(after.waiting, new & (day.impressions + shown < 15))
    assert 0 < after.course.looked.sum() - before.course.looked.sum() < shown.sum()
    assert WithExposure()._launching(day, []) is None


@pytest.mark.usefixtures("outcome")
def test_what_is_launched_counts_within_the_day() -> None:
    """Far more visits than a promise has impressions, and no item is put there more often."""
    day, none = STEERED.days[4], np.zeros(len(STEERED.days[4].engine.ids))
    day = replace(day, impressions=none, exposure=none, clicks=none)
    slates = WithExposure(launch=Launch(impressions=3))(replace(day, rng=np.random.default_rng(0)))
    put = slates.ids[slates.columns[SOURCE] == SOURCES.index("launch")]
    assert len(np.unique(put)) > 3
    assert len(slates) > 5 * RENEWALS
    assert np.bincount(put).max() <= 3


def day_with(day: Day, looks: list[int], purchases: list[int]) -> Day:
    """A day on which some items were looked at and bought so often."""
    counts = (np.array(own, np.float64) for own in (looks, purchases))
    return replace(day, **dict(zip(("looks", "purchases"), counts, strict=True)))


@pytest.mark.usefixtures("outcome")
def test_without_optimism_the_value_of_a_click_is_the_conversion() -> None:
    day = STEERED.days[3]
    expected = rate_of(day.looks, day.purchases)
    np.testing.assert_array_equal(Conversion()(day), expected)
    assert expected.std() > 0.01
    nothing = day_with(day, [5, 0], [0, 0])
    for optimism in (0.0, 1.0):
        np.testing.assert_allclose(Conversion(optimism)(nothing), [1, 1])


@pytest.mark.usefixtures("outcome")
def test_optimism_raises_what_little_is_known_of() -> None:
    day = day_with(STEERED.days[0], [0, 10, 1000, 1000], [0, 2, 100, 300])
    plain, hopeful = Conversion()(day), Conversion(optimism=1.5)(day)
    raised = hopeful - plain
    assert raised[0] > raised[1] > raised[3] > raised[2] > 0
    np.testing.assert_allclose(Conversion(optimism=3.0)(day) - plain, 2 * raised, rtol=1e-4)
    # Of 1,300 looks that 400 are bought of: the binomial deviation, but for the prior's part.
    assert raised[3] == pytest.approx(1.5 * np.sqrt(0.3 * 0.7 / 1000), rel=0.02)


def test_tiers_are_those_of_the_fit_and_counts_those_of_the_events(shop: SimulatedShop) -> None:
    probe = Probe(by_model)
    feedback(shop, {"one": probe}, days=4, k=K, refit_days=3, traffic=6, seed=2)
    for day in probe.days:
        assert day.table[c.ITEM_ID].to_list() == day.engine.ids.tolist()
        cold = (day.table[c.TIER] == "cold").to_numpy()
        np.testing.assert_array_equal(cold, day.engine.counts == 0)
        head = day.engine.counts[(day.table[c.TIER] == "head").to_numpy()]
        tail = day.engine.counts[(day.table[c.TIER] == "tail").to_numpy()]
        assert head.min() > tail.max()
    first, last = probe.days[0], probe.days[3]
    history = shop.events.filter(
        (pl.col(c.TIMESTAMP) < shop.truth.recipe.start + pl.duration(days=20))
        & pl.col(c.TYPE).is_in(["view", "click"])
    )
    assert first.looks.sum() == len(history)
    assert last.looks.sum() == len(history) + last.clicks.sum()
    assert first.purchases.sum() < last.purchases.sum() < first.purchases.sum() + last.clicks.sum()
