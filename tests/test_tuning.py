from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.worlds import crowd, quick, words_of

from tailrec.candidates.ease import Ease
from tailrec.candidates.linear import Linear
from tailrec.candidates.popular import Popular
from tailrec.data.split import Split, leave_one_out
from tailrec.dataset import Features
from tailrec.errors import RecipeError
from tailrec.evaluation.report import evaluate
from tailrec.items import BoolArray
from tailrec.tail.segments import is_tail
from tailrec.tuning import Objective, choose, tune
from tailrec.tuning_spaces import SPACES, STARTS, served, source_named, with_options
from tailrec.tuning_study import Trial, open_study, recorded

SEARCHED = [kind for kind, space in SPACES.items() if space]
Inner = tuple[Split, Features, BoolArray]


@pytest.fixture(scope="module")
def inner() -> Inner:
    data = crowd(np.random.default_rng(3), n_users=80)
    split = leave_one_out(data)
    return split, words_of(data), is_tail(split.train.item_counts, "pareto")


BEST = Trial(Ease(decay=0.9), ndcg=0.1000, tail_ndcg=0.010)
NEAR = Trial(Ease(decay=0.8), ndcg=0.0996, tail_ndcg=0.020)
NEARER = Trial(Ease(decay=0.7), ndcg=0.0999, tail_ndcg=0.015)
FAR = Trial(Ease(decay=0.6), ndcg=0.0994, tail_ndcg=0.900)


def test_the_tail_decides_among_those_that_keep_nearly_all() -> None:
    assert choose([BEST, NEAR, NEARER, FAR]) is NEAR
    assert choose([BEST, FAR]) is BEST
    # Whoever gives up more of the overall NDCG gets more tail, and who gives up nothing none.
    assert choose([BEST, NEAR, NEARER, FAR], keep=0.99) is FAR
    assert choose([BEST, NEAR, NEARER, FAR], keep=1.0) is BEST
    assert choose([Trial(Ease(), 0.0, 0.0)]).ndcg == 0


def test_the_overall_figure_decides_the_other_way_round() -> None:
    close = Trial(Ease(decay=0.5), ndcg=0.0997, tail_ndcg=0.896)
    trials = [BEST, NEAR, NEARER, FAR, close]
    assert choose(trials, objective="overall") is close
    assert choose(trials, keep=1.0, objective="overall") is FAR
    # 0.010 is what 0.011 of the best tail leaves: everything may be chosen.
    assert choose(trials, keep=0.011, objective="overall") is BEST


@given(
    figures=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1),
    keep=st.floats(0.01, 1),
)
def test_both_objectives_are_mirror_images(figures: list[tuple[float, float]], keep: float) -> None:
    one = choose([Trial(Ease(), a, b) for a, b in figures], keep)
    other = choose([Trial(Ease(), b, a) for a, b in figures], keep, objective="overall")
    assert (one.ndcg, one.tail_ndcg) == (other.tail_ndcg, other.ndcg)
    assert one.ndcg >= keep * max(a for a, _ in figures)


@pytest.mark.parametrize("kind", SEARCHED)
def test_the_options_given_come_first_and_are_measured_as_they_are(kind: str, inner: Inner) -> None:
    split, features, tail = inner
    source = quick(kind)
    told: list[Trial] = []
    trials = tune(
        source, split, features, tail, budget_s=0, seed=1, progress=lambda _, t: told.append(t)
    )
    assert told == trials
    assert [trial.source for trial in trials] == served(source)
    assert trials[0].source == source
    assert all(trial.seconds > 0 for trial in trials)


@pytest.mark.parametrize("kind", SEARCHED)
def test_what_one_fit_is_measured_with_gives_what_a_fit_of_its_own_gives(
    kind: str, inner: Inner
) -> None:
    split, features, tail = inner
    trials = tune(quick(kind), *inner, budget_s=0, seed=1)
    assert len({trial.source.model_dump_json() for trial in trials}) == len(trials)
    assert (len(trials) > 1) == (kind not in ("popular", "als", "sequence"))
    for trial in trials:
        model = trial.source.fit(split.train, features, rng=np.random.default_rng(1))
        figures = evaluate(split, model.candidates, at=(10,), masks={"tail": tail}).figures
        assert trial.ndcg == pytest.approx(figures["ndcg@10"])
        assert trial.tail_ndcg == pytest.approx(figures["ndcg@10/tail"])


