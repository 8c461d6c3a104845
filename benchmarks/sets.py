"""The data sets of the figures: how each becomes a shop, how it is split, what its recipe says.

Options in a recipe were chosen on validation; docs/lab-log.md has the runs.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

DATA = Path(os.environ.get("TAILREC_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""Where the data lie; MovieLens has a folder of its own, TAILREC_MOVIELENS."""
RESULTS = Path(__file__).parent / "results"
TAILREC = Path(sys.executable).with_name("tailrec")
MOVIELENS = Path(os.environ.get("TAILREC_MOVIELENS", "ml-latest-small"))


class Set(NamedTuple):
    """A data set.

    Attributes:
        title: for people.
        ingest: arguments of `tailrec ingest`, files beside `DATA` or in the shop's folder.
        split: arguments that split it.
        recipe: of the shop; where `linear` starts from. Without, from its defaults, as all others
            do: earlier searches on online_retail looked at what is the test here.
        keep: share of the best overall NDCG that a choice of options keeps.
    """

    title: str
    ingest: tuple[tuple[str, ...], ...]
    split: tuple[str, ...] = ("--split", "leave-one-out")
    recipe: str = ""
    keep: float = 0.995


THREE_WINDOWS = ("--split", "time", "--windows", "3")
SOLD = "products-sold.parquet"
JOURNEY_EVENTS = (
    "user_id=household_id,item_id=product_id,timestamp=transaction_timestamp,"
    "session_id=basket_id,value=sales_value"
)
JOURNEY_ITEMS = (
    "item_id=product_id,title=product_type+package_size,brand=brand+manufacturer_id,"
    "category=department>product_category"
)
SETS = {
    "beauty": Set(
        "amazon_beauty, leave-one-out test",
        (
            ("items", "amazon_beauty/items.parquet"),
            ("events", "amazon_beauty/events.parquet"),
        ),
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
        "amazon_sports, leave-one-out test",
        (
            ("items", "amazon_sports/items.parquet"),
            ("events", "amazon_sports/events.parquet"),
        ),
        recipe="""[source]
kind = "linear"
text = 0.55
""",
    ),
    "retail": Set(
        "online_retail, three windows in time",
        (("events", "online_retail/online_retail.parquet", "--preset", "online-retail"),),
        THREE_WINDOWS,
        keep=0.97,
    ),
    "journey": Set(
        "completejourney, the latest fifth of the events as one window",
        (
            ("items", SOLD, "--map", JOURNEY_ITEMS),
            (
                "events",
                "completejourney/transactions_sample.parquet",
                *("--map", JOURNEY_EVENTS, "--fill", "type=purchase"),
            ),
        ),
        ("--split", "time", "--windows", "1"),
        keep=0.97,
    ),
    "lastfm": Set(
        "lastfm, leave-one-out in an order drawn at random",
        (
            ("items", "lastfm/items.parquet"),
            ("events", "lastfm/events.parquet", "--fill", "timestamp=2011-05-01"),
        ),
        recipe="""[source]
kind = "linear"
words = 1
meaning = 1
ridge = 50
basket = 1
tilt = 0.1
""",
    ),
    "movielens": Set(
        "a MovieLens folder, three windows in time",
        (
            ("items", str(MOVIELENS / "movies.csv"), "--preset", "movielens"),
            ("events", str(MOVIELENS / "ratings.csv"), "--preset", "movielens"),
        ),
        THREE_WINDOWS,
    ),
}
DEFAULT = ("beauty", "sports", "retail", "journey", "lastfm")


def prepare(name: str, folder: Path) -> None:
    """Files that a set needs and the data do not have as they are.

    completejourney lists 92,331 products and its sample of baskets holds 20,902 of them; the
    catalogue is what was sold at least once, before the split or after it.
    """
    if name == "journey":
        raw = DATA / "completejourney"
        sold = pl.read_parquet(raw / "transactions_sample.parquet", columns=["product_id"])
        products = pl.read_parquet(raw / "products.parquet")
        products.join(sold.unique(), on="product_id", how="semi").write_parquet(folder / SOLD)


def located(file: str, folder: Path) -> str:
    """Where a file of a set lies."""
    return str(folder / file if file == SOLD else DATA / file)


def run(*words: str) -> str:
    """One command of tailrec; its output."""
    print("tailrec", *words, file=sys.stderr, flush=True)
    return subprocess.run(
        [TAILREC, *words], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def make_shop(name: str, folder: Path) -> None:
    """A shop of a data set, if it is not there yet; half of one, left by a stop, is made anew."""
    if folder.exists():
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    run("init", str(part))
    if SETS[name].recipe:
        (part / "tailrec.toml").write_text(SETS[name].recipe, "utf-8")
    prepare(name, part)
    for table, file, *options in SETS[name].ingest:
        run("ingest", table, located(file, part), *options, "--shop", str(part))
    part.rename(folder)


def written(found: dict[str, Any]) -> str:
    """A result as JSON: six digits, and a line for each contender, split and verdict."""
    lines = []
    for name, value in short(found).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in value)
            lines.append(f" {json.dumps(name)}: [\n  {inner}\n ]")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def short(value: Any) -> Any:
    """The same with six digits for each number."""
    if isinstance(value, dict):
        return {name: short(part) for name, part in value.items()}
    if isinstance(value, list):
        return [short(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
