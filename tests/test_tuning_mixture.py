"""What a budget affords: parts are left out, shortened or kept, and what measures best is taken."""

from pathlib import Path

import numpy as np
import pytest
from tests.worlds import QUICK, crowd, words_of

from tailrec.candidates.content import Content
from tailrec.candidates.linear import Linear
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.sequence import Sequential
from tailrec.data.split import leave_one_out
from tailrec.errors import RecipeError
from tailrec.mixture import Mixture
from tailrec.ranking.attention import Attention
from tailrec.ranking.blend import Blend
from tailrec.ranking.greedy import Greedy
from tailrec.tuning import choose
from tailrec.tuning_mixture import (
    LEAST,
    Pace,
    Validation,
    rankers_beside,
    search_mixture,
    search_source,
)
from tailrec.tuning_search import Goal
from tailrec.tuning_spaces import served
from tailrec.tuning_study import Trial

TRAINED = Sequential(width=8, blocks=1, heads=1, course=QUICK)
PARTS = (Linear(ridge=5), TRAINED, ItemKnn())


@pytest.fixture(scope="module")
def on() -> Validation:
    split = leave_one_out(crowd(np.random.default_rng(3), n_users=120))
    return Validation(split, "last", words_of(split.train), Goal(keep=0.9), 1)


def kinds(trial: Trial) -> list[str]:
    source = trial.source
    return [part.kind for part in source.parts] if isinstance(source, Mixture) else [source.kind]


@pytest.fixture
def nothing_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the budget, of each part the options given are measured alone."""
    monkeypatch.setattr("tailrec.tuning_mixture.SEARCHED", 0.0)


@pytest.mark.usefixtures("nothing_searched")
def test_with_time_for_it_all_parts_are_measured(on: Validation, tmp_path: Path) -> None:
    told: list[Trial] = []
    found = search_mixture(
        Mixture(parts=PARTS),
        on,
        folder=tmp_path,
        budget_s=1000,
        progress=lambda _, trial: told.append(trial),
    )
    mixed = [trial for trial in found.trials if isinstance(trial.source, Mixture)]
    assert [kinds(trial) for trial in mixed] == [
        *[["linear", "itemknn"]] * 2,
        *[["linear", "sequence", "itemknn"]] * 2,
    ]
    assert [trial.source.ranker.kind for trial in mixed] == ["blend", "attention"] * 2
    assert mixed[2].source.parts[1] == TRAINED
    assert told == found.trials
    assert found.told[0].startswith("sequence: 60 of its 60 steps")
    assert found.told[-1].startswith(f"served: {' + '.join(kinds(found.chosen))}")
    # The parts are those that their own searches chose.
    linear = [trial for trial in found.trials if kinds(trial) == ["linear"]]
    alone = choose(linear, on.goal.keep)
    assert mixed[2].source.parts[0] == alone.source
    assert found.chosen == choose([alone, *mixed], on.goal.keep)


def test_without_time_nothing_is_mixed(on: Validation, tmp_path: Path) -> None:
    found = search_mixture(Mixture(parts=PARTS), on, folder=tmp_path, budget_s=0.0)
    assert not [trial for trial in found.trials if isinstance(trial.source, Mixture)]
    assert found.told == ("no time is left to mix anything", "served: linear alone")


@pytest.mark.usefixtures("nothing_searched")
def test_what_is_trained_is_left_out_where_its_fits_take_too_long(
    on: Validation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "of", staticmethod(lambda *_: Pace(0.0, 100.0)))
    asked = on._replace(fits=6)
    found = search_mixture(Mixture(parts=PARTS), asked, folder=tmp_path, budget_s=1000)
    assert "sequence" not in [kind for trial in found.trials for kind in kinds(trial)]
    left = "sequence left out: 6 fits of a quarter of its steps take 9,000 s"
    assert found.told[0].startswith(left)
    assert kinds(found.chosen) in (["linear"], ["linear", "itemknn"])


@pytest.mark.usefixtures("nothing_searched")
def test_what_is_trained_gets_the_steps_there_is_time_for(
    on: Validation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = TRAINED.model_copy(update={"course": QUICK.model_copy(update={"steps": 4000})})
    # A thousandth of the time is what the fits here take.
    monkeypatch.setattr(Pace, "of", staticmethod(lambda *_: Pace(0.0, 0.1)))
    monkeypatch.setattr(Validation, "measured", lambda _, source: [Trial(source, 0.1, 0.1)])
    found = search_mixture(
        Mixture(parts=(Linear(ridge=5), long)), on, folder=tmp_path, budget_s=1000
    )
    (mixed,) = (trial for trial in found.trials if isinstance(trial.source, Mixture))
    steps = mixed.source.parts[1].course.steps
    assert LEAST * 4000 <= steps < 4000
    assert f"{steps:,} of its 4,000 steps" in found.told[0]


def test_a_pace_is_measured_and_told_both_ways(on: Validation) -> None:
    pace = Pace.of(TRAINED, on)
    assert 0 < pace.step_s < 1
    assert pace.fixed_s >= 0
    assert Pace(2.0, 0.5).steps(12.0) == 20
    assert Pace(2.0, 0.5).steps(1.0) == 0
    assert Pace(2.0, 0.5).seconds(20) == 12.0


def test_other_sources_are_searched_as_ever(on: Validation, tmp_path: Path) -> None:
    found = search_source(Content(), on, folder=tmp_path, budget_s=0.0)
    assert kinds(found.chosen) == ["content"]
    assert found.told == ()


def test_a_search_stopped_among_the_parts_says_so(on: Validation, tmp_path: Path) -> None:
    own = []

    def stop(_: float, trial: Trial) -> None:
        own.extend([trial] if trial.source.kind == "itemknn" else [])
        if len(own) > len(served(ItemKnn())):  # the options given are measured and kept
            raise KeyboardInterrupt

    found = search_mixture(Mixture(parts=PARTS), on, folder=tmp_path, budget_s=30, progress=stop)
    assert found.stopped
    assert found.given.source == ItemKnn()


def test_the_other_ranker_takes_over_the_options_of_the_one_that_is_named() -> None:
    named = Blend(keep=0.9)
    assert rankers_beside(named) == [named, Attention(blend=named)]
    attentive = Attention(width=8, blend=named)
    assert rankers_beside(attentive) == [attentive, named]
    assert rankers_beside(Greedy()) == [Greedy(), Blend(), Attention()]


def test_nothing_but_what_is_trained_is_refused(on: Validation, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="add a part of kind linear"):
        search_mixture(Mixture(parts=(TRAINED,)), on, folder=tmp_path, budget_s=1.0)
