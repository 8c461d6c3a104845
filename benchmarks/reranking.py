"""How long re-rankers take to arrange 100 items into a slate of 20.

``python benchmarks/reranking.py [--only mmr,dpp] [--pool 100] [--places 20] [--json]``
draws pools of a catalogue of 20,000 items with vectors of 384 dimensions, in 30 categories, and
times each re-ranker for one row (median and 99th percentile over 2,000 pools, by the clock and
of the processor: the rest is waiting for other work) and for a row in a batch of 1,000, on all
cores. The knob of variety is at 1: all of its steps are taken. Variety is asked for as a served
request asks, through the engine, which gathers the vectors. A launch has 50 offers, sponsored
places 50 offers of 10 campaigns. `all` is `arrange.arranged` with every step on, and finds its
offers by the engine. ``--json`` writes ``benchmarks/results/reranking.json``.

Another re-ranker is one more entry in `RERANKERS`.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import TypeVar

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.arrange import (
    OFFERS,
    SOURCE,
    Arrangement,
    Launching,
    Selling,
    Steering,
    Variety,
    Worth,
    arranged,
)
from tailrec.candidates.linear import Linear
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import Engine, EngineRecipe
from tailrec.features.build import FeatureRecipe
from tailrec.items import Array, Float32Array, Float64Array, Int32Array, ItemsBatch, QueryBatch
from tailrec.reranking.attention import dcg
from tailrec.reranking.exposure_prices import steered
from tailrec.reranking.fairness import Fairness
from tailrec.reranking.fatigue import rested
from tailrec.reranking.launch import Course, Launch, launched
from tailrec.reranking.response import RESPONSE, ResponseCurve
from tailrec.reranking.rules import Rules
from tailrec.reranking.sponsored import Sponsored
from tailrec.reranking.variety import Method

N_ITEMS, DIM, N_CATEGORIES, N_PAST = 20_000, 384, 30, 60
N_TIERS, N_BRANDS, N_CAMPAIGNS = 4, 200, 10
N_BATCH = 1_000
SEED = 5
RESULTS = Path(__file__).parent / "results" / "reranking.json"


@dataclass(frozen=True)
class Case:
    """Pools, and whatever a re-ranker may ask for.

    Attributes:
        pools: [B, P].
        offers: [B, 50] other items, with a chance of a response.
        queries: with the people's past.
        engine: has the vectors.
        code: int32 [I], categories.
        how: an arrangement with every step on.
    """

    pools: ItemsBatch
    offers: ItemsBatch
    queries: QueryBatch
    engine: Engine
    code: Int32Array
    how: Arrangement

    def rows(self, start: int, stop: int) -> "Case":
        """Some of the rows alone."""
        pools, offers = (_rows(part, start, stop) for part in (self.pools, self.offers))
        return replace(self, pools=pools, offers=offers, queries=self.queries.rows(start, stop))


def _rows(batch: ItemsBatch, start: int, stop: int) -> ItemsBatch:
    columns = {name: values[start:stop] for name, values in batch.columns.items()}
    return ItemsBatch(batch.ids[start:stop], batch.scores[start:stop], columns)


T = TypeVar("T")
Reranker = Callable[[Case], ItemsBatch]


def given(part: T | None) -> T:
    """A part of an arrangement that has all parts."""
    assert part is not None
    return part


def varied(case: Case, method: Method, window: int | None = None) -> ItemsBatch:
    """Variety at the end of the knob."""
    code = case.code % N_TIERS if method == "popularity" else case.code
    had = case.queries.ptr, case.queries.item
    return case.engine.varied(
        case.pools, case.how.k, 1.0, method=method, window=window, code=code, had=had
    )


def tired(case: Case) -> ItemsBatch:
    """Every tenth item of the pools was shown in vain."""
    row, place = np.nonzero(case.pools.ids % 10 == 0)
    return rested(case.pools, row.astype(np.int32), case.pools.ids[row, place], case.how.fatigue)


def ruled(case: Case) -> ItemsBatch:
    """Factors, then caps."""
    rules = given(case.how.rules)
    return rules.placed(rules.reweighted(case.pools), case.how.k)


def controlled(case: Case) -> ItemsBatch:
    """Exposure, as it is steered where no step passes items over."""
    worth, steering = given(case.how.worth), given(case.how.steering)
    return steered(
        case.pools,
        worth.of(case.pools),
        steering.price,
        case.how.k,
        attention=worth.attention,
        cost=steering.cost,
    )


def fair(case: Case) -> ItemsBatch:
    """Enough of the tail in every prefix."""
    return given(case.how.fairness).placed(case.pools, case.how.k)


def first(case: Case) -> ItemsBatch:
    """Slates without any re-ranking, for the steps that take slates."""
    k = case.how.k
    return ItemsBatch(case.pools.ids[:, :k], case.pools.scores[:, :k])


def launching(case: Case) -> ItemsBatch:
    """A place for one of 50 new items."""
    own = given(case.how.launching)
    return launched(first(case), case.offers, own.course, recipe=own.recipe, rng=own.rng)


def sold(case: Case) -> ItemsBatch:
    """Two places for the campaigns."""
    selling = given(case.how.selling)
    offers = selling.terms.offers(case.offers)
    return selling.terms.placed(first(case), offers, offers.columns[RESPONSE], selling.bids)


def everything(case: Case) -> ItemsBatch:
    """Every step, in the order of the product, from the pools on."""
    pools = given(case.how.rules).reweighted(tired(case))
    return arranged(case.engine, pools, case.queries, case.how)


RERANKERS: list[tuple[str, Reranker]] = [
    ("mmr", partial(varied, method="mmr")),
    ("mmr, window 5", partial(varied, method="mmr", window=5)),
    ("dpp", partial(varied, method="dpp")),
    ("dpp, window 5", partial(varied, method="dpp", window=5)),
    ("categories", partial(varied, method="categories")),
    ("interests", partial(varied, method="interests")),
    ("popularity", partial(varied, method="popularity")),
    ("fatigue", tired),
    ("rules", ruled),
    ("exposure", controlled),
    ("fairness", fair),
    ("launch", launching),
    ("sponsored", sold),
    ("all", everything),
]


def engine_of(
    vectors: Float32Array, table: pl.DataFrame, past: Int32Array
) -> tuple[Engine, QueryBatch]:
    """An engine fitted on what people [B, N_PAST] had, with some vectors, and their requests."""
    item = past.ravel()
    n_people = len(past)
    data = Dataset(
        catalog=Catalog(table),
        user_ids=np.array([f"u{number}" for number in range(n_people)], object),
        ptr=np.arange(n_people + 1, dtype=np.int64) * N_PAST,
        item=item,
        time=np.tile(np.arange(N_PAST, dtype=np.int64), n_people),
        step=np.tile(np.arange(N_PAST, dtype=np.int32), n_people),
        weight=np.ones(len(item), np.float32),
        type=np.zeros(len(item), np.int8),
        value=np.zeros(len(item), np.float32),
        now=N_PAST,
    )
    recipe = EngineRecipe(features=FeatureRecipe(encode=False), source=Linear(neighbours=20))
    engine = recipe.fit(data)
    known = replace(engine.features.features, dense=vectors)
    arrivals = replace(engine.arrivals, dense=vectors[:0])
    engine = replace(engine, features=replace(engine.features, features=known), arrivals=arrivals)
    return engine, engine.queries(data)


def catalogue(code: Int32Array, price: Float64Array) -> pl.DataFrame:
    """20,000 items: a fifth not of the tail, a hundredth of each seller with a campaign."""
    number = np.arange(N_ITEMS)
    return pl.DataFrame(
        {
            c.ITEM_ID: number.astype(str),
            c.TITLE: [f"thing{kind}" for kind in code],
            c.BRAND: [f"brand {one}" for one in number % N_BRANDS],
            c.PRICE: price,
            c.SELLER_ID: [
                f"seller {one}" if one < N_CAMPAIGNS else None
                for one in number % (10 * N_CAMPAIGNS)
            ],
            c.TIER: np.where(number % 5 == 0, "head", "tail"),
        }
    )


def every_step(table: pl.DataFrame, k: int) -> Arrangement:
    """An arrangement with all of its parts."""
    rules = {
        "boost": [{"filter": {"price": {"lt": 0.3}}, "factor": 1.2}],
        "at_most": {"brand": 1},
    }
    protected = {"filter": {"tier": {"in": ["tail"]}}}
    campaigns = [
        {"name": f"{one}", "filter": {"seller_id": f"seller {one}"}, "bid": 1 + one, "budget": 9}
        for one in range(N_CAMPAIGNS)
    ]
    # Scores of random pools say nothing of those of the offers.
    terms = Sponsored.parse({"campaigns": campaigns, "floor": 0}).compiled(table)
    rng = np.random.default_rng(SEED)
    price = np.where(rng.random(N_ITEMS) < 0.5, rng.random(N_ITEMS), 0).astype(np.float32)
    zero = np.zeros(N_ITEMS)
    course = Course(zero, zero, zero, rng.random(N_ITEMS))
    launch = Launch(impressions=100)
    curve = ResponseCurve("score", np.array([0.0, 1.0]), np.array([0.01, 0.2]), 0.01, {})
    return Arrangement(
        k,
        Variety(1.0),
        rules=Rules.parse(rules).compiled(table),
        fatigue=0.3,
        worth=Worth(curve, dcg(k)),
        steering=Steering(0.1 * price, 0.01),
        fairness=Fairness.parse({"protected": protected, "share": 0.8}).compiled(table),
        launching=Launching(launch, course, launch.waiting(zero, course.age_days), rng),
        selling=Selling(terms, terms.terms[:, 0]),
    )


def drawn(among: Array, shape: tuple[int, int], rng: np.random.Generator) -> Int32Array:
    """Rows of items, none twice in a row."""
    return np.stack([rng.choice(among, shape[1], replace=False) for _ in range(shape[0])]).astype(
        np.int32
    )


def made(n_rows: int, size: int, k: int) -> Case:
    """Random pools; items of one category have something in common."""
    rng = np.random.default_rng(SEED)
    code = rng.integers(0, N_CATEGORIES, N_ITEMS).astype(np.int32)
    centre = rng.standard_normal((N_CATEGORIES, DIM), dtype=np.float32)
    vectors = centre[code] + rng.standard_normal((N_ITEMS, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = catalogue(code, rng.random(N_ITEMS))
    past = rng.integers(0, N_ITEMS, (n_rows, N_PAST)).astype(np.int32)
    engine, queries = engine_of(vectors, table, past)
    bought = table[c.SELLER_ID].is_not_null().to_numpy()
    ids, offered = (
        drawn(np.flatnonzero(~bought), (n_rows, size), rng),
        drawn(np.flatnonzero(bought), (n_rows, OFFERS), rng),
    )
    scores = -np.sort(-rng.random((n_rows, size + OFFERS), dtype=np.float32), axis=1)
    chance = rng.random((n_rows, OFFERS), dtype=np.float32)
    source = np.zeros((n_rows, size), np.int8)
    return Case(
        ItemsBatch(ids, scores[:, :size], {SOURCE: source}),
        ItemsBatch(offered, scores[:, :OFFERS], {RESPONSE: chance}),
        queries,
        engine,
        code,
        every_step(table, k),
    )


def timed(rerank: Reranker, whole: Case, rows: list[Case]) -> dict[str, float]:
    """Milliseconds for one row, by the clock and of the processor, and for each of a batch."""
    rerank(rows[0])  # compiled when first asked for
    spent, used = [], []
    for one in rows:
        began, before = perf_counter(), thread_time()
        rerank(one)
        used.append(1e3 * (thread_time() - before))
        spent.append(1e3 * (perf_counter() - began))
    began = perf_counter()
    rerank(whole)
    per_row = 1e3 * (perf_counter() - began) / len(whole.pools)
    figures = {"batch_ms_per_row": per_row}
    for clock, times in (("one", spent), ("one_cpu", used)):
        for percent in (50, 99):
            figures[f"{clock}_ms_p{percent}"] = float(np.percentile(times, percent))
    return figures


def table_of(figures: dict[str, dict[str, float]]) -> str:
    """Figures in columns."""
    names = ("one_ms_p50", "one_ms_p99", "one_cpu_ms_p50", "one_cpu_ms_p99", "batch_ms_per_row")
    titles = ("one row p50", "p99", "cpu p50", "cpu p99", "row in batch")
    lines = [f"{'re-ranker':16}" + "".join(f"{title:>14}" for title in titles) + "   (ms)"]
    for label, own in figures.items():
        lines.append(f"{label:16}" + "".join(f"{own[name]:14.3f}" for name in names))
    return "\n".join(lines)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="names that begin so, comma between")
    parser.add_argument("--pool", type=int, default=100, help="items of a pool")
    parser.add_argument("--places", type=int, default=20, help="of a slate")
    parser.add_argument("--rows", type=int, default=2_000, help="pools arranged one by one")
    parser.add_argument("--json", action="store_true", help=f"write {RESULTS.name}, too")
    asked = parser.parse_args()
    wanted = tuple(asked.only.split(",")) if asked.only else ("",)
    chosen = [(name, rerank) for name, rerank in RERANKERS if name.startswith(wanted)]
    if not chosen:
        sys.exit(
            f"nothing begins with {asked.only}; there are {', '.join(n for n, _ in RERANKERS)}"
        )
    whole = made(max(N_BATCH, asked.rows), asked.pool, asked.places)
    rows = [whole.rows(at, at + 1) for at in range(asked.rows)]
    figures = {name: timed(rerank, whole.rows(0, N_BATCH), rows) for name, rerank in chosen}
    print(table_of(figures))
    if asked.json:
        told = {"options": {"pool": asked.pool, "places": asked.places, "rows": asked.rows}}
        RESULTS.write_text(json.dumps(told | {"figures": figures}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
