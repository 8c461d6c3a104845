"""Runs other libraries on splits in files: an environment, slates and a card for each peer.

``python benchmarks/peers/run_all.py --splits DIR --out DIR`` runs in tailrec's environment. DIR
has the windows that ``tailrec compare --export DIR`` writes, folders 0, 1, and so on. Of each peer
OUT/<library>-<model>.parquet holds the slates of all windows, for ``tailrec compare --slates``,
and the card beside it what they cost. What is there for the same splits is kept.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl

from tailrec.files import whole_file

HERE = Path(__file__).parent
PEERS = (
    *("implicit:bpr", "implicit:als", "implicit:itemknn"),
    *("lenskit:itemknn", "lenskit:ials", "lenskit:slim"),
    *("rectools:sasrec", "rectools:esasrec"),
)
MEANS = ("search_seconds", "fit_seconds", "slate_seconds")
LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Card = dict[str, Any]


def environment(library: str, envs: Path | None) -> Path:
    """The interpreter of a library's own environment, made where it is missing.

    Args:
        library: names the folder with its requirements.txt.
        envs: folder of environments, one of each library's name; None: beside the runner.
    """
    folder = envs / library if envs else HERE / library / ".venv"
    wanted = (HERE / library / "requirements.txt").read_text("utf-8")
    # Written once all is installed, so that a half-made environment is made anew.
    installed = folder / "installed.txt"
    python = folder / "bin" / "python"
    if not installed.exists() or installed.read_text("utf-8") != wanted:
        print(f"{library}: making {folder}", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        asked = HERE / library / "requirements.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", asked], check=True)
        installed.write_text(wanted, "utf-8")
    return python


def windows(splits: Path) -> list[Path]:
    """The folders 0, 1, ... in order.

    Raises:
        SystemExit: there is none.
    """
    found = [path.parent for path in splits.glob("*/split.json") if path.parent.name.isdigit()]
    if not found:
        sys.exit(f"{splits} has no folders 0, 1, ...; write them with tailrec compare --export")
    return sorted(found, key=lambda folder: int(folder.name))


def read(path: Path) -> Card:
    """JSON of a file."""
    card: Card = json.loads(path.read_text("utf-8"))
    return card


def is_done(slates: Path, split: Path) -> bool:
    """Whether slates are there, and answer this very split."""
    card = slates.with_suffix(".json")
    if not slates.exists() or not card.exists():
        return False
    told, asked = read(card)["split"], read(split / "split.json")
    return bool(told["fingerprint"] == asked["fingerprint"])


def as_chosen(library: str, card: Card) -> list[str]:
    """Arguments that fix the options of another run to those of a card."""
    if library == "rectools":
        return ["--fit-epochs", str(card["options"]["chosen_epochs"])]
    return ["--options", json.dumps(card["options"])]


def run_peer(peer: str, given: argparse.Namespace) -> Path:
    """Run a peer on every window that it has not answered yet; the joined slates."""
    library, model = peer.split(":")
    python = environment(library, given.envs)
    name = f"{library}-{model}"
    limits = os.environ | dict.fromkeys(LIMITS, str(given.threads))
    parts: list[Path] = []
    for split in windows(given.splits):
        slates = given.out / "windows" / f"{name}-{split.name}.parquet"
        slates.parent.mkdir(parents=True, exist_ok=True)
        own = ["--model", model, "--minutes", str(given.minutes), "--threads", str(given.threads)]
        own += shlex.split(dict(given.extra).get(peer, ""))
        if parts and given.search_once:
            own += as_chosen(library, read(parts[0].with_suffix(".json")))
        if given.again or not is_done(slates, split):
            print(f"{peer} on {split}", flush=True)
            runner = HERE / library / "run.py"
            subprocess.run([python, runner, split, slates, *own], check=True, env=limits)
        parts.append(slates)
    return join(parts, given.out / f"{name}.parquet")


def join(parts: list[Path], out: Path) -> Path:
    """One file of the slates of all windows, and one card of their cards.

    Args:
        parts: slates of each window, in order, their cards beside them.
        out: slates of all windows, with a column `split`, the split's name.
    """
    cards = [read(path.with_suffix(".json")) for path in parts]
    named = pl.concat(
        pl.read_parquet(path).with_columns(pl.lit(card["split"]["name"]).alias("split"))
        for path, card in zip(parts, cards, strict=True)
    )
    with whole_file(out) as beside:
        named.write_parquet(beside)
    with whole_file(out.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(join_cards(cards), indent=1) + "\n", "utf-8")
    return out


def join_cards(cards: list[Card]) -> Card:
    """What the cards of all windows say: mean seconds, highest peak, options of each window."""
    same = {name: cards[0][name] for name in ("model", "library", "versions", "seeds")}
    means = {name: sum(card[name] for card in cards) / len(cards) for name in MEANS}
    return {
        **same,
        **means,
        "peak_bytes": max(card["peak_bytes"] for card in cards),
        "fingerprints": [card["split"]["fingerprint"] for card in cards],
        "splits": [card["split"]["name"] for card in cards],
        "options": [card["options"] for card in cards],
        "validation": [card["validation"] for card in cards],
    }


def pair(text: str) -> tuple[str, str]:
    """``peer=arguments`` as two strings."""
    peer, sign, arguments = text.partition("=")
    if not sign or peer not in PEERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not PEER=ARGUMENTS")
    return peer, arguments


def peers(text: str) -> list[str]:
    """Names of peers, comma between."""
    named = text.split(",")
    if unknown := [name for name in named if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"{unknown} are not among {', '.join(PEERS)}")
    return named


def main() -> None:
    """Read the command line and run the peers, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=Path, required=True, help="folder of the windows")
    parser.add_argument("--out", type=Path, required=True, help="folder of the slates")
    parser.add_argument("--only", type=peers, default=list(PEERS), help="comma between")
    parser.add_argument("--envs", type=Path, help="folder of environments (beside the runners)")
    parser.add_argument("--minutes", type=float, default=1.0, help="to choose options, a window")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--search-once", action="store_true", help="on window 0 alone")
    parser.add_argument("--extra", type=pair, action="append", default=[], help="PEER=ARGUMENTS")
    parser.add_argument("--again", action="store_true", help="also what is there")
    given = parser.parse_args()
    failed = []
    for peer in given.only:
        try:
            print(f"{peer}: {run_peer(peer, given)}", flush=True)
        except subprocess.CalledProcessError as error:
            print(f"{peer}: {error}", file=sys.stderr, flush=True)
            failed.append(peer)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
