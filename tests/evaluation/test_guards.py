"""Each way to spoil a comparison is planted, and must be found."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.worlds import crowd, words_of

from tailrec.candidates.popular import Popular
from tailrec.comparison import Entry, compare
from tailrec.data.split import Split, cold_items, leave_one_out, requests, time_windows
from tailrec.data.synthetic import PREFIX
from tailrec.dataset import DAY_US, Dataset
from tailrec.engine import EngineRecipe
from tailrec.errors import DataError
from tailrec.evaluation.facets import facets_of
from tailrec.evaluation.groups import item_deciles
from tailrec.evaluation.guards import check_comparison
from tailrec.evaluation.report import COLD, Evaluation, Recommend, evaluate
from tailrec.features.build import FeatureRecipe
from tailrec.items import BoolArray, Float64Array, ItemsBatch
from tailrec.tail.segments import DEFINITIONS, is_tail
from tailrec.verdicts import judged

WORDS_ALONE = EngineRecipe(features=FeatureRecipe(encode=False))
AT = (3, 10)
KINDS = ("time", "leave-one-out", "cold")


@cache
def split_of(kind: str) -> Split:
    """A split of a crowd; all of it can be told from the kind."""
    rng = np.random.default_rng(5)
    data = crowd(rng, n_users=120)
    if kind == "time":
        # All end on one day, so that those with short histories are newcomers.
        late = np.repeat(12 - np.diff(data.ptr), np.diff(data.ptr))
        return time_windows(replace(data, time=data.time + late * DAY_US), n=1, days=3)[0]
    return leave_one_out(data) if kind == "leave-one-out" else cold_items(data, 0.2, rng)


def by_chance(split: Split, seed: int) -> Recommend:
    """Items at random: every figure has something, and no two seeds the same."""
    odds = np.random.default_rng(seed).random((len(split), split.train.n_items))
    asked = np.repeat(np.arange(len(split)), np.diff(split.queries.exclude_ptr))
    odds[asked, split.queries.exclude] = -1
    ids = np.argsort(-odds, axis=1)[:, : AT[-1]].astype(np.int32)
    return lambda _, __: ItemsBatch(ids, np.zeros(ids.shape, np.float32))


def measured(
    split: Split,
    recommend: Recommend,
    *,
    masks: Mapping[str, BoolArray] | None = None,
    faceted: bool = True,
) -> Evaluation:
    """Figures of all requests, asked in one call."""
    facets = facets_of(split.train.catalog, words_of(split.train).words) if faceted else None
    counts = split.train.item_counts
    own = {name: is_tail(counts, name) for name in DEFINITIONS} | dict(masks or {})
    return evaluate(split, recommend, at=AT, masks=own, facets=facets, chunk=len(split))


@cache
def chance(kind: str, seed: int) -> Evaluation:
    """Figures of slates at random; never changed."""
    split = split_of(kind)
    return measured(split, by_chance(split, seed))


@pytest.fixture(scope="module", params=KINDS)
def split(request: pytest.FixtureRequest) -> Split:
    return split_of(request.param)


@pytest.fixture(scope="module")
def one(split: Split) -> Evaluation:
    return measured(split, by_chance(split, 1))


@pytest.fixture(scope="module")
def other(split: Split) -> Evaluation:
    return measured(split, by_chance(split, 2))


@pytest.mark.parametrize("faceted", [False, True])
def test_what_is_valid_passes(faceted: bool) -> None:
    splits = [split_of(kind) for kind in KINDS]
    runs = {
        str(seed): [measured(split, by_chance(split, seed), faceted=faceted) for split in splits]
        for seed in (1, 2)
    }
    check_comparison(splits, runs)
    # The world has everything that is checked.
    names = {name for run in runs["1"] for name in run.per_user}
    assert {"recall@10/cold", "ndcg@3/cold_users", "recall@10/rare", "ndcg@3/mass"} <= names
    assert ("recall@10/tail_users" in names) == ("ndcg@3/decile_1" in names) == faceted


def with_event(data: Dataset, user: int, item: int, time: int) -> Dataset:
    """The same histories, and one event more at the end of a user's."""
    at = int(data.ptr[user + 1])
    return replace(
        data,
        ptr=data.ptr + (np.arange(len(data.ptr)) > user),
        item=np.insert(data.item, at, item).astype(np.int32),
        time=np.insert(data.time, at, time),
        step=np.insert(data.step, at, data.step[at - 1] + 1).astype(np.int32),
        weight=np.insert(data.weight, at, 1).astype(np.float32),
        type=np.insert(data.type, at, data.type[0]),
        value=np.insert(data.value, at, np.nan).astype(np.float32),
    )


def retrained(split: Split, train: Dataset) -> Split:
    """The split with another train part, and requests that agree with it."""
    return replace(split, train=train, queries=requests(train, split.users, split.asof))


def target_learnt(split: Split) -> Split:
    user, time = int(split.users[3]), int(split.train.time.min())
    target = int(split.target[split.target_ptr[3]])
    return retrained(split, with_event(split.train, user, target, time))


