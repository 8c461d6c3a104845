"""What teaching an encoder is worth: cold items, the tail and everything, before and after.

``python benchmarks/encoders.py [--only SET ...] [--encoders NAME ...] [--splits NAME ...]
[--seeds N] [--minutes M]`` teaches the packaged encoder on what a split leaves to learn from, in
each way of `WAYS`, and measures `content` and `linear` with it: on a split that withholds every
event of 20 % of the items, and on the split of the set's other figures (the latest fifth of
online_retail as one window). `content` takes the weight of meaning that is best on validation,
for each encoder anew, and is measured by meaning alone, too; `linear` has its options as in the
set's recipe. Writes ``benchmarks/results/encoders.json`` after each encoder, and goes on where it
was stopped. The data are found by TAILREC_DATA.
"""

import argparse
import json
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sets import RESULTS, make_shop, written

from tailrec.candidates.content import Content
from tailrec.data.split import Split, cold_items, inner_split, validation
from tailrec.dataset import Dataset, Features
from tailrec.engine import AnySource
from tailrec.evaluation.report import Evaluation, evaluate
from tailrec.evaluation.significance import Bootstrap
from tailrec.features.build import FeatureModel
from tailrec.features.weights import PACKAGED, find_model
from tailrec.pages import BLUE, GREY, png, tidy, write_bytes
from tailrec.shop import Shop
from tailrec.shop_training import material_of
from tailrec.tail.segments import is_tail
from tailrec.training.finetune import finetune
from tailrec.training.pretrain import pretrain
from tailrec.training.recipes import Adapt, Course, Finetune, Pretrain
from tailrec.training.run_folder import RunFolder

SHARE = 0.2
ALONE = 1e6
"""Weight of meaning beside which words count nothing."""
MEANINGS = (0.5, 1.0, 2.0, 4.0, 8.0, 32.0)
"""Weights of meaning that `content` may choose from; words count 1."""
FIGURES = ("recall@20/cold", "recall@20/pareto", "ndcg@10")
SETS = ("beauty", "retail")
PANELS = {
    "Recall@20 of cold items, content": ("cold", "content", "recall@20/cold"),
    "the same, meaning alone": ("cold", "content, meaning alone", "recall@20/cold"),
    "NDCG@10 of all, linear": ("main", "linear", "ndcg@10"),
}
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "encoders.png"
MAP = Course(steps=1500, rate=1e-3, weight_decay=0.1, check_every=150, device="cpu")
TOKENS = MAP.model_copy(update={"steps": 600, "check_every": 100})
SLOW = Course(steps=600, rate=1e-4, precision="bf16", check_every=100, device="cpu")
"""With bf16 a step takes two fifths of the time on processors that have it."""

WAYS: dict[str, Pretrain | Finetune] = {
    "pretrained": Pretrain(anchor=1.0, course=Course(steps=600, device="cpu")),
    "map": Finetune(adapt=Adapt(kind="map"), course=MAP, batch=512),
    "tokens": Finetune(adapt=Adapt(kind="tokens"), course=TOKENS, batch=512),
    "lora": Finetune(adapt=Adapt(kind="lora"), course=SLOW.model_copy(update={"rate": 5e-4})),
    "full": Finetune(adapt=Adapt(kind="full"), course=SLOW),
}
"""Ways to teach; what each begins with is the packaged encoder."""


@dataclass(frozen=True)
class Bench:
    """One split of one shop.

    Attributes:
        shop: open.
        name: `cold` or `main`.
        split: what is learnt from and asked.
        seed: of the split, where it is drawn, and of the training.
        work: folder of the runs.
    """

    shop: Shop
    name: str
    split: Split
    seed: int
    work: Path

    def features(self, encoder: str) -> Features:
        """Of the catalogue, by an encoder's folder or name."""
        recipe = self.shop.recipe.features
        reader = recipe.text.model_copy(update={"model": encoder})
        taken = recipe.model_copy(update={"text": reader})
        model: FeatureModel = taken.fit(self.split.train.catalog, cache=self.shop.cache)
        return model.features

    def taught(self, name: str, recipe: Pretrain | Finetune) -> tuple[str, float, int]:
        """An encoder taught on what the split leaves, minutes it took, and steps.

        The run is named by the way it was taught; the course takes the bench's seed.
        """
        course = recipe.course.model_copy(update={"seed": self.seed})
        recipe = recipe.model_copy(update={"course": course})
        began = perf_counter()
        folder = self.work / f"{name}-{self.shop.folder.name}-{self.name}-{self.seed}"
        if isinstance(recipe, Pretrain):
            base = find_model(recipe.model)
            corpus = recipe.texts.gather(self.split.train.catalog)
            run = RunFolder(folder, recipe.mark(corpus, base))
            outcome = pretrain(recipe, corpus, base, run)
        else:
            shop, known = self.shop, self.split.whole
            material = material_of(shop.recipe, recipe, known, shop.cache, shop.folder)
            run = RunFolder(folder, material.mark(recipe))
            outcome = finetune(recipe, material, run)
        return str(run.encoder), (perf_counter() - began) / 60, outcome.step

    def content(self, features: Features) -> tuple[Content, Evaluation]:
        """Text neighbours with the weight of meaning that is best on validation."""
        inner = validation(self.split)
        figure = "recall@20/cold" if self.name == "cold" else "ndcg@10"
        recipes = [Content(meaning=meaning) for meaning in MEANINGS]
        best = max(recipes, key=lambda one: measured(one, inner, features).figures[figure])
        return best, measured(best, self.split, features)


