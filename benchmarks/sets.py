"""The data sets of the figures: how each becomes a shop, how it is split, what its recipe says.

Options in a recipe were chosen on validation; docs/lab-log.md has the runs.
"""

import os
from pathlib import Path
from typing import NamedTuple

import polars as pl

DATA = Path(os.environ.get("TAILREC_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""Where the data lie; MovieLens has a folder of its own, TAILREC_MOVIELENS."""
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
