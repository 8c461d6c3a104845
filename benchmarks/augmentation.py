"""What virtual users bring to cold items, and what they cost all others, on amazon_beauty.

``python benchmarks/augmentation.py [--work DIR] [--seeds 3]`` withholds a tenth of the items, makes
ten virtual users for each, sampled from `linear`, and fits `linear` and `itemknn` with and
without them. For cold items: Recall@20, the share of places they get, and the recall where nothing
but cold items may be shown, which is their order alone. For all others: the last item of each
user, from what is left without the cold items. Writes ``benchmarks/results/augmentation.json``.
The data are found by TAILREC_DATA.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from sets import RESULTS, make_shop, written

from tailrec.candidates.neighbours import ItemKnn
from tailrec.data.augment import Augment
from tailrec.data.split import Split, cold_items, leave_one_out
from tailrec.data.virtual import Start, with_virtual_users
from tailrec.dataset import Dataset, Features
from tailrec.engine import AnySource
from tailrec.evaluation.report import evaluate
from tailrec.items import PADDING
from tailrec.shop import Shop

SHARE, USERS, SHARPNESS = 0.1, 10, 2.0


def main() -> None:
    """All sources, with and without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of the shops; kept")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as beside:
        folder = (asked.work or Path(beside)) / "beauty"
        make_shop("beauty", folder)
        with Shop.open(folder) as shop:
            whole, recipe = shop.dataset(whole=True), shop.recipe
            features = recipe.features.fit(whole.catalog, cache=shop.cache).features
    repeats = recipe.histories.repeats
    cold = cold_items(whole, SHARE, np.random.default_rng(0), repeats=repeats)
    others = leave_one_out(cold.whole, repeats=repeats)
    rows = []
    for source in (recipe.source, ItemKnn()):
        for start in (None, *get_args(Start)):
            drawn = range(asked.seeds if start else 1)
            runs = [
                measured(recipe.source, source, start, (cold, others), features, n) for n in drawn
            ]
            row = {"source": source.kind, "start": start or "none"}
            row |= {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
            row |= {f"{name} ±": float(np.std([run[name] for run in runs])) for name in runs[0]}
            print(json.dumps(row), flush=True)
            rows.append(row)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "augmentation.json").write_text(written({"rows": rows}), "utf-8")


def measured(
    teacher: AnySource,
    source: AnySource,
    start: Start | None,
    splits: tuple[Split, Split],
    features: Features,
    *seed: int,
) -> dict[str, Any]:
    """Figures of cold items and of all others, each from a fit on its own train part."""
    cold, others = splits

    def model(train: Dataset) -> Any:
        if start is not None:
            from_whom = teacher.fit(train, features, rng=np.random.default_rng(0))
            items = np.flatnonzero(cold.withheld).astype(np.int32)
            made = Augment(virtual_users=USERS)
            rng = np.random.default_rng(seed)
            train = with_virtual_users(
                train, from_whom, items, made, rng, start=start, sharpness=SHARPNESS
            )
        return source.fit(train, features, rng=np.random.default_rng(0))

    fitted = model(cold.train)
    found = evaluate(cold, fitted.candidates, at=(20,), masks={})
    alone = replace(cold, queries=replace(cold.queries, hidden=~cold.withheld))
    among = evaluate(alone, fitted.candidates, at=(20,), masks={})
    rest = evaluate(others, model(others.train).candidates, at=(10, 20), masks={}).figures
    shown = found.ids[found.ids != PADDING]
    return {
        "cold_recall@20": float(found.figures["recall@20"]),
        "cold_share_of_places": float(cold.withheld[shown].mean()),
        "cold_recall@20_among_them": float(among.figures["recall@20"]),
        "others_ndcg@10": float(rest["ndcg@10"]),
        "others_recall@20": float(rest["recall@20"]),
    }


if __name__ == "__main__":
    main()
