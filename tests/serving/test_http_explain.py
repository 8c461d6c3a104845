"""Why an item is in a slate, and why it is not, over HTTP."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tailrec.data.store import Store

if TYPE_CHECKING:
    from tests.running import Running

CONTEXT: dict[str, Any] = {"session": [{"item_id": "P000001"}, {"item_id": "P000003"}]}


@pytest.fixture(scope="module")
def shop(served: "Running") -> Iterator[httpx.Client]:
    with served.client("admin") as client:
        yield client


def explained(client: httpx.Client, item: str, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/explain", json={"item_id": item, "request": request or None})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    assert told["item_id"] == item
    return told


def slate(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.post("/v1/recommend", json=body).json()["items"]
    return items


def test_what_is_shown_is_explained_exactly(shop: httpx.Client) -> None:
    for item in slate(shop, n=10, **CONTEXT)[::3]:
        told = explained(shop, item["item_id"], n=10, **CONTEXT)
        assert (told["shown"], told["stage"], told["rank"]) == (True, "shown", item["rank"])
        assert told["missed_by"] is None
        assert told["score"] == pytest.approx(item["score"], rel=1e-3)
        parts = [reason["behaviour"] + reason["text"] for reason in told["reasons"]]
        assert sum(parts) == pytest.approx(told["score"], rel=1e-3)
        assert {reason["item_id"] for reason in told["reasons"]} <= {"P000001", "P000003"}


def test_what_being_popular_gave_is_a_reason(mall: "Running") -> None:
    with mall.client("read", mall.folders[1]) as prior:
        told = explained(prior, "Zqsouthern-0", session=[{"item_id": "Zqsouthern-9"}], n=5)
    assert told["shown"]
    popular = [reason for reason in told["reasons"] if reason["item_id"] is None]
    assert len(popular) == 1
    assert popular[0]["behaviour"] > 0
    parts = [reason["behaviour"] + reason["text"] for reason in told["reasons"]]
    assert sum(parts) == pytest.approx(told["score"], rel=1e-3)


def test_what_is_outranked_missed_by_so_much(shop: httpx.Client) -> None:
    whole = slate(shop, n=30, **CONTEXT)
    short = slate(shop, n=5, **CONTEXT)
    told = explained(shop, whole[12]["item_id"], n=5, **CONTEXT)
    assert (told["shown"], told["stage"], told["rank"]) == (False, "outranked", 13)
    missed = short[-1]["score"] - whole[12]["score"]
    assert told["missed_by"] == pytest.approx(missed, rel=1e-3)
    assert "short of the last place" in told["why"]


def test_every_step_that_drops_an_item_is_named(shop: httpx.Client) -> None:
    top = slate(shop, n=3, **CONTEXT)[0]["item_id"]
    price = shop.get(f"/v1/items/{top}").json()["price"]
    stages = {
        "seen": explained(shop, "P000001", **CONTEXT),
        "excluded": explained(shop, top, exclude=[top], **CONTEXT),
        "filter": explained(shop, top, filter={"price": {"gt": price}}, **CONTEXT),
        "rule": explained(shop, top, rules={"bury": [{"items": [top], "factor": 0}]}, **CONTEXT),
        "no reason": explained(shop, slate(shop, n=200)[-1]["item_id"]),
    }
    assert {stage: told["stage"] for stage, told in stages.items()} == {s: s for s in stages}
    assert not any(told["shown"] for told in stages.values())
    assert f"{price:g}" in stages["filter"]["why"]
    assert any("never shown" in said for said in stages["rule"]["rules"])


def test_what_is_not_on_sale_says_so(shop: httpx.Client) -> None:
    item = {"item_id": "explain-1", "title": "Vase of doubts", "available": False}
    assert shop.put("/v1/items", json={"items": [item]}).status_code == 200
    told = explained(shop, "explain-1", **CONTEXT)
    assert (told["stage"], told["why"]) == ("not on sale", "not shown: it is not for sale")
    change = {"available": True, "stock": 0}
    assert shop.patch("/v1/items/explain-1", json=change).status_code == 200
    assert "none is in stock" in explained(shop, "explain-1", **CONTEXT)["why"]
    assert shop.delete("/v1/items/explain-1").status_code == 204


def test_a_pinned_item_is_shown_and_its_rule_told(shop: httpx.Client) -> None:
    last = slate(shop, n=100, **CONTEXT)[-1]["item_id"]
    rules = {"pin": [{"item": last, "position": 2}]}
    told = explained(shop, last, n=5, rules=rules, **CONTEXT)
    assert (told["shown"], told["rank"]) == (True, 2)
    assert told["rules"] == ["pinned at position 2"]


def test_a_person_is_asked_about_without_being_shown_anything(
    served: "Running", shop: httpx.Client
) -> None:
    with Store.open(served.folders[0] / "store.db") as store:
        time.sleep(0.5)  # what was shown before is logged by now
        n_slates = store.count("slates")
    user = "U000012"
    first = slate(shop, user_id=user, n=5)[0]["item_id"]
    told = shop.post("/v1/explain", json={"user_id": user, "item_id": first}).json()
    assert told["shown"]
    assert told["score"] > 0
    whose = {"item_id": first, "request": {"user_id": user, "n": 5}}
    assert shop.post("/v1/explain", json=whose).json()["reasons"] == told["reasons"]
    for body, status in (({"item_id": "none"}, 404), ({}, 422), ({"item_id": "a", "n": 1}, 422)):
        assert shop.post("/v1/explain", json=body).status_code == status
    time.sleep(0.5)
    with Store.open(served.folders[0] / "store.db") as store:
        assert store.count("slates") == n_slates + 1  # the first one, that was asked for
