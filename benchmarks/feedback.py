"""Thirty days of simulated shops under several ways of making slates, with a plot.

``python benchmarks/feedback.py [--seeds 7,8,9] [--users 2000] [--items 3000] [--days 30]
[--traffic 6]`` simulates shops, takes their last days back, and lets each arm run them from
there: with the same people and the same chance, clicks and purchases joining what is learnt, new
products arriving, and a fit a week. Prints tables; writes ``benchmarks/results/feedback.json``
and ``docs/pictures/feedback.png``. Another arm is one more entry of ``ARMS``; the recipes of those
here were chosen on the shop of seed 1.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tailrec.reranking.exposure import Exposure
from tailrec.reranking.launch import Launch
from tailrec.simulate import Simulation, simulate
from tailrec.simulate_arms import Conversion, WithExposure, by_model, by_popularity
from tailrec.simulate_feedback import Arm, feedback
from tailrec.simulate_outcome import Outcome, pooled


def tail_floor(share: float, cost: float) -> Exposure:
    """At least a share of all exposure for the tail and for what has no events."""
    goal = {"name": "tail", "tier": ["tail", "cold"], "floor": share}
    return Exposure.parse({"goals": [goal], "cost": cost})


NEW = Launch(impressions=100, position=12)
FLOOR, FLOOR_OF_SALES = tail_floor(0.65, 0.005), tail_floor(0.65, 0.01)
BOUGHT = Conversion(optimism=1)
ARMS: dict[str, Arm] = {
    "model": by_model,
    "popular": by_popularity,
    "launch": WithExposure(launch=NEW),
    "exposure": WithExposure(FLOOR),
    "exposure+launch": WithExposure(FLOOR, NEW),
    # A floor that is met anyhow: slates by worth alone.
    "sales": WithExposure(tail_floor(0.001, 0), value=BOUGHT),
    "sales+exposure": WithExposure(FLOOR_OF_SALES, value=BOUGHT),
    "sales+exposure+launch": WithExposure(FLOOR_OF_SALES, NEW, BOUGHT),
}
BASE, BASE_OF_SALES = "model", "sales"
COLOURS = dict(
    zip(
        ARMS,
        ("#000000", "#888888", "#D55E00", "#56B4E9", "#0072B2", "#E69F00", "#CC79A7", "#009E73"),
        strict=True,
    )
)
DRAWN = (
    ("expected_sales", "expected sales until then, model = 1"),
    ("expected_tail_sales", "the same of the tail"),
)

RESULTS = Path(__file__).parent / "results" / "feedback.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "feedback.png"
SEEDS = "7,8,9"


def table(outcome: Outcome) -> pl.DataFrame:
    """The sums that matter most, one row an arm."""
    return outcome.totals().select(
        "arm",
        "visits",
        "clicks",
        "sales",
        pl.col("revenue", "expected_sales", "expected_tail_sales", "expected_new_sales").round(0),
        pl.col("tail_exposure_share", "new_exposure_share").round(3),
        "launched",
        pl.col("median_hours").round(0),
    )


def draw(outcome: Outcome) -> Figure:
    """All sales and those of the tail for one of the model's, and how fast new items are seen."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, (name, title) in zip((left, middle), DRAWN, strict=True):
        course = outcome.course(BASE, name, rng=np.random.default_rng(0))
        for arm in outcome.figures:
            own = course.filter(pl.col("arm") == arm)
            if arm != "popular":  # far below all others
                _band(axes, own, arm)
        axes.axhline(1, color=COLOURS[BASE], lw=1)
        axes.set_title(title)
        axes.set_xlabel("day")
    for arm in outcome.figures:
        _times(right, outcome.launches.filter(pl.col("arm") == arm), arm)
    right.set_title("new items with 100 impressions, share")
    right.set_xlabel("hours since they came")
    right.legend(fontsize="small")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    return figure


def _band(axes: Axes, course: pl.DataFrame, arm: str) -> None:
    day = course["day"] + 1
    axes.plot(day, course["ratio"], color=COLOURS[arm], label=arm)
    axes.fill_between(day, course["low"], course["high"], color=COLOURS[arm], alpha=0.15, lw=0)


def _times(axes: Axes, launches: pl.DataFrame, arm: str) -> None:
    """How many of the new items had reached the milestone so many hours after they came."""
    hours = np.sort(launches["hours"].drop_nulls().to_numpy())
    reached = np.arange(len(hours) + 1) / len(launches)
    axes.step([0, *hours], reached, where="post", color=COLOURS[arm], label=arm)
    axes.set_xlim(0, 24 * 30)


def run(asked: argparse.Namespace, seed: int) -> Outcome:
    """All arms in the shop of one seed."""
    world = Simulation(
        n_users=asked.users,
        n_items=asked.items,
        n_days=90 + asked.days,
        visits=8,
        impressions=False,
    )
    shop = simulate(world, seed=seed)
    return feedback(shop, ARMS, days=asked.days, traffic=asked.traffic, seed=seed)


def main() -> None:
    """Read the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default=SEEDS, help="comma between")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--traffic", type=float, default=6.0)
    asked = parser.parse_args()
    started = perf_counter()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        outcomes = list(processes.map(partial(run, asked), seeds))
    whole = pooled(outcomes)
    seconds = round(perf_counter() - started, 1)
    ratios, of_sales = (
        whole.ratios(base, rng=np.random.default_rng(0)) for base in (BASE, BASE_OF_SALES)
    )
    of_sales = of_sales.filter(pl.col("arm").str.starts_with(BASE_OF_SALES))
    apart = pl.concat(
        [
            one.ratios(BASE, draws=200, rng=np.random.default_rng(0)).select(
                pl.lit(seed).alias("seed"), "arm", "figure", "ratio"
            )
            for seed, one in zip(seeds, outcomes, strict=True)
        ]
    ).pivot("seed", index=["arm", "figure"], values="ratio")
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=200, tbl_hide_dataframe_shape=True):
        print(table(whole), ratios, of_sales, apart, sep="\n")
    print(f"{seconds} s")
    found = {
        "options": vars(asked),
        "new_items": len(whole.launches) // len(whole.figures),
        "seconds": seconds,
        "totals": whole.totals().to_dicts(),
        "ratios": ratios.to_dicts(),
        "ratios_to_sales": of_sales.to_dicts(),
        "ratios_by_seed": apart.to_dicts(),
    }
    for path in (RESULTS, PICTURE):
        path.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    draw(whole).savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
