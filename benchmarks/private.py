"""What differential privacy costs: accuracy of `linear` at several budgets, on two data sets.

``python benchmarks/private.py [--work DIR] [--sets beauty,retail] [--seeds 3]`` makes a shop of
each data set, fits the recipe's source with and without privacy, and measures it on the split
(leave-one-out; the latest of three windows in time). At each ε the noise is drawn with several
seeds, and mean and standard deviation are told; δ is the default. "any" is a budget so large
that clipping is all there is. "words alone" has no budget at all. Other norms of clipping are
measured with one seed. Writes ``benchmarks/results/private.json`` and
``docs/pictures/privacy.png``. The data are found by TAILREC_DATA.
"""

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sets import RESULTS, SETS, make_shop, written

from tailrec.candidates.linear import Linear
from tailrec.candidates.private import Privacy
from tailrec.data.split import Split
from tailrec.dataset import Features
from tailrec.evaluation.report import evaluate
from tailrec.pages import BLUE, GREY, ORANGE, png, tidy, write_bytes
from tailrec.shop import Shop
from tailrec.tail.segments import is_tail

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "privacy.png"
EPSILONS = (1.0, 3.0, 10.0, 30.0)
ANY = 1e9
"""So large that there is next to no noise."""
CLIPS = (0.5, 2.0, 5.0)
"""Norms measured beside the default."""
SHOWN = {"ndcg@10": "NDCG@10", "recall@20/pareto": "tail Recall@20"}


def main() -> None:
    """All data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of the shops; kept")
    parser.add_argument("--sets", default="beauty,retail")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        rows = [row for name in asked.sets.split(",") for row in measured(name, work, asked.seeds)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "private.json").write_text(written({"rows": rows}), "utf-8")
    write_bytes(PICTURE, picture(rows))


def measured(name: str, work: Path, n_seeds: int) -> list[dict[str, Any]]:
    """Figures of one data set, a row a budget and norm."""
    make_shop(name, work / name)
    with Shop.open(work / name) as shop:
        split = shop.splits(SETS[name].split[1])[-1]
        features = shop.recipe.features.fit(split.train.catalog, cache=shop.cache).features
        source = shop.recipe.source
    assert isinstance(source, Linear)
    default = Privacy().clip
    plans: list[tuple[str, dict[str, float] | None, int]] = [("none", None, 1)]
    plans += [("any", {"epsilon": ANY, "clip": clip}, 1) for clip in (default, *CLIPS)]
    for epsilon in EPSILONS:
        plans.append((f"{epsilon:g}", {"epsilon": epsilon}, n_seeds))
        plans += [(f"{epsilon:g}", {"epsilon": epsilon, "clip": clip}, 1) for clip in CLIPS]
    plans.append(("words alone", {"epsilon": 1e-6, "threshold": 9.0}, 1))
    rows = []
    for label, options, seeds in plans:
        runs = [run(source, options, split, features, seed) for seed in range(seeds)]
        figures = {key: [each[key] for each in runs] for key in runs[0]}
        row = {"set": name, "epsilon": label, "clip": (options or {}).get("clip", default)}
        row |= {key: float(np.mean(values)) for key, values in figures.items()}
        row |= {f"{key} ±": float(np.std(values)) for key, values in figures.items() if seeds > 1}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def run(
    source: Linear, options: dict[str, float] | None, split: Split, features: Features, seed: int
) -> dict[str, float]:
    """Figures of one fit."""
    privacy = None if options is None else Privacy(**options, seed=seed)  # type: ignore[arg-type]
    recipe = source.model_copy(update={"privacy": privacy})
    started = perf_counter()
    model = recipe.fit(split.train, features, rng=np.random.default_rng(0))
    seconds = perf_counter() - started
    masks = {"pareto": is_tail(split.train.item_counts, "pareto")}
    found = evaluate(split, model.candidates, at=(10, 20), masks=masks).figures
    gram = model.basis.gram
    return {key: found[key] for key in SHOWN} | {
        "recall@20": found["recall@20"],
        "pairs": len(gram.indices) / 2,
        "fit_seconds": seconds,
        "delta": 0.0 if model.spent is None else model.spent.delta,
        "pair_noise": 0.0 if model.spent is None else model.spent.pair_noise,
    }


def picture(rows: list[dict[str, Any]]) -> bytes:
    """Both figures over ε, a column a data set."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    figure = Figure((4.6 * len(names), 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        own = [row for row in rows if row["set"] == name]
        plain = next(row for row in own if row["epsilon"] == "none")
        bare = next(row for row in own if row["epsilon"] == "words alone")
        for (key, title), colour in zip(SHOWN.items(), (BLUE, ORANGE), strict=True):
            line = [row for row in own if f"{key} ±" in row]
            across = [float(row["epsilon"]) for row in line]
            up = [row[key] / plain[key] for row in line]
            spread = [row[f"{key} ±"] / plain[key] for row in line]
            axes.errorbar(across, up, spread, color=colour, marker="o", lw=1.6, label=title)
            axes.axhline(bare[key] / plain[key], color=colour, lw=1, ls=":")
        axes.axhline(1, color=GREY, lw=1, ls="--")
        axes.set_xscale("log")
        axes.set_xticks(EPSILONS, [f"{epsilon:g}" for epsilon in EPSILONS])
        axes.minorticks_off()
        axes.set_xlabel("ε of a fit")
        axes.set_title(SETS[name].title, fontsize=10)
        axes.set_ylim(0, None)
        tidy(axes)
        axes.legend(frameon=False, fontsize=9)
    figure.axes[0].set_ylabel("share of the plain fit's figure")
    return png(figure)


if __name__ == "__main__":
    main()
