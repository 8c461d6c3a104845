"""Other domains go the same way: music, films, groceries, from their own files to a comparison."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

WORDS_ALONE = '[source]\nkind = "linear"\n\n[features]\nencode = false\n'
Ask = Callable[..., Any]


def empty_shop(ask: Ask, folder: Path) -> Path:
    """A shop whose fits need no language model, which is quicker."""
    ask("init", folder)
    (folder / "tailrec.toml").write_text(WORDS_ALONE, "utf-8")
    return folder


def by_name(comparison: Any) -> dict[str, dict[str, float]]:
    """Figures of each contender."""
    return {one["name"]: one["figures"] for one in comparison["contenders"]}


def movielens(folder: Path) -> Path:
    """A folder as MovieLens has it; people of two tastes, films whose genre tells them apart."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    genres = ["Horror|Thriller", "Comedy|Romance"]
    films = [(n, f"Film {n} ({1980 + n % 40})", genres[n % 2]) for n in range(1, 61)]
    pl.DataFrame(films, ["movieId", "title", "genres"], orient="row").write_csv(
        folder / "movies.csv"
    )
    ratings = [
        (user, int(film), 4.0, 1_400_000_000 + int(rng.integers(60 * 86_400)))
        for user in range(1, 121)
        for film in rng.choice(np.arange(1 + user % 2, 61, 2), 12, replace=False)
    ]
    pl.DataFrame(ratings, ["userId", "movieId", "rating", "timestamp"], orient="row").write_csv(
        folder / "ratings.csv"
    )
    return folder


def test_films_of_a_movielens_folder(ask: Ask, tmp_path: Path) -> None:
    raw, shop = movielens(tmp_path / "ml-tiny"), empty_shop(ask, tmp_path / "films")
    for table, file in (("items", "movies.csv"), ("events", "ratings.csv")):
        ask("ingest", table, raw / file, "--preset", "movielens", "--shop", shop)
    found = ask(
        "compare", "--shop", shop, "--with", "popular,content", "--budget", "0", "--windows", "2"
    )
    figures = by_name(found)
    assert len(found["splits"]) == 2
    # Half of the films are of no interest to a person, and only their genre and company tell.
    assert figures["linear"]["recall@20"] > 1.3 * figures["popular"]["recall@20"]
    assert figures["content"]["recall@20"] > 1.3 * figures["popular"]["recall@20"]


@pytest.mark.real
def test_music_of_lastfm(ask: Ask, real_data: Path, tmp_path: Path) -> None:
    shop, raw = empty_shop(ask, tmp_path / "music"), real_data / "lastfm"
    ask("ingest", "items", raw / "items.parquet", "--shop", shop)
    fill = ("--fill", "timestamp=2011-05-01")
    ask("ingest", "events", raw / "events.parquet", *fill, "--shop", shop)
    peers = ("--with", "popular,itemknn", "--budget", "0")
    figures = by_name(ask("compare", "--shop", shop, "--split", "leave-one-out", *peers))
    assert figures["itemknn"]["ndcg@10"] > 2 * figures["popular"]["ndcg@10"]
    assert figures["linear"]["recall@20/pareto"] > figures["popular"]["recall@20/pareto"]


@pytest.mark.real
def test_groceries_of_completejourney(ask: Ask, real_data: Path, tmp_path: Path) -> None:
    shop, raw = empty_shop(ask, tmp_path / "groceries"), real_data / "completejourney"
    names = (
        "user_id=household_id,item_id=product_id,timestamp=transaction_timestamp,"
        "session_id=basket_id,value=sales_value"
    )
    sales = pl.read_parquet(raw / "transactions_sample.parquet")
    products = pl.read_parquet(raw / "products.parquet")
    sold = products.join(sales.select("product_id").unique(), on="product_id", how="semi")
    sold.write_parquet(tmp_path / "sold.parquet")
    ask(
        *("ingest", "items", tmp_path / "sold.parquet", "--shop", shop),
        *("--map", "item_id=product_id,title=product_type,category=department>product_category"),
    )
    ask(
        *("ingest", "events", raw / "transactions_sample.parquet", "--shop", shop),
        *("--map", names, "--fill", "type=purchase"),
    )
    peers = ("--with", "popular,content", "--budget", "0", "--windows", "1")
    found = ask("compare", "--shop", shop, *peers)
    figures = by_name(found)
    assert found["splits"][0]["n_items"] == 20_898
    # Everybody buys the same few things, and the rest says more about the person.
    assert figures["popular"]["ndcg@10"] > figures["content"]["ndcg@10"]
    assert figures["linear"]["recall@20/pareto"] > figures["popular"]["recall@20/pareto"] == 0
