"""What augmentation brings: virtual users to cold items, and varied texts to an encoder.

``python benchmarks/augmentation.py [--parts users texts] [--work DIR]`` measures two parts, each
under its own key of ``benchmarks/results/augmentation.json``; the other is left as it is.

`users`, on amazon_beauty: a tenth of the items is withheld, ten virtual users are made for each,
sampled from `linear`, and `linear` and `itemknn` are fitted with and without them. For cold
items: Recall@20, the share of places they get, and the recall where nothing but cold items may be
shown, which is their order alone. For all others: the last item of each user, from what is left
without the cold items. ``--seeds 3`` says how often virtual users are drawn.

`texts`, on beauty or retail (``--set``): a fifth of the items is withheld, and the packaged
encoder is fine-tuned on the rest, with the texts as they are and with each way to vary them alone
(`SWITCHES`). The withheld items are asked of `content`, with the weight of meaning that is best on
validation, for each encoder anew. Ratios are to the encoder of plain texts, with 95 % intervals
over people. ``--steps`` and ``--minutes`` bound each fine-tuning, by default to about six minutes
on two cores with bf16; without ``--minutes`` all make as many steps, and are the same but for the
texts. Back-translation is not measured: no translation model is packaged.

The data are found by TAILREC_DATA.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import torch
from encoders import FIGURES, SETS, WAYS, against, benches
from sets import RESULTS, make_shop, written

from tailrec.candidates.neighbours import ItemKnn
from tailrec.data.augment import Augment
from tailrec.data.split import Split, cold_items, leave_one_out
from tailrec.data.virtual import Start, with_virtual_users
from tailrec.dataset import Dataset, Features
from tailrec.engine import AnySource
from tailrec.evaluation.report import Evaluation, evaluate
from tailrec.features.weights import PACKAGED
from tailrec.items import PADDING
from tailrec.shop import Shop
from tailrec.training.recipes import Finetune

SHARE, USERS, SHARPNESS = 0.1, 10, 2.0
SWITCHES: Final[dict[str, dict[str, float]]] = {
    "none": {},
    "synonyms": {"synonyms": 0.3},
    "word_drop": {"word_drop": 0.2},
    "descriptions": {"descriptions": 2},
}
"""Ways to vary texts, each alone."""
UNTAUGHT = "packaged"
"""The encoder that all begin with."""
PARTS = ("users", "texts")


def main() -> None:
    """The parts that are asked for; what another run found of other parts stays."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--work", type=Path, help="folder of shops and runs; kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=3, help="of users: draws")
    parser.add_argument("--set", choices=SETS, default="retail", help="of texts")
    parser.add_argument("--adapt", choices=("lora", "full"), default="lora", help="of texts")
    parser.add_argument("--steps", type=int, default=300, help="of texts: of each fine-tuning")
    parser.add_argument("--minutes", type=float, help="of texts: of each fine-tuning, at most")
    parser.add_argument("--seed", type=int, default=0, help="of texts: of split and training")
    asked = parser.parse_args()
    torch.set_num_threads(2)
    asked.results.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        if "users" in asked.parts:
            kept(asked.results, "rows", users(work, asked.seeds))
        if "texts" in asked.parts:
            kept(asked.results, "texts", texts(work, asked))


def kept(results: Path, part: str, rows: list[dict[str, Any]]) -> None:
    """Write one part down, beside the others."""
    file = results / "augmentation.json"
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(written(known | {part: rows}), "utf-8")


def users(work: Path, n_seeds: int) -> list[dict[str, Any]]:
    """All sources, with and without virtual users."""
    folder = work / "beauty"
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
            drawn = range(n_seeds if start else 1)
            runs = [
                measured(recipe.source, source, start, (cold, others), features, n) for n in drawn
            ]
            row = {"source": source.kind, "start": start or "none"}
            row |= {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
            row |= {f"{name} ±": float(np.std([run[name] for run in runs])) for name in runs[0]}
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


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


def texts(work: Path, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The encoder as it is, taught by plain texts, and by each way to vary them."""
    make_shop(asked.set, work / asked.set)
    with Shop.open(work / asked.set) as shop:
        bench = next(one for one in benches(shop, asked.seed, work / "runs") if one.name == "cold")
        plain, taken, steps = bench.content(bench.features(PACKAGED)), 0.0, 0
        found = {UNTAUGHT: (plain, taken, steps)}
        for switch in SWITCHES:
            encoder, taken, steps = bench.taught(
                f"{switch}-{asked.steps}-{asked.adapt}", recipe_of(switch, asked)
            )
            found[switch] = (bench.content(bench.features(encoder)), taken, steps)
            told = found[switch][0][1].figures
            print(switch, {name: round(told[name], 4) for name in FIGURES if name in told})
    ((_, base), *_) = found["none"]
    about = {"set": asked.set, "adapt": asked.adapt, "seed": asked.seed}
    return [
        about
        | {"texts": switch, "minutes": minutes, "steps": steps, "meaning": content.meaning}
        | compared(own, base)
        for switch, ((content, own), minutes, steps) in found.items()
    ]


def recipe_of(switch: str, asked: argparse.Namespace) -> Finetune:
    """The fine-tuning of the figures of encoders, by varied texts."""
    plain = WAYS[asked.adapt].model_dump()
    bounds = {"steps": asked.steps, "minutes": asked.minutes}
    bounds["check_every"] = max(asked.steps // 3, 1)
    return Finetune.parse(plain | {"augment": SWITCHES[switch], "course": plain["course"] | bounds})


def compared(own: Evaluation, base: Evaluation) -> dict[str, Any]:
    """Figures, and their ratios to those of the encoder taught by plain texts."""
    names = [name for name in FIGURES if name in own.figures]
    figures = {name: float(own.figures[name]) for name in names}
    return {"figures": figures, "ratios": against(own, base, names), "n_requests": len(own.users)}


if __name__ == "__main__":
    main()
