"""Ways to arrange a slate, side by side: what each gives the tail, and what it costs.

``python benchmarks/slates.py [--only beauty] [--work DIR]`` takes amazon_beauty (leave-one-out
test), the last window of online_retail and a simulated shop. `linear` proposes 100 items a
request; each way makes slates of 20 of them. The strength of each is the highest of a grid that
keeps 99 % of the plain slates' NDCG@10 on validation; the test is seen once. Floors: every item
should get a share of what it would get if exposure went evenly over the catalogue. Writes
``benchmarks/results/slates.json``. The data are found by TAILREC_DATA.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from sets import RESULTS, make_shop, written

from tailrec import columns as c
from tailrec.arrange import Arrangement, Steering, Variety, Worth, arranged, pools_of
from tailrec.data.ingest import ingest
from tailrec.data.split import Split, validation
from tailrec.engine import Engine, EngineRecipe
from tailrec.evaluation.facets import Facets, facets_of
from tailrec.evaluation.report import Evaluation, evaluate
from tailrec.evaluation.significance import Bootstrap
from tailrec.features.build import FeatureModel
from tailrec.hits import find_hits, ndcg
from tailrec.items import PADDING, BoolArray, Float64Array, Int8Array, ItemsBatch
from tailrec.looks import learn_looks
from tailrec.reranking.attention import Attention
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_plan import plan
from tailrec.reranking.exposure_prices import Controller, ExposureSums
from tailrec.reranking.fairness import fair, minimum_protected
from tailrec.reranking.grouping import groups_of
from tailrec.shop import Shop
from tailrec.simulate import Simulation, simulate
from tailrec.tail.segments import is_tail, tiers

K = 20
KEPT = 0.99
"""Of the plain slates' NDCG@10 on validation, at least."""
REQUESTS = 6_000
"""Requests of validation that strengths are chosen on, at most."""
FLOORS = (0.1, 0.25, 0.5)
"""Of an even share, for every item."""
SHOWN = (
    *("ndcg@10", "recall@20", "recall@20/pareto", "coverage@20", "gini@20"),
    *("ild@10", "categories@10", "share@20/pareto"),
)


@dataclass(frozen=True)
class Scene:
    """One split, an engine fitted on its train part, and all that arranging needs.

    Attributes:
        split: what is asked.
        engine: fitted.
        pools: 100 proposals a request.
        wide: the same with the best tail items of each request.
        worth: expected value of a look.
        table: the catalogue with tiers.
        tail: bool [I].
        tier: int8 [I].
        facets: what slates are judged by.
    """

    split: Split
    engine: Engine
    pools: ItemsBatch
    wide: ItemsBatch
    worth: Worth
    table: pl.DataFrame
    tail: BoolArray
    tier: Int8Array
    facets: Facets

    @classmethod
    def of(cls, recipe: EngineRecipe, split: Split, features: FeatureModel) -> "Scene":
        """A fit, its proposals, and a response curve learnt one split earlier."""
        inner = validation(split)
        engine = recipe.fit(split.train, features=features)
        every = np.ones(split.train.n_items, np.float32)
        attention = Attention().curve(K)
        looks = learn_looks(recipe, inner, features, attention=attention, bought=every)
        worth = Worth(looks.curve, looks.attention)
        counts = split.train.item_counts
        tail, tier = is_tail(counts, "pareto"), tiers(counts, "pareto")
        names = pl.Series(c.TIER, np.array(c.TIERS)[tier], dtype=pl.String)
        table = split.train.catalog.table.with_columns(names)
        queries = split.queries
        plain = Arrangement(K, Variety(1.0))
        every = Steering(np.ones(len(counts), np.float32) * tail, 0.0)
        seek = Arrangement(K, worth=worth, steering=every)
        facets = facets_of(split.train.catalog, engine.features.features.words)
        return cls(
            split,
            engine,
            _by_parts(queries, lambda own: pools_of(engine, own, plain)),
            _by_parts(queries, lambda own: pools_of(engine, own, seek)),
            worth,
            table,
            tail,
            tier,
            facets,
        )

    def judged(self, slates: ItemsBatch) -> Evaluation:
        """All figures of some slates."""
        masks, split = {"pareto": self.tail}, self.split
        return evaluate(
            split, lambda _, __: slates, masks=masks, facets=self.facets, chunk=len(split)
        )

    def ndcg(self, slates: ItemsBatch) -> float:
        """NDCG@10 alone, which is quicker."""
        split = self.split
        hits = find_hits(slates.ids, split.target_ptr, split.target)
        return float(np.nanmean(ndcg(hits, np.diff(split.target_ptr), 10)))

    def goals(self, floor: float) -> CompiledGoals:
        """Every item at least a share of what is even."""
        goal = {"name": "items", "each": c.ITEM_ID, "floor": floor, "unit": "even"}
        recipe = Exposure.parse({"goals": (goal,)})
        return recipe.compiled(self.table, np.ones(len(self.table), np.bool_))

    @property
    def attention(self) -> Float64Array:
        """float64 [K], of the places."""
        return self.worth.attention[:K]


