"""Related products outside the category in view: how often the next thing had is among ten.

``python benchmarks/across.py [--work DIR]`` makes a shop of each data set, fits each source on
what came before the split, with the options that ``compare.py`` chose on validation, and asks for
slates that leave out the category of the latest thing a person has (``outside`` of a scene).
Requests count where something the person turned to next lies outside it. Writes
``benchmarks/results/across.json``. The data are found by TAILREC_DATA.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sets import RESULTS, SETS, make_shop, written

from tailrec import columns as c
from tailrec.data.split import Split
from tailrec.engine import Engine, EngineRecipe
from tailrec.hits import find_hits
from tailrec.items import PADDING, Int32Array, Int64Array, QueryBatch
from tailrec.reranking.grouping import UNGROUPED, groups_of
from tailrec.shop import Shop
from tailrec.tail.segments import is_tail

K = 20
CASES = (("beauty", 1), ("beauty", 2), ("journey", 1))
"""Data sets, and how many levels of a category are left out."""
SOURCES = {
    "popular": "popular",
    "behaviour (itemknn)": "itemknn",
    "words and meaning (content)": "content",
    "linear": "linear",
}
SCOPES = ("product", "person")
"""What is known of who asks: the latest thing alone, as on a product's page, or the history."""


def main() -> None:
    """All cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of the shops; kept")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        found = {"cases": [case for name, level in CASES for case in measured(name, level, work)]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "across.json").write_text(written(found), "utf-8")


def chosen_options(name: str, kind: str) -> dict[str, Any]:
    """Options of a source as `compare.py` chose them on validation of the same split."""
    compared = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    own = next(one for one in compared["contenders"] if one["name"] == kind)
    options: dict[str, Any] = own["splits"][-1]["options"]
    return options


def measured(name: str, level: int, work: Path) -> list[dict[str, Any]]:
    """Figures of each source on one data set and level."""
    make_shop(name, work / name)
    with Shop.open(work / name) as shop:
        # The latest window where there are several: the one with the most to learn from.
        split = shop.splits(SETS[name].split[1], windows=1)[-1]
        own = shop.recipe.engine()
        features = own.features.fit(split.train.catalog, cache=shop.cache)
    table = split.train.catalog.table
    asked = Asked.of(split, groups_of(table, f"{c.CATEGORY}/{level}")[0])
    rows = []
    for label, kind in SOURCES.items():
        options = chosen_options(name, kind)
        recipe = EngineRecipe.parse({**own.model_dump(), "source": options})
        engine = recipe.fit(split.train, features=features)
        rows += [{"source": label, **asked.hits(engine, scope)} for scope in SCOPES]
    rows.append({"source": "linear, nothing left out", **asked.hits(engine, "person, all")})
    about = {"set": name, "level": level, "split": split.name, "share_outside": asked.share}
    return [{**about, "n_requests": len(asked.rows), **row} for row in rows]


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests of which a target lies outside the category in view.

    Attributes:
        split: what was asked.
        code: int32 [I], categories.
        rows: int64 [R], the requests.
        target_ptr: int64 [R + 1].
        target: int32 [T], targets outside the category in view.
        share: of all targets that lie outside it.
    """

    split: Split
    code: Int32Array
    rows: Int64Array
    target_ptr: Int64Array
    target: Int32Array
    share: float

    @classmethod
    def of(cls, split: Split, code: Int32Array) -> "Asked":
        """The requests of a split."""
        queries = split.queries
        row = np.repeat(np.arange(len(split)), np.diff(split.target_ptr))
        known = np.diff(queries.ptr) > 0
        view = np.full(len(split), PADDING)
        view[known] = queries.item[queries.ptr[1:][known] - 1]
        told = known[row] & (code[view[row]] != UNGROUPED) & (code[split.target] != UNGROUPED)
        outside = told & (code[split.target] != code[view[row]])
        counts = np.bincount(row[outside], minlength=len(split))
        rows = np.flatnonzero(counts)
        ptr = np.concatenate([[0], np.cumsum(counts[rows])])
        share = float(outside.sum() / told.sum())
        return cls(split, code, rows, ptr, split.target[outside], share)

    def hits(self, engine: Engine, scope: str) -> dict[str, Any]:
        """How often a target is in the slate, and how much of the catalogue slates show."""
        ids = np.full((len(self.rows), K), PADDING, np.int32)
        queries = self.split.queries
        view = self.code[queries.item[queries.ptr[self.rows + 1] - 1]]
        for code in np.unique(view):
            own = np.flatnonzero(view == code)
            asked = queries.take(self.rows[own])
            if scope == "product":
                asked = _latest(asked)
            if scope in SCOPES:
                asked = replace(asked, hidden=self.code == code)
            ids[own] = engine.recommend(asked, K).ids
        hits = find_hits(ids, self.target_ptr, self.target)
        tail = is_tail(self.split.train.item_counts, "pareto")
        return {
            "history": scope,
            "hit@10": float(hits[:, :10].any(1).mean()),
            "hit@20": float(hits.any(1).mean()),
            "tail_share@20": float(tail[ids].mean()),
            "coverage@20": len(np.unique(ids)) / len(tail),
        }


def _latest(queries: QueryBatch) -> QueryBatch:
    """The same requests, knowing only the latest entry of each history."""
    last = queries.ptr[1:] - 1
    return replace(
        queries,
        ptr=np.arange(len(queries) + 1),
        item=queries.item[last],
        age=queries.age[last],
        days=queries.days[last],
        weight=queries.weight[last],
    )


if __name__ == "__main__":
    main()