def target_asked_with(split: Split) -> Split:
    """Nothing but the history that is handed over with the request knows the target."""
    told = target_learnt(split).queries
    return replace(
        split,
        queries=replace(told, exclude=split.queries.exclude, exclude_ptr=split.queries.exclude_ptr),
    )


def target_chosen_on(split: Split) -> Split:
    """Nothing but the events that an inner split is cut from know the target."""
    return replace(split, whole=target_learnt(replace(split, train=split.whole)).train)


def late_event(split: Split) -> Split:
    assert split.cut is not None
    other = int(np.setdiff1d(split.train.user, split.users)[0])
    return retrained(split, with_event(split.train, other, 0, split.cut))


def late_event_chosen_on(split: Split) -> Split:
    return replace(split, whole=late_event(replace(split, train=split.whole)).train)


def withheld_learnt(split: Split) -> Split:
    other = int(np.setdiff1d(split.train.user, split.users)[0])
    item = int(np.flatnonzero(split.withheld)[0])
    return retrained(split, with_event(split.train, other, item, 0))


def made_up_asked(split: Split) -> Split:
    names = split.train.user_ids.copy()
    names[split.users[3]] = f"{PREFIX}0"
    return retrained(split, replace(split.train, user_ids=names))


LEAKS = [
    *((kind, made_up_asked, "1 requests are of people that were made up") for kind in KINDS),
    *((kind, target_learnt, "1 targets are in train") for kind in KINDS),
    *((kind, target_asked_with, "1 targets are in the histories") for kind in KINDS),
    *((kind, target_chosen_on, "1 targets are in what options are chosen on") for kind in KINDS),
    ("time", late_event, "1 events of train are from after the cut"),
    ("time", late_event_chosen_on, "1 events of what options are chosen on are from after"),
    ("cold", withheld_learnt, "1 events of train are of items that are withheld"),
]


@pytest.mark.parametrize(("kind", "plant", "says"), LEAKS)
def test_a_split_that_leaks(kind: str, plant: Callable[[Split], Split], says: str) -> None:
    leaky = plant(split_of(kind))
    run = measured(leaky, by_chance(leaky, 1))
    with pytest.raises(DataError, match=f"not valid: {leaky.name}: .*{says}"):
        check_comparison([leaky], {"chance": [run]})
    with pytest.raises(DataError, match=f"not valid: {leaky.name}: .*{says}"):
        compare(WORDS_ALONE, [Entry("popular", Popular())], [leaky])


def refused(split: Split, honest: Evaluation, spoilt: Evaluation, says: str) -> None:
    """The spoilt one is refused whether it comes first or last."""
    for runs in ({"a": [honest], "spoilt": [spoilt]}, {"spoilt": [spoilt], "b": [honest]}):
        with pytest.raises(DataError, match=f"not valid: spoilt on .*: .*{says}"):
            check_comparison([split], runs)


@pytest.mark.parametrize("name", [*DEFINITIONS, COLD, "decile_5"])
def test_tiers_counted_on_train_and_test(name: str) -> None:
    told = 0
    for kind in KINDS:
        split, honest = split_of(kind), chance(kind, 1)
        seen = split.train.item_counts + np.bincount(split.target, minlength=split.train.n_items)
        late: dict[str, BoolArray] = {name: is_tail(seen, name) for name in DEFINITIONS}
        mask = (late | item_deciles(seen) | {COLD: seen == 0})[name]
        if not np.array_equal(mask, honest.tiers[name]):
            told += 1
            # All figures agree with the tier: it is only counted on something else.
            spoilt = honest
            if name in DEFINITIONS:
                spoilt = measured(split, by_chance(split, 1), masks={name: mask})
            spoilt = replace(spoilt, tiers=spoilt.tiers | {name: mask})
            refused(split, honest, spoilt, f"tier '{name}' holds")
    assert told


def spliced(honest: Evaluation, other: Evaluation, which: Callable[[str], bool]) -> Evaluation:
    """Some figures of another evaluation in the place of one's own."""
    return replace(
        honest,
        per_user={n: (other if which(n) else honest).per_user[n] for n in honest.per_user},
        figures={n: (other if which(n) else honest).figures[n] for n in honest.figures},
    )


OTHER_SLATES = "not from the slates that the other figures come from"


def test_tail_figures_of_other_slates(split: Split, one: Evaluation, other: Evaluation) -> None:
    check_comparison([split], {"one": [one], "other": [other]})
    refused(split, one, spliced(one, other, lambda name: "/" in name), OTHER_SLATES)
    refused(split, one, spliced(one, other, lambda name: "/" not in name), OTHER_SLATES)
    # The same with slates instead of figures, and with the tiers left out.
    refused(split, one, replace(one, ids=other.ids), OTHER_SLATES)
    tail = spliced(one, other, lambda name: name.endswith(("/pareto", "/mass")))
    refused(split, one, replace(tail, tiers={}), OTHER_SLATES)


