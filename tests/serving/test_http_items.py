"""Products over HTTP: in the next answer of every worker, and out of it, without a fit."""

import time
from collections.abc import Callable, Iterator
from itertools import count, permutations
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

if TYPE_CHECKING:
    from tests.running import Running

_names = (f"items-thing-{number}" for number in count())
TWIN = "P000001"


@pytest.fixture(scope="module")
def shop(served: "Running") -> Iterator[httpx.Client]:
    with served.client("write") as client:
        yield client


@pytest.fixture(scope="module")
def workers(served: "Running") -> Iterator[list[httpx.Client]]:
    with served.each_worker("write") as clients:
        assert len(clients) == 2
        yield clients


@pytest.fixture
def twin(shop: httpx.Client) -> dict[str, Any]:
    """A new product that is told as an old one is, not put yet."""
    told: dict[str, Any] = shop.get(f"/v1/items/{TWIN}").json()
    name = next(_names)
    return {**told, "item_id": name, "title": f"{told['title']} {name.replace('-', '')}"}


def put(client: httpx.Client, *items: dict[str, Any]) -> None:
    answer = client.put("/v1/items", json={"items": list(items)})
    assert (answer.status_code, answer.json()) == (200, {"accepted": len(items)})


def slate(client: httpx.Client, path: str = "/v1/recommend", **body: Any) -> list[str]:
    answer = client.post(path, json={"n": 200, **body})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def everywhere(client: httpx.Client, item: dict[str, Any]) -> list[bool]:
    """Whether an item is found by its word, goes with its twin, follows it, and is ranked."""
    name = item["item_id"]
    word = item["title"].split()[-1]
    return [
        name in slate(client, "/v1/search", query=word),
        name in slate(client, "/v1/similar", item_id=TWIN),
        name in slate(client, session=[{"item_id": TWIN}], filter={"brand": item["brand"]}),
        name in rerank(client, name),
    ]


def rerank(client: httpx.Client, name: str) -> list[str]:
    answer = client.post("/v1/rerank", json={"items": [name, "P000002"]})
    return [item["item_id"] for item in answer.json()["items"]]


def test_a_new_item_is_in_the_next_answers(
    workers: list[httpx.Client], twin: dict[str, Any]
) -> None:
    # In the very next request, whichever worker took the item and which one is asked what first.
    asked = ["/v1/search", "/v1/similar", "/v1/recommend"]
    for (one, other), path in [(pair, p) for pair in permutations(workers) for p in asked]:
        name = next(_names)
        word = name.replace("-", "")
        put(one, {**twin, "item_id": name, "title": f"{twin['title']} {word}"})
        body: dict[str, Any] = {
            "/v1/search": {"query": word, "n": 1},
            "/v1/similar": {"item_id": TWIN, "n": 20},
            "/v1/recommend": {"session": [{"item_id": TWIN}], "n": 20},
        }[path]
        found = other.post(path, json=body).json()["items"]
        assert name in [item["item_id"] for item in found]
        new = next(item for item in found if item["item_id"] == name)
        assert new["tier"] == "cold"
        assert new["score"] > 0
        assert one.post(path, json=body).json()["items"] == found
        assert other.delete(f"/v1/items/{name}").status_code == 204


def test_a_new_item_is_told_as_it_was_put(shop: httpx.Client, twin: dict[str, Any]) -> None:
    item = {
        **twin,
        "images": ["a.jpg", "ü.jpg"],
        "attributes": {"colour": "ä", "size": [1, 2.5, None], "deep": {"er": True}},
        "created_at": "2026-05-04T10:00:00Z",
        "stock": 4.0,
    }
    put(shop, item)
    assert shop.get(f"/v1/items/{item['item_id']}").json() == item
    # What is not told again stays.
    put(shop, {"item_id": item["item_id"], "title": "Another title", "price": 5.0})
    told = shop.get(f"/v1/items/{item['item_id']}").json()
    assert told == {**item, "title": "Another title", "price": 5.0}


