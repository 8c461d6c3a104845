"""One evaluation: refuses worthless slates, knows no model, and matches known figures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import pytest
from tests.evaluation.rows import unit

from tailrec.data.histories import Histories, build_dataset
from tailrec.data.leaks import check_no_leak
from tailrec.data.split import Split, leave_one_out, time_windows, validation
from tailrec.dataset import DAY_US, Catalog, Dataset
from tailrec.errors import DataError
from tailrec.evaluation.calibration import miscalibration, popularity_deviation
from tailrec.evaluation.diversity import distinct_categories, intra_list_distance
from tailrec.evaluation.facets import Facets, facets_of
from tailrec.evaluation.groups import history_groups, item_deciles
from tailrec.evaluation.novelty import novelty, serendipity
from tailrec.evaluation.report import Recommend, evaluate
from tailrec.evaluation.tail import tail_accuracy
from tailrec.evaluation.unbiased import recall_ips
from tailrec.hits import count_targets, find_hits
from tailrec.items import PADDING, BoolArray, Int32Array, Int64Array, ItemsBatch, QueryBatch
from tailrec.tail.segments import tiers


def shop(rng: np.random.Generator, users: int, items: int, each: int) -> Dataset:
    """Users with distinct items, lower numbers more popular, one event a day."""
    odds = np.log(1 / (np.arange(items) + 1)) + rng.gumbel(size=(users, items))
    item = np.argpartition(-odds, each, axis=1)[:, :each].astype(np.int32).ravel()
    size = users * each
    return Dataset(
        catalog=Catalog(pl.DataFrame({"item_id": [f"i{n:05d}" for n in range(items)]})),
        user_ids=np.array([f"u{n:05d}" for n in range(users)], object),
        ptr=np.arange(users + 1, dtype=np.int64) * each,
        item=item,
        time=np.tile(np.arange(each, dtype=np.int64), users) * DAY_US,
        step=np.tile(np.arange(each, dtype=np.int32), users),
        weight=np.ones(size, np.float32),
        type=np.zeros(size, np.int8),
        value=np.full(size, np.nan, np.float32),
        now=(each - 1) * DAY_US,
    )


def popular(counts: Int64Array) -> Recommend:
    """The most popular items that are not excluded; ties in catalogue order."""
    order = np.argsort(-counts, kind="stable").astype(np.int32)

    def recommend(queries: QueryBatch, k: int) -> ItemsBatch:
        longest = int(np.diff(queries.exclude_ptr).max(initial=0))
        head = np.tile(order[: k + longest], (len(queries), 1))
        seen = find_hits(head, queries.exclude_ptr, queries.exclude)
        best = np.argsort(seen, axis=1, kind="stable")[:, :k]
        ids = np.take_along_axis(np.where(seen, np.int32(PADDING), head), best, axis=1)
        return ItemsBatch(ids, np.where(ids == PADDING, -np.inf, counts[ids]).astype(np.float32))

    return recommend


def pareto(counts: Int64Array) -> BoolArray:
    """The least popular 80 % of the items."""
    mask = np.ones(len(counts), bool)
    mask[np.argsort(-counts, kind="stable")[: round(0.2 * len(counts))]] = False
    return mask


@pytest.fixture
def split(rng: np.random.Generator) -> Split:
    return leave_one_out(shop(rng, users=200, items=40, each=6))


def oracle(split: Split, place: int) -> Recommend:
    """Puts each user's target at a known place (0 is the top) of 30 items."""
    next_row = iter(range(0, len(split), 64))

    def recommend(queries: QueryBatch, k: int) -> ItemsBatch:
        start = next(next_row)
        ids = np.empty((len(queries), k), np.int32)
        for row in range(len(queries)):
            target = split.target[start + row]
            others = np.setdiff1d(np.arange(split.train.n_items), queries[row].exclude)
            ids[row] = np.insert(others[others != target], place, target)[:k]
        return ItemsBatch(ids, np.zeros(ids.shape, np.float32))

    return recommend


@pytest.mark.parametrize("place", [0, 3, 12, 25])
def test_a_target_at_a_known_place_gives_known_figures(split: Split, place: int) -> None:
    mask = pareto(split.train.item_counts)
    got = evaluate(split, oracle(split, place), masks={"pareto": mask}, chunk=64).figures
    for k in (10, 20):
        inside = place < k
        assert got[f"recall@{k}"] == got[f"hit@{k}"] == got[f"recall@{k}/pareto"] == inside
        assert got[f"ndcg@{k}"] == pytest.approx(inside / np.log2(place + 2))
        assert got[f"ndcg@{k}/pareto"] == pytest.approx(inside / np.log2(place + 2))
        assert got[f"mrr@{k}"] == pytest.approx(inside / (place + 1))
        assert got[f"precision@{k}"] == pytest.approx(inside / k)


