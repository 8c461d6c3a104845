import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.worlds import crowd

from tailrec import columns as c
from tailrec.comparison import Contender, Search, compare, ratio, split_features
from tailrec.comparison_report import write_comparison
from tailrec.data.split import leave_one_out, time_windows
from tailrec.dataset import Catalog
from tailrec.engine import EngineRecipe
from tailrec.evaluation.report import evaluate
from tailrec.features.build import FeatureRecipe
from tailrec.shop import source_named
from tailrec.tail.segments import DEFINITIONS, is_tail

WORDS_ALONE = EngineRecipe(features=FeatureRecipe(encode=False))
SOURCES = [source_named(kind) for kind in ("linear", "popular", "ease")]


@pytest.fixture(scope="module")
def contenders() -> list[Contender]:
    data = crowd(np.random.default_rng(5), n_users=120)
    return compare(WORDS_ALONE, SOURCES, time_windows(data, n=2, days=2))


def test_figures_are_those_of_the_engine_itself(contenders: list[Contender]) -> None:
    data = crowd(np.random.default_rng(5), n_users=120)
    for place, split in enumerate(time_windows(data, n=2, days=2)):
        masks = {name: is_tail(split.train.item_counts, name) for name in DEFINITIONS}
        for contender, source in zip(contenders, SOURCES, strict=True):
            engine = WORDS_ALONE.model_copy(update={"source": source}).fit(split.train)
            alone = evaluate(split, engine.recommend, masks=masks)
            assert contender.evaluations[place].figures == alone.figures


def test_figures_are_means_over_the_splits(contenders: list[Contender]) -> None:
    for one in contenders:
        assert len(one.evaluations) == 2
        both = [e.figures["ndcg@10"] for e in one.evaluations]
        assert one.figures["ndcg@10"] == pytest.approx(np.mean(both))
        assert one.fit_seconds > 0
        assert one.slate_seconds > 0


def test_a_figure_that_one_split_lacks_is_taken_from_the_others(
    contenders: list[Contender],
) -> None:
    first, second = contenders[0].evaluations
    name = "recall@20/pareto"
    without = replace(
        second,
        figures={n: v for n, v in second.figures.items() if n != name},
        per_user={n: v for n, v in second.per_user.items() if n != name},
    )
    one = replace(contenders[0], evaluations=[first, without])
    assert one.figures[name] == first.figures[name]
    values = one.per_user(name)
    assert len(values) == len(first.ids) + len(second.ids)
    assert np.isnan(values[len(first.ids) :]).all()
    other = replace(contenders[2], evaluations=[contenders[2].evaluations[0], without])
    assert ratio(one, other, name) is not None


def test_ratios(contenders: list[Contender]) -> None:
    linear, popular, _ = contenders
    same = ratio(linear, linear, "ndcg@10")
    assert same is not None
    assert (same.low, same.mid, same.high) == (1, 1, 1)
    between = ratio(linear, popular, "ndcg@10")
    assert between is not None
    expected = np.nanmean(linear.per_user("ndcg@10")) / np.nanmean(popular.per_user("ndcg@10"))
    assert between.mid == pytest.approx(expected)
    assert between.low < between.mid < between.high
    assert ratio(linear, popular, "recall@10/no such tier") is None


def test_options_are_chosen_for_each_split_without_its_test() -> None:
    data = crowd(np.random.default_rng(5), n_users=120)
    split = leave_one_out(data)
    (one,) = compare(WORDS_ALONE, [source_named("ease")], [split], search=Search(0.3))
    assert len(one.options) == 1
    assert one.options[0] != source_named("ease")


def test_words_from_after_the_cut_are_not_learnt() -> None:
    """An item that arrives after the cut has a word of its own, and others in common."""
    data = crowd(np.random.default_rng(5), n_users=120)
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
    data = crowd(np.random.default_rng(5))
    model = split_features(WORDS_ALONE, leave_one_out(data), None, None)
    assert model.features.words.shape == WORDS_ALONE.features.fit(data.catalog).features.words.shape


def test_a_comparison_is_written_whole(contenders: list[Contender], tmp_path: Path) -> None:
    files = write_comparison(contenders, tmp_path / "report", [10, 20])
    assert [path.name for path in files] == ["comparison.json", "plane.png"]
    written = json.loads(files[0].read_text("utf-8"))
    assert [one["name"] for one in written] == ["linear", "popular", "ease"]
    assert written[0]["figures"] == pytest.approx(contenders[0].figures)
    assert [s["split"] for s in written[0]["splits"]] == [
        e.split for e in contenders[0].evaluations
    ]
    assert written[0]["options"][0]["kind"] == "linear"
    assert files[1].read_bytes()[:4] == b"\x89PNG"
    assert len(list((tmp_path / "report").iterdir())) == 2