@pytest.mark.parametrize("name", ["a/b", "../items/P000001", "a b?c#d", "ü\U0001f600", "%2F", "."])
def test_any_id_can_be_asked_for(shop: httpx.Client, name: str) -> None:
    path = f"/v1/items/{quote(name, safe='')}"
    if name == ".":
        path = "/v1/items/%2E"
    put(shop, {"item_id": name, "title": "Odd one"})
    assert shop.get(path).json()["item_id"] == name
    assert shop.patch(path, json={"price": 1.0}).json()["price"] == 1.0
    assert shop.delete(path).status_code == 204
    assert shop.get(path).status_code == 404


def test_costs_are_not_for_keys_that_only_read(served: "Running", shop: httpx.Client) -> None:
    assert shop.get(f"/v1/items/{TWIN}").json()["cost"] > 0
    with served.client("read") as reader:
        assert reader.get(f"/v1/items/{TWIN}").json()["cost"] is None
        answer = reader.post("/v1/recommend", json={"filter": {"not": {"cost": {"lt": 5}}}})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "filter"
        rules = {"boost": [{"filter": {"cost": {"lt": 5}}, "factor": 2}]}
        assert reader.post("/v1/recommend", json={"rules": rules}).status_code == 422
    assert shop.post("/v1/recommend", json={"filter": {"cost": {"lt": 5}}}).status_code == 200


def test_a_price_counts_in_the_next_filter(
    workers: list[httpx.Client], twin: dict[str, Any]
) -> None:
    one, other = workers
    name = twin["item_id"]
    put(one, {**twin, "price": 50.0})
    cheap: dict[str, Any] = {"session": [{"item_id": TWIN}], "filter": {"price": {"lte": 7.5}}}
    for client, asked in ((one, other), (other, one)):
        assert name not in slate(asked, **cheap)
        assert client.patch(f"/v1/items/{name}", json={"price": 7.5}).json()["price"] == 7.5
        assert name in slate(asked, **cheap)
        assert client.patch(f"/v1/items/{name}", json={"price": None}).json()["price"] is None
        assert name not in slate(asked, **cheap)
        assert name in slate(
            asked, session=[{"item_id": TWIN}], filter={"price": {"exists": False}}
        )


@pytest.mark.parametrize("gone", [{"available": False}, {"stock": 0}, {"stock": -3}])
def test_what_is_not_on_sale_is_shown_nowhere(
    workers: list[httpx.Client], twin: dict[str, Any], gone: dict[str, Any]
) -> None:
    one, other = workers
    put(one, {**twin, "stock": None, "available": None})
    path = f"/v1/items/{twin['item_id']}"
    assert everywhere(other, twin) == [True] * 4
    assert one.patch(path, json=gone).status_code == 200
    for client in (other, one):
        assert everywhere(client, twin) == [False] * 4
    pin = {"pin": [{"item": twin["item_id"], "position": 1}]}
    assert twin["item_id"] not in slate(other, rules=pin)
    assert other.patch(path, json=dict.fromkeys(gone)).status_code == 200
    for client in (one, other):
        assert everywhere(client, twin) == [True] * 4


def test_a_change_empties_and_leaves_the_rest(shop: httpx.Client, twin: dict[str, Any]) -> None:
    put(shop, twin)
    path = f"/v1/items/{twin['item_id']}"
    emptied = {"brand": None, "attributes": None, "description": None, "stock": None}
    assert shop.patch(path, json=emptied).json() == {**twin, **emptied}
    assert shop.get(path).json() == {**twin, **emptied}
    assert shop.patch(path, json={}).json() == {**twin, **emptied}
    for change in ({"title": None}, {"title": ""}, {"price": -1}, {"item_id": "x"}, {"colour": 1}):
        answer = shop.patch(path, json=change)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == f"body.{next(iter(change))}"
    assert shop.get(path).json() == {**twin, **emptied}


