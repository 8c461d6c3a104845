"""Several sources as one, beside each of them and beside tuned peers, with and without texts.

``python benchmarks/ranking.py [--only SET ...] [--seeds N] [--work DIR]`` fits, on each split of
each set and for each seed, the parts of a mixture once, and the rankers of `RANKERS` on what they
say; then `ease` and `als` with the options that ``compare.py`` chose for them on
validation, collective EASE with options chosen here, and the kept slates of SASRec (tuned and
trained once, ``peers/slates``; that with text vectors by ``peers/rectools/run.py --texts``, of
what ``--texts`` here writes). The whole catalogue is ranked. Each fit is a process of its own, so
that its memory is its own, with as many threads as OMP_NUM_THREADS says. Writes
``benchmarks/results/ranking.json`` and ``docs/pictures/ranking.png``; what is in DIR is not made
again. The data are found by TAILREC_DATA.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from peers.collective import CollectiveEase
from peers.kept import restore_slates
from sets import RESULTS, SETS, make_shop, run, written

from tailrec.candidates.content import Content
from tailrec.candidates.linear import Linear
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.sequence import Sequential
from tailrec.comparison import split_features
from tailrec.contender import evaluate_slates
from tailrec.data.split import Split, validation
from tailrec.dataset import Features
from tailrec.engine import EngineRecipe
from tailrec.evaluation.facets import facets_of
from tailrec.evaluation.report import Evaluation, evaluate
from tailrec.evaluation.significance import Bootstrap
from tailrec.mixture import Mixture, MixtureModel
from tailrec.pages import BLUE, GREY, png, tidy, write_bytes
from tailrec.ranking.attention import Attention
from tailrec.ranking.blend import Blend
from tailrec.ranking.lambdamart import LambdaMart
from tailrec.shop import Shop
from tailrec.tail.segments import is_tail

NAMES = ("beauty", "retail", "sports")
RANKERS = {
    "mixture": Blend(),
    "mixture, attention": Attention(),
    "mixture, attention, 3 % for the tail": Attention(blend=Blend(keep=0.97)),
    "mixture, lambdamart": LambdaMart(),
}
SASREC = "rectools-sasrec"
FIGURES = ("recall@10", "ndcg@10", "recall@20/pareto", "ndcg@10/pareto", "recall@20/cold")
JUDGED = FIGURES[:4]
KEPT = (*FIGURES, *(f"recall@20/decile_{number}" for number in range(1, 11)))
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "ranking.png"
DRAWN = {
    "mixture, attention": (BLUE, "-"),
    "mixture, attention, 3 % for the tail": (BLUE, "-."),
    "linear": (BLUE, ":"),
    "sequence": (BLUE, "--"),
    "ease": (GREY, "-"),
    "collective ease": (GREY, "--"),
    SASREC: (GREY, ":"),
    f"{SASREC}-texts": (GREY, "-."),
}


def splits_of(shop: Shop, name: str) -> list[Split]:
    """The splits of a set's figures."""
    kind, windows = SETS[name].split[1], int((*SETS[name].split, "", "1")[3])
    return shop.splits(kind, windows=windows)


def opened(work: Path, name: str, number: int) -> tuple[Shop, Split, Features]:
    """A shop, one of its splits, and features that know nothing of the split's future."""
    shop = Shop.open(work / name)
    split = splits_of(shop, name)[number]
    return shop, split, split_features(shop.recipe.engine(), split, shop.cache, None).features


def options(name: str, contender: str, number: int) -> dict[str, Any]:
    """What ``compare.py`` chose for a contender on validation of a split."""
    stored = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["contenders"]
    own = next(one for one in stored if one["name"] == contender)
    found: dict[str, Any] = own["splits"][number]["options"]
    return found


def measured(split: Split, features: Features, candidates: Any) -> Evaluation:
    """The figures of a model or of slates."""
    masks = {"pareto": is_tail(split.train.item_counts, "pareto")}
    facets = facets_of(split.train.catalog, features.words)
    return evaluate(split, candidates, at=(10, 20), masks=masks, facets=facets)


def fit_ours(
    name: str, number: int, seed: int, work: Path
) -> Iterator[tuple[str, Evaluation, dict[str, float]]]:
    """The mixture under each ranker, and its parts; minutes and memory are of one fit of all."""
    shop, split, features = opened(work, name, number)
    parts = (
        Linear.model_validate(options(name, "linear", number)),
        Sequential(),
        Content.model_validate(options(name, "content", number)),
        ItemKnn.model_validate(options(name, "itemknn", number)),
    )
    recipe, repeats = Mixture(parts=parts), shop.recipe.histories.repeats
    fit = partial(recipe.fit_each, data=split.train, features=features, whole=split.whole)
    started = perf_counter()
    models = fit(list(RANKERS.values()), rng=np.random.default_rng(seed), repeats=repeats)
    minutes = (perf_counter() - started) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for told, model in zip(RANKERS, models, strict=True):
        more = {"lean": getattr(getattr(model.ranker, "blend", model.ranker), "lean", 1.0)}
        more |= latency(model, split)
        costs = {"minutes": minutes, "peak_bytes": peak, **more}
        yield told, measured(split, features, model.candidates), costs
    for part, model in models[0].models.items():
        yield part, measured(split, features, model.candidates), {}


