"""Is an update as good as a fit? A day's events come: stay as you are, go on, or begin anew.

``python benchmarks/update.py [--only SET ...] [--sources KIND ...] [--work DIR]`` fits
`sequence`, and a mixture of it with `linear` under the options that ``compare.py`` chose, to all
but the latest events of what a split leaves to learn from (each person's last event; the latest
window), brings the engine up to date with all of it, and fits another from the beginning. Figures
are of the split, minutes of this machine. Writes ``benchmarks/results/update.json``. The data are
found by TAILREC_DATA.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from sets import RESULTS, make_shop, written

from ranking import FIGURES, measured, options, splits_of
from tailrec.candidates.linear import Linear
from tailrec.candidates.sequence import Sequential
from tailrec.data.split import Split, validation
from tailrec.engine import Engine, EngineRecipe
from tailrec.mixture import Mixture
from tailrec.shop import Shop
from tailrec.updating import updated

NAMES = ("beauty", "retail")
KINDS = ("sequence", "mixture")


def main() -> None:
    """Both sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--sources", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--work", type=Path, help="folder of the shops; kept")
    asked = parser.parse_args()
    file = RESULTS / "update.json"
    rows = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    with tempfile.TemporaryDirectory() as beside:
        work = asked.work or Path(beside)
        for name in asked.only:
            make_shop(name, work / name)
            with Shop.open(work / name) as shop:
                splits = splits_of(shop, name)
                last = len(splits) - 1
                linear = Linear.model_validate(options(name, "linear", last))
                sources = (Sequential(), Mixture(parts=(linear, Sequential())))
                for source in (one for one in sources if one.kind in asked.sources):
                    about = {"set": name, "source": source.kind}
                    rows = [row for row in rows if not about.items() <= row.items()]
                    recipe = shop.recipe.engine().model_copy(update={"source": source})
                    for row in compared(recipe, splits[last], shop.cache):
                        print(json.dumps(about | row), flush=True)
                        rows.append(about | row)
                    file.write_text(written({"rows": rows}), "utf-8")


def compared(recipe: EngineRecipe, split: Split, cache: Path) -> Iterator[dict[str, Any]]:
    """The engine as it was, brought up to date, and fitted anew."""
    inner = validation(split)
    stale, minutes = timed(lambda: recipe.fit(inner.train, whole=inner.whole, cache=cache))
    yield told("as it was", stale, split, minutes)
    later, minutes = timed(lambda: updated(stale, split.train, recipe.histories))
    yield told("brought up to date", later, split, minutes)
    fresh, minutes = timed(lambda: recipe.fit(split.train, whole=split.whole, cache=cache))
    yield told("fitted anew", fresh, split, minutes)


def timed(make: Any) -> tuple[Engine, float]:
    """An engine, and the minutes it took."""
    started = perf_counter()
    engine: Engine = make()
    return engine, (perf_counter() - started) / 60


def told(name: str, engine: Engine, split: Split, minutes: float) -> dict[str, Any]:
    """Its figures."""
    found = measured(split, engine.features.features, engine.recommend)
    figures = {n: found.figures[n] for n in FIGURES if n in found.figures}
    return {"engine": name, "minutes": minutes, "figures": figures}


if __name__ == "__main__":
    main()
