"""Learning one period after another: what an encoder forgets, and what keeps it.

``python benchmarks/continual.py [--work DIR] [--set retail] [--seeds 1] [--json FILE]`` makes a
shop of a data set with real times, cuts its histories into three periods of as many events, and
teaches a map behind the packaged encoder each in turn: without care, with each means of
`Continue`, with all, and all periods at once. After each period all are asked for withheld items
that no period teaches: recall@20 of the encoder's nearest neighbours over the whole catalogue.
Prints the figures, writes ``benchmarks/results/continual.json`` (or FILE) and
``docs/pictures/continual.png``. The data are found by TAILREC_DATA.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sets import RESULTS, make_shop, written

from tailrec.candidates.content import Content
from tailrec.data.histories import Repeats, settle_repeats
from tailrec.data.periods import Period, periods
from tailrec.dataset import Dataset, Features
from tailrec.evaluation.report import evaluate
from tailrec.items import Array, BoolArray, Float32Array
from tailrec.pages import BLUE, GREEN, GREY, ORANGE, VERMILION, png, tidy, write_bytes
from tailrec.shop import Shop
from tailrec.teaching import held_out, judged_on, lessons_of
from tailrec.training.behaviour import Contrastive, Lessons
from tailrec.training.continual import Continue
from tailrec.training.course import Task, train
from tailrec.training.embedders import MapEmbedder
from tailrec.training.forgetting import (
    backward_transfer,
    forgetting,
    forward_transfer,
    measured,
)
from tailrec.training.memory import Memory, remembered
from tailrec.training.recipes import Course, Objective
from tailrec.training.retain import Start, continued
from tailrec.training.run_folder import RunFolder

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "continual.png"
AT = 20
N_PERIODS = 3
WAYS: dict[str, Continue | None] = {
    "without care": None,
    "replay": Continue(replay=0.5),
    "consolidate": Continue(replay=0, consolidate=100),
    "remember": Continue(replay=0, remember=1),
    "all three": Continue(replay=0.5, consolidate=100, remember=1),
}
AT_ONCE = "all at once"
COLOURS = dict(zip(WAYS, (GREY, BLUE, ORANGE, GREEN, VERMILION), strict=True))
SIZE = 512
COURSE = Course(steps=300, rate=1e-3, weight_decay=0.1, check_every=100, device="cpu")


@dataclass(frozen=True)
class Known:
    """What has been learnt so far.

    Attributes:
        vectors: float32 [I, D], of all items.
        memory: what a later run goes on from.
    """

    vectors: Float32Array
    memory: Memory | None = None


@dataclass(frozen=True)
class Lab:
    """What all runs of a seed share.

    Attributes:
        features: words and vectors as the packaged encoder makes them.
        course: of each run.
        repeats: as the shop's recipe has it.
        work: folder of the runs.
    """

    features: Features
    course: Course
    repeats: Repeats
    work: Path

    def learn(self, known: Known, data: Dataset, options: Continue | None) -> Known:
        """What is known after one more period."""
        rng = np.random.default_rng([self.course.seed, data.n_events])
        embedder = MapEmbedder(known.vectors)
        inner = held_out(data, self.repeats, rng)
        judged = judged_on(inner, settle_repeats(data, self.repeats), rng)
        features = Features(self.features.words, known.vectors)
        lessons = lessons_of(inner.train, features, hard=False, rng=rng)
        objective = Objective()

        def make(taught: Lessons) -> Task:
            return Contrastive(embedder, taught, objective, size=SIZE, judged=judged)

        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            run = RunFolder(Path(folder), "a period")
            task = make(lessons)
            if options is not None and known.memory is not None:
                start = Start(embedder, known.vectors, known.memory, run, self.course.seed)
                task = continued(options, start, lessons, objective, SIZE, make=make)
            train(task, self.course, run)
        vectors = embedder.encode(np.arange(data.n_items))
        memory = remembered(data.catalog, lessons.affinity, "a period", known.memory)
        return Known(vectors, memory)

    def figure(self, known: Known, period: Period) -> float:
        """Recall@20 of the period's requests by the vectors' neighbours alone."""
        features = Features(self.features.words, known.vectors)
        rng = np.random.default_rng(0)
        model = Content(words=1e-6, meaning=1).fit(period.split.train, features, rng=rng)
        found = evaluate(period.split, model.candidates, at=(AT,), masks={}).figures
        return float(found[f"recall@{AT}"])


def main() -> None:
    """All ways, all seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of the shop; kept")
    parser.add_argument("--set", default="retail", help="a data set with real times")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=COURSE.steps)
    parser.add_argument("--json", type=Path, default=RESULTS / "continual.json")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        make_shop(asked.set, work / asked.set)
        with Shop.open(work / asked.set) as shop:
            whole, recipe, cache = shop.dataset(whole=True), shop.recipe, shop.cache
        features = recipe.features.fit(whole.catalog, cache=cache).features
        for seed in range(asked.seeds):
            course = COURSE.model_copy(update={"seed": seed, "steps": asked.steps})
            lab = Lab(features, course, recipe.histories.repeats, work)
            for row in rows_of(lab, whole):
                print(json.dumps(row), flush=True)
                rows.append({"set": asked.set, "seed": seed, **row})
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(written({"rows": rows}), "utf-8")
    write_bytes(PICTURE, picture(rows))
    print(table(rows))