Way = Callable[[Scene, float], ItemsBatch]
"""A scene and a strength to slates."""


def plain(scene: Scene, _: float) -> ItemsBatch:
    """As they are proposed."""
    return scene.pools.first(K)


def varied(method: str) -> Way:
    """Variety by a method."""

    def way(scene: Scene, strength: float) -> ItemsBatch:
        code = None
        if method in ("categories", "interests"):
            code = groups_of(scene.table, c.CATEGORY)[0]
        if method == "popularity":
            code = scene.tier.astype(np.int32)
        how = Arrangement(K, Variety(strength, method, code=code))  # type: ignore[arg-type]
        return arranged(scene.engine, scene.pools, scene.split.queries, how)

    return way


def penalised(scene: Scene, strength: float) -> ItemsBatch:
    """Scores divided by a power of popularity."""
    counts = scene.split.train.item_counts.astype(np.float64)
    factor = (1 + counts[scene.pools.ids]) ** -strength
    # What only fills up stays below.
    scores = np.where(scene.pools.scores > 0, scene.pools.scores * factor, scene.pools.scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    return ItemsBatch(scene.pools.ids, scores.astype(np.float32)).ordered(order).first(K)


def leaning(scene: Scene, strength: float) -> ItemsBatch:
    """The tail dial of the engine."""
    queries = scene.split.queries
    return _by_parts(replace(queries, tail=strength), lambda own: scene.engine.recommend(own, K))


def fair_star(scene: Scene, share: float) -> ItemsBatch:
    """FA*IR with the tail protected."""
    if share == 0:
        return plain(scene, 0)
    return fair(scene.pools, scene.tail, K, minimum_protected(K, share, 0.1))


def planned(floor: float) -> Way:
    """Floors for every item, planned for all requests together; the strength is the cost."""

    def way(scene: Scene, cost: float) -> ItemsBatch:
        worth = scene.worth.of(scene.wide)
        made = plan(scene.wide, worth, scene.goals(floor), K, attention=scene.attention, cost=cost)
        return made.slates

    return way


def steered(floor: float) -> Way:
    """The same, one request after the other, in an order drawn at random."""

    def way(scene: Scene, cost: float) -> ItemsBatch:
        goals, wide = scene.goals(floor), scene.wide
        order = np.random.default_rng(0).permutation(len(wide))
        pools = wide.rows(order)
        worth = scene.worth.of(pools)
        controller = Controller(goals, scene.attention, cost)
        slates, _ = controller.run(pools, worth, ExposureSums.none(goals.n_items))
        back = np.argsort(order)
        return slates.rows(back)

    return way


KNOB = tuple(np.linspace(0, 1, 9).tolist())
COSTS = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0)
WAYS: Mapping[str, tuple[Way, Sequence[float]]] = (
    {
        "plain": (plain, (0.0,)),
        "popularity penalty": (penalised, tuple(np.linspace(0, 1, 21).tolist())),
        "FA*IR (tail protected)": (
            fair_star,
            (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
        ),
        "tail dial": (leaning, KNOB),
        "MMR": (varied("mmr"), KNOB),
        "DPP": (varied("dpp"), KNOB),
        "categories": (varied("categories"), KNOB),
        "interests": (varied("interests"), KNOB),
        "own tiers": (varied("popularity"), KNOB),
    }
    | {
        f"exposure {how}, floors {floor:g} of even": (way(floor), COSTS)
        for floor in FLOORS
        for how, way in (("planned", planned), ("online", steered))
    }
    | {
        f"exposure planned, floors {floor:g} of even, all met": (planned(floor), (1.0,))
        for floor in FLOORS
    }
)


def main() -> None:
    """All data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="beauty,retail,simulated")
    parser.add_argument("--work", type=Path, help="folder of the shops; kept")
    asked = parser.parse_args()
    path = RESULTS / "slates.json"
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        for name in asked.only.split(","):
            rows = measured(name, work)
            known = json.loads(path.read_text("utf-8"))["ways"] if path.exists() else []
            kept = [one for one in known if one["set"] != name]
            path.write_text(written({"ways": kept + rows}), "utf-8")


def measured(name: str, work: Path) -> list[dict[str, Any]]:
    """Every way on one data set."""
    split, recipe, features = opened(name, work)
    before = Scene.of(recipe, sampled(validation(split)), features)
    after = Scene.of(recipe, split, features)
    base = before.ndcg(plain(before, 0))
    tested: dict[str, tuple[float, Evaluation, float]] = {}
    for label, (way, grid) in WAYS.items():
        strength = chosen(before, way, grid, base)
        started = perf_counter()
        slates = way(after, strength)
        seconds = perf_counter() - started
        tested[label] = strength, after.judged(slates), seconds
        print(name, label, strength, round(tested[label][1].figures["ndcg@10"], 4), flush=True)
    return [row(name, label, after, tested) for label in tested]


def sampled(split: Split) -> Split:
    """A split with no more requests than strengths are chosen on."""
    rng = np.random.default_rng(0)
    if len(split) <= REQUESTS:
        return split
    return split.take(np.sort(rng.choice(len(split), REQUESTS, replace=False)))


def chosen(scene: Scene, way: Way, grid: Sequence[float], plain_ndcg: float) -> float:
    """The highest strength that keeps enough of the NDCG on validation."""
    kept = [
        strength
        for strength in grid
        if len(grid) == 1 or scene.ndcg(way(scene, strength)) >= KEPT * plain_ndcg
    ]
    return max(kept, default=grid[0])


def row(
    name: str, label: str, scene: Scene, tested: Mapping[str, tuple[float, Evaluation, float]]
) -> dict[str, Any]:
    """Figures of one way, with the ratio of its NDCG to that of plain slates."""
    strength, own, seconds = tested[label]
    base = tested["plain"][1]
    draw = Bootstrap(own.users, draws=2_000, rng=np.random.default_rng(0))
    names = ("ndcg@10", "recall@20/pareto")
    pairs = [(own.per_user[figure], base.per_user[figure]) for figure in names]
    ratios = draw.ratios(pairs)
    told: dict[str, Any] = {"set": name, "way": label, "strength": strength}
    told |= {figure: own.figures[figure] for figure in SHOWN if figure in own.figures}
    told |= {
        f"{figure} ratio": list(one.interval) for figure, one in zip(names, ratios, strict=True)
    }
    for floor in FLOORS:
        told |= distance(scene, own, floor)
    return told | {"seconds": seconds, "n_requests": len(scene.split)}


def distance(scene: Scene, own: Evaluation, floor: float) -> dict[str, float]:
    """Share of the items whose floor is met, and the mean part that is missing to floors."""
    goals = scene.goals(floor)
    shown = own.ids != PADDING
    weight = np.broadcast_to(scene.attention, own.ids.shape)[shown]
    exposure = np.bincount(own.ids[shown], weights=weight, minlength=goals.n_items)
    given, least = goals.given(exposure.astype(np.float64)), goals.least(float(exposure.sum()), 1.0)
    missing = np.maximum(least - given, 0) / least
    return {
        f"floors met {floor:g}": float((missing <= 1e-9).mean()),
        f"missing {floor:g}": float(missing.mean()),
    }


def opened(name: str, work: Path) -> tuple[Split, EngineRecipe, FeatureModel]:
    """A data set as a shop: its split, its recipe and its features."""
    if name == "simulated":
        make_simulated(work / name)
    else:
        make_shop(name, work / name)
    with Shop.open(work / name) as shop:
        if name == "beauty":
            split = shop.splits("leave-one-out")[0]
        else:
            split = shop.splits("time", windows=3 if name == "retail" else 1)[-1]
        recipe = shop.recipe.engine()
        return split, recipe, recipe.features.fit(split.train.catalog, cache=shop.cache)


def make_simulated(folder: Path) -> None:
    """A shop of 4,000 people and 3,000 products whose truth is known."""
    if folder.exists():
        return
    made = simulate(Simulation(n_users=4_000, n_items=3_000), seed=11)
    with Shop.create(folder) as shop:
        for path in sorted(made.write(folder / "raw"), reverse=True):
            ingest(shop.store, path.stem, [path])


def _by_parts(queries: Any, way: Callable[[Any], ItemsBatch]) -> ItemsBatch:
    """A way over requests, some at a time."""
    parts = [
        way(queries.rows(n, min(n + 4096, len(queries)))) for n in range(0, len(queries), 4096)
    ]
    return ItemsBatch.concat(parts)


if __name__ == "__main__":
    main()
