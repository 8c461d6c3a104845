"""Seconds and memory of judging slates, beside ranx, and of the bootstrap.

``python benchmarks/evaluation.py`` makes a world of 20,000 requests, 12,000 items and 20,000 words
with slates of 20, and measures, each in a process of its own on one core, once all code is
compiled: every metric of `evaluate`; the twelve figures that ranx has too, by tailrec and by ranx;
and the intervals of seven models in ten figures. Prints JSON.
"""

import json
import multiprocessing
import platform
import resource
from collections.abc import Callable, Mapping
from time import perf_counter

import numba
import numpy as np
import polars as pl
from scipy import sparse
from threadpoolctl import threadpool_limits

from tailrec import columns as c
from tailrec.data.histories import settle_repeats
from tailrec.data.split import Split, time_windows
from tailrec.dataset import DAY_US, Catalog, Dataset
from tailrec.evaluation.accuracy import accuracy
from tailrec.evaluation.facets import Facets, facets_of
from tailrec.evaluation.report import evaluate
from tailrec.evaluation.significance import Bootstrap
from tailrec.hits import count_targets, find_hits
from tailrec.items import PADDING, ItemsBatch, QueryBatch
from tailrec.tail.segments import DEFINITIONS, is_tail

USERS, ITEMS, WORDS, WORDS_OF_ITEM = 20_000, 12_000, 20_000, 15
HISTORY, TARGETS, K = 10, 3, 20
MODELS, FIGURES, PEOPLE, DRAWS = 7, 10, 22_000, 10_000
RUNS = 3
RANX = {"recall": "recall", "precision": "precision", "f1": "f1", "ndcg": "ndcg", "mrr": "mrr"}
RANX |= {"hit": "hit_rate"}


def world() -> tuple[Split, Facets]:
    """Histories over popular and rare items, with a last stretch of time to be guessed."""
    rng = np.random.default_rng(0)
    each = HISTORY + TARGETS
    odds = 1 / np.arange(10, ITEMS + 10)
    item = rng.choice(ITEMS, USERS * each, p=odds / odds.sum()).astype(np.int32)
    path = [f"root > shelf {n % 12} > board {n % 230}" for n in range(ITEMS)]
    table = pl.DataFrame({c.ITEM_ID: [f"i{n:05d}" for n in range(ITEMS)], c.CATEGORY: path})
    step = np.tile(np.arange(each, dtype=np.int32), USERS)
    data = Dataset(
        catalog=Catalog(table),
        user_ids=np.array([f"u{n:05d}" for n in range(USERS)], object),
        ptr=np.arange(USERS + 1, dtype=np.int64) * each,
        item=item,
        time=step.astype(np.int64) * DAY_US,
        step=step,
        weight=np.ones(len(item), np.float32),
        type=np.zeros(len(item), np.int8),
        value=np.full(len(item), np.nan, np.float32),
        now=(each - 1) * DAY_US,
    )
    (split,) = time_windows(settle_repeats(data, "first"), n=1, days=TARGETS)
    column = rng.choice(WORDS, ITEMS * WORDS_OF_ITEM).astype(np.int32)
    bounds = np.arange(ITEMS + 1, dtype=np.int32) * WORDS_OF_ITEM
    value = np.full(len(column), 1 / np.sqrt(WORDS_OF_ITEM), np.float32)
    words = sparse.csr_array((value, column, bounds), shape=(ITEMS, WORDS))
    return split, facets_of(data.catalog, words)


def slates(queries: QueryBatch, k: int) -> ItemsBatch:
    """Some popular and rare items, drawn anew for each request."""
    rng = np.random.default_rng(len(queries))
    pool = (ITEMS ** rng.random((len(queries), 6 * k))).astype(np.int32) - 1
    pool.sort(axis=1)
    wrong = find_hits(pool, queries.exclude_ptr, queries.exclude)
    wrong[:, 1:] |= pool[:, 1:] == pool[:, :-1]
    # Kept items to the front, in an order that favours no item.
    key = np.where(wrong, 2.0, rng.random(pool.shape))
    ids = np.take_along_axis(pool, np.argsort(key, axis=1)[:, :k], axis=1)
    ids[np.sort(key, axis=1)[:, :k] == 2.0] = PADDING
    return ItemsBatch(ids, np.zeros(ids.shape, np.float32))


def one_core() -> None:
    """Keep this process to one thread, ranx's parallel code too."""
    numba.set_num_threads(1)
    threadpool_limits(1)


