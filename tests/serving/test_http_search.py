"""Search over HTTP."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.data.store import Store

if TYPE_CHECKING:
    from tests.running import Running


@pytest.fixture(scope="module")
def shop(served: "Running") -> Iterator[httpx.Client]:
    with served.client("read") as client:
        yield client


@pytest.fixture
def items(served: "Running") -> pl.DataFrame:
    """The simulated items on sale, as they are now."""
    with Store.open(served.folders[0] / "store.db") as store:
        table = store.read("items").filter(pl.col(c.ITEM_ID).str.contains(r"^P\d{6}$"))
    return table.filter(pl.col(c.STOCK) > 0)


def found(client: httpx.Client, query: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/search", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_title_finds_its_item(shop: httpx.Client, items: pl.DataFrame) -> None:
    for row in items[::23].to_dicts():
        told = found(shop, row[c.TITLE], n=5)
        assert [item["rank"] for item in told["items"]] == [1, 2, 3, 4, 5]
        assert told["items"][0]["item_id"] == row[c.ITEM_ID]
        assert told["items"][0]["title"] == row[c.TITLE]
        scores = [item["score"] for item in told["items"]]
        assert scores == sorted(scores, reverse=True)
        assert told["n_matches"] >= 5
        assert told["fallback"] is None
        assert told["took_ms"] > 0


def test_spelling_is_forgiven_and_said(shop: httpx.Client) -> None:
    told = found(shop, "photo albun", n=5)
    assert told["corrected"] == {"albun": "album"}
    assert all("album" in item["title"] for item in told["items"])
    assert found(shop, "photo album")["corrected"] == {}


def test_facets_count_the_matches(shop: httpx.Client, items: pl.DataFrame) -> None:
    vases = items.filter(pl.col(c.CATEGORY).str.ends_with("> vase"))
    brand = vases[c.BRAND][0]
    wanted = {"category": "Home > Decoration > vase", "item_id": {"in": vases[c.ITEM_ID].to_list()}}
    told = found(shop, "vase", filter=wanted, facets=["brand", "tier"])
    assert set(told["facets"]) == {"brand", "tier"}
    assert told["n_matches"] == len(vases)
    counts = {facet["value"]: facet["n"] for facet in told["facets"]["brand"]}
    assert counts == dict(vases[c.BRAND].value_counts().rows())
    assert sum(facet["n"] for facet in told["facets"]["tier"]) == len(vases)
    one = found(shop, "vase", filter={"all": [wanted, {"brand": brand}]}, n=200)
    assert len(one["items"]) == counts[brand]
    assert found(shop, "vase", filter={"price": {"lt": 0}})["items"] == []


def test_whose_taste_it_is_counts_a_little(served: "Running", shop: httpx.Client) -> None:
    whole = found(shop, "wall", n=40)["items"]
    with served.client("write") as writer:
        events = [
            {"user_id": "search-person", "item_id": f"P{number:06}", "type": "purchase"}
            for number in (3, 44, 77)
        ]
        assert writer.post("/v1/events", json={"events": events}).status_code == 202
    personal = found(shop, "wall", n=40, user_id="search-person")["items"]
    assert {item["item_id"] for item in personal[:20]} & {item["item_id"] for item in whole[:20]}
    assert [item["score"] for item in personal] != [item["score"] for item in whole]
    assert found(shop, "wall", n=40, user_id="nobody we know")["items"] == whole


def test_leaning_to_the_tail_finds_more_of_it(shop: httpx.Client) -> None:
    def share(tail: float) -> float:
        rows = [
            i
            for word in ("wall", "chocolate", "vase")
            for i in found(shop, word, tail=tail)["items"][:8]
        ]
        return sum(row["tier"] in ("tail", "cold") for row in rows) / len(rows)

    assert share(1.0) > share(0.0)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "body.query"),
        ({"query": ""}, "body.query"),
        ({"query": "x" * 501}, "body.query"),
        ({"query": "a\0"}, "body.query"),
        ({"query": "a", "n": 0}, "body.n"),
        ({"query": "a", "facets": ["colour"]}, "body.facets[0]"),
        ({"query": "a", "filter": {"all": [{"price": {"lte": "low"}}]}}, "filter.all[0].price.lte"),
        ({"query": "a", "tail": 2}, "body.tail"),
        ({"query": "a", "words": 2}, "body.words"),
    ],
)
def test_faults_are_named(shop: httpx.Client, body: dict[str, Any], path: str) -> None:
    answer = shop.post("/v1/search", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path


@pytest.mark.parametrize(
    "query", ["  ", "!?", "Ваза", "花瓶", "\U0001f600", "a" * 500, "vase OR 1=1 --", "\u202evase"]
)
def test_any_words_are_answered(shop: httpx.Client, query: str) -> None:
    answer = shop.post("/v1/search", json={"query": query})
    assert answer.status_code in (200, 422)
    assert answer.status_code == 200 or "no words" in answer.json()["detail"]
