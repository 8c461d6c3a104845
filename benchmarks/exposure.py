"""Exposure control: the regret of prices found while serving, and plans of many people at once.

``python benchmarks/exposure.py [--slates 100000] [--seeds 3]`` draws a population of people, each
with a pool of 100 items and their worth, and serves slates of 20 to people drawn from it at random.
Goals: 30 % of exposure for the tail, half an even share for every seller and for every item. The
best there can be, per slate, is the bound of the plan of the whole population. Regret is what the
slates are worth less, and every unit of exposure missing to a goal at the price of that plan.

Three ways to start: from nothing; from prices of a plan of other people; and from nothing with four
workers, each of which sees what the others showed after every 200 of its own slates.

Then the same from nothing at several costs, and a plan of 20,000 people with 10,000 items that are
goals of their own. Writes ``benchmarks/results/exposure.json`` and
``docs/pictures/exposure-regret.png``.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from tailrec import columns as c
from tailrec.items import Float32Array, Float64Array, Int64Array, ItemsBatch
from tailrec.pages import BLUE, GREEN, GREY, ORANGE, png, tidy, write_bytes
from tailrec.reranking.attention import dcg
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_plan import Plan, plan
from tailrec.reranking.exposure_prices import Controller, ExposureSums

RESULTS = Path(__file__).parent / "results" / "exposure.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "exposure-regret.png"
PLACES, POOL, BETWEEN = 20, 100, 20
WORKERS, STALE = 4, 200
COSTS = (0.005, 0.01, 0.02, 0.05, 0.1, 1.0)
GOALS = [
    {"name": "tail", "tier": ["tail"], "floor": 0.3},
    {"name": "sellers", "each": c.SELLER_ID, "floor": 0.5, "unit": "even"},
    {"name": "items", "each": c.ITEM_ID, "floor": 0.5, "unit": "even"},
]
STARTS = ("from nothing", "from planned prices", f"{WORKERS} workers, stale")
"""Lines of the picture."""
MET = 0.01
"""A floor is met, in the figures, when no more than this part of it is missing."""


@dataclass(frozen=True)
class Population:
    """People with pools [B, P] of items, what those are worth, and the goals over the items."""

    pools: ItemsBatch
    worth: Float32Array
    goals: CompiledGoals

    def drawn(self, rows: Int64Array) -> tuple[ItemsBatch, Float32Array]:
        """Pools and worth of some of the people, in that order."""
        return ItemsBatch(self.pools.ids[rows], self.pools.scores[rows]), self.worth[rows]


def population(n_items: int, n_people: int, n_sellers: int, seed: int) -> Population:
    """Half of a pool is drawn by popularity, half at random; the popular are worth more."""
    rng = np.random.default_rng(seed)
    popularity = np.arange(1, n_items + 1) ** -0.8
    chance = 0.5 * popularity / popularity.sum() + 0.5 / n_items
    ids = np.empty((n_people, POOL), np.int32)
    for row in range(n_people):
        keys = rng.exponential(size=n_items) / chance
        ids[row] = np.argpartition(keys, POOL)[:POOL]
    worth = 0.1 * popularity[ids] ** 0.3 * rng.lognormal(0, 0.5, ids.shape)
    order = np.argsort(-worth, axis=1, kind="stable")
    worth = np.take_along_axis(worth, order, axis=1).astype(np.float32)
    ids = np.take_along_axis(ids, order, axis=1)
    rank = np.arange(n_items) / n_items
    table = pl.DataFrame(
        {
            c.ITEM_ID: [str(n) for n in range(n_items)],
            c.SELLER_ID: rng.integers(0, n_sellers, n_items).astype(str),
            c.TIER: np.select([rank < 0.05, rank < 0.2], ["head", "middle"], "tail"),
        }
    )
    goals = Exposure.parse({"goals": GOALS}).compiled(table, np.ones(n_items, np.bool_))
    return Population(ItemsBatch(ids, worth), worth, goals)


def figures(people: Population, best: Plan, sums: ExposureSums, n_slates: int) -> dict[str, float]:
    """What is told of the slates so far, in parts of the best."""
    least = people.goals.least(sums.total, 1)
    missing = np.maximum(least - people.goals.given(sums.exposure), 0)
    optimum = best.bound / len(people.pools) * n_slates
    charged = optimum - sums.worth + missing @ np.maximum(best.prices, 0)
    return {
        "slates": n_slates,
        "worth_lost": (optimum - sums.worth) / optimum,
        "regret": charged / optimum,
        "missing": missing.sum() / least.sum(),
        "met": (missing <= MET * least).mean(),
    }


def served(
    people: Population, best: Plan, rows: Int64Array, start: Float64Array | None, workers: int
) -> list[dict[str, float]]:
    """Figures along a stream of people, at ever longer distances."""
    control = Controller(people.goals, dcg(PLACES), cost=1, start=start, between=BETWEEN)
    sums, found = ExposureSums.none(people.goals.n_items), []
    step = WORKERS * STALE
    ends = np.arange(step, len(rows) + 1, step)
    told = set(np.unique(np.geomspace(1, len(ends), 25).astype(int) - 1).tolist())
    for number, end in enumerate(ends):
        seen, done = sums, sums
        for part in np.array_split(rows[end - step : end], workers):
            _, after = control.run(*people.drawn(part), seen)
            own = ExposureSums(after.exposure - seen.exposure, after.worth - seen.worth)
            done += own
        sums = done
        if number in told:
            found.append(figures(people, best, sums, int(end)))
    return found


def at_cost(people: Population, rows: Int64Array, cost: float) -> dict[str, float]:
    """What is met, and lost, where no slate may lose more than a share of its worth."""
    control = Controller(people.goals, dcg(PLACES), cost=cost, between=BETWEEN)
    pools, worth = people.drawn(rows)
    _, sums = control.run(pools, worth, ExposureSums.none(people.goals.n_items))
    least = people.goals.least(sums.total, 1)
    missing = np.maximum(least - people.goals.given(sums.exposure), 0)
    unsteered = float((worth[:, :PLACES] @ dcg(PLACES)).sum())
    found = {"cost": cost, "lost": 1 - sums.worth / unsteered}
    for number, name in enumerate(people.goals.families):
        own = people.goals.family == number
        found[f"given_{name}"] = 1 - missing[own].sum() / least[own].sum()
    return found


def large() -> dict[str, float]:
    """A plan of 20,000 people over 10,000 items, timed; a small one first loads the kernels."""
    small = population(200, 400, 5, 0)
    plan(small.pools, small.worth, small.goals, PLACES, attention=dcg(PLACES), cost=1)
    people = population(10_000, 20_000, 100, 0)
    started = perf_counter()
    made = plan(people.pools, people.worth, people.goals, PLACES, attention=dcg(PLACES), cost=1)
    return {
        "people": len(people.pools),
        "goals": len(people.goals),
        "seconds": perf_counter() - started,
        "value": made.value / made.best,
        "bound": made.bound / made.best,
        "missed_goals": int((made.shortfall > 0).sum()),
    }


def draw(lines: dict[str, list[list[dict[str, float]]]]) -> Figure:
    """Regret and missing exposure along the stream: a line a seed, a colour a way to start."""
    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, runs) in zip((BLUE, GREEN, ORANGE), lines.items(), strict=True):
        for number, run in enumerate(runs):
            slates = [one["slates"] for one in run]
            label = name if number == 0 else None
            regret = [one["regret"] for one in run]
            left.plot(slates, regret, color=colour, lw=1.4, label=label)
            right.plot(slates, [one["met"] for one in run], color=colour, lw=1.4, label=label)
    first = lines[STARTS[0]][0]
    slates = np.array([one["slates"] for one in first], float)
    root = first[0]["regret"] * np.sqrt(slates[0] / slates)
    left.plot(slates, root, color=GREY, ls="--", label="falling with the root of slates")
    left.set_yscale("log")
    left.set_title("Regret per slate, part of the best", loc="left", fontweight="bold")
    right.set_title("Floors met, within 1 %", loc="left", fontweight="bold")
    right.set_ylim(0, 1.02)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("slates")
        axes.legend(frameon=False)
        tidy(axes)
    return figure


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slates", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    lines: dict[str, list[list[dict[str, float]]]] = {name: [] for name in STARTS}
    costs: list[dict[str, float]] = []
    for seed in range(given.seeds):
        people = population(1_000, 300, 50, seed)
        asked = people.pools, people.worth, people.goals, PLACES
        best = plan(*asked, attention=dcg(PLACES), cost=1)
        rng = np.random.default_rng(100 + seed)
        rows = rng.integers(0, len(people.pools), given.slates)
        others = people.drawn(rng.integers(0, len(people.pools), 2_000))
        known = plan(*others, people.goals, PLACES, attention=dcg(PLACES), cost=1).prices
        for name, start, workers in zip(STARTS, (None, known, None), (1, 1, WORKERS), strict=True):
            lines[name].append(served(people, best, rows, start, workers))
            print(seed, name, lines[name][-1][-1], file=sys.stderr, flush=True)
        if seed == 0:
            costs = [at_cost(people, rows[:20_000], cost) for cost in COSTS]
    found = {"starts": lines, "costs": costs, "plan": large()}
    print(found["costs"], found["plan"], file=sys.stderr)
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 5))
    RESULTS.write_text(json.dumps(rounded, indent=1) + "\n", "utf-8")
    write_bytes(PICTURE, png(draw(lines)))


if __name__ == "__main__":
    main()