def test_popularity_finds_no_tail_and_shows_none(split: Split) -> None:
    counts = split.train.item_counts
    result = evaluate(split, popular(counts), at=(2,), masks={"pareto": pareto(counts)})
    assert result.figures["recall@2"] > 2 / 34, "better than chance on a popularity-made shop"
    assert result.figures["recall@2/pareto"] == 0
    assert result.figures["share@2/pareto"] == 0
    assert result.split == "leave-one-out"
    assert result.ids.shape == (200, 2)
    for name, values in result.per_user.items():
        assert result.figures[name] == pytest.approx(np.nanmean(values)), name


def test_the_size_of_a_chunk_changes_nothing(split: Split) -> None:
    counts = split.train.item_counts
    runs = [
        evaluate(split, popular(counts), masks={"p": pareto(counts)}, chunk=chunk)
        for chunk in (7, 4096)
    ]
    assert runs[0].figures == runs[1].figures
    np.testing.assert_array_equal(runs[0].ids, runs[1].ids)


def test_users_without_history_are_also_told_apart(rng: np.random.Generator) -> None:
    data = shop(rng, users=60, items=30, each=6)
    newcomers = (data.user >= 20) | (data.time >= 4 * DAY_US)
    (window,) = time_windows(data.keep(newcomers), n=1, days=2)
    assert 0 < window.cold_users.sum() < len(window)
    result = evaluate(window, popular(window.train.item_counts), masks={})
    ndcg = result.per_user["ndcg@10"]
    assert result.figures["ndcg@10"] == pytest.approx(ndcg.mean())
    assert result.figures["ndcg@10/cold_users"] == pytest.approx(ndcg[window.cold_users].mean())
    assert result.figures["ndcg@10/known_users"] == pytest.approx(ndcg[~window.cold_users].mean())


def test_cold_items_are_told_apart_and_absent_tiers_left_out(rng: np.random.Generator) -> None:
    data = shop(rng, users=100, items=40, each=6)
    on_sale = (data.item < 3) | (data.time == 5 * DAY_US)
    (window,) = time_windows(data.keep(on_sale), n=1, days=1)
    assert np.flatnonzero(window.train.item_counts).tolist() == [0, 1, 2]
    result = evaluate(
        window,
        popular(window.train.item_counts),
        masks={"nobody": np.zeros(40, bool)},
    )
    cold = count_targets(window.target_ptr, window.target, np.arange(40) >= 3) > 0
    found = (result.ids[cold, :10] >= 3).any(1) & (result.per_user["hit@10"][cold] > 0)
    assert result.figures["recall@10/cold"] == pytest.approx(found.mean())
    assert 0 < found.mean() < 1
    assert "recall@10/nobody" not in result.figures
    assert result.figures["share@10/nobody"] == 0


def answer(change: Callable[[Int32Array, QueryBatch], Int32Array], split: Split) -> Recommend:
    honest = popular(split.train.item_counts)

    def recommend(queries: QueryBatch, k: int) -> ItemsBatch:
        ids = change(honest(queries, k).ids.copy(), queries)
        return ItemsBatch(ids, np.zeros(ids.shape, np.float32))

    return recommend


def same_item_twice(ids: Int32Array, _: QueryBatch) -> Int32Array:
    ids[3, 5] = ids[3, 0]
    return ids


def known_item(ids: Int32Array, queries: QueryBatch) -> Int32Array:
    ids[0, 0] = queries[0].exclude[0]
    return ids


def no_such_item(ids: Int32Array, _: QueryBatch) -> Int32Array:
    ids[0, 0] = 40
    return ids


def one_slate_short(ids: Int32Array, _: QueryBatch) -> Int32Array:
    return ids[1:]


