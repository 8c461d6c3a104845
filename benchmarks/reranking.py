"""How long re-rankers take to arrange 100 items into a slate of 20.

``python benchmarks/reranking.py [--only mmr,dpp] [--pool 100] [--places 20] [--json FILE]``
draws pools of a catalogue of 20,000 items with vectors of 384 dimensions, in 30 categories, and
times each re-ranker for one row (median and 99th percentile over 2,000 pools, and what of the
latter is the processor's time: the rest is waiting for other work) and for a row in a batch of
1,000, on all cores. The knob of variety is at 1: all of its steps are taken. Variety
is asked for as a served request asks, through the engine, which gathers the vectors.

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

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.candidates.popular import Popular
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import Engine, EngineRecipe
from tailrec.features.build import FeatureRecipe
from tailrec.items import Float32Array, Int32Array, Int64Array, ItemsBatch
from tailrec.reranking.fatigue import rested
from tailrec.reranking.rules import Rules
from tailrec.reranking.rules_compiled import CompiledRules
from tailrec.reranking.variety import Method

N_ITEMS, DIM, N_CATEGORIES, N_PAST = 20_000, 384, 30, 60
N_TIERS = 4
N_BATCH = 1_000
SEED = 5


@dataclass(frozen=True)
class Case:
    """Pools, and whatever a re-ranker may ask for.

    Attributes:
        pools: [B, P].
        k: places of a slate.
        engine: has the vectors.
        code: int32 [I], categories.
        had_ptr: int64 [B + 1], bounds of the people's past.
        had: int32 [E], past items.
        rules: a boost, a limit by brand.
    """

    pools: ItemsBatch
    k: int
    engine: Engine
    code: Int32Array
    had_ptr: Int64Array
    had: Int32Array
    rules: CompiledRules

    def row(self, at: int) -> "Case":
        """One of the rows alone."""
        pools = ItemsBatch(self.pools.ids[[at]], self.pools.scores[[at]])
        past = self.had[self.had_ptr[at] : self.had_ptr[at + 1]]
        return replace(self, pools=pools, had_ptr=np.array([0, len(past)]), had=past)


Reranker = Callable[[Case], ItemsBatch]


def varied(case: Case, method: Method, window: int | None = None) -> ItemsBatch:
    """Variety at the end of the knob."""
    code = case.code % N_TIERS if method == "popularity" else case.code
    had = case.had_ptr, case.had
    return case.engine.varied(
        case.pools, case.k, 1.0, method=method, window=window, code=code, had=had
    )


def ruled(case: Case) -> ItemsBatch:
    """Factors, then caps."""
    return case.rules.placed(case.rules.reweighted(case.pools), case.k)


def tired(case: Case) -> ItemsBatch:
    """Every tenth item of the pools was shown in vain."""
    row, place = np.nonzero(case.pools.ids % 10 == 0)
    return rested(case.pools, row.astype(np.int32), case.pools.ids[row, place], 0.3)


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
]


def engine_of(vectors: Float32Array, table: pl.DataFrame) -> Engine:
    """An engine that knows nothing but some vectors."""
    none = np.zeros(0, np.int32)
    data = Dataset(
        catalog=Catalog(table),
        user_ids=np.zeros(0, object),
        ptr=np.zeros(1, np.int64),
        item=none,
        time=none.astype(np.int64),
        step=none,
        weight=none.astype(np.float32),
        type=none.astype(np.int8),
        value=none.astype(np.float32),
        now=0,
    )
    recipe = EngineRecipe(features=FeatureRecipe(encode=False), source=Popular())
    engine = recipe.fit(data)
    known = replace(engine.features.features, dense=vectors)
    arrivals = replace(engine.arrivals, dense=vectors[:0])
    return replace(engine, features=replace(engine.features, features=known), arrivals=arrivals)


def made(n_rows: int, size: int, k: int) -> Case:
    """Random pools; items of one category have something in common."""
    rng = np.random.default_rng(SEED)
    code = rng.integers(0, N_CATEGORIES, N_ITEMS).astype(np.int32)
    centre = rng.standard_normal((N_CATEGORIES, DIM), dtype=np.float32)
    vectors = centre[code] + rng.standard_normal((N_ITEMS, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = pl.DataFrame(
        {
            c.ITEM_ID: [str(number) for number in range(N_ITEMS)],
            c.TITLE: ["item"] * N_ITEMS,
            c.BRAND: [f"brand {number % 200}" for number in range(N_ITEMS)],
            c.PRICE: rng.random(N_ITEMS),
        }
    )
    ids = np.stack([rng.choice(N_ITEMS, size, replace=False) for _ in range(n_rows)])
    scores = -np.sort(-rng.random((n_rows, size), dtype=np.float32), axis=1)
    rules = Rules.parse(
        {
            "boost": [{"filter": {"price": {"lt": 0.3}}, "factor": 1.2}],
            "at_most": {"brand": 1},
        }
    )
    return Case(
        ItemsBatch(ids.astype(np.int32), scores),
        k,
        engine_of(vectors, table),
        code,
        np.arange(n_rows + 1, dtype=np.int64) * N_PAST,
        rng.integers(0, N_ITEMS, n_rows * N_PAST).astype(np.int32),
        rules.compiled(table),
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
    p50, p99 = np.percentile(spent, [50, 99])
    return {
        "one_ms_p50": float(p50),
        "one_ms_p99": float(p99),
        "one_cpu_ms_p99": float(np.percentile(used, 99)),
        "batch_ms_per_row": per_row,
    }


def table_of(figures: dict[str, dict[str, float]]) -> str:
    """Figures in columns."""
    lines = [
        f"{'re-ranker':16}{'one row p50':>14}{'p99':>10}{'cpu p99':>10}{'row in batch':>16}   (ms)"
    ]
    for name, own in figures.items():
        one = f"{own['one_ms_p50']:14.3f}{own['one_ms_p99']:10.3f}"
        one += f"{own['one_cpu_ms_p99']:10.3f}"
        lines.append(f"{name:16}{one}{own['batch_ms_per_row']:16.3f}")
    return "\n".join(lines)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="names that begin so, comma between")
    parser.add_argument("--pool", type=int, default=100, help="items of a pool")
    parser.add_argument("--places", type=int, default=20, help="of a slate")
    parser.add_argument("--rows", type=int, default=2_000, help="pools arranged one by one")
    parser.add_argument("--json", type=Path, help="file that the figures are written to, too")
    given = parser.parse_args()
    wanted = tuple(given.only.split(",")) if given.only else ("",)
    chosen = [(name, rerank) for name, rerank in RERANKERS if name.startswith(wanted)]
    if not chosen:
        sys.exit(
            f"nothing begins with {given.only}; there are {', '.join(n for n, _ in RERANKERS)}"
        )
    whole = made(max(N_BATCH, given.rows), given.pool, given.places)
    rows = [whole.row(at) for at in range(given.rows)]
    cut = slice(0, N_BATCH)
    batch = replace(
        whole,
        pools=ItemsBatch(whole.pools.ids[cut], whole.pools.scores[cut]),
        had_ptr=whole.had_ptr[: N_BATCH + 1],
        had=whole.had[: whole.had_ptr[N_BATCH]],
    )
    figures = {name: timed(rerank, batch, rows) for name, rerank in chosen}
    print(table_of(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
