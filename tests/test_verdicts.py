"""What is said of contenders whose figures are known."""

import json
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from tests.handmade import contender, evaluation
from tests.worlds import crowd, words_of

from tailrec.contender import Contender
from tailrec.data.split import cold_items, leave_one_out, time_windows
from tailrec.evaluation.facets import facets_of
from tailrec.evaluation.report import evaluate
from tailrec.evaluation.significance import Interval, ratio_interval
from tailrec.items import PADDING, Float64Array, ItemsBatch
from tailrec.tail.segments import DEFINITIONS, is_tail
from tailrec.verdicts import judge, judged, mean_intervals

AT = (10, 20)
N = 300


def named(name: str, **figures: Float64Array | Sequence[float]) -> Contender:
    """A contender with these figures, `ndcg` for ndcg@10 and so on."""
    short = {
        "ndcg": "ndcg@10",
        "recall": "recall@10",
        "tail": "recall@20/pareto",
        "rare": "recall@20/rare",
        "cold": "recall@20/cold",
    }
    return contender(name, evaluation({short[own]: list(v) for own, v in figures.items()}))


def found(share: float, seed: int = 0) -> Float64Array:
    """Hits of N requests, about this share of them."""
    return (np.random.default_rng(seed).random(N) < share).astype(np.float64)


def above_one(deviations: float) -> Float64Array:
    """Values whose mean is so many standard errors above 1."""
    normal = np.array([NormalDist().inv_cdf((n + 0.5) / N) for n in range(N)])
    return 1 + 0.1 * (normal / normal.std() + deviations / np.sqrt(N))


def test_better_worse_and_equal() -> None:
    ours = named("ours", ndcg=found(0.5))
    weak, strong = named("weak", ndcg=found(0.1, seed=1)), named("strong", ndcg=found(0.9, seed=2))
    same = named("same", ndcg=found(0.5))
    # As many hits, of other people.
    alike = named("alike", ndcg=found(0.5)[::-1])
    verdicts = judge([ours, weak, strong, same, alike], AT)
    assert [(v.figure, v.one, v.other) for v in verdicts] == [
        ("ndcg@10", "ours", other) for other in ("weak", "strong", "same", "alike")
    ]
    assert [v.word for v in verdicts] == ["better", "worse", "not told apart", "not told apart"]
    for verdict in verdicts:
        assert verdict.ratio is not None
        assert verdict.p is not None
        assert verdict.ratio.low <= verdict.ratio.mid <= verdict.ratio.high
    better, worse, equal, _ = verdicts
    assert better.ratio is not None
    assert better.ratio.low > 1
    assert better.ratio.mid == pytest.approx(ours.figures["ndcg@10"] / weak.figures["ndcg@10"])
    assert worse.ratio is not None
    assert worse.ratio.high < 1
    assert better.p == worse.p == pytest.approx(4 * 2 / 10_001)  # the least, of four questions
    assert equal.ratio == Interval(1, 1, 1)
    assert equal.p == 1
    # The other way round, better is worse.
    assert [v.word for v in judge([strong, ours], AT)] == ["better"]
    assert [v.word for v in judge([weak, ours], AT)] == ["worse"]


@pytest.mark.parametrize("deviations", [1.0, -1.0])
def test_an_interval_with_one_inside_says_nothing(deviations: float) -> None:
    close, plain = named("ours", ndcg=above_one(deviations)), named("other", ndcg=np.ones(N))
    (verdict,) = judge([close, plain], AT)
    assert verdict.ratio is not None
    assert verdict.ratio.low < 1 < verdict.ratio.high
    assert (verdict.ratio.mid > 1) == (deviations > 0)
    assert verdict.word == "not told apart"


@pytest.mark.parametrize(("ours", "says"), [(1, "better"), (-1, "worse")])
def test_many_questions_make_less_sure(ours: int, says: str) -> None:
    close, plain = above_one(2.2 * ours), np.ones(N)
    (alone,) = judge([named("ours", ndcg=close), named("other", ndcg=plain)], AT)
    assert alone.word == says
    assert alone.p is not None
    assert 0.015 < alone.p < 0.045
    # Three more questions, to which the answer is no.
    others = [named(f"other{n}", ndcg=close) for n in range(3)]
    verdicts = judge([named("ours", ndcg=close), named("other", ndcg=plain), *others], AT)
    assert [v.word for v in verdicts] == [f"{says}?", *["not told apart"] * 3]
    assert verdicts[0].ratio == alone.ratio
    assert verdicts[0].p == pytest.approx(4 * alone.p)


def test_beside_one_who_finds_nothing() -> None:
    nothing = np.zeros(N)
    few = np.eye(N)[0] + np.eye(N)[1]
    ours = named("ours", ndcg=found(0.2), tail=few, rare=nothing, cold=nothing)
    other = named("other", ndcg=nothing, tail=nothing, rare=nothing, cold=found(0.2))
    verdicts = {v.figure: v for v in judge([ours, other], AT)}
    words = {figure: verdict.word for figure, verdict in verdicts.items()}
    assert words == {
        "ndcg@10": "better",
        "recall@20/pareto": "not told apart",  # two hits may be luck
        "recall@20/rare": "not told apart",
        "recall@20/cold": "worse",
    }
    assert [verdicts[figure].ratio is None for figure in words] == [True, True, True, False]
    assert verdicts["recall@20/rare"].p is None
    # A draw has neither of the two people with a chance of 1 / e²; two sides, three questions.
    share = verdicts["recall@20/pareto"].p
    assert share == pytest.approx(2 * np.exp(-2), rel=0.1)
    assert verdicts["ndcg@10"].p == pytest.approx(3 * 2 / 10_001)
    assert verdicts["recall@20/cold"].ratio == Interval(0, 0, 0)


