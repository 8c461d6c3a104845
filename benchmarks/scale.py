"""Seconds and memory of fitting the core model as the catalogue grows, with a plot.

``python benchmarks/scale.py [--items 10000,30000,100000]`` simulates a shop of each size (half as
many people as items) and fits `Linear` in a fresh process, of which the peak memory is taken.
Encoding is left aside: each item's vector is a random projection of its words to 384 numbers, which
cost the fit what encoded ones do. Writes ``benchmarks/results/scale.json`` and
``docs/pictures/scale.png``.
"""

import argparse
import json
import multiprocessing
import resource
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from matplotlib.figure import Figure

from tailrec.candidates.linear import Linear
from tailrec.data.histories import Histories, build_dataset
from tailrec.dataset import Catalog, Features
from tailrec.features.build import FeatureRecipe
from tailrec.simulate import Simulation, simulate

RESULTS = Path(__file__).parent / "results" / "scale.json"
WIDTH = 384
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "scale.png"


def projected(catalog: Catalog) -> Features:
    """Words as ever, and vectors of the width of the packaged encoder's made from them."""
    words = FeatureRecipe(encode=False).fit(catalog).features.words
    axes = np.random.default_rng(0).normal(size=(words.shape[1], WIDTH)).astype(np.float32)
    dense = words @ axes
    return Features(words, dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9))


def measure(n_items: int) -> dict[str, float]:
    """One size; to be run in a process of its own."""
    world = Simulation(n_items=n_items, n_users=n_items // 2, impressions=False)
    shop = simulate(world, seed=1)
    data = build_dataset(shop.events, shop.items, Histories())
    features = projected(data.catalog)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The first fit of a process also loads compiled code; a shop fits in a process of its own.
    started = perf_counter()
    model = Linear().fit(data, features, rng=np.random.default_rng(0))
    fitted = perf_counter() - started
    started = perf_counter()
    model.candidates(data.queries(), 20)
    served = perf_counter() - started
    return {
        "n_items": n_items,
        "n_users": data.n_users,
        "n_events": data.n_events,
        "fit_s": round(fitted, 2),
        "slates_s": round(served, 2),
        "before_gib": round(before / 2**20, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def draw(rows: list[dict[str, float]]) -> Figure:
    """Seconds and memory by size."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [row["n_items"] for row in rows]
    left.plot(sizes, [row["fit_s"] for row in rows], "o-", color="#0072B2", label="fit")
    left.plot(
        sizes, [row["slates_s"] for row in rows], "s--", color="#888888", label="slates of all"
    )
    left.set_ylabel("seconds, two cores")
    left.legend()
    right.plot(sizes, [row["peak_gib"] for row in rows], "o-", color="#0072B2")
    right.set_ylabel("peak memory of the process, GiB")
    for axes in (left, right):
        axes.set_xlabel("items")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    figure.suptitle("Fitting the core model, encoding aside")
    return figure


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", default="10000,30000,100000")
    sizes = [int(size) for size in parser.parse_args().items.split(",")]
    rows = []
    for size in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (size,)))
        print(rows[-1], file=sys.stderr, flush=True)
    for path in (RESULTS, PICTURE):
        path.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    draw(rows).savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