def rows_of(lab: Lab, whole: Dataset) -> list[dict[str, Any]]:
    """Figures of one seed, a row a way."""
    cut = periods(whole, N_PERIODS, np.random.default_rng(lab.course.seed), repeats=lab.repeats)
    start = Known(lab.features.dense)
    rows = []
    for name, options in WAYS.items():

        def learn(known: Known, period: Period, options: Continue | None = options) -> Known:
            return lab.learn(known, period.split.whole, options)

        before, figures = measured(start, cut, learn, lab.figure)
        rows.append({"way": name, "before": before.tolist(), "figures": figures.tolist()})
        rows[-1] |= {
            "last": float(figures[-1].mean()),
            "forgetting": forgetting(figures),
            "backward": backward_transfer(figures),
            "forward": forward_transfer(figures, before),
        }
    every = lab.learn(start, whole.keep(taught_by(cut, whole)), None)
    last = [lab.figure(every, period) for period in cut]
    return [*rows, {"way": AT_ONCE, "figures": [last], "last": float(np.mean(last))}]


def taught_by(cut: Sequence[Period], whole: Dataset) -> BoolArray:
    """bool [E], events that any period teaches."""
    keys = np.concatenate([_keys(period.split.whole) for period in cut])
    known: BoolArray = np.isin(_keys(whole), keys)
    return known


def _keys(data: Dataset) -> Array:
    """What tells events apart; those of one person, item and instant stand for each other."""
    pair = data.user.astype(np.int64) * data.n_items + data.item
    return np.rec.fromarrays([pair, data.time])


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, a line a way, as Markdown."""
    ends = "".join(f" period {number + 1} |" for number in range(N_PERIODS))
    lines = [
        f"| |{ends} mean | forgetting | backward | forward |",
        "|" + " --- |" * (N_PERIODS + 5),
    ]
    for way in (*WAYS, AT_ONCE):
        own = [row for row in rows if row["way"] == way]
        cells = [*np.mean([row["figures"][-1] for row in own], axis=0)]
        cells += [
            np.mean([row[name] for row in own]) if name in own[0] else None
            for name in ("last", "forgetting", "backward", "forward")
        ]
        told = ["" if cell is None else f"{cell:.4f}" for cell in cells]
        lines.append("| " + " | ".join([way, *told]) + " |")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]]) -> bytes:
    """Each period's figure after each that was learnt; dashed: all at once."""
    figure = Figure((3.4 * N_PERIODS, 3.2), layout="constrained")
    for number, axes in enumerate(figure.subplots(1, N_PERIODS, sharey=True)):
        for way, colour in COLOURS.items():
            own = [row for row in rows if row["way"] == way]
            line = np.mean(
                [[one[number] for one in (row["before"], *row["figures"])] for row in own], axis=0
            )
            axes.plot(range(len(line)), line, color=colour, marker="o", lw=1.6, label=way)
        once = [row["figures"][0][number] for row in rows if row["way"] == AT_ONCE]
        axes.axhline(float(np.mean(once)), color=GREY, lw=1, ls="--", label=AT_ONCE)
        axes.set_xticks(range(N_PERIODS + 1), ["none", *map(str, range(1, N_PERIODS + 1))])
        axes.set_xlabel("last period that was learnt")
        axes.set_title(f"asked: period {number + 1}", fontsize=10)
        tidy(axes)
    figure.axes[0].set_ylabel(f"Recall@{AT}, withheld items")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return png(figure)


if __name__ == "__main__":
    main()
