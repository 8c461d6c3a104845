"""Presets: well-known files fill the tables without a mapping."""

import json
from pathlib import Path

import pytest

from tailrec.data.ingest import ingest
from tailrec.data.presets import PRESETS, preset_of
from tailrec.data.store import Store
from tailrec.errors import DataError, SchemaError


@pytest.fixture
def shop(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store.db", create=True)


def _lines(path: Path, *records: dict[str, object], literal: bool = False) -> Path:
    text = "".join(f"{r!r}\n" if literal else json.dumps(r) + "\n" for r in records)
    path.write_text(text, "utf-8")
    return path


def test_unknown_presets_are_named() -> None:
    with pytest.raises(SchemaError, match="'etsy' is unknown; expected one of online-retail"):
        preset_of("etsy")


def test_movielens_in_both_writings(tmp_path: Path, shop: Store) -> None:
    new = tmp_path / "new"
    old = tmp_path / "old"
    for folder in (new, old):
        folder.mkdir()
    (new / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,4.5,1300000000\n")
    (new / "movies.csv").write_text(
        'movieId,title,genres\n2,"Heat, The (1995)",Action|Crime\n3,Hop,(no genres listed)\n'
    )
    (old / "ratings.dat").write_text("1::2::5::1300000000\n")
    (old / "movies.dat").write_text("7::Léon: The Pro (1994)::Crime\n", "latin-1")
    (old / "users.dat").write_text("1::F::25::10::48067\n")
    (old / "README").write_text("not data")
    with shop:
        done = ingest(shop, "events", [new], preset="movielens")
        assert done.new_rows == {"items": 2, "events": 1}
        ingest(shop, "events", [old / "users.dat", old / "ratings.dat"], preset="movielens")
        ingest(shop, "events", [old / "movies.dat"], preset="movielens", encoding="latin-1")
        items = shop.read("items", columns=["item_id", "title", "category", "attributes"])
        assert items.rows() == [
            ("2", "Heat, The (1995)", "Action > Crime", '{"year":1995}'),
            ("3", "Hop", None, None),
            ("7", "Léon: The Pro (1994)", "Crime", '{"year":1994}'),
        ]
        events = shop.read("events", columns=["user_id", "item_id", "type", "value"])
        assert sorted(events.rows()) == [("1", "2", "rating", 4.5), ("1", "2", "rating", 5.0)]
        attributes = json.loads(shop.read("users")["attributes"][0])
        assert attributes == {"gender": "F", "age": "25", "occupation": "10", "zip_code": "48067"}


AMAZON = {
    2014: (
        {
            "reviewerID": "U",
            "asin": "B1",
            "overall": 4.0,
            "unixReviewTime": 1300000000,
            "reviewText": "Works",
            "summary": "Good",
        },
        {
            "asin": "B1",
            "title": "Rope",
            "price": 9.5,
            "imUrl": "http://x/1.jpg",
            "brand": "Acme",
            "categories": [["Sports", "Ropes"], ["Gifts"]],
            "related": {"also_bought": ["B2"]},
            "description": "Strong",
        },
    ),
    2018: (
        {
            "reviewerID": "U",
            "asin": "B1",
            "overall": 4.0,
            "unixReviewTime": 1300000000,
            "reviewText": "Works",
            "summary": "Good",
            "verified": True,
        },
        {
            "asin": "B1",
            "title": "Rope",
            "price": "$9.50",
            "imageURL": ["http://x/1.jpg"],
            "brand": "Acme",
            "category": ["Sports", "Ropes"],
            "description": ["Strong"],
        },
    ),
    2023: (
        {
            "user_id": "U",
            "asin": "B9",
            "parent_asin": "B1",
            "rating": 4.0,
            "timestamp": 1300000000000,
            "text": "Works",
            "title": "Good",
        },
        {
            "parent_asin": "B1",
            "title": "Rope",
            "price": 9.5,
            "images": [{"large": "http://x/1.jpg"}],
            "store": "Acme",
            "categories": ["Sports", "Ropes"],
            "description": ["Strong"],
            "features": [],
            "details": {"Material": "Hemp"},
        },
    ),
}


@pytest.mark.parametrize("year", AMAZON)
def test_amazon_of_every_crawl(tmp_path: Path, shop: Store, year: int) -> None:
    review, product = AMAZON[year]
    reviews = _lines(tmp_path / "reviews.json", review)
    meta = _lines(tmp_path / "meta_Sports.json", product, literal=year == 2014)
    with shop:
        ingest(shop, "events", [reviews, meta], preset="amazon")
        event = shop.read("events").row(0, named=True)
        item = shop.read("items").row(0, named=True)
    assert (event["user_id"], event["item_id"], event["type"]) == ("U", "B1", "review")
    assert (event["value"], event["text"]) == (4.0, "Good. Works")
    assert event["timestamp"].timestamp() == 1_300_000_000
    assert (item["item_id"], item["title"], item["brand"]) == ("B1", "Rope", "Acme")
    assert (item["category"], item["price"]) == ("Sports > Ropes", 9.5)
    assert item["description"].strip() == "Strong"
    assert item["images"] == "http://x/1.jpg"


def test_amazon_ratings_without_words(tmp_path: Path, shop: Store) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("user_id,parent_asin,rating,timestamp\nU,B1,5.0,1300000000000\n")
    with shop:
        ingest(shop, "events", [path], preset="amazon")
        assert shop.read("events")["type"].to_list() == ["rating"]


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, shop: Store) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("a,b\n1,2\n")
    with shop, pytest.raises(SchemaError, match="expected a column reviewerID or user_id"):
        ingest(shop, "events", [path], preset="amazon")
    with shop, pytest.raises(DataError, match="preset has no users"):
        ingest(shop, "users", [tmp_path / "x.csv"], preset="amazon")


RETAIL = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,10a,RED  MUG,6,12/1/2010 8:26,2.00,17850.0,France
1,20,BLUE CUP,1,12/1/2010 8:26,3.00,17850.0,France
1,POST,POSTAGE,1,12/1/2010 8:26,18.00,17850.0,France
2,10A,RED MUG,2,12/2/2010 8:26,4.00,,France
2,30,GREY POT,2,12/2/2010 8:26,5.00,,France
3,10A,damaged?,-9,12/3/2010 8:26,0,,France
C4,10A,RED MUG,-4,12/13/2010 8:26,2.00,17850.0,France
C5,20,BLUE CUP,-1,12/13/2010 8:26,3.00,17850.0,France
6,20,BLUE CUP,2,12/14/2010 8:26,3.00,99.0,Spain
"""


def test_online_retail_makes_three_tables_of_one_file(tmp_path: Path, shop: Store) -> None:
    path = tmp_path / "retail.csv"
    path.write_text(RETAIL)
    with shop:
        done = ingest(shop, "events", [path], preset="online-retail")
        events = shop.read("events", columns=["user_id", "item_id", "value", "session_id", "type"])
        items = shop.read("items", columns=["item_id", "title", "price"])
        users = shop.read("users", columns=["user_id", "attributes"])
        first = shop.read("items")["created_at"].min()
    # 6 mugs less 4 cancelled, the cup cancelled whole, another cup kept
    assert events.rows() == [
        ("17850", "10A", 4.0, "1", "purchase"),
        ("99", "20", 6.0, "6", "purchase"),
    ]
    # prices and titles also from sales without a customer; the median of 2 and 4
    assert items.rows() == [
        ("10A", "RED MUG", 3.0),
        ("20", "BLUE CUP", 3.0),
        ("30", "GREY POT", 5.0),
    ]
    assert users.rows() == [("17850", '{"country":"France"}'), ("99", '{"country":"Spain"}')]
    assert str(first) == "2010-12-01 08:26:00+00:00"
    report = done.reports["events"]
    refused = {rule.name: rule.rejected for rule in report.rules if rule.rejected}
    assert refused == {"products": 1, "prices": 1, "users": 2, "cancellations": 3}
    assert (report.rows, report.kept) == (9, 2)


def test_every_preset_knows_its_tables() -> None:
    for preset in PRESETS.values():
        assert all(layout.table == table for table, layout in preset.layouts.items())
        assert set(preset.files.values()) <= set(preset.layouts)
        assert set(preset.prepare) <= set(preset.layouts)