@pytest.mark.parametrize("name", judged(AT))
def test_one_figure_of_other_slates(name: str) -> None:
    told = 0
    for kind in KINDS:
        split, one, other = split_of(kind), chance(kind, 1), chance(kind, 2)
        if one.figures.get(name) != other.figures.get(name):
            told += 1
            refused(split, one, spliced(one, other, name.__eq__), f"{name}: {OTHER_SLATES}")
            # Means that are not those of the values beside them.
            mean = replace(one, figures={**one.figures, name: other.figures[name]})
            refused(split, one, mean, f"{name}: {OTHER_SLATES}")
    assert told


@pytest.mark.parametrize("name", ["coverage@3", "gini@3", "popularity@3", "share@10/pareto"])
def test_exposure_that_is_not_of_these_slates(name: str, split: Split, one: Evaluation) -> None:
    assert one.figures[name] > 0
    spoilt = replace(one, figures={**one.figures, name: one.figures[name] / 2})
    refused(split, one, spoilt, f"{name}: {OTHER_SLATES}")


def test_tail_figures_in_which_a_single_slate_differs(split: Split, one: Evaluation) -> None:
    tail = COLD if split.withheld.any() else "pareto"
    row = int(np.flatnonzero(one.per_user[f"recall@10/{tail}"] < 1)[0])
    own = split.target[split.target_ptr[row] : split.target_ptr[row + 1]]
    ids = one.ids.copy()
    ids[row] = np.append(own, np.setdiff1d(ids[row], own))[: ids.shape[1]]
    helped = measured(split, lambda _, __: ItemsBatch(ids, np.zeros(ids.shape, np.float32)))
    for name in (f"recall@10/{tail}", f"ndcg@3/{tail}"):
        differs = ~np.isclose(one.per_user[name], helped.per_user[name], equal_nan=True)
        assert np.flatnonzero(differs).tolist() == [row]
    spoilt = spliced(one, helped, lambda name: name.endswith(f"/{tail}"))
    refused(split, one, spoilt, OTHER_SLATES)


def test_requests_left_out(split: Split, one: Evaluation) -> None:
    without = {name: own[:-1] for name, own in one.per_user.items()}
    means = {name: float(np.nanmean(own)) for name, own in without.items() if "/" not in name}
    fewer = replace(
        one,
        ids=one.ids[:-1],
        users=one.users[:-1],
        per_user=without,
        figures=one.figures | means,
    )
    refused(split, one, fewer, "users were dropped")
    refused(split, one, replace(one, ids=one.ids[:-1]), "users were dropped")
    refused(split, one, replace(one, per_user=without), "users were dropped")
    refused(split, one, replace(one, users=one.users[::-1]), "of other users")
    one_short = {**one.per_user, "recall@10/cold_users": one.per_user["recall@10"][1:]}
    refused(split, one, replace(one, per_user=one_short), "users were dropped")
    nothing: dict[str, Float64Array] = {}
    refused(split, one, replace(one, per_user=nothing), "overall figures are missing")
    halved = {name: own for name, own in one.per_user.items() if not name.startswith("ndcg@10")}
    refused(split, one, replace(one, per_user=halved), "missing, of recall@3, ndcg@3, recall@10")


@pytest.mark.parametrize("touched", ["", "/"])
def test_requests_whose_figures_are_undefined(split: Split, one: Evaluation, touched: str) -> None:
    """The requests that went badly are left out of the means: of all, or of tiers and groups."""
    badly = one.per_user["recall@10"] == 0
    assert badly.any()
    kept = {
        name: np.where(badly, np.nan, own) if touched in name else own
        for name, own in one.per_user.items()
    }
    kept = {name: own for name, own in kept.items() if not np.isnan(own).all()}
    means = {name: float(np.nanmean(own)) for name, own in kept.items()}
    spoilt = replace(one, per_user=kept, figures={**one.figures, **means})
    says = OTHER_SLATES if touched else f"leaves out {int(badly.sum())} requests"
    refused(split, one, spoilt, says)


def test_models_that_are_asked_of_other_users(split: Split) -> None:
    """A tier of one's own making is not known to the check; that it is the same for all is."""
    some = np.arange(split.train.n_items) % 2 == 0
    one, other = (measured(split, by_chance(split, 1), masks={"ours": m}) for m in (some, ~some))
    check_comparison([split], {"one": [one], "other": [one]})
    says = "tier 'ours' holds other items for other than for one; .*ndcg@3/ours is of other users"
    with pytest.raises(DataError, match=says):
        check_comparison([split], {"one": [one], "other": [other]})


def test_splits_left_out_and_mixed_up() -> None:
    splits = [split_of(kind) for kind in KINDS]
    runs = [chance(kind, 1) for kind in KINDS]
    check_comparison(splits, {"whole": runs})
    for wrong, says in (
        (runs[:2], "short has figures of 2 of 3 splits"),
        ([*runs, runs[0]], "short has figures of 4 of 3 splits"),
        ([runs[1], runs[0], runs[2]], f"short on {splits[0].name}: .* users were dropped"),
    ):
        with pytest.raises(DataError, match=says):
            check_comparison(splits, {"whole": runs, "short": wrong})
