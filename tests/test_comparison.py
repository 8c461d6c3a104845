"""Recommenders side by side: what each is given, what is measured, what is refused."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from tests.worlds import crowd, quick, words_of

from tailrec import columns as c
from tailrec.candidates.als import Als
from tailrec.candidates.ease import Ease
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.popular import Popular
from tailrec.comparison import (
    DRAWN,
    PEERS,
    Comparison,
    Entry,
    Rules,
    compare,
    peers_named,
    split_features,
)
from tailrec.data.exchange import fingerprint, summary
from tailrec.data.split import Split, leave_one_out, time_windows, validation
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import AnySource, EngineRecipe
from tailrec.errors import DataError, RecipeError
from tailrec.evaluation.facets import facets_of
from tailrec.evaluation.guards import CHECKS
from tailrec.evaluation.report import evaluate
from tailrec.features.build import FeatureRecipe
from tailrec.items import PADDING
from tailrec.shop import Shop
from tailrec.tail.segments import DEFINITIONS, is_tail
from tailrec.tuning import choose, tune
from tailrec.tuning_search import Goal
from tailrec.tuning_spaces import SPACES, source_named
from tailrec.verdicts import judged

WORDS_ALONE = EngineRecipe(features=FeatureRecipe(encode=False))
KINDS = [
    get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(get_args(AnySource)[0])
]


def world() -> Dataset:
    return crowd(np.random.default_rng(5), n_users=120)


def entries(*kinds: str) -> list[Entry]:
    return [Entry(kind, source_named(kind)) for kind in kinds]


@pytest.fixture(scope="module")
def splits() -> list[Split]:
    return time_windows(world(), n=2, days=2)


@pytest.fixture(scope="module")
def comparison(splits: list[Split]) -> Comparison:
    return compare(WORDS_ALONE, entries("linear", "popular", "ease"), splits)


def figures_alone(split: Split, source: AnySource, seed: int = 0) -> dict[str, float]:
    """Figures of a fit that no comparison had a part in."""
    masks = {name: is_tail(split.train.item_counts, name) for name in DEFINITIONS}
    recipe = WORDS_ALONE.model_copy(update={"source": source, "seed": seed})
    engine = recipe.fit(split.train)
    facets = facets_of(split.train.catalog, engine.features.features.words)
    return dict(evaluate(split, engine.recommend, masks=masks, facets=facets).figures)


def test_figures_are_those_of_the_engine_itself(
    comparison: Comparison, splits: list[Split]
) -> None:
    for one in comparison.contenders:
        assert len(one.parts) == len(splits)
        for part, split in zip(one.parts, splits, strict=True):
            (run,) = part.runs
            assert run.figures == figures_alone(split, source_named(one.name))
            assert run.split == split.name
            assert part.options == source_named(one.name).model_dump(mode="json")


def test_costs_are_measured(comparison: Comparison) -> None:
    for one in comparison.contenders:
        assert one.costs["fit_seconds"] > 0
        assert one.costs["slate_seconds"] > 0
        assert one.costs["search_seconds"] < 1  # nothing was searched
        assert one.card is None


def test_the_first_is_judged(comparison: Comparison) -> None:
    told = {(v.one, v.other) for v in comparison.verdicts}
    assert told == {("linear", "popular"), ("linear", "ease")}
    have = [name for name in judged((10, 20)) if name in comparison.contenders[0].figures]
    assert [v.figure for v in comparison.verdicts if v.other == "ease"] == have
    assert {"ndcg@10", "recall@20/pareto", "recall@20/tail_users", "recall_ips@20"} <= set(have)
    assert set(comparison.intervals) == {"linear", "popular", "ease"}
    # A draw of people does not normalise the weights of unbiased recall anew.
    bounded = [name for name in have if not name.startswith("recall_ips")]
    assert all(list(own) == bounded for own in comparison.intervals.values())


def test_a_comparison_as_plain_values(comparison: Comparison, splits: list[Split]) -> None:
    told = comparison.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["splits"] == [summary(split) for split in splits]
    assert told["at"] == [10, 20]
    assert told["seeds"] == 1
    assert told["budget_seconds"] == 0
    assert told["goal"] == {"objective": "tail", "keep": 0.995, "tail": "pareto"}
    assert told["checks"] == list(CHECKS)
    assert [one["name"] for one in told["contenders"]] == ["linear", "popular", "ease"]
    for one, own in zip(told["contenders"], comparison.contenders, strict=True):
        assert one["figures"] == own.figures
        assert list(one["intervals"]["ndcg@10"]) == ["low", "mid", "high"]
    assert len(told["verdicts"]) == len(comparison.verdicts)
    assert {"tailrec", "numpy", "implicit"} <= told["versions"].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_what_draws_at_random_is_known(kind: str) -> None:
    """Two fits from different seeds are the same, but of those kinds that say otherwise."""
    data = world()
    source = quick(kind)
    slates = [
        source.fit(data, words_of(data), rng=np.random.default_rng(seed))
        .candidates(data.queries(), 20)
        .ids
        for seed in (1, 2)
    ]
    assert (slates[0] != PADDING).any()
    assert np.array_equal(*slates) == (kind not in DRAWN)


def test_kinds_are_those_of_the_engine() -> None:
    assert set(SPACES) == set(KINDS) >= DRAWN
    assert {entry.source.kind for entry in PEERS.values()} == set(KINDS)
    assert list(PEERS) == [entry.name for entry in PEERS.values()]


def test_several_seeds_for_what_draws() -> None:
    split = leave_one_out(world())
    pair = [Entry("als", Als(factors=8, iterations=3)), Entry("ease", Ease())]
    als, ease = compare(WORDS_ALONE, pair, [split], rules=Rules(seeds=2)).contenders
    assert [len(one.runs) for one in (als, ease)] == [2, 1]
    assert ease.spread == {}
    runs = [figures_alone(split, Als(factors=8, iterations=3), seed) for seed in (0, 1)]
    assert [dict(run.figures) for run in als.runs] == runs
    both = [run["ndcg@10"] for run in runs]
    assert als.figures["ndcg@10"] == pytest.approx(np.mean(both))
    assert als.spread["ndcg@10"] == pytest.approx(np.std(both, ddof=1))
    assert als.spread["ndcg@10"] > 0


def test_peers_by_name() -> None:
    assert [entry.name for entry in peers_named(["ease", "popular"])] == ["ease", "popular"]
    assert peers_named([]) == []
    assert [entry.source for entry in peers_named(["popular", "recent"])] == [
        Popular(),
        Popular(half_life_days=30),
    ]
    with pytest.raises(RecipeError, match="magic, svd cannot be compared; known are popular, rec"):
        peers_named(["ease", "magic", "svd"])
    with pytest.raises(RecipeError, match="ease, als, ease: each is named once"):
        peers_named(["ease", "als", "ease"])


def test_there_must_be_something_to_compare(splits: list[Split], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 contenders on 2 splits"):
        compare(WORDS_ALONE, [], splits)
    with pytest.raises(DataError, match="1 contenders on 0 splits"):
        compare(WORDS_ALONE, entries("ease"), [])
    for names, slates in ((["ease", "popular", "ease"], {}), (["ease"], {"ease": tmp_path})):
        with pytest.raises(DataError, match="two contenders of one name"):
            compare(WORDS_ALONE, entries(*names), splits, slates=slates)


def test_options_are_chosen_on_validation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    split = leave_one_out(world())
    inner, goal = validation(split), Goal("overall", 0.8, "mass")
    start = ItemKnn(neighbours=3)

    def searched(seconds: int) -> list[Entry]:
        monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)  # a second a look
        return [Entry("itemknn", start)] if seconds else []

    features = split_features(WORDS_ALONE, split, None, None).features
    tail = is_tail(inner.train.item_counts, "mass")
    searched(8)
    trials = tune(start, inner, features, tail, budget_s=8, seed=0, objective="overall")
    chosen = choose(trials, 0.8, objective="overall").source
    assert chosen != start
    assert chosen != choose(trials, 0.8).source
    (one,) = compare(
        WORDS_ALONE, searched(8), [split], rules=Rules(budget_s=8, goal=goal)
    ).contenders
    assert one.parts[0].options == chosen.model_dump(mode="json")
    assert one.runs[0].figures == figures_alone(split, chosen)
    assert one.costs["search_seconds"] > 0
    # Other events after the cut, on the same train part: the same choice.
    shuffled = replace(split, target=np.full_like(split.target, 49))
    assert not np.isin(49, split.train.item)
    (other,) = compare(
        WORDS_ALONE, searched(8), [shuffled], rules=Rules(budget_s=8, goal=goal)
    ).contenders
    assert other.parts[0].options == one.parts[0].options
    assert other.figures != one.figures


def test_popularity_has_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)
    pair = peers_named(["popular", "recent"])
    popular, recent = compare(
        WORDS_ALONE, pair, [leave_one_out(world())], rules=Rules(budget_s=4)
    ).contenders
    assert popular.parts[0].options == Popular().model_dump(mode="json")
    assert recent.parts[0].options != Popular(half_life_days=30).model_dump(mode="json")
    assert not PEERS["popular"].searched
    assert {name for name, entry in PEERS.items() if not entry.searched} == {"popular", "mixture"}


def test_slates_from_elsewhere_stand_beside_ours(
    comparison: Comparison, splits: list[Split], tmp_path: Path
) -> None:
    """Ours, written as rows, give what the fitted model gives."""
    tables = []
    for split, run in zip(splits, comparison.contenders[2].runs, strict=True):
        request, place = np.nonzero(run.ids != PADDING)
        tables.append(
            pl.DataFrame(
                {
                    c.USER_ID: split.train.user_ids[split.users][request].tolist(),
                    c.ITEM_ID: split.train.catalog.ids[run.ids[request, place]].tolist(),
                    c.RANK: place + 1,
                    "split": split.name,
                }
            )
        )
    path = tmp_path / "theirs.parquet"
    pl.concat(tables).write_parquet(path)
    card = {"fit_seconds": 60, "fingerprints": [fingerprint(split) for split in splits]}
    path.with_suffix(".json").write_text(json.dumps(card), "utf-8")
    ours, theirs = compare(
        WORDS_ALONE, entries("linear"), splits, slates={"theirs": path}
    ).contenders
    assert ours.figures == comparison.contenders[0].figures
    assert theirs.figures == comparison.contenders[2].figures
    assert theirs.card == card
    assert theirs.costs == {"fit_seconds": 60}
    assert all(part.options is None for part in theirs.parts)
    # Alone, with nothing to fit.
    (alone,) = compare(WORDS_ALONE, [], splits, slates={"theirs": path}).contenders
    assert alone.figures == theirs.figures
    # A card of other splits, and slates that lack somebody.
    path.with_suffix(".json").write_text('{"fingerprints": ["x"]}', "utf-8")
    with pytest.raises(DataError, match="write the splits anew with --export"):
        compare(WORDS_ALONE, entries("linear"), splits, slates={"theirs": path})
    path.with_suffix(".json").unlink()
    pl.concat(tables)[20:].write_parquet(path)
    told: list[str] = []
    with pytest.raises(DataError, match="no slate for 1 of the"):
        compare(WORDS_ALONE, entries("ease"), splits, slates={"x": path}, tell=told.append)
    assert told == []  # bad slates are met before a fit takes its time


def test_what_is_worked_on_is_told(splits: list[Split]) -> None:
    told: list[str] = []
    compare(WORDS_ALONE, entries("ease", "popular"), splits, tell=told.append)
    first, second = (split.name for split in splits)
    assert told == [
        f"ease on {first}",
        f"popular on {first}",
        f"ease on {second}",
        f"popular on {second}",
        "intervals",
    ]


def test_a_shop_is_compared_as_its_recipe_says(shop_folder: Path) -> None:
    recipe = '[features]\nencode = false\n[source]\nkind = "ease"\nregularization = 77.0\n'
    recipe = 'objective = "overall"\nkeep = 0.9\ntail = "mass"\n' + recipe
    (shop_folder / "tailrec.toml").write_text(recipe, "utf-8")
    with Shop.open(shop_folder) as shop:
        splits = shop.splits("leave-one-out")
        comparison = shop.compare(splits, peers=peers_named(["popular"]))
        assert comparison.rules == Rules(goal=Goal("overall", 0.9, "mass"))
        assert [one.name for one in comparison.contenders] == ["ease", "popular"]
        assert comparison.contenders[0].parts[0].options == shop.recipe.source.model_dump()
        assert comparison.contenders[0].parts[0].options["regularization"] == 77
        own = shop.compare(splits, rules=Rules(at=(5,)))
        assert own.rules.goal == Goal()
        assert {"ndcg@5"} <= own.contenders[0].figures.keys()


def test_words_from_after_the_cut_are_not_learnt() -> None:
    """An item that arrives after the cut has a word of its own, and others in common."""
    data = world()
    (split,) = time_windows(data, n=1, days=2)
    assert split.cut is not None
    cut = datetime.fromtimestamp(split.cut / 1e6, UTC)
    created = [cut.replace(year=1960)] * data.n_items
    created[-1] = cut.replace(year=2000)  # no event, so nothing contradicts its date
    created[0] = cut.replace(year=2000)  # bought before the cut, whatever the date says
    table = data.catalog.table.with_columns(
        pl.Series(c.CREATED_AT, created, dtype=pl.Datetime("us", "UTC")),
        pl.when(pl.col(c.ITEM_ID) == f"i{data.n_items - 1}")
        .then(pl.lit("word1 zeppelin"))
        .otherwise(pl.col(c.TITLE))
        .alias(c.TITLE),
    )
    dated = replace(split, train=replace(split.train, catalog=Catalog(table)))
    model = split_features(WORDS_ALONE, dated, None, None)
    undated = Catalog(table.drop(c.CREATED_AT))
    knowing = WORDS_ALONE.features.fit(undated)
    assert len(model.features) == data.n_items
    assert model.features.words.shape[1] < knowing.features.words.shape[1]
    # Everything else is as in a shop that never heard of the item.
    before = WORDS_ALONE.features.fit(Catalog(table[:-1]))
    ours, theirs = model.features.words[:-1], before.features.words
    np.testing.assert_allclose(ours.toarray(), theirs.toarray())
    assert model.features.words[[-1]].nnz  # word1 was known


def test_without_dates_all_words_are_learnt() -> None:
    data = world()
    model = split_features(WORDS_ALONE, leave_one_out(data), None, None)
    assert model.features.words.shape == WORDS_ALONE.features.fit(data.catalog).features.words.shape