def latency(model: MixtureModel, split: Split) -> dict[str, float]:
    """Milliseconds of one thread: a pool of 500 ranked, and a slate from sources to places."""
    wide = replace(model, recipe=model.recipe.model_copy(update={"depth": 400}))
    rows = [split.queries.rows(row, row + 1) for row in range(60)]
    pools = [wide.pools(query).first(500) for query in rows]
    sizes = [pool.ids.shape[1] for pool in pools]
    ranked = timed(lambda n: model.ranker.score(rows[n], pools[n]))
    slates = timed(lambda n: model.candidates(rows[n], 20))
    return {"ranked": float(np.mean(sizes)), "rank_ms": ranked, "slate_ms": slates}


def timed(work: Any) -> float:
    """Median milliseconds of some calls, the first ten not counted."""
    taken = []
    for number in range(60):
        started = perf_counter()
        work(number)
        taken.append(1000 * (perf_counter() - started))
    return float(np.median(taken[10:]))


def fit_peers(
    name: str, number: int, seed: int, work: Path
) -> Iterator[tuple[str, Evaluation, dict[str, float]]]:
    """What is not ours, or is the classic form of it."""
    _, split, features = opened(work, name, number)
    for peer in ("ease", "als"):
        source = EngineRecipe.model_validate({"source": options(name, peer, number)}).source
        started = perf_counter()
        model = source.fit(split.train, features, rng=np.random.default_rng(seed))
        minutes = (perf_counter() - started) / 60
        yield peer, measured(split, features, model.candidates), {"minutes": minutes}
    chosen = collective(name, number, split, features)
    started = perf_counter()
    fitted = chosen.fit(split.train, features)
    minutes = (perf_counter() - started) / 60
    yield (
        "collective ease",
        measured(split, features, fitted.candidates),
        {"minutes": minutes, **chosen._asdict()},
    )


def read_slow(
    name: str, number: int, seed: int, work: Path
) -> Iterator[tuple[str, Evaluation, dict[str, float]]]:
    """Slates of SASRec, kept; minutes are of the training whose best state answers."""
    del seed
    _, split, features = opened(work, name, number)
    masks = {"pareto": is_tail(split.train.item_counts, "pareto")}
    facets = facets_of(split.train.catalog, features.words)
    for path in sorted(slates_of(name, work).glob(f"{SASREC}*.parquet")):
        found = evaluate_slates(path, split, (10, 20), masks, facets).runs[0]
        card = json.loads(path.with_suffix(".json").read_text("utf-8"))
        costs = {"minutes": card["fit_seconds"] / 60, "peak_bytes": card["peak_bytes"]}
        yield path.stem, found, costs


def collective(name: str, number: int, split: Split, features: Features) -> CollectiveEase:
    """Collective EASE with the options that are best on validation.

    Its fits on amazon_sports take minutes; there the texts count what they do on amazon_beauty,
    the same kind of shop.
    """
    tuned = options(name, "ease", number)
    start = CollectiveEase(tuned["regularization"], 1.0, tuned["decay"])
    if name == "sports":
        return start._replace(texts=4.0)
    inner = validation(split)
    tried = [
        start._replace(regularization=start.regularization * factor, texts=texts)
        for factor, texts in ((1, 1.0), (1, 4.0), (1, 16.0), (3, 16.0), (3, 64.0))
    ]

    def merit(one: CollectiveEase) -> float:
        model = one.fit(inner.train, features)
        return evaluate(inner, model.candidates, at=(10,), masks={}).figures["ndcg@10"]

    return max(tried, key=merit)


def write_texts(name: str, work: Path) -> None:
    """Text vectors of a set's items, for ``peers/rectools/run.py --texts``."""
    _, split, features = opened(work, name, 0)
    ids = split.train.catalog.ids.astype(str)
    np.savez(work / f"{name}-texts.npz", ids=ids, vectors=features.dense)


def slates_of(name: str, work: Path) -> Path:
    """The kept slates of a set, for its splits as they are exported."""
    splits, slates = work / f"{name}-splits", work / f"{name}-slates"
    if not slates.exists():
        run("compare", *SETS[name].split, "--shop", str(work / name), "--export", str(splits))
        restore_slates(name, slates, splits)
    return slates


WHO = {"ours": fit_ours, "peers": fit_peers, "slow": read_slow}
"""What is measured, each in a process of its own; what is not ours, for the first seed alone."""


def one(name: str, number: int, seed: int, work: Path, who: str) -> None:
    """Fit and measure in this process; figures and what each request gave go to the folder."""
    rows = []
    for told, found, costs in WHO[who](name, number, seed, work):
        figures = {n: found.figures[n] for n in KEPT if n in found.figures}
        about = {"set": name, "split": number, "seed": seed, "name": told}
        rows.append({**about, "n_requests": len(found.users), "figures": figures, "costs": costs})
        each = {n.replace("/", "."): found.per_user[n].astype(np.float32) for n in JUDGED}
        file = work / "each" / f"{name}-{number}-{seed}-{told}.npz"
        np.savez_compressed(file, users=found.users, **each)
        print(about, {n: round(figures[n], 4) for n in JUDGED}, costs, file=sys.stderr, flush=True)
    path = work / "each" / f"{name}-{number}-{seed}-{who}.json"
    path.write_text(json.dumps(rows), "utf-8")


