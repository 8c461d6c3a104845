from itertools import count

import numpy as np
import pytest
from tests.worlds import crowd, words_of

from tailrec.candidates.ease import Ease
from tailrec.candidates.linear import Linear
from tailrec.candidates.popular import Popular
from tailrec.data.split import Split, leave_one_out
from tailrec.dataset import Features
from tailrec.evaluation.report import evaluate
from tailrec.items import BoolArray
from tailrec.shop import source_named
from tailrec.tail.segments import is_tail
from tailrec.tuning import SPACES, Trial, choose, tune


@pytest.fixture(scope="module")
def inner() -> tuple[Split, Features, BoolArray]:
    data = crowd(np.random.default_rng(3), n_users=80)
    split = leave_one_out(data)
    return split, words_of(data), is_tail(split.train.item_counts, "pareto")


def test_the_tail_decides_among_those_that_keep_nearly_all() -> None:
    best = Trial(Ease(decay=0.9), ndcg=0.1000, tail_ndcg=0.010)
    near = Trial(Ease(decay=0.8), ndcg=0.0996, tail_ndcg=0.020)
    nearer = Trial(Ease(decay=0.7), ndcg=0.0999, tail_ndcg=0.015)
    far = Trial(Ease(decay=0.6), ndcg=0.0994, tail_ndcg=0.900)
    assert choose([best, near, nearer, far]) is near
    assert choose([best, far]) is best
    # Whoever gives up more of the overall NDCG gets more tail, and who gives up nothing none.
    assert choose([best, near, nearer, far], keep=0.99) is far
    assert choose([best, near, nearer, far], keep=1.0) is best
    assert choose([Trial(Ease(), 0.0, 0.0)]).ndcg == 0


@pytest.mark.parametrize("kind", SPACES)
def test_the_options_given_come_first_and_are_measured_as_they_are(
    kind: str, inner: tuple[Split, Features, BoolArray]
) -> None:
    split, features, tail = inner
    source = source_named(kind)
    told: list[Trial] = []
    trials = tune(
        source, split, features, tail, budget_s=0, seed=1, progress=lambda _, t: told.append(t)
    )
    assert told == trials
    assert trials[0].source == source
    model = source.fit(split.train, features, rng=np.random.default_rng(1))
    figures = evaluate(split, model.candidates, at=(10,), masks={"tail": tail}).figures
    assert trials[0].ndcg == pytest.approx(figures["ndcg@10"])
    assert trials[0].tail_ndcg == pytest.approx(figures["ndcg@10/tail"])
    assert len({trial.source.model_dump_json() for trial in trials}) == len(trials)
    # What can be varied without another fit is.
    assert (len(trials) > 1) == (kind == "linear")


def test_options_outside_their_range_and_none_are_tried_all_the_same(
    inner: tuple[Split, Features, BoolArray],
) -> None:
    for source in (Linear(words=0.0, basket=0.0), Popular(half_life_days=None)):
        trials = tune(source, *inner, budget_s=0, seed=1)
        assert trials[0].source == source


def test_a_search_stays_in_its_ranges_and_can_be_repeated(
    inner: tuple[Split, Features, BoolArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)  # a second a look
    one, other = (tune(Ease(), *inner, budget_s=budget, seed=4) for budget in (5, 9))
    # The first look is the start, and each trial but the first follows a look.
    assert (len(one), len(other)) == (5, 9)
    assert one == other[:5]
    for trial in one[1:]:
        for name, span in SPACES["ease"].items():
            assert span.low <= getattr(trial.source, name) <= span.high
    assert len({trial.source.model_dump_json() for trial in one}) == len(one)


def test_every_space_names_options_of_its_source() -> None:
    for kind, space in SPACES.items():
        assert set(space) <= set(type(source_named(kind)).model_fields)
        assert all(0 < span.low < span.high for span in space.values())


def test_spaces_are_searched_over_whole_numbers_where_options_are(
    inner: tuple[Split, Features, BoolArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)
    trials = tune(source_named("itemknn"), *inner, budget_s=4, seed=2)
    assert all(isinstance(trial.source.neighbours, int) for trial in trials)
