"""Measures small encoders against the packaged one: quality, speed and size.

    python benchmarks/compress.py beauty retail --json compress.json --picture compress.png
    python benchmarks/compress.py retail --steps 100 --work /tmp/compress

Of each data set a fifth of the items is new: no encoder learns from their titles, and all figures
are of them. likeness and overlap@10 compare titles' vectors with the packaged encoder's fp32;
recall@20/cold and ndcg@10 are of `content`, by meaning alone and beside words as its options have
it. Rates are of processor seconds, all forms in turns. The data lie where TAILREC_DATA says.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sets import SETS, make_shop, written

from tailrec import columns as c
from tailrec.candidates.content import Content
from tailrec.data.split import Split, cold_items
from tailrec.dataset import Catalog, Features
from tailrec.evaluation.report import evaluate
from tailrec.features.onnx import form_key
from tailrec.features.text import LoadedEncoder, TextEncoder
from tailrec.features.weights import find_model, fingerprint
from tailrec.features.words import Words
from tailrec.items import Float32Array
from tailrec.shop import Shop
from tailrec.training.course import Course
from tailrec.training.distil import Distil, distil
from tailrec.training.likeness import LIKENESS, OVERLAP, likeness, overlap
from tailrec.training.run_folder import RunFolder
from tailrec.training.static import StaticDistil, distil_static
from tailrec.training.taught import Taught

SEED, COLD = 0, 0.2
TEACHER = TextEncoder(fields=(c.TITLE,), threads=1)
ROUNDS = 3
PACKAGED = "packaged"
STATIC = "static"
FIGURES = ("recall@20/cold", "ndcg@10")


@dataclass(frozen=True)
class Bench:
    """A data set of which some items are new.

    Attributes:
        split: cold.
        words: of the items, for `content`.
        exact: float32 [I, D], the teacher's vectors.
        new: bool [I].
    """

    split: Split
    words: Features
    exact: Float32Array
    new: np.ndarray

    @classmethod
    def of(cls, shop: Shop, cache: Path) -> "Bench":
        """The bench of a shop."""
        whole = shop.dataset(whole=True)
        rng = np.random.default_rng(SEED)
        split = cold_items(whole, COLD, rng, repeats=shop.recipe.histories.repeats)
        catalog = split.train.catalog
        words = Words(fields=(c.TITLE,)).fit(catalog).encode(catalog)
        teacher = TEACHER.model_copy(update={"form": "fp32"}).prepare(cache=cache)
        vectors = teacher.encode(catalog)
        return cls(split, Features(words, vectors), vectors, split.train.item_counts == 0)

    @property
    def known(self) -> Catalog:
        """Items that encoders may learn from."""
        return Catalog(self.split.train.catalog.table.filter(~self.new))

    def figures(self, vectors: Float32Array) -> dict[str, float]:
        """What vectors of all items are worth."""
        there = self.new & self.exact.any(axis=1)
        some = np.flatnonzero(there)[:2000]
        exact = self.exact[some]
        found = {OVERLAP: overlap(vectors[some], exact)}
        if vectors.shape == self.exact.shape:
            found[LIKENESS] = likeness(vectors[some], exact)
        features = Features(self.words.words, vectors)
        for name, source in (("alone", Content(words=1e-9)), ("with words", Content())):
            model = source.fit(self.split.train, features, rng=np.random.default_rng(SEED))
            told = evaluate(self.split, model.candidates, at=(10, 20), masks={}).figures
            found |= {f"{figure} {name}": told[figure] for figure in FIGURES}
        return found


def encoders(bench: Bench, work: Path, steps: int) -> dict[str, TextEncoder]:
    """Every encoder that is compared, trained where it has to be."""
    taught = Taught.of(TEACHER, bench.known, cache=work / "cache")
    found = {
        f"{PACKAGED} fp32": TEACHER.model_copy(update={"form": "fp32", "device": "cpu"}),
        f"{PACKAGED} int8": TEACHER.model_copy(update={"form": "int8"}),
    }
    for layers in (3, 2):
        course = Course(steps=steps, rate=3e-4, check_every=max(1, steps // 5), device="cpu")
        recipe = Distil(layers=layers, course=course)
        run = RunFolder(work / f"layers{layers}", f"{recipe}")
        began = time.process_time()
        outcome = distil(recipe, taught, run)
        print(f"{layers} layers: {outcome}, {time.process_time() - began:.0f} cpu-s", flush=True)
        name = f"{layers} layers int8"
        found[name] = TEACHER.model_copy(update={"model": str(run.encoder), "form": "int8"})
    for name, recipe in (
        (f"{STATIC} 256", StaticDistil(tune=False, words=2000)),
        (f"{STATIC} 256 tuned", StaticDistil()),
    ):
        folder, began = work / name.replace(" ", "-"), time.process_time()
        poured = distil_static(recipe, taught, folder)
        taken = time.process_time() - began
        print(f"{name}: ridge {poured.ridge}, {poured.figures}, {taken:.0f} cpu-s", flush=True)
        found[name] = TEACHER.model_copy(update={"model": str(folder)})
    return found


def rates(loaded: dict[str, LoadedEncoder], texts: Sequence[str]) -> dict[str, float]:
    """Texts a processor second of each, the median of rounds in which all take turns."""
    found: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in range(ROUNDS):
        for name, encoder in loaded.items():
            # A fast form reads the texts several times: a clock tick is not to count.
            times = 20 if name.startswith(STATIC) else 1
            began = time.process_time()
            for _ in range(times):
                encoder.encode_texts(texts)
            found[name].append(times * len(texts) / (time.process_time() - began))
    return {name: float(np.median(own)) for name, own in found.items()}


def megabytes(name: str, encoder: TextEncoder, cache: Path) -> float:
    """What the files of a form take: weights and tokenizer."""
    if "int8" in name:
        mark = fingerprint(find_model(encoder.model))
        files = list((cache / "forms" / form_key(mark)).iterdir())
    else:
        wanted = {"model.safetensors", "tokenizer.json"}
        files = [f for f in find_model(encoder.model).rglob("*") if f.name in wanted]
    return sum(file.stat().st_size for file in files) / 1e6


def measured(name: str, work: Path, steps: int, n_texts: int) -> list[dict[str, Any]]:
    """A row for each encoder on one data set."""
    make_shop(name, work / "shop")
    cache = work / "cache"
    with Shop.open(work / "shop") as shop:
        bench = Bench.of(shop, cache)
    catalog = bench.split.train.catalog
    recipes = encoders(bench, work, steps)
    loaded = {label: recipe.prepare(cache=cache) for label, recipe in recipes.items()}
    texts = [text for text in TEACHER.texts(catalog) if text]
    speed = rates(loaded, texts[:: max(1, len(texts) // n_texts)][:n_texts])
    rows = []
    for label, encoder in loaded.items():
        row = {"set": name, "encoder": label, "texts_per_cpu_s": speed[label]}
        row["megabytes"] = megabytes(label, recipes[label], cache)
        rows.append(row | bench.figures(encoder.encode(catalog)))
        print(
            json.dumps({k: v if isinstance(v, str) else round(v, 4) for k, v in rows[-1].items()})
        )
    about = {"n_new": int(bench.new.sum()), "n_items": len(bench.new), "steps": steps}
    return [row | about for row in rows]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Neighbours kept over speed, a panel a data set; a mark's area is its megabytes."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    figure = Figure(figsize=(5.6 * len(names), 4.4), dpi=100, layout="constrained")
    for place, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for row in (row for row in rows if row["set"] == name):
            at = (row["texts_per_cpu_s"], row[OVERLAP])
            place.scatter(*at, s=8 * row["megabytes"], alpha=0.5)
            place.annotate(row["encoder"], at, xytext=(6, 6), textcoords="offset points")
        place.set_xscale("log")
        place.set_xlim(50, 2e6)
        place.set_ylim(0.2, 1.1)
        place.set_title(SETS[name].title.split(",")[0])
        place.set_xlabel("titles a processor second")
        place.set_ylabel("overlap@10 with packaged fp32")
    figure.savefig(path)


def main() -> None:
    """Reads the arguments, measures and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=sorted(SETS))
    parser.add_argument("--steps", type=int, default=300, help="of each student")
    parser.add_argument("--texts", type=int, default=400, help="titles for rates")
    parser.add_argument("--work", type=Path, help="folder of shops and vectors; kept")
    parser.add_argument("--json", type=Path, help="file of the rows")
    parser.add_argument("--picture", type=Path, help="file of the picture")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as beside:
        for name in given.sets:
            work = (given.work or Path(beside)) / name
            work.mkdir(parents=True, exist_ok=True)
            for run in work.glob("layers*"):
                shutil.rmtree(run)
            rows += measured(name, work, given.steps, given.texts)
    if given.json:
        given.json.write_text(written({"rows": rows}), "utf-8")
    if given.picture:
        draw(rows, given.picture)


if __name__ == "__main__":
    main()
