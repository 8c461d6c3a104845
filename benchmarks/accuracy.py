"""The figures of the README: real data, through the command line, sources side by side.

``python benchmarks/accuracy.py [--only beauty,retail] [--budget 90s] [--work DIR]`` makes a shop
of each data set, evaluates every source with the same budget to choose its options on
validation, and writes ``benchmarks/results/<set>-<split>.json`` with figures, options, seconds
and the peak memory of the process. The data are found by TAILREC_DATA.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

DATA = Path(os.environ.get("TAILREC_DATA", Path(__file__).parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results"
TAILREC = Path(sys.executable).with_name("tailrec")


class Set(NamedTuple):
    """A data set: how it is ingested and evaluated, and what its recipe says.

    Options in a recipe were chosen on validation; docs/lab-log.md has the runs.
    """

    ingest: tuple[tuple[str, ...], ...]
    evaluate: tuple[tuple[str, ...], ...]
    sources: str = "ease,itemknn,als,content,popular"
    recipe: str = ""


LEAVE_ONE_OUT = ("--split", "leave-one-out")
SETS = {
    "beauty": Set(
        (
            ("items", "amazon_beauty/items.parquet"),
            ("events", "amazon_beauty/events.parquet"),
        ),
        (LEAVE_ONE_OUT,),
        recipe="""[source]
kind = "linear"
text = 0.65
tilt = 0.0
agreement = 0.25

[features.words]
min_items = 2
""",
    ),
    "sports": Set(
        (
            ("items", "amazon_sports/items.parquet"),
            ("events", "amazon_sports/events.parquet"),
        ),
        (LEAVE_ONE_OUT,),
        recipe="""[source]
kind = "linear"
text = 0.55
""",
    ),
    "retail": Set(
        (("events", "online_retail/online_retail.parquet", "--preset", "online-retail"),),
        (("--split", "time", "--windows", "3", "--keep", "0.97"), ("--split", "cold")),
        recipe="""[source]
kind = "linear"
text = 1.5
tilt = 0.3
basket = 0.3
recall = 0.8
""",
    ),
    "lastfm": Set(
        (
            ("items", "lastfm/items.parquet"),
            ("events", "lastfm/events.parquet", "--fill", "timestamp=2011-05-01"),
        ),
        (LEAVE_ONE_OUT,),
        recipe="""[source]
kind = "linear"
words = 1
meaning = 1
ridge = 50
basket = 1
tilt = 0.1
""",
    ),
}


def run(*words: str) -> str:
    """One command of tailrec; its output."""
    print("tailrec", *words, file=sys.stderr, flush=True)
    return subprocess.run(
        [TAILREC, *words], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def measure(name: str, work: Path, budget: str) -> None:
    """All figures of one data set."""
    shop = work / name
    if not (shop / "tailrec.toml").exists():
        run("init", str(shop))
        if SETS[name].recipe:
            (shop / "tailrec.toml").write_text(SETS[name].recipe, "utf-8")
        for table, file, *options in SETS[name].ingest:
            run("ingest", table, str(DATA / file), *options, "--shop", str(shop))
    for options in SETS[name].evaluate:
        words = (*options, "--with", SETS[name].sources, "--budget", budget, "--json")
        started = perf_counter()
        figures = json.loads(run("evaluate", "--shop", str(shop), *words))
        figures["command"] = " ".join(("tailrec evaluate", *words))
        figures["seconds"] = round(perf_counter() - started, 1)
        kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        figures["peak_gib"] = round(kib / 2**20, 2)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}-{options[1]}.json"
        path.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        print(path, file=sys.stderr)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SETS), help="sets, comma between")
    parser.add_argument("--budget", default="90s", help="of each source and split")
    parser.add_argument("--work", type=Path, help="folder of the shops, kept for another run")
    given = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set TAILREC_DATA to its folder")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only.split(","):
            measure(name, given.work or Path(folder), given.budget)


if __name__ == "__main__":
    main()