def test_a_fit_of_the_core_model_is_measured_with_and_without_a_prior() -> None:
    priors = [source.prior for source in served(Linear(prior=0.2)) if isinstance(source, Linear)]
    assert priors[0] == 0.2
    assert 0.0 in priors
    assert len({prior for prior in priors if prior > 0}) > 2
    assert len(priors) <= 8


def test_options_outside_their_range_and_none_are_tried_all_the_same(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in (Linear(words=0.0, basket=0.0), Popular(half_life_days=None)):
        monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)
        trials = tune(source, *inner, budget_s=5, seed=1)
        assert trials[0].source == source
        assert trials[-1].source != source


def test_a_search_stays_in_its_ranges_and_can_be_repeated(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fits(budget_s: int) -> list[Trial]:
        monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)  # a second a look
        # The first look is the start, and each fit but the first follows a look.
        return tune(Popular(), *inner, budget_s=budget_s, seed=4)

    one, other = fits(8), fits(14)
    assert (len(one), len(other)) == (8, 14)
    assert one == other[:8]
    span = SPACES["popular"]["half_life_days"]
    for trial in one[1:]:
        assert isinstance(trial.source, Popular)
        assert trial.source.half_life_days is not None
        assert span.low <= trial.source.half_life_days <= span.high
    assert len({trial.source.model_dump_json() for trial in one}) == len(one)


@pytest.mark.parametrize("kind", SEARCHED)
def test_what_is_known_to_be_good_is_tried_next(
    kind: str, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)
    source = quick(kind)
    starts = [with_options(source, options) for options in STARTS[kind]]
    trials = tune(source, *inner, budget_s=1 + len(starts), seed=2)
    fits = [trials[start] for start in range(0, len(trials), len(served(source)))]
    assert [fit.source for fit in fits][: 1 + len(starts)] == [source, *starts]


@pytest.mark.parametrize("objective", ["tail", "overall"])
def test_the_search_goes_where_what_is_kept_is_high(
    objective: Objective, inner: Inner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study says that little regularization is good overall, and much of it on the tail."""
    powers = np.linspace(np.log(5), np.log(5_000), 20)
    with open_study(tmp_path / "study") as study:
        study.add([Trial(Ease(), 0.01, 0.01)])
        for options in STARTS["ease"]:
            study.add([Trial(with_options(Ease(), options), 0.01, 0.01)])
        for power in powers:
            source = with_options(Ease(), {"regularization": np.exp(power)})
            study.add([Trial(source, float(np.exp(-power)), float(np.exp(power) / 5_000))])
    n_known = len(recorded(tmp_path / "study"))
    monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)
    trials = tune(
        Ease(), *inner, budget_s=6, seed=1, objective=objective, storage=tmp_path / "study"
    )
    new = trials[n_known :: len(served(Ease(decay=0.5)))]
    assert len(new) == 5
    middle = np.median([np.log(trial.source.regularization) for trial in new])  # type: ignore[union-attr]
    assert (middle < powers.mean()) == (objective == "tail")


def test_what_has_no_options_to_search_is_refused(inner: Inner) -> None:
    with pytest.raises(RecipeError, match="'mixture' has no options that are searched"):
        tune(quick("mixture"), *inner, budget_s=1, seed=1)


def test_every_space_names_options_of_its_source() -> None:
    assert set(STARTS) == set(SPACES)
    for kind, space in SPACES.items():
        source = source_named(kind)
        assert set(space) <= set(type(source).model_fields)
        assert all(0 < span.low < span.high for span in space.values())
        for options in STARTS[kind]:
            assert all(space[name].low <= v <= space[name].high for name, v in options.items())
        for end in ("low", "high"):
            options = {name: getattr(span, end) for name, span in space.items()}
            # Every corner is a recipe, and short numbers do not leave the range.
            extreme = with_options(source, options)
            assert type(source).model_validate(extreme.model_dump()) == extreme
            assert {name: getattr(extreme, name) for name in space} == options


def test_spaces_are_searched_over_whole_numbers_where_options_are(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)
    trials = tune(source_named("itemknn"), *inner, budget_s=6, seed=2)
    assert all(isinstance(trial.source.neighbours, int) for trial in trials)  # type: ignore[union-attr]
