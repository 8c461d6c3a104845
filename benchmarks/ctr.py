"""Are the chances of a click true? A simulated shop with position bias, whose truth is known.

``python benchmarks/ctr.py [--users N] [--seeds N]`` simulates a shop, fits `linear` on the first
70 % of the days, learns chances from the impressions of the next 15 %, with attention estimated
from the same log, and asks for those of the last 15 %. AUC, log-loss and calibration error of the
click at its place, overall and by tier, and the mean distance to the true chance; for trees, for
a network, for trees blind to places, and for what stands in a place on average. With the time of
500 items for one person on one core. Writes ``benchmarks/results/ctr.json``.
"""

import argparse
import json
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from sets import RESULTS, written

from tailrec import columns as c
from tailrec.candidates.linear import Linear
from tailrec.data.histories import Histories, build_dataset
from tailrec.dataset import DAY_US, Dataset, Features
from tailrec.evaluation.response import response
from tailrec.features.build import FeatureRecipe
from tailrec.items import PADDING, Array, Float32Array, ItemsBatch
from tailrec.ranking.context import context
from tailrec.ranking.ctr import AnyCtr, Ctr, CtrModel, Impressions, NeuralCtr
from tailrec.ranking.pools import RANK, SCORE, between, by_rank
from tailrec.reranking.attention import Attention, ClickLog
from tailrec.simulate import SimulatedShop, simulate
from tailrec.simulate_world import Simulation
from tailrec.tail.segments import tiers

SHARES = (0.7, 0.85)
DEPTH = 300


def main() -> None:
    """All seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    rows = []
    for seed in range(asked.seeds):
        for row in measured(simulate(Simulation(n_users=asked.users), seed=seed)):
            row = {"seed": seed, "users": asked.users} | row
            print(json.dumps(row), flush=True)
            rows.append(row)
    (RESULTS / "ctr.json").write_text(written({"rows": rows}), "utf-8")


def measured(shop: SimulatedShop) -> list[dict[str, Any]]:
    """Chances learnt with places, without, and by place alone."""
    start, days = shop.truth.recipe.start, shop.truth.recipe.n_days
    cuts = [start + timedelta(days=days * share) for share in SHARES]
    known = shop.events.filter(pl.col(c.TYPE) != "impression")
    data = build_dataset(known, shop.items, Histories(), until=cuts[0])
    features = FeatureRecipe(encode=False).fit(data.catalog).features
    model = Linear().fit(data, features, rng=np.random.default_rng(0))
    shown = slates_of(shop.events, data)
    learn = shown.filter((pl.col(c.TIMESTAMP) >= cuts[0]) & (pl.col(c.TIMESTAMP) < cuts[1]))
    ask = shown.filter(pl.col(c.TIMESTAMP) >= cuts[1])
    log = ClickLog(*(column(learn, name) for name in ("item", c.POSITION, c.CLICKED)))
    attention = Attention(kind="estimated").curve(10, log).attention

    def known_of(part: pl.DataFrame) -> Array:
        return told(part, model.candidates, data, features)

    own = Impressions(known_of(learn), log.position, log.clicked, attention)
    blind = replace(own, attention=np.ones(1))
    position, clicked = column(ask, c.POSITION), column(ask, c.CLICKED)
    seen, looked = known_of(ask), attention[position - 1]
    people = np.array([int(user[1:]) for user in ask[c.USER_ID]], np.int32)
    rows = np.array([int(item[1:]) for item in ask[c.ITEM_ID]], np.int32)
    truth = shop.truth.attention[position - 1] * shop.truth.probability(people, rows)
    tier = tiers(data.item_counts, "pareto")[column(ask, "item")]
    base = np.bincount(log.position, log.clicked) / np.maximum(np.bincount(log.position), 1)
    trees = fitted(Ctr(), own)
    network = fitted(NeuralCtr(), own)
    platt = fitted(NeuralCtr(calibration="platt"), own)
    guesses = {
        "trees": looked * trees.probability(seen),
        "network": looked * network.probability(seen),
        "network, platt": looked * platt.probability(seen),
        "trees, platt": looked * fitted(Ctr(calibration="platt"), own).probability(seen),
        "blind to places": fitted(Ctr(), blind).probability(seen),
        "place alone": base[position],
        "truth": truth,
    }
    timed = {"trees": trees, "network": network}
    return [
        {
            "model": name,
            "impressions": len(own),
            "asked": len(ask),
            "clicks": int(clicked.sum()),
            "distance": float(np.abs(guess - truth).mean()),
            "ms_500_items": latency(timed[name], seen) if name in timed else None,
        }
        | response(guess, clicked, tier=tier)
        for name, guess in guesses.items()
    ]


def fitted(recipe: AnyCtr, data: Impressions) -> CtrModel:
    """Always from the same seed."""
    return recipe.fit(data, rng=np.random.default_rng(0))


def slates_of(events: pl.DataFrame, data: Dataset) -> pl.DataFrame:
    """Impressions of items and people that were there, ordered by slate and place."""
    clicks = events.filter(pl.col(c.TYPE) == "click").select(c.SLATE_ID, c.ITEM_ID).unique()
    clicks = clicks.with_columns(pl.lit(value=True).alias(c.CLICKED))
    rows = pl.DataFrame({c.ITEM_ID: data.catalog.ids.astype(str)}).with_row_index("item")
    return (
        events.filter(pl.col(c.TYPE) == "impression")
        .join(clicks, on=[c.SLATE_ID, c.ITEM_ID], how="left")
        .with_columns(pl.col(c.CLICKED).fill_null(value=False))
        .join(rows, on=c.ITEM_ID)
        .sort(c.SLATE_ID, c.POSITION)
    )


def told(part: pl.DataFrame, propose: Any, data: Dataset, features: Features) -> Float32Array:
    """float32 [N, F], what is known of each impression, from what happened before the first cut."""
    people = np.array([data.user_index.get(user, -1) for user in part[c.USER_ID]], np.int32)
    distinct, place = np.unique(people, return_inverse=True)
    proposed = propose(data.queries(distinct, include_seen=True), DEPTH)
    item = column(part, "item")
    scores = np.zeros((2, len(distinct), len(data.catalog)), np.float32)
    row, at = np.nonzero(proposed.ids != PADDING)
    for values, out in zip((between(proposed), by_rank(proposed)), scores, strict=True):
        out[row, proposed.ids[row, at]] = values[row, at]
    said = {
        prefix + "linear": out[place, item][:, None]
        for prefix, out in zip((SCORE, RANK), scores, strict=True)
    }
    shown = ItemsBatch(item[:, None], np.ones((len(item), 1), np.float32), said)
    asof = part[c.TIMESTAMP].dt.epoch("us").to_numpy()
    queries = data.queries(people)
    later = np.repeat((asof - data.now) / DAY_US, np.diff(queries.ptr)).astype(np.float32)
    queries = replace(queries, days=queries.days + later)
    seen, _ = context(queries, shown, features, data.item_counts, asof)
    return seen[:, 0]


def column(table: pl.DataFrame, name: str) -> Array:
    """A column as an array; numbers of 32 bits."""
    values: Array = table[name].to_numpy()
    return values if values.dtype == np.bool_ else values.astype(np.int32)


def latency(model: CtrModel, seen: Float32Array) -> float:
    """Milliseconds for 500 items, the median of 50 times, one thread."""
    some = seen[:500]
    times = []
    for _ in range(50):
        started = perf_counter()
        model.probability(some)
        times.append(perf_counter() - started)
    return 1000 * float(np.median(times))


if __name__ == "__main__":
    main()