def ratios(rows: list[dict[str, Any]], work: Path, name: str) -> list[dict[str, Any]]:
    """The mixtures over everything else: means over seeds, people drawn with replacement."""
    own = [row for row in rows if row["set"] == name]
    splits = sorted({row["split"] for row in own})
    each: dict[str, dict[str, Any]] = {}
    users = np.zeros(0)
    for told in dict.fromkeys(row["name"] for row in own):
        columns: dict[str, list[Any]] = {figure: [] for figure in JUDGED}
        people = []
        for split in splits:
            seeds = sorted(r["seed"] for r in own if (r["name"], r["split"]) == (told, split))
            files = [np.load(work / "each" / f"{name}-{split}-{seed}-{told}.npz") for seed in seeds]
            people.append(files[0]["users"])
            for figure in JUDGED:
                several = [file[figure.replace("/", ".")] for file in files]
                columns[figure].append(np.mean(several, axis=0, dtype=np.float64))
        users = np.concatenate(people)
        each[told] = {figure: np.concatenate(parts) for figure, parts in columns.items()}
    found = []
    for mixture in RANKERS:
        others = [other for other in each if other != mixture]
        pairs = [(each[mixture][f], each[other][f]) for other in others for f in JUDGED]
        drawn = iter(Bootstrap(users, rng=np.random.default_rng(0)).ratios(pairs))
        for other in others:
            told = {figure: list(next(drawn).interval) for figure in JUDGED}
            found.append({"set": name, "name": mixture, "over": other, "ratios": told})
    return found


def picture(rows: list[dict[str, Any]]) -> bytes:
    """Recall@20 by decile of popularity, the least popular first; means over splits and seeds."""
    names = [name for name in NAMES if any(row["set"] == name for row in rows)]
    figure = Figure((4.2 * len(names), 3.6), layout="constrained")
    for name, axes in zip(names, np.atleast_1d(figure.subplots(1, len(names))), strict=True):
        for told, (colour, style) in DRAWN.items():
            own = [r["figures"] for r in rows if (r["set"], r["name"]) == (name, told)]
            if not own:
                continue
            deciles = range(1, 11)
            means = [
                np.mean([figures.get(f"recall@20/decile_{n}", np.nan) for figures in own])
                for n in deciles
            ]
            width = 2.2 if told.startswith("mixture") else 1.4
            axes.plot(deciles, means, style, color=colour, lw=width, label=told)
        axes.set_title(SETS[name].title, fontsize=9)
        axes.set_xlabel("decile of popularity, the least popular first")
        axes.set_xticks(deciles)
        tidy(axes)
    figure.axes[0].set_ylabel("Recall@20")
    figure.axes[0].legend(fontsize=7, frameon=False)
    return png(figure)


def main() -> None:
    """All sets, splits and seeds that are not in the folder yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder of shops and figures; kept")
    parser.add_argument("--texts", action="store_true", help="write DIR/SET-texts.npz, and stop")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        name, number, seed, who = asked.one
        one(name, int(number), int(seed), asked.work, who)
        return
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        (work / "each").mkdir(parents=True, exist_ok=True)
        for name in asked.only:
            make_shop(name, work / name)
            slates_of(name, work)
            if asked.texts:
                write_texts(name, work)
                continue
            n_splits = len(list((work / f"{name}-splits").glob("*/split.json")))
            turns = [(seed, number) for seed in range(asked.seeds) for number in range(n_splits)]
            for seed, number in turns:
                for who in WHO if seed == 0 else ("ours",):
                    if (work / "each" / f"{name}-{number}-{seed}-{who}.json").exists():
                        continue
                    words = [name, str(number), str(seed), who]
                    command = [sys.executable, __file__, "--work", str(work), "--one", *words]
                    subprocess.run(command, check=True)
                if number == n_splits - 1:
                    summed(work)


def complete(work: Path, name: str) -> bool:
    """Whether everything was measured on every split of a set, with one seed at least."""
    splits = len(list((work / f"{name}-splits").glob("*/split.json")))
    there = [work / "each" / f"{name}-{n}-0-{who}.json" for n in range(splits) for who in WHO]
    return bool(there) and all(path.exists() for path in there)


def summed(work: Path) -> None:
    """Write what is in the folder as the result."""
    names = [name for name in NAMES if complete(work, name)]
    files = [file for name in names for file in sorted((work / "each").glob(f"{name}-*.json"))]
    rows = [row for file in files for row in json.loads(file.read_text("utf-8"))]
    found = {"rows": rows, "ratios": [row for name in names for row in ratios(rows, work, name)]}
    (RESULTS / "ranking.json").write_text(written(found), "utf-8")
    write_bytes(PICTURE, picture(rows))


if __name__ == "__main__":
    main()
