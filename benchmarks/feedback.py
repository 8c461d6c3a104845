"""Thirty days of a simulated shop under several ways of making slates, with a plot.

``python benchmarks/feedback.py [--users 2000] [--items 3000] [--days 30] [--traffic 6]`` simulates
a shop, takes its last days back, and lets each arm run it from there: with the same people and
the same chance, clicks and purchases joining what is learnt, new products arriving, and a fit a
week. Prints tables; writes ``benchmarks/results/feedback.json`` and
``docs/pictures/feedback.png``. Another arm is one more entry of ``ARMS``.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tailrec.reranking.launch import Launch
from tailrec.simulate import Simulation, simulate
from tailrec.simulate_arms import WithLaunches, by_model, by_popularity
from tailrec.simulate_feedback import Arm, feedback
from tailrec.simulate_outcome import Outcome

ARMS: dict[str, Arm] = {
    "model": by_model,
    "popular": by_popularity,
    "launch": WithLaunches(Launch(impressions=100)),
}
BASE = "model"
COLOURS = {"model": "#0072B2", "popular": "#888888", "launch": "#D55E00"}
MORE_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")

RESULTS = Path(__file__).parent / "results" / "feedback.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "feedback.png"
SEED = 1


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
    """Sales of the tail, sales of new items, and how fast new items are seen."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    others = iter(MORE_COLOURS)
    for arm in outcome.figures:
        colour = COLOURS.get(arm) or next(others, "black")
        daily = outcome.daily().filter(pl.col("arm") == arm)
        for axes, name in ((left, "expected_tail_sales"), (middle, "expected_new_sales")):
            axes.plot(daily["day"] + 1, daily[name].cum_sum(), color=colour, label=arm)
        _times(right, outcome.launches.filter(pl.col("arm") == arm), arm, colour)
    left.set_title("sales of the tail, expected, summed")
    middle.set_title("sales of new items, expected, summed")
    right.set_title("new items with 100 impressions")
    right.set_ylabel("share of those that came")
    right.set_xlabel("days since they came")
    for axes in (left, middle):
        axes.set_xlabel("day")
    for axes in (left, middle, right):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    left.legend()
    return figure


def _times(axes: Axes, launches: pl.DataFrame, arm: str, colour: str) -> None:
    """How many of the new items had reached the milestone so many days after they came."""
    days = np.sort(launches["hours"].drop_nulls().to_numpy()) / 24
    reached = np.arange(len(days) + 1) / len(launches)
    axes.step([0, *days], reached, where="post", color=colour, label=arm)
    axes.set_xlim(0, 30)


def main() -> None:
    """Read the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--traffic", type=float, default=6.0)
    asked = parser.parse_args()
    world = Simulation(
        n_users=asked.users,
        n_items=asked.items,
        n_days=90 + asked.days,
        visits=8,
        impressions=False,
    )
    shop = simulate(world, seed=SEED)
    started = perf_counter()
    outcome = feedback(shop, ARMS, days=asked.days, traffic=asked.traffic, seed=SEED)
    seconds = round(perf_counter() - started, 1)
    ratios = outcome.ratios(BASE, rng=np.random.default_rng(SEED))
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=200, tbl_hide_dataframe_shape=True):
        print(table(outcome))
        print(ratios)
    print(f"{seconds} s")
    found = {
        "options": vars(asked),
        "new_items": outcome.launches["item_id"].n_unique(),
        "seconds": seconds,
        "totals": outcome.totals().to_dicts(),
        "ratios": ratios.to_dicts(),
    }
    for path in (RESULTS, PICTURE):
        path.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    draw(outcome).savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