def five_of_all(ids: Int32Array, _: QueryBatch) -> Int32Array:
    ids[:, 5:] = PADDING
    return ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (same_item_twice, "1 slates hold an item twice"),
        (known_item, "1 slates hold items that the request excludes"),
        (no_such_item, r"items 0\.\.40; the catalogue has 0\.\.39"),
        (one_slate_short, "200 requests were answered by 199"),
    ],
)
def test_slates_that_would_flatter_are_refused(
    split: Split, change: Callable[[Int32Array, QueryBatch], Int32Array], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(split, answer(change, split), masks={})


def test_short_and_long_slates_are_measured_alike(split: Split) -> None:
    exact = evaluate(split, popular(split.train.item_counts), at=(5,), masks={})
    longer = answer(lambda ids, _: ids, split)
    wide = evaluate(split, lambda queries, _: longer(queries, 12), at=(5,), masks={})
    short = evaluate(split, lambda queries, _: longer(queries, 5), at=(5, 10), masks={})
    padded = evaluate(split, answer(five_of_all, split), at=(5, 10), masks={})
    assert padded.figures == short.figures
    assert wide.figures == exact.figures
    assert short.figures["recall@10"] == exact.figures["recall@5"]
    assert short.figures["precision@10"] == pytest.approx(exact.figures["precision@5"] / 2)


def test_a_mask_of_another_catalogue_is_refused(split: Split) -> None:
    with pytest.raises(DataError, match=r"mask 'rare' is \(39,\); the catalogue has 40"):
        evaluate(split, popular(split.train.item_counts), masks={"rare": np.zeros(39, bool)})


def facets(n_items: int, n_words: int = 30, category: Int32Array | None = None) -> Facets:
    """Words at random, and three categories unless others are given."""
    rng = np.random.default_rng(1)
    words = unit((rng.random((n_items, n_words)) < 0.1) * rng.random((n_items, n_words)))
    three = (np.arange(n_items) % 3).astype(np.int32)
    return Facets(words, three if category is None else category)


BEYOND = {
    "ild",
    "categories",
    "novelty",
    "serendipity",
    "miscalibration",
    "popularity_deviation",
    "recall_ips",
}


def test_facets_bring_all_metrics_and_groups_and_change_no_other(split: Split) -> None:
    slates, masks = popular(split.train.item_counts), {"p": pareto(split.train.item_counts)}
    plain = evaluate(split, slates, masks=masks)
    full = evaluate(split, slates, masks=masks, facets=facets(40))
    assert plain.figures.items() <= full.figures.items()
    new = full.figures.keys() - plain.figures.keys()
    assert {f"{name}@{k}" for name in BEYOND for k in (10, 20)} <= new
    # Everybody has four events in train, so there is one group of histories, and tail users.
    groups = {f"decile_{number}" for number in range(1, 11)} | {"history_3_5", "tail_users"}
    named = {name.partition("/")[2] for name in new} - {""}
    assert named == groups
    for metric in ("recall", "ndcg", "share"):
        assert f"{metric}@10/decile_10" in new
    for name in new - {name for name in new if name.startswith("share")}:
        assert full.figures[name] == pytest.approx(np.nanmean(full.per_user[name])), name
    np.testing.assert_array_equal(full.users, split.users)
    assert full.tiers.keys() == {"p", "cold"} | {f"decile_{number}" for number in range(1, 11)}
    np.testing.assert_array_equal(full.tiers["p"], masks["p"])


def test_figures_with_facets_are_those_of_their_functions(rng: np.random.Generator) -> None:
    data = shop(rng, users=60, items=30, each=6)
    (split,) = time_windows(data.keep((data.user >= 20) | (data.time >= 4 * DAY_US)), n=1, days=2)
    counts, known = split.train.item_counts, facets(30)
    full = evaluate(split, popular(counts), at=(5,), masks={}, facets=known)
    past, targets = (split.queries.ptr, split.queries.item), (split.target_ptr, split.target)
    hits, n_targets = find_hits(full.ids, *targets), count_targets(*targets)
    for own in (
        intra_list_distance(full.ids, known.words, (5,)),
        distinct_categories(full.ids, known.category, (5,)),
        # Each item of a user stands once in train; twenty of sixty users have nothing there.
        novelty(full.ids, counts, 40, (5,)),
        serendipity(full.ids, hits, n_targets, counts, (5,)),
        miscalibration(*past, full.ids, known.category, (5,)),
        popularity_deviation(*past, full.ids, tiers(counts, "mass"), (5,)),
        recall_ips(hits, full.ids, targets, counts, at=(5,), gamma=2),
    ):
        for name, values in own.items():
            np.testing.assert_array_equal(full.per_user[name], values, err_msg=name)
    groups = history_groups(np.diff(split.queries.ptr))
    assert groups["tail_users"].all()
    assert groups["history_0"].sum() == 20
    for name, mask in {k: m for k, m in groups.items() if m.any()}.items():
        for metric in ("recall@5", "ndcg@5"):
            own = np.where(mask, full.per_user[metric], np.nan)
            np.testing.assert_array_equal(full.per_user[f"{metric}/{name}"], own)
    for name, mask in item_deciles(counts).items():
        wanted = count_targets(*targets, mask)
        if wanted.any():
            own = tail_accuracy(hits, full.ids, wanted, mask, (5,))["recall@5"]
            np.testing.assert_array_equal(full.per_user[f"recall@5/{name}"], own)


def test_novelty_counts_a_person_once(rng: np.random.Generator) -> None:
    data = shop(rng, users=50, items=20, each=4)
    twice = np.repeat(np.arange(data.n_events), 2)
    columns = ("item", "time", "step", "weight", "type", "value")
    doubled = replace(
        data, ptr=data.ptr * 2, **{name: getattr(data, name)[twice] for name in columns}
    )
    once, again = (leave_one_out(own, repeats="all") for own in (data, doubled))
    slates = popular(once.train.item_counts)
    results = [evaluate(own, slates, masks={}, facets=facets(20)) for own in (once, again)]
    assert again.train.n_events > once.train.n_events
    assert results[0].figures["novelty@10"] == pytest.approx(results[1].figures["novelty@10"])


def test_metrics_that_are_nowhere_defined_are_left_out(split: Split) -> None:
    nothing = Facets(unit(np.zeros((40, 3))), np.full(40, -1, np.int32))
    result = evaluate(split, popular(split.train.item_counts), masks={}, facets=nothing)
    left = {name.split("@")[0] for name in result.figures}
    assert left >= {"novelty", "serendipity", "popularity_deviation", "recall_ips"}
    assert not left & {"ild", "categories", "miscalibration"}


def test_a_shop_of_few_items_has_few_deciles(rng: np.random.Generator) -> None:
    few = leave_one_out(shop(rng, users=30, items=6, each=4))
    result = evaluate(few, popular(few.train.item_counts), at=(2,), masks={}, facets=facets(6))
    filled = {name for name, mask in item_deciles(few.train.item_counts).items() if mask.any()}
    told = {name.partition("/")[2] for name in result.per_user if "/decile" in name}
    assert 0 < len(told) <= len(filled) == 6
    assert told <= filled


def test_facets_of_another_catalogue_are_refused(split: Split) -> None:
    with pytest.raises(DataError, match="facets of 39 items; the catalogue has 40"):
        evaluate(split, popular(split.train.item_counts), masks={}, facets=facets(39))


@pytest.mark.slow
def test_all_figures_of_20000_users_take_two_seconds(rng: np.random.Generator) -> None:
    split = leave_one_out(shop(rng, users=20_000, items=300, each=6))
    slates, masks = popular(split.train.item_counts), {"pareto": pareto(split.train.item_counts)}
    paths = [f"shelf {n % 40}" for n in range(300)]
    catalog = Catalog(split.train.catalog.table.with_columns(category=pl.Series(paths)))
    known = facets_of(catalog, facets(300, n_words=1000).words)
    seconds = []
    for _ in range(3):
        started = perf_counter()
        result = evaluate(split, slates, masks=masks, facets=known)
        model = result.seconds_per_slate * len(split)
        seconds.append(perf_counter() - started - model)
    assert len(split) == 20_000
    assert min(seconds) <= 2


def places_of_targets(split: Split) -> tuple[Int64Array, Int64Array]:
    """Place of each target by popularity, ties in its favour and against it."""
    counts = split.train.item_counts
    own = counts[split.target]
    rising = np.sort(counts)
    owner = np.repeat(np.arange(len(split)), np.diff(split.queries.exclude_ptr))
    seen = counts[split.queries.exclude]
    best = len(counts) - np.searchsorted(rising, own, "right")
    worst = len(counts) - np.searchsorted(rising, own, "left") - 1
    best = best - np.bincount(owner, seen > own[owner], len(split)).astype(np.int64)
    worst = worst - np.bincount(owner, seen >= own[owner], len(split)).astype(np.int64)
    return best, worst


@pytest.mark.real
def test_popularity_on_beauty_is_the_reference(real_data: Path) -> None:
    """Validation figures on file: Recall@10 .0169, NDCG@10 .0082, coverage@20 .002, tail 0.

    They count ties in the target's favour: a place is the number of items that score higher.
    One slate cannot do that for every target, and so lies a little below.
    """
    folder = real_data / "amazon_beauty"
    data = build_dataset(
        pl.read_parquet(folder / "events.parquet"),
        pl.read_parquet(folder / "items.parquet"),
        Histories(),
        whole=True,
    )
    test = leave_one_out(data)
    split = validation(test)
    check_no_leak(test, data)
    check_no_leak(split, test.whole)
    assert (len(split), len(test), data.n_items) == (22_363, 22_363, 12_101)
    best, worst = places_of_targets(split)
    assert round(float((best < 10).mean()), 4) == 0.0169
    assert round(float(((best < 10) / np.log2(best + 2)).mean()), 4) == 0.0082
    counts = split.train.item_counts
    got = evaluate(split, popular(counts), masks={"pareto": pareto(counts)}).figures
    assert (worst < 10).mean() <= got["recall@10"] <= (best < 10).mean()
    assert round(got["coverage@20"], 3) == 0.002
    assert got["recall@20/pareto"] == 0