def test_more_than_nothing_may_be_unsure_once_all_questions_count() -> None:
    """Four people are drawn not at all with a chance of 1 / e⁴, on two sides .037."""
    four, nothing = np.eye(N)[:4].sum(0), np.zeros(N)
    ours, other = named("ours", ndcg=four), named("other", ndcg=nothing)
    assert [v.word for v in judge([ours, other], AT)] == ["better"]
    assert [v.word for v in judge([ours, other, named("same", ndcg=four)], AT)] == [
        "better?",
        "not told apart",
    ]


def test_one_alone_is_not_judged() -> None:
    assert judge([named("ours", ndcg=found(0.5))], AT) == []
    assert judge([named("ours", ndcg=found(0.5)), named("other", tail=found(0.5))], AT) == []


def test_figures_that_one_of_them_lacks_are_left_out() -> None:
    ours = named("ours", ndcg=found(0.5), tail=found(0.5), rare=found(0.5))
    other = named("other", ndcg=found(0.5), cold=found(0.5), rare=found(0.5))
    assert [v.figure for v in judge([ours, other], AT)] == ["ndcg@10", "recall@20/rare"]


def test_ratios_are_those_of_the_bootstrap() -> None:
    """Also over two splits with people in both, and figures that not all have."""
    rng = np.random.default_rng(4)
    users = [list(range(40)), list(range(20, 70))]
    undefined = [rng.random(len(own)) < 0.3 for own in users]

    def made(name: str, lift: float) -> Contender:
        runs = []
        for own, gone in zip(users, undefined, strict=True):
            values = rng.random(len(own)) + lift
            tail = np.where(gone, np.nan, values)
            per_user = {"ndcg@10": values.tolist(), "recall@20/pareto": tail.tolist()}
            runs.append(evaluation(per_user, users=own))
        return contender(name, *runs)

    ours, other = made("ours", 0.1), made("other", 0.0)
    verdicts = judge([ours, other], AT, seed=3)
    assert [v.figure for v in verdicts] == ["ndcg@10", "recall@20/pareto"]
    for verdict in verdicts:
        a, b = (one.per_user(verdict.figure) for one in (ours, other))
        rng_of_three = np.random.default_rng(3)
        expected = ratio_interval(a, b, groups=np.concatenate(users), rng=rng_of_three)
        assert verdict.ratio == pytest.approx(expected)
        assert verdict.ratio != judge([ours, other], AT, seed=4)[0].ratio
        people = ratio_interval(a, b, rng=np.random.default_rng(3))
        assert verdict.ratio != pytest.approx(people)  # who asks twice is drawn with both


def test_intervals_of_means() -> None:
    ours = named("ours", ndcg=found(0.5), tail=found(0.3))
    other = named("other", ndcg=found(0.2))
    intervals = mean_intervals([ours, other], AT)
    assert {name: list(own) for name, own in intervals.items()} == {
        "ours": ["ndcg@10", "recall@20/pareto"],
        "other": ["ndcg@10"],
    }
    for one in (ours, other):
        for name, interval in intervals[one.name].items():
            share = one.figures[name]
            assert interval.mid == pytest.approx(share)
            # The normal interval of a share.
            width = 1.96 * np.sqrt(share * (1 - share) / N)
            assert interval.low == pytest.approx(share - width, abs=0.01)
            assert interval.high == pytest.approx(share + width, abs=0.01)


def test_plain_values() -> None:
    ours = named("ours", ndcg=found(0.5), tail=found(0.5))
    verdicts = judge([ours, named("other", ndcg=found(0.2), tail=np.zeros(N))], AT)
    told = [verdict.to_dict() for verdict in verdicts]
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told[0]["verdict"] == told[1]["verdict"] == "better"
    assert (told[0]["figure"], told[0]["one"], told[0]["other"]) == ("ndcg@10", "ours", "other")
    assert list(told[0]["ratio"]) == ["low", "mid", "high"]
    assert told[1]["ratio"] is None
    assert 0 < told[0]["p_holm"] < 0.05


def test_what_is_judged_is_defined_for_the_same_requests_whatever_the_slates() -> None:
    """Else two contenders could not be compared request by request."""
    rng = np.random.default_rng(5)
    data = crowd(rng, n_users=120)
    splits = [leave_one_out(data), cold_items(data, 0.2, rng), *time_windows(data, n=1, days=2)]
    seen = set()
    slates_tell = set()
    for split in splits:
        counts = split.train.item_counts
        masks = {name: is_tail(counts, name) for name in DEFINITIONS}
        facets = facets_of(split.train.catalog, words_of(data).words)
        nothing = np.full((len(split), 20), PADDING, np.int32)
        some = nothing.copy()
        for row in range(0, len(split), 2):  # the others have empty slates
            free = np.setdiff1d(np.arange(data.n_items), split.queries[row].exclude)
            some[row] = rng.permutation(free)[:20]
        runs = [
            evaluate(
                split,
                lambda _, __, ids=ids: ItemsBatch(ids, np.zeros(ids.shape, np.float32)),
                masks=masks,
                facets=facets,
                chunk=len(split),
            )
            for ids in (nothing, some)
        ]
        for name in runs[1].per_user:
            defined = [~np.isnan(run.per_user[name]) for run in runs if name in run.per_user]
            seen.add(name)
            if len(defined) == 1 or not np.array_equal(*defined):
                slates_tell.add(name)
    assert set(judged(AT)) <= seen
    assert {"ild@10", "novelty@20"} <= slates_tell
    assert not set(judged(AT)) & slates_tell
