"""Measures what pre-training on a shop's texts gives: perplexity, and what the vectors are for.

    python benchmarks/pretrain.py beauty                 # English titles; new items found
    python benchmarks/pretrain.py reviews --steps 600    # Chinese reviews; category, sentiment
    python benchmarks/pretrain.py titles --minutes 10    # Chinese titles; like products near
    python benchmarks/pretrain.py beauty --only packaged anchored --json beauty-pretrain.json

The data lie where TAILREC_DATA says. Perplexities of two tokenizers cannot be compared, as a
token of one is not a token of the other; those of the packaged tokenizer on Chinese count the few
letters that it knows.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tailrec import columns as c
from tailrec.candidates.content import Content
from tailrec.data.histories import Histories, build_dataset
from tailrec.data.split import cold_items
from tailrec.dataset import Features
from tailrec.evaluation.report import evaluate
from tailrec.features.fields import item_texts
from tailrec.features.text import TextEncoder
from tailrec.features.weights import PACKAGED, find_model, read_card
from tailrec.features.words import Words
from tailrec.training.corpus import Corpus, Texts
from tailrec.training.pretrain import LIKENESS, PERPLEXITY, pretrain
from tailrec.training.recipes import Characters, Course, Pretrain
from tailrec.training.run_folder import RunFolder

DATA = Path(os.environ.get("TAILREC_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEED = 0
NEIGHBOURS = 10
N_LEARN, N_LABELLED, N_TEST = 12_000, 4_000, 2_000
"""Reviews that are pre-trained on, of which so many have labels, and other ones to test on."""

Vectors = Callable[[list[str]], Any]
"""Texts to vectors, dense or sparse, of unit length."""


class Bench(NamedTuple):
    """A data set: what is read, and what vectors are judged by.

    Attributes:
        corpus: of its texts.
        judge: figures of a way to make vectors.
    """

    corpus: Corpus
    judge: Callable[[Vectors], dict[str, float]]


def beauty() -> Bench:
    """A fifth of the items lose all events; content finds them by their texts."""
    folder = DATA / "amazon_beauty"
    tables = (pl.read_parquet(folder / f"{name}.parquet") for name in ("events", "items"))
    data = build_dataset(*tables, Histories(), whole=True)
    split = cold_items(data, 0.2, np.random.default_rng(SEED))
    words = Words(min_items=2).fit(data.catalog).encode(data.catalog)
    texts = item_texts(data.catalog)

    def judge(vectors: Vectors) -> dict[str, float]:
        dense = np.ascontiguousarray(vectors(texts), np.float32)
        figures = {}
        for name, mixed in (("words and meaning", 1.0), ("meaning alone", 1e-6)):
            model = Content(words=mixed).fit(
                split.train, Features(words, dense), rng=np.random.default_rng(SEED)
            )
            found = evaluate(split, model.candidates, at=(20,), masks={}).figures
            figures[f"Recall@20 of new items, {name}"] = found["recall@20/cold"]
        return figures

    return Bench(Texts().gather(data.catalog), judge)


def reviews() -> Bench:
    """Category and sentiment of held-out reviews, by their neighbours and by a linear model."""
    table = pl.read_parquet(DATA / "zh_online_shopping" / "reviews.parquet").drop_nulls()
    table = table.unique("review", maintain_order=True).sample(fraction=1, shuffle=True, seed=SEED)
    learn, test = table[:N_LEARN], table[N_LEARN : N_LEARN + N_TEST]
    labelled = learn[:N_LABELLED]
    events = learn.select(pl.lit("review").alias(c.TYPE), pl.col("review").alias(c.TEXT))

    def judge(vectors: Vectors) -> dict[str, float]:
        known, asked = (vectors(part["review"].to_list()) for part in (labelled, test))
        figures = {}
        for label in ("cat", "label"):
            told, true = (part[label].to_numpy() for part in (labelled, test))
            name = {"cat": "category", "label": "sentiment"}[label]
            near = KNeighborsClassifier(NEIGHBOURS, metric="cosine", algorithm="brute")
            figures[f"{name}, neighbours"] = float(near.fit(known, told).score(asked, true))
            linear = LogisticRegression(C=10, max_iter=1000)
            figures[f"{name}, linear"] = float(linear.fit(known, told).score(asked, true))
        return figures

    return Bench(Texts().gather(None, events), judge)


def titles() -> Bench:
    """How many of the ten nearest titles share a marked product type."""
    texts, types = marked_titles()
    events = pl.DataFrame({c.TYPE: ["search"] * len(texts), c.TEXT: texts})
    kinds = sorted(set().union(*types))
    place = {kind: number for number, kind in enumerate(kinds)}
    of_type = np.zeros((len(texts), len(kinds)), np.float32)
    for row, own in enumerate(types):
        of_type[row, [place[kind] for kind in own]] = 1
    shared = of_type @ of_type.T > 0
    np.fill_diagonal(shared, val=False)
    asked = np.flatnonzero(shared.any(axis=1))

    def judge(vectors: Vectors) -> dict[str, float]:
        made = vectors(texts)
        alike = np.asarray((made @ made.T).todense() if hasattr(made, "todense") else made @ made.T)
        np.fill_diagonal(alike, -np.inf)
        nearest = np.argpartition(-alike[asked], NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        return {"nearest ten of one type": float(shared[asked[:, None], nearest].mean())}

    return Bench(Texts().gather(None, events), judge)


def marked_titles() -> tuple[list[str], list[set[str]]]:
    """Titles, each once, and the product types (HCCX) that are marked in them."""
    found: dict[str, set[str]] = {}
    for name in ("train", "dev", "test"):
        text = (DATA / "zh_ecommerce_ner" / f"{name}.txt").read_text("utf-8")
        for block in text.strip().split("\n\n"):
            pairs = [line.rsplit(" ", 1) for line in block.splitlines()]
            types: list[str] = []
            for letter, mark in pairs:
                if mark == "B-HCCX":
                    types.append(letter)
                elif mark == "I-HCCX" and types:
                    types[-1] += letter
            found.setdefault("".join(letter for letter, _ in pairs), set()).update(types)
    return list(found), list(found.values())


SETS = {"beauty": beauty, "reviews": reviews, "titles": titles}
STEPS = {"beauty": 300, "reviews": 300, "titles": 300}


def encoded(model: str, texts: list[str]) -> np.ndarray:
    """Vectors as a shop has them."""
    return TextEncoder(model=model, threads=1).prepare().encode_texts(texts)


def letters_vectors(corpus: Corpus) -> Vectors:
    """TF-IDF of letters and pairs of them."""
    terms = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    return terms.fit((*corpus.train, *corpus.held_out)).transform


def contenders(given: argparse.Namespace) -> dict[str, Pretrain | None]:
    """What is compared: names, and how each is trained; None: as it is."""
    course = Course(
        steps=given.steps or STEPS[given.set],
        minutes=given.minutes,
        rate=given.rate,
        check_every=50,
        keep_every=100_000,
    )
    usual = Pretrain(course=course, batch_tokens=given.batch_tokens, measured=500)
    own = usual.model_copy(update={"course": course.model_copy(update={"rate": given.own_rate})})
    found = {
        "packaged": None,
        "pretrained": usual.model_copy(update={"anchor": 0.0}),
        "anchored": usual.model_copy(update={"anchor": given.anchor}),
        "own letters": own.model_copy(update={"anchor": 0.0, "own": Characters()}),
        "TF-IDF of letters": None,
    }
    chosen = [
        n for n in found if given.set != "beauty" or n in ("packaged", "pretrained", "anchored")
    ]
    return {name: found[name] for name in given.only or chosen}


def measured(name: str, recipe: Pretrain | None, bench: Bench, folder: Path) -> dict[str, Any]:
    """One contender: how its training went, and what its vectors are worth."""
    if name == "TF-IDF of letters":
        return bench.judge(letters_vectors(bench.corpus))
    if recipe is None:
        return bench.judge(partial(encoded, PACKAGED))
    base = find_model(recipe.model)
    run = RunFolder(folder / name.replace(" ", "-"), recipe.mark(bench.corpus, base))
    pretrain(recipe, bench.corpus, base, run)
    card = read_card(run.encoder)
    told = {
        "perplexity before": card["before"][PERPLEXITY],
        "perplexity after": card["held_out"][PERPLEXITY],
        "likeness to before": card["held_out"][LIKENESS],
        "steps": card["steps"],
        "seconds": card["seconds"],
        "curve": [(line["step"], line[PERPLEXITY]) for line in run.curve() if PERPLEXITY in line],
    }
    return {**told, **bench.judge(partial(encoded, str(run.encoder)))}


def main() -> None:
    """Reads the arguments, prints a line a figure, and writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("--only", nargs="+", default=None, help="some of the contenders")
    parser.add_argument("--steps", type=int, default=None, help="of each training")
    parser.add_argument("--minutes", type=float, default=None, help="of each training at most")
    parser.add_argument("--rate", type=float, default=Pretrain().course.rate)
    parser.add_argument("--own-rate", type=float, default=1e-3, help="of the model from nothing")
    parser.add_argument("--anchor", type=float, default=Pretrain().anchor)
    parser.add_argument("--batch-tokens", type=int, default=Pretrain().batch_tokens)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=None, help="keeps the runs; each goes on")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = SETS[given.set]()
    print(
        f"{len(bench.corpus.train):,} texts to learn from, {len(bench.corpus.held_out):,} held out"
    )
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, recipe in contenders(given).items():
            found[name] = measured(name, recipe, bench, given.runs or Path(scratch))
            print(name)
            for figure, value in found[name].items():
                shown = value if isinstance(value, list) else f"{value:.4f}"
                print(f"  {figure:44} {shown}", flush=True)
    if given.json:
        told = {"set": given.set, "arguments": vars(given), "figures": found}
        given.json.write_text(json.dumps(told, indent=1, default=str) + "\n", "utf-8")


if __name__ == "__main__":
    main()