def measured(source: AnySource, split: Split, features: Features) -> Evaluation:
    """The figures of a source."""
    model = source.fit(split.train, features, rng=np.random.default_rng(0))
    masks = {"pareto": is_tail(split.train.item_counts, "pareto")}
    return evaluate(split, model.candidates, at=(10, 20), masks=masks)


def rows_of(
    bench: Bench, way: str, plain: dict[str, Evaluation], minutes: float
) -> Iterator[dict[str, Any]]:
    """The figures of one encoder in both sources, beside those of the packaged one."""
    encoder, taken, steps = (PACKAGED, 0.0, 0)
    if way != "packaged":
        recipe = WAYS[way]
        course = recipe.course.model_copy(update={"minutes": minutes})
        encoder, taken, steps = bench.taught(way, recipe.model_copy(update={"course": course}))
    features = bench.features(encoder)
    content, found = bench.content(features)
    alone = measured(Content(meaning=ALONE), bench.split, features)
    linear = measured(bench.shop.recipe.source, bench.split, features)
    about = {"set": bench.shop.folder.name, "split": bench.name, "seed": bench.seed}
    about |= {"encoder": way, "minutes": taken, "steps": steps}
    of_sources = {"content": found, "content, meaning alone": alone, "linear": linear}
    for source, evaluation in of_sources.items():
        plain.setdefault(source, evaluation)
        figures = {n: evaluation.figures[n] for n in FIGURES if n in evaluation.figures}
        # Nothing is a multiple of nothing: some sources find no cold item in some splits.
        ratios = against(
            evaluation, plain[source], [n for n in figures if plain[source].figures[n]]
        )
        meaning = {"meaning": content.meaning} if source == "content" else {}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        told = {"source": source, **meaning, "figures": figures, "ratios": ratios}
        yield about | told | {"peak_bytes": peak, "n_requests": len(bench.split)}


def against(own: Evaluation, other: Evaluation, names: list[str]) -> dict[str, list[float]]:
    """Low, mid and high of the ratios to another encoder's figures."""
    draws = Bootstrap(own.users, rng=np.random.default_rng(0))
    ratios = draws.ratios([(own.per_user[name], other.per_user[name]) for name in names])
    return {name: list(ratio.interval) for name, ratio in zip(names, ratios, strict=True)}


def benches(shop: Shop, seed: int, work: Path) -> Iterator[Bench]:
    """The two splits of a shop."""
    whole: Dataset = shop.dataset(whole=True)
    repeats = shop.recipe.histories.repeats
    cold = cold_items(whole, SHARE, np.random.default_rng(seed), repeats=repeats)
    yield Bench(shop, "cold", cold, seed, work)
    yield Bench(shop, "main", inner_split(whole, repeats), seed, work)


def main() -> None:
    """All sets, seeds, splits and encoders that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--encoders", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20.0, help="of each run, at most")
    parser.add_argument("--splits", nargs="+", choices=("cold", "main"), default=("cold", "main"))
    parser.add_argument("--work", type=Path, help="folder of shops and runs; kept")
    asked = parser.parse_args()
    torch.set_num_threads(2)
    file = RESULTS / "encoders.json"
    rows = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        for name in asked.only:
            make_shop(name, work / name)
            with Shop.open(work / name) as shop:
                for seed in range(asked.seeds):
                    for bench in benches(shop, seed, work / "runs"):
                        if bench.name in asked.splits:
                            fill(bench, asked, rows, file)


def fill(bench: Bench, asked: argparse.Namespace, rows: list[Any], file: Path) -> None:
    """Measure what is not measured yet, and write it down at once."""
    plain: dict[str, Evaluation] = {}
    place = (bench.shop.folder.name, bench.name, bench.seed)
    done = {r["encoder"] for r in rows if (r["set"], r["split"], r["seed"]) == place}
    missing = [way for way in asked.encoders if way not in done]
    # The packaged one is measured anew, so that ratios are of one run.
    for way in ["packaged", *missing] if missing else []:
        own = list(rows_of(bench, way, plain, asked.minutes))
        for row in own:
            told = {name: round(value, 4) for name, value in row["figures"].items()}
            print(*place, way, row["source"], told, f"{row['minutes']:.1f} min", flush=True)
        if way not in done:
            rows += own
            file.write_text(written({"rows": rows}), "utf-8")
            write_bytes(PICTURE, picture(rows))


def picture(rows: list[dict[str, Any]]) -> bytes:
    """What each encoder gives as a multiple of what the packaged one gives, a dot a seed."""
    names = [name for name in SETS if any(row["set"] == name for row in rows)]
    figure = Figure((11, 0.8 + 1.9 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), len(PANELS), squeeze=False, sharey=True, sharex=True)
    for name, panels in zip(names, grid, strict=True):
        for (title, (split, source, key)), axes in zip(PANELS.items(), panels, strict=True):
            own = [r for r in rows if (r["set"], r["split"], r["source"]) == (name, split, source)]
            for row in own:
                if row["encoder"] in WAYS:
                    low, mid, high = row["ratios"][key]
                    place = list(WAYS).index(row["encoder"]) + 0.2 * row["seed"]
                    axes.plot([low, high], [place, place], color=GREY, lw=1.2)
                    axes.plot(mid, place, "o", color=BLUE, ms=4)
            axes.axvline(1, color=GREY, lw=0.8, ls=":")
            axes.set_title(f"{name}: {title}", fontsize=9)
            tidy(axes)
        panels[0].set_yticks(range(len(WAYS)), list(WAYS))
    grid[0][0].invert_yaxis()
    for axes in grid[-1]:
        axes.set_xlabel("times the packaged encoder's, 95 %")
    return png(figure)


if __name__ == "__main__":
    main()