def best(job: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs, one before them left aside: it compiles."""
    job()
    seconds = []
    for _ in range(RUNS):
        started = perf_counter()
        job()
        seconds.append(perf_counter() - started)
    return min(seconds)


def peak_mib() -> float:
    """The most memory this process ever held."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)


def all_metrics() -> dict[str, object]:
    """Every metric and group of `evaluate`, less the model's own time."""
    split, facets = world()
    masks = {name: is_tail(split.train.item_counts, name) for name in DEFINITIONS}
    before, seconds = peak_mib(), {}
    for kind, known in {"accuracy_and_exposure": None, "all": facets}.items():
        own = []
        for _ in range(RUNS + 1):
            started = perf_counter()
            result = evaluate(split, slates, masks=masks, facets=known)
            own.append(perf_counter() - started - result.seconds_per_slate * len(split))
        seconds[f"{kind}_s"] = round(min(own[1:]), 3)
        seconds[f"{kind}_figures"] = len(result.figures)
    return {
        "requests": len(split),
        "targets": len(split.target),
        **seconds,
        "memory_before_mib": before,
        "peak_mib": peak_mib(),
    }


def twelve_by_tailrec() -> dict[str, object]:
    """The figures that ranx has too."""
    split, _ = world()
    ids = slates(split.queries, K).ids
    before = peak_mib()

    def judge() -> Mapping[str, float]:
        hits = find_hits(ids, split.target_ptr, split.target)
        own = accuracy(hits, count_targets(split.target_ptr, split.target), (10, 20))
        return {name: float(values.mean()) for name, values in own.items()}

    return {
        "seconds": best(judge),
        "memory_before_mib": before,
        "peak_mib": peak_mib(),
        "means": judge(),
    }


def twelve_by_ranx() -> dict[str, object]:
    """The same by ranx: from its own objects, and with making them from dictionaries."""
    from ranx import Qrels, Run
    from ranx import evaluate as ranx_evaluate

    split, _ = world()
    ids = slates(split.queries, K).ids
    names = [f"{name}@{k}" for name in RANX.values() for k in (10, 20)]
    bounds = zip(split.target_ptr[:-1], split.target_ptr[1:], strict=True)
    wanted = {
        f"q{row}": {f"i{item}": 1 for item in split.target[start:end]}
        for row, (start, end) in enumerate(bounds)
    }
    shown = {
        f"q{row}": {f"i{item}": float(K - at) for at, item in enumerate(slate) if item != PADDING}
        for row, slate in enumerate(ids)
    }
    before = peak_mib()

    def objects() -> tuple[Qrels, Run]:
        return Qrels(wanted), Run(shown)

    qrels, run = objects()
    means = ranx_evaluate(qrels, run, names)
    back = {f"{theirs}@{k}": f"{ours}@{k}" for ours, theirs in RANX.items() for k in (10, 20)}
    return {
        "seconds": best(lambda: ranx_evaluate(qrels, run, names)),
        "seconds_with_making_objects": best(lambda: ranx_evaluate(*objects(), names)),
        "memory_before_mib": before,
        "peak_mib": peak_mib(),
        "means": {back[name]: float(value) for name, value in means.items()},
    }


def intervals() -> dict[str, object]:
    """One model's ratios to six others in ten figures, on the same draws."""
    rng = np.random.default_rng(0)
    figures = np.where(rng.random((MODELS, FIGURES, PEOPLE)) < 0.15, 1.0, 0.0)
    figures *= rng.random(figures.shape)
    pairs = [(figures[0, f], figures[m, f]) for m in range(1, MODELS) for f in range(FIGURES)]
    before = peak_mib()
    people = np.arange(PEOPLE)
    Bootstrap(people, draws=10, rng=rng).ratios(pairs[:1])  # compiles
    started = perf_counter()
    Bootstrap(people, draws=DRAWS, rng=rng).ratios(pairs)
    together = perf_counter() - started
    started = perf_counter()
    Bootstrap(people, draws=DRAWS, rng=rng).ratios(pairs[:1])
    return {
        "pairs": len(pairs),
        "people": PEOPLE,
        "draws": DRAWS,
        "all_pairs_s": round(together, 2),
        "one_pair_s": round(perf_counter() - started, 2),
        "memory_before_mib": before,
        "peak_mib": peak_mib(),
    }


def main() -> None:
    """Measure each job in a process of its own, compare, print."""
    jobs = (all_metrics, twelve_by_tailrec, twelve_by_ranx, intervals)
    found = {}
    for job in jobs:
        with multiprocessing.get_context("spawn").Pool(1, one_core) as pool:
            found[job.__name__] = pool.apply(job)
    ours, theirs = found["twelve_by_tailrec"], found["twelve_by_ranx"]
    means = theirs.pop("means")
    for name, value in ours.pop("means").items():
        assert abs(value - means[name]) < 1e-9, f"{name}: {value} here, {means[name]} by ranx"
    found["ranx_seconds_over_ours"] = round(theirs["seconds"] / ours["seconds"], 2)
    found["ranx_seconds_with_objects_over_ours"] = round(
        theirs["seconds_with_making_objects"] / ours["seconds"], 1
    )
    found["machine"] = f"{platform.machine()}, one thread"
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