def test_new_words_of_an_item_are_found_and_old_ones_are_not(
    workers: list[httpx.Client], twin: dict[str, Any]
) -> None:
    one, other = workers
    put(one, twin)
    name, old = twin["item_id"], twin["title"].split()[-1]
    assert slate(other, "/v1/search", query=old, n=1) == [name]
    new = f"{next(_names)}".replace("-", "")
    assert one.patch(f"/v1/items/{name}", json={"title": f"Vase {new}"}).status_code == 200
    assert slate(other, "/v1/search", query=new, n=1) == [name]
    found = other.post("/v1/search", json={"query": new, "n": 1}).json()["items"]
    assert found[0]["title"] == f"Vase {new}"


def test_a_deleted_item_is_gone_everywhere(
    workers: list[httpx.Client], twin: dict[str, Any]
) -> None:
    one, other = workers
    put(one, twin)
    name = twin["item_id"]
    event = {"user_id": f"buyer of {name}", "item_id": name, "type": "view"}
    assert one.post("/v1/events", json={"events": [event]}).status_code == 202
    assert everywhere(other, twin) == [True] * 4
    assert one.delete(f"/v1/items/{name}").status_code == 204
    for client in (other, one):
        assert everywhere(client, twin) == [False] * 4
        assert name not in slate(client, user_id=event["user_id"], seen="show")
        for answer in (
            client.get(f"/v1/items/{name}"),
            client.patch(f"/v1/items/{name}", json={"price": 1}),
            client.delete(f"/v1/items/{name}"),
            client.post("/v1/similar", json={"item_id": name}),
            client.post("/v1/explain", json={"item_id": name}),
        ):
            assert answer.status_code == 404
            assert name in answer.json()["detail"]
    put(other, twin)
    for client in (one, other):
        assert everywhere(client, twin) == [True] * 4


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({}, "item_id"),
        ({"item_id": "x"}, "title"),
        ({"item_id": "x", "title": "a", "price": -1}, "price"),
        ({"item_id": "x", "title": "a", "price": "cheap"}, "price"),
        ({"item_id": "x", "title": "a\0b"}, "title"),
        ({"item_id": "x", "title": "a", "attributes": [1]}, "attributes"),
        ({"item_id": "x", "title": "a", "attributes": {"a": "b" * 60_000}}, "attributes"),
        ({"item_id": "x", "title": "a", "created_at": "9999-12-31T23:59:59Z"}, "created_at"),
        ({"item_id": "x", "title": "a", "images": "a.jpg"}, "images"),
    ],
)
def test_faults_of_items_are_named(shop: httpx.Client, item: dict[str, Any], path: str) -> None:
    answer = shop.put("/v1/items", json={"items": [{"item_id": "unkept", "title": "a"}, item]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == f"body.items[1].{path}"
    assert shop.get("/v1/items/unkept").status_code == 404


def becomes(true: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until it is: a thousand items are more than one request waits for."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds} seconds"
        time.sleep(0.05)


def test_a_thousand_items_at_once(mall: "Running") -> None:
    north = mall.folders[0]
    with mall.client("admin", north) as shop:
        items = [
            {"item_id": f"bulk-{number}", "title": f"Bulkware peg {number}", "brand": "Bulkware"}
            for number in range(1_001)
        ]
        refused = shop.put("/v1/items", json={"items": items})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["path"] == "body.items"
        put(shop, *items[:1_000])

        def are_found() -> bool:
            one = slate(shop, "/v1/search", query="peg 999", n=5)
            return len(slate(shop, "/v1/search", query="bulkware")) == 200 and "bulk-999" in one

        becomes(are_found)
        changed = [{**item, "available": False} for item in items[:1_000]]
        put(shop, *changed)
        bulkware = {"brand": "Bulkware"}
        becomes(lambda: not slate(shop, "/v1/search", query="bulkware", filter=bulkware))
