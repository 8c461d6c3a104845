"""What each further event of a new item is worth: recall of items that k people had before.

``python benchmarks/few_shots.py [--work DIR] [--cases beauty:Fragrance,...]`` makes a shop of each
data set and, for each case, a category's items (or a share of all, drawn) that keep at most 0, 1,
5 and 20 events in train. Recall@20 is of the same requests at every k. As only those items are
asked for, a source that shows more of them has more; so the share of places they get is told too,
and the recall where nothing but those items may be shown, which is their order alone. Events that
are kept stand in the histories of requests, too; so the recall with the histories of k = 0 is
told as well, in which only what was learnt differs. Sources
have their default options but for the shop's own recipe for `linear`; `content` and `linear` are
also measured with texts put into other templates for the language model. Writes
``benchmarks/results/few-shots.json`` and ``docs/pictures/few-shots.png``. The data are found by
TAILREC_DATA.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sets import RESULTS, SETS, make_shop, written

from tailrec.candidates.content import Content
from tailrec.candidates.ease import Ease
from tailrec.candidates.popular import Popular
from tailrec.data.few_shots import (
    SHOTS,
    drawn_items,
    few_shots,
    items_of_category,
    with_histories_of,
)
from tailrec.data.leaks import check_no_leak
from tailrec.data.split import Split
from tailrec.dataset import Dataset, Features
from tailrec.engine import AnySource
from tailrec.evaluation.report import evaluate
from tailrec.items import PADDING, BoolArray
from tailrec.pages import BLUE, GREEN, GREY, ORANGE, png, tidy, write_bytes
from tailrec.shop import Shop

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "few-shots.png"
AT = 20
SHARE = 0.2
"""Of the items that are drawn where a catalogue has no categories."""
CASES = (
    "beauty:Fragrance",
    "beauty:Makeup > Nails",
    "beauty:Hair Care > Styling Tools",
    "retail:",
)
TEMPLATES = {
    "all fields": None,
    "title alone": "{title}",
    "a sentence": "{title} by {brand}, found under {category}",
}
LINES = {"linear": BLUE, "content": GREEN, "ease": ORANGE, "popular": GREY}


def main() -> None:
    """All cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of the shops; kept")
    parser.add_argument("--cases", default=",".join(CASES), help="set:category, by commas")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as beside:
        for case in asked.cases.split(","):
            name, path = case.split(":", 1)
            for row in measured(name, path, asked.work or Path(beside)):
                print(json.dumps(row), flush=True)
                rows.append(row)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "few-shots.json").write_text(written({"rows": rows}), "utf-8")
    write_bytes(PICTURE, picture(rows))


def measured(name: str, path: str, work: Path) -> Iterator[dict[str, Any]]:
    """Figures of one case, a row a source, template and k."""
    make_shop(name, work / name)
    with Shop.open(work / name) as shop:
        whole, recipe = shop.dataset(whole=True), shop.recipe
        catalog, cache = whole.catalog, shop.cache
    chosen, label = chosen_of(whole, path)
    features = {}
    for template, form in TEMPLATES.items():
        text = recipe.features.text.model_copy(update={"template": form})
        own = recipe.features.model_copy(update={"text": text})
        features[template] = own.fit(catalog, cache=cache).features
    bare: Split | None = None
    for k in SHOTS:
        split = few_shots(
            whole,
            chosen,
            k,
            np.random.default_rng(0),
            name=label,
            repeats=recipe.histories.repeats,
        )
        check_no_leak(split, whole)
        bare = bare or split
        about = {"set": name, "chosen": label, "k": k, **sizes(split)}
        for source, template in sources(recipe.source):
            found = figures(source, split, bare, features[template])
            yield {**about, "source": source.kind, "template": template, **found}


def chosen_of(whole: Dataset, path: str) -> tuple[BoolArray, str]:
    """The items of a case, and what they are called."""
    if path:
        return items_of_category(whole.catalog, path), path
    return drawn_items(whole, SHARE, np.random.default_rng(0)), f"{SHARE:.0%} of the items, drawn"


def sizes(split: Split) -> dict[str, int]:
    """How much was asked, of how many items, and how many events these have left."""
    return {
        "n_items": int(split.withheld.sum()),
        "n_requests": len(split),
        "n_events_left": int(split.train.item_counts[split.withheld].sum()),
    }


def sources(linear: AnySource) -> Iterator[tuple[AnySource, str]]:
    """What is measured, and with which template."""
    for template in TEMPLATES:
        yield linear, template
        yield Content(), template
    yield Ease(), "all fields"
    yield Popular(), "all fields"


def figures(source: AnySource, split: Split, bare: Split, features: Features) -> dict[str, float]:
    """Recall@20 of one fit, also with the histories of k = 0, and what explains it."""
    model = source.fit(split.train, features, rng=np.random.default_rng(0))
    masks = {"chosen": split.withheld}
    found = evaluate(split, model.candidates, at=(AT,), masks=masks)
    alone = replace(split, queries=replace(split.queries, hidden=~split.withheld))
    among = evaluate(alone, model.candidates, at=(AT,), masks={})
    same = evaluate(with_histories_of(split, bare), model.candidates, at=(AT,), masks={})
    shown = found.ids[found.ids != PADDING]
    return {
        f"recall@{AT}": float(found.figures[f"recall@{AT}"]),
        f"recall@{AT}_same_histories": float(same.figures[f"recall@{AT}"]),
        "share_of_places": float(split.withheld[shown].mean()),
        f"recall@{AT}_among_them": float(among.figures[f"recall@{AT}"]),
    }


def picture(rows: list[dict[str, Any]]) -> bytes:
    """Recall of each case above, and below the same with the histories of k = 0."""
    cases = list(dict.fromkeys((row["set"], row["chosen"]) for row in rows))
    shown = {f"recall@{AT}": "as asked", f"recall@{AT}_same_histories": "histories of k = 0"}
    figure = Figure((3.4 * len(cases), 5.6), layout="constrained")
    grid = figure.subplots(len(shown), len(cases), squeeze=False, sharex=True, sharey="col")
    for (key, words), row_of_axes in zip(shown.items(), grid, strict=True):
        for axes, case in zip(row_of_axes, cases, strict=True):
            own = [row for row in rows if (row["set"], row["chosen"]) == case]
            for kind, colour in LINES.items():
                line = [r for r in own if (r["source"], r["template"]) == (kind, "all fields")]
                up = [row[key] for row in line]
                axes.plot(range(len(up)), up, color=colour, marker="o", lw=1.8, label=kind)
            axes.set_xticks(range(len(SHOTS)), [str(k) for k in SHOTS])
            axes.set_ylim(0, None)
            tidy(axes)
        row_of_axes[0].set_ylabel(f"Recall@{AT}, {words}")
    for top, bottom, case in zip(grid[0], grid[-1], cases, strict=True):
        top.set_title(f"{SETS[case[0]].title.split(',')[0]}: {case[1]}", fontsize=9)
        bottom.set_xlabel("events an item keeps, at most")
    grid[0][0].legend(frameon=False, fontsize=9)
    return png(figure)


if __name__ == "__main__":
    main()
