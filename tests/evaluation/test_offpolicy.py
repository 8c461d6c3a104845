"""Off-policy estimates against policies whose worth is known."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec.errors import DataError
from tailrec.evaluation.offpolicy import Log, Predicted, effective_size, off_policy
from tailrec.evaluation.significance import Bootstrap
from tailrec.items import Float64Array

RNG = np.random.default_rng
WORTH = np.array([0.02, 0.05, 0.10, 0.30])
"""Chance of a response to each of four things."""
SHOWN = np.array([0.4, 0.3, 0.2, 0.1])
OTHER = np.array([0.1, 0.2, 0.3, 0.4])
TRUTH = float(OTHER @ WORTH)
FEW = 200
"""Resamples, where bounds are not what is looked at."""


def log_of(n: int, seed: int, shown: Float64Array = SHOWN) -> tuple[Log, np.ndarray]:
    rng = RNG(seed)
    action = rng.choice(len(shown), n, p=shown)
    reward = (rng.random(n) < WORTH[action]).astype(np.float64)
    return Log(reward, shown[action]), action


def predicted(action: np.ndarray, worth: Float64Array) -> Predicted:
    return Predicted(worth[action], np.full(len(action), float(OTHER @ worth)))


def test_each_estimate_is_right_on_average_and_its_bounds_hold_the_truth() -> None:
    found: dict[str, list[tuple[float, bool]]] = {}
    for seed in range(60):
        log, action = log_of(3000, seed)
        guess = predicted(action, WORTH * 0.8 + 0.02)
        result = off_policy(log, OTHER[action], predicted=guess, draws=400, rng=RNG(seed))
        for name, (low, mid, high) in result.estimates.items():
            found.setdefault(name, []).append((mid, low <= TRUTH <= high))
    for values in found.values():
        mids, covered = map(np.array, zip(*values, strict=True))
        assert abs(mids.mean() - TRUTH) < 3 * mids.std() / np.sqrt(len(mids))
        assert covered.mean() >= 0.85
    spread = {name: np.std([mid for mid, _ in values]) for name, values in found.items()}
    assert set(spread) == {"ips", "snips", "dr", "switch"}
    assert spread["dr"] < spread["ips"]


def test_the_same_policy_is_neither_better_nor_worse() -> None:
    log, action = log_of(2000, 0)
    result = off_policy(log, SHOWN[action], draws=FEW, rng=RNG(0))
    assert result.estimates["ips"] == result.estimates["snips"] == result.logged
    assert result.effective_cases == pytest.approx(2000)
    assert result.difference.mid == pytest.approx(0)
    assert result.verdict == "undecided"


def test_verdicts() -> None:
    log, action = log_of(6000, 1)
    assert off_policy(log, OTHER[action], draws=FEW, rng=RNG(0)).verdict == "better"
    worst = np.array([0.7, 0.3, 0.0, 0.0])
    assert off_policy(log, worst[action], draws=FEW, rng=RNG(0)).verdict == "worse"


def test_no_verdict_where_few_cases_count() -> None:
    log, action = log_of(900, 2, np.array([0.97, 0.01, 0.01, 0.01]))
    rare = np.array([0.0, 0.0, 0.0, 1.0])
    result = off_policy(log, rare[action], draws=FEW, rng=RNG(0))
    assert result.verdict is None
    assert result.refused is not None
    assert "cases of the other policy" in result.refused
    assert result.effective_cases == np.count_nonzero(action == 3)


def test_no_verdict_where_few_respond() -> None:
    log, action = log_of(4000, 3)
    rare = Log(np.where(np.cumsum(log.reward) > 5, 0, log.reward), log.propensity)
    result = off_policy(rare, OTHER[action], draws=FEW, rng=RNG(0))
    assert result.verdict is None
    assert "effective cases have a reward" in str(result.refused)


def test_no_verdict_where_the_other_policy_shows_what_the_log_never_shows() -> None:
    log, action = log_of(4000, 4)
    beyond = OTHER / 3  # two thirds go to other things
    result = off_policy(log, beyond[action], draws=FEW, rng=RNG(0))
    assert result.verdict is None
    assert "never shows" in str(result.refused)


def test_a_perfect_prediction_leaves_no_variance_to_what_is_expected() -> None:
    rng = RNG(5)
    action = rng.choice(4, 500, p=SHOWN)
    log = Log(WORTH[action], SHOWN[action])
    result = off_policy(log, OTHER[action], predicted=predicted(action, WORTH), rng=RNG(0))
    assert result.estimates["dr"] == pytest.approx((TRUTH, TRUTH, TRUTH))
    low, _, high = result.estimates["ips"]
    assert high - low > 0.01


def test_switch_leaves_out_the_misses_of_great_weight() -> None:
    """Rewards lie close together: what the few heavy cases tell costs more than it is worth."""
    rng = RNG(6)
    shown, wanted = np.array([0.998, 0.002]), np.array([0.5, 0.5])
    action = rng.choice(2, 4000, p=shown)
    log = Log(0.5 + 0.001 * rng.standard_normal(4000), shown[action])
    half = Predicted(np.full(4000, 0.2), np.full(4000, 0.2))
    result = off_policy(log, wanted[action], predicted=half, draws=FEW, rng=RNG(0))
    assert result.threshold == pytest.approx(0.5 / 0.998)
    width = {name: high - low for name, (low, _, high) in result.estimates.items()}
    assert width["switch"] < width["dr"] / 5


@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(0.1, 5))
def test_self_normalised_estimates_move_with_the_rewards(
    seed: int, shift: float, scale: float
) -> None:
    log, action = log_of(50, seed)
    other = Log(log.reward * scale + shift, log.propensity)
    before, after = (off_policy(x, OTHER[action], draws=10, rng=RNG(0)) for x in (log, other))
    wanted = before.estimates["snips"].mid * scale + shift
    assert after.estimates["snips"].mid == pytest.approx(wanted)


def test_cases_of_one_person_count_together() -> None:
    log, action = log_of(1000, 7)
    person = np.arange(1000) // 10
    alone = off_policy(log, OTHER[action], rng=RNG(0))
    together = off_policy(Log(log.reward, log.propensity, person), OTHER[action], rng=RNG(0))
    assert together.estimates["ips"].mid == alone.estimates["ips"].mid
    assert together.effective_cases <= 100
    same = np.repeat(log.reward[:100], 10)
    chance = np.repeat(log.propensity[:100], 10)
    wide = off_policy(Log(same, chance, person), np.repeat(OTHER[action[:100]], 10), rng=RNG(0))
    narrow = off_policy(Log(same, chance), np.repeat(OTHER[action[:100]], 10), rng=RNG(0))
    assert np.ptp(wide.estimates["ips"]) > 2 * np.ptp(narrow.estimates["ips"])


def test_effective_size() -> None:
    assert effective_size(np.ones(7), np.arange(7)) == 7
    assert effective_size(np.array([3.0, 1, 0]), np.arange(3)) == pytest.approx(1.6)
    assert effective_size(np.ones(6), np.array([0, 0, 1, 1, 2, 2])) == 3
    assert effective_size(np.zeros(3), np.arange(3)) == 0


@pytest.mark.parametrize(
    ("reward", "propensity", "said"),
    [
        ([], [], "0 rewards"),
        ([1.0, 0], [0.5], "2 rewards and 1 propensities"),
        ([1.0, np.nan], [0.5, 0.5], "1 rewards are no numbers"),
        ([1.0, 0], [0.5, 0.0], r"propensities from 0\.0"),
        ([1.0, 0], [0.5, 1.5], r"to 1\.5"),
    ],
)
def test_a_log_that_is_none_is_refused(
    reward: list[float], propensity: list[float], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        Log(np.array(reward), np.array(propensity))


def test_chances_that_are_none_are_refused() -> None:
    log, action = log_of(10, 8)
    for chance, said in (
        (OTHER[action][:9], r"10 cases; chances and predictions are of \[9\]"),
        (OTHER[action] + 1, r"chances from 1\."),
        (np.zeros(10), "shares nothing with"),
    ):
        with pytest.raises(DataError, match=said):
            off_policy(log, chance, rng=RNG(0))


def bandit(folder: Path, policy: str, campaign: str) -> pl.DataFrame:
    return pl.read_csv(folder / "open_bandit" / policy / campaign / f"{campaign}.csv")


def click_model(frame: pl.DataFrame, n_items: int, fold: np.ndarray) -> np.ndarray:
    """float64 [N, n_items], click rates by item, each case by the other half of the log."""
    item, click = frame["item_id"].to_numpy(), frame["click"].to_numpy()
    rates = []
    for half in (0, 1):
        own = fold != half
        shown = np.bincount(item[own], minlength=n_items)
        clicked = np.bincount(item[own], click[own], n_items)
        rates.append((clicked + 200 * click[own].mean()) / (shown + 200))
    return np.array(rates)[fold]


@pytest.mark.parametrize("campaign", ["men", "women"])
@pytest.mark.parametrize(("logged", "other"), [("random", "bts"), ("bts", "random")])
def test_the_worth_of_a_policy_that_was_run_too(
    real_data: Path, campaign: str, logged: str, other: str
) -> None:
    """The log of one policy against what the other policy did earn in the same week.

    The Thompson policy looks at no person, so its chance of an item in a place is how often it
    showed it there.
    """
    log, real = bandit(real_data, logged, campaign), bandit(real_data, other, campaign)
    n_items = int(max(log["item_id"].max(), real["item_id"].max())) + 1  # type: ignore[arg-type, type-var]
    table = np.zeros((4, n_items))
    if other == "random":
        table[:] = 1 / real["item_id"].n_unique()
    else:
        np.add.at(table, (real["position"].to_numpy(), real["item_id"].to_numpy()), 1)
        table /= np.maximum(table.sum(axis=1, keepdims=True), 1)
    item, place = log["item_id"].to_numpy(), log["position"].to_numpy()
    rates = click_model(log, n_items, RNG(0).integers(2, size=len(log)))
    guess = Predicted(rates[np.arange(len(log)), item], (rates * table[place]).sum(axis=1))
    cases = Log(log["click"].to_numpy().astype(float), log["propensity_score"].to_numpy())
    result = off_policy(cases, table[place, item], predicted=guess, draws=2000, rng=RNG(0))
    truth = float(real["click"].mean())  # type: ignore[arg-type]
    for name, (low, _, high) in result.estimates.items():
        assert low <= truth <= high, (name, low, truth, high)


def test_ratings_that_people_chose_to_give(real_data: Path) -> None:
    """People rate what they like; the mean over coats drawn for them is lower."""
    folder = real_data / "coat"
    train, drawn = (np.loadtxt(folder / f"{name}.ascii") for name in ("train", "test"))
    chance = np.loadtxt(folder / "propensities.ascii")
    of_drawn = Bootstrap(np.nonzero(drawn > 0)[0], rng=RNG(0)).means([drawn[drawn > 0]])
    least, truth, most = of_drawn[0]
    given_ratings = train > 0
    propensity = chance[given_ratings] / chance.sum()  # of this pair, for one rating drawn
    person = np.nonzero(given_ratings)[0]
    log = Log(train[given_ratings], propensity, person)
    result = off_policy(log, np.full(len(propensity), 1 / chance.size), rng=RNG(0))
    low, mid, high = result.estimates["snips"]
    assert result.logged.low > most  # what people chose is better than what there is
    assert max(low, least) <= min(high, most)
    assert abs(mid - truth) < abs(result.logged.mid - truth) / 2
    assert result.verdict == "worse"
