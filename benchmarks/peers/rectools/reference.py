"""Metrics of RecTools on a small made-up world, kept with their inputs for the tests.

``python benchmarks/peers/rectools/reference.py`` runs in RecTools' own environment and writes
tests/evaluation/rectools_reference.json. It imports nothing of tailrec, so that what the tests
compare with was never near it.

No two items have as many training events: RecTools ranks items with as many as one, which other
definitions do not; here all agree on the ranks. Two items have none, some slates are short, some
items have no words, and one person has no slate of two.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import (
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    F1Beta,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    PairwiseDistanceCalculator,
    Precision,
    Recall,
    Serendipity,
)

OUT = Path(__file__).parents[3] / "tests" / "evaluation" / "rectools_reference.json"
USERS, ITEMS, WORDS, LONGEST = 60, 40, 25, 10
AT = (1, 5, 10)
SEED = 20_260


class CosineDistance(PairwiseDistanceCalculator):
    """One less the cosine of two items' vectors; NaN, to be skipped, where one has none."""

    def __init__(self, vectors: np.ndarray) -> None:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            self.unit = vectors / lengths

    def _get_distances_for_item_pairs(self, items_0: np.ndarray, items_1: np.ndarray) -> np.ndarray:
        first, second = np.asarray(items_0, int), np.asarray(items_1, int)
        return 1 - (self.unit[first] * self.unit[second]).sum(1)


def world(rng: np.random.Generator) -> dict[str, list]:
    """Histories, targets and slates, row = user; vectors, row = item."""
    # Item i is had by i - 1 people from item 2 on: 0, 0, 1, 2, ... all different but for two.
    having = [rng.permutation(USERS)[: max(item - 1, 0)] for item in range(ITEMS)]
    past: list[list[int]] = [[] for _ in range(USERS)]
    for item, people in enumerate(having):
        for person in people:
            past[person].append(item)
    targets, slates = [], []
    for person in range(USERS):
        new = rng.permutation(np.setdiff1d(np.arange(ITEMS), past[person]))
        targets.append(new[: rng.integers(1, 7)].tolist())
        length = LONGEST if person % 3 else rng.integers(2, LONGEST)
        slates.append(rng.permutation(new)[: 1 if person == 7 else length].tolist())
    vectors = rng.poisson(0.15, (ITEMS, WORDS)) * rng.random((ITEMS, WORDS)).round(3)
    vectors[[5, 20]] = 0
    return {"past": past, "targets": targets, "slates": slates, "vectors": vectors.tolist()}


def table(rows: list[list[int]]) -> pd.DataFrame:
    """One line a user and item; the rank is the place in the row."""
    return pd.DataFrame(
        [(user, item, at + 1) for user, row in enumerate(rows) for at, item in enumerate(row)],
        columns=[Columns.User, Columns.Item, Columns.Rank],
    )


def per_user(values: pd.Series) -> list[float | None]:
    """In the order of the users; None where RecTools gives no number."""
    own = values.reindex(range(USERS)).astype(float)
    return [None if np.isnan(value) else float(value) for value in own]


def main() -> None:
    """Make the world, measure, write."""
    made = world(np.random.default_rng(SEED))
    past, targets, slates = (table(made[name]) for name in ("past", "targets", "slates"))
    catalog = range(ITEMS)
    distance = CosineDistance(np.array(made["vectors"]))
    found: dict[str, list[float | None]] = {}
    overall: dict[str, float] = {}
    for k in AT:
        for name, metric in {
            "recall": Recall(k),
            "precision": Precision(k),
            "f1": F1Beta(k),
            "hit": HitRate(k),
            "ndcg": NDCG(k, divide_by_achievable=True),
            "mrr": MRR(k),
        }.items():
            found[f"{name}@{k}"] = per_user(metric.calc_per_user(slates, targets))
        serendipity = Serendipity(k).calc_per_user(slates, targets, past, catalog)
        found[f"serendipity@{k}"] = per_user(serendipity)
        found[f"novelty@{k}"] = per_user(MeanInvUserFreq(k).calc_per_user(slates, past))
        found[f"popularity@{k}"] = per_user(AvgRecPopularity(k).calc_per_user(slates, past))
        ild = IntraListDiversity(k, distance).calc_per_user(slates)
        found[f"ild@{k}"] = per_user(ild)
        overall[f"coverage@{k}"] = CatalogCoverage(k, normalize=True).calc(slates, catalog)
    versions = {name: version(name) for name in ("rectools", "numpy", "pandas")}
    reference = {
        "made_by": "benchmarks/peers/rectools/reference.py",
        "versions": versions,
        "seed": SEED,
        "n_items": ITEMS,
        "at": AT,
        "world": made,
        "per_user": found,
        "overall": overall,
    }
    OUT.write_text(json.dumps(reference) + "\n", "utf-8")


if __name__ == "__main__":
    main()
