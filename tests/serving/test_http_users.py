"""People over HTTP: put, told, and erased everywhere."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.data.store import Store

if TYPE_CHECKING:
    from tests.running import Running

SHOWN = ["P000001", "P000005", "P000009"]


@pytest.fixture(scope="module")
def shop(served: "Running") -> Iterator[httpx.Client]:
    with served.client("admin") as client:
        yield client


@pytest.fixture(scope="module")
def store(served: "Running") -> Iterator[Store]:
    with Store.open(served.folders[0] / "store.db") as opened:
        yield opened


def put(client: httpx.Client, *users: dict[str, Any]) -> None:
    answer = client.put("/v1/users", json={"users": list(users)})
    assert (answer.status_code, answer.json()) == (200, {"accepted": len(users)})


def buy(client: httpx.Client, user: str, *items: str) -> None:
    events = [{"user_id": user, "item_id": item, "type": "purchase"} for item in items]
    assert client.post("/v1/events", json={"events": events}).status_code == 202


def test_a_person_is_told_as_put(shop: httpx.Client) -> None:
    user = {
        "user_id": "users-ada/1",
        "attributes": {"name": "Zoë", "likes": ["tea", 3, None]},
        "created_at": "2026-05-04T10:00:00Z",
    }
    put(shop, user)
    assert shop.get("/v1/users/users-ada/1").json() == {**user, "n_events": 0}
    put(shop, {"user_id": "users-ada/1"})  # what is not told again stays
    assert shop.get("/v1/users/users-ada/1").json() == {**user, "n_events": 0}
    buy(shop, "users-ada/1", "P000001")
    assert shop.get("/v1/users/users-ada/1").json()["n_events"] == 1


def test_somebody_known_by_events_alone_is_known(shop: httpx.Client) -> None:
    buy(shop, "users-bob", *SHOWN)
    told = shop.get("/v1/users/users-bob").json()
    assert told == {
        "user_id": "users-bob",
        "attributes": None,
        "created_at": None,
        "n_events": 3,
    }
    for path in ("/v1/users/users-nobody", "/v1/users/users-nobody/profile"):
        answer = shop.get(path)
        assert answer.status_code == 404
        assert "users-nobody" in answer.json()["detail"]


def test_a_profile_sums_up_the_events(shop: httpx.Client, store: Store) -> None:
    buy(shop, "users-cyd", *SHOWN)
    view = {"user_id": "users-cyd", "item_id": SHOWN[0], "type": "view"}
    assert shop.post("/v1/events", json={"events": [view]}).status_code == 202
    told = shop.get("/v1/users/users-cyd/profile").json()
    assert told["n_events"] == 4
    assert told["by_type"] == {"purchase": 3, "view": 1}
    assert told["first_event"] <= told["latest_event"]
    rows = store.read("items").filter(pl.col(c.ITEM_ID).is_in(SHOWN))
    of_all = pl.concat([rows, rows.filter(pl.col(c.ITEM_ID) == SHOWN[0])])
    for name, column in (("categories", c.CATEGORY), ("brands", c.BRAND)):
        shares = dict(of_all[column].value_counts(normalize=True).rows())
        assert told[name] == pytest.approx(shares)
    assert told["price_middle"] == pytest.approx(of_all[c.PRICE].median())
    assert told["price_low"] <= told["price_middle"] <= told["price_high"]
    assert told["tail_share"] in (0, 0.25, 0.5, 0.75, 1)


def test_a_person_is_erased_everywhere(shop: httpx.Client, store: Store) -> None:
    user, other = "users-dan", "users-eve"
    for one in (user, other):
        put(shop, {"user_id": one, "attributes": {"name": one}})
        buy(shop, one, *SHOWN)
        for _ in range(2):
            assert shop.post("/v1/recommend", json={"user_id": one, "n": 4}).status_code == 200
    aliases = [("web", f"{one}@web", one) for one in (user, other)]
    rows = pl.DataFrame(aliases, schema=[c.PLATFORM, c.ALIAS, c.USER_ID], orient="row")
    store.write("aliases", rows)
    time.sleep(0.5)  # slates are logged a little later
    before = {name: of_person(store, name, user) for name in TABLES}
    assert before == {"events": 3, "users": 1, "aliases": 1, "slates": 2}
    answer = shop.delete(f"/v1/users/{user}")
    assert answer.status_code == 200
    assert answer.json() == {"user_id": user, "erased": before}
    assert {name: of_person(store, name, user) for name in TABLES} == dict.fromkeys(TABLES, 0)
    assert {name: of_person(store, name, other) for name in TABLES} == before
    assert shop.get(f"/v1/users/{user}").status_code == 404
    named = shop.post("/v1/recommend", json={"user_id": user, "n": 20}).json()["items"]
    assert named == shop.post("/v1/recommend", json={"n": 20}).json()["items"]
    again = shop.delete(f"/v1/users/{user}")
    assert sum(again.json()["erased"].values()) <= 1  # the slate that was just asked for


TABLES = ("events", "users", "aliases", "slates")


def of_person(store: Store, table: str, user: str) -> int:
    return int((store.read(table)[c.USER_ID] == user).sum())


def test_nothing_of_an_erased_person_is_left_in_the_file(
    served: "Running", shop: httpx.Client
) -> None:
    user = "users-Xq7-to-be-forgotten"
    put(shop, {"user_id": user, "attributes": {"name": user}})
    buy(shop, user, "P000001")
    assert shop.delete(f"/v1/users/{user}").status_code == 200
    folder = served.folders[0]
    with Store.open(folder / "store.db") as store:
        told = [json.dumps(store.read(name).to_dicts(), default=str) for name in TABLES]
    assert not any(user in text for text in told)
    assert user.encode() not in (folder / "store.db").read_bytes()


def test_a_thousand_people_at_once_and_no_more(shop: httpx.Client) -> None:
    users = [{"user_id": f"users-many-{number}"} for number in range(1_001)]
    refused = shop.put("/v1/users", json={"users": users})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["path"] == "body.users"
    put(shop, *users[:1_000])
    assert shop.get("/v1/users/users-many-999").status_code == 200
    for fault in ({"user_id": ""}, {"user_id": "a", "attributes": "b"}, {"name": "a"}):
        assert shop.put("/v1/users", json={"users": [fault]}).status_code == 422
