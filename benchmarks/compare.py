"""The figures: real data, through the command line, tailrec beside its peers in one run.

``python benchmarks/compare.py [--only beauty,retail] [--budget 90s] [--peers all] [--work DIR]``
makes a shop of each data set, puts `linear` beside the built-in peers and beside slates of other
libraries, all on the same split with the same budget, and writes ``benchmarks/results/<set>.json``
and the page ``WORK/<set>/reports/comparison``. The other libraries run in locked environments of
their own, but for SASRec, which takes half an hour on two cores: its slates are kept in
``benchmarks/peers/slates``, and only ``--peers all`` makes them anew. ``--peers kept`` takes these
alone and needs no other environment. The data are found by TAILREC_DATA.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from peers.kept import keep_slates, restore_slates
from sets import DATA, DEFAULT, RESULTS, SETS, make_shop, run, written

from tailrec.cli.parse import seconds

HERE = Path(__file__).parent
SLOW = "rectools:sasrec"
OTHERS = ("implicit:bpr", "lenskit:itemknn", SLOW)
SASREC = {
    "leave-one-out": "--minutes 28 --length 16 --every 4 --keep",
    "time": "--minutes 6 --length 30 --every 5 --negatives 32",
}
"""Arguments of SASRec by kind of split: what two cores can train in half an hour."""
PEERS = "popular,recent,itemknn,ease,als,content"


def run_others(name: str, splits: Path, slates: Path, *, peers: str, budget: str) -> None:
    """The other libraries on the exported splits; the slates of slow ones are kept."""
    restore_slates(name, slates, splits)
    if peers == "kept":
        return
    only = OTHERS if peers == "all" else [peer for peer in OTHERS if peer != SLOW]
    words = ["--splits", splits, "--out", slates, "--only", ",".join(only), "--search-once"]
    words += ["--minutes", str(seconds(budget) / 60)]
    words += ["--extra", f"{SLOW}={SASREC[SETS[name].split[1]]}"]
    subprocess.run([sys.executable, HERE / "peers" / "run_all.py", *words], check=True)
    if peers == "all":
        keep_slates(name, slates, splits)


def measure(name: str, work: Path, budget: str, *, peers: str) -> None:
    """All figures of one data set."""
    shop, splits, slates = work / name, work / f"{name}-splits", work / f"{name}-slates"
    make_shop(name, shop)
    options = (*SETS[name].split, "--shop", str(shop))
    run("compare", *options, "--export", str(splits))
    run_others(name, splits, slates, peers=peers, budget=budget)
    given = [f"{path.stem}={path}" for path in sorted(slates.glob("*.parquet"))]
    options = (*options, *(word for one in given for word in ("--slates", one)))
    words = ("--with", PEERS, "--budget", budget, "--keep", str(SETS[name].keep), "--json")
    started = perf_counter()
    found = json.loads(
        run("compare", *options, *words, "--report", str(work / name / "reports" / "comparison"))
    )
    found |= {"title": SETS[name].title, "seconds": round(perf_counter() - started, 1)}
    del found["files"]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(written(found), "utf-8")
    print(path, file=sys.stderr)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(DEFAULT), help="sets, comma between")
    parser.add_argument("--budget", default="90s", help="of each peer and split")
    parser.add_argument("--peers", choices=("kept", "quick", "all"), default="quick")
    parser.add_argument("--work", type=Path, help="folder of the shops, kept for another run")
    given = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set TAILREC_DATA to its folder")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only.split(","):
            measure(name, given.work or Path(folder), given.budget, peers=given.peers)


if __name__ == "__main__":
    main()
