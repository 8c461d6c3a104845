"""Closed by default: who may do what, and that nothing of a shop gets out of it."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from tailrec.data.keys import ROLES, Keys, parts_of
from tailrec.shop import Shop

if TYPE_CHECKING:
    from tests.running import Running

SOUTHERN = "Zqsouthern"


class Route(NamedTuple):
    method: str
    path: str
    role: str
    body: dict[str, Any] | None = None


EVENT = {"user_id": "access-person", "item_id": "P000001", "type": "view"}
ROUTES = (
    Route("POST", "/v1/recommend", "read", {}),
    Route("POST", "/v1/similar", "read", {"item_id": "P000001"}),
    Route("POST", "/v1/rerank", "read", {"items": ["P000001"]}),
    Route("POST", "/v1/search", "read", {"query": "vase"}),
    Route("POST", "/v1/explain", "read", {"item_id": "P000001"}),
    Route("POST", "/v1/events", "write", {"events": [EVENT]}),
    Route("PUT", "/v1/items", "write", {"items": [{"item_id": "access-1", "title": "A vase"}]}),
    Route("GET", "/v1/items/{item_id}", "read"),
    Route("PATCH", "/v1/items/{item_id}", "write", {}),
    Route("DELETE", "/v1/items/{item_id}", "write"),
    Route("PUT", "/v1/users", "write", {"users": [{"user_id": "access-person"}]}),
    Route("GET", "/v1/users/{user_id}", "write"),
    Route("GET", "/v1/users/{user_id}/profile", "write"),
    Route("DELETE", "/v1/users/{user_id}", "admin"),
    Route("GET", "/v1/models", "admin"),
    Route("GET", "/v1/reports/exposure", "admin"),
    Route("PUT", "/v1/models/current", "admin", {"version": "none"}),
    Route("GET", "/metrics", "read"),
)
JSON = {"Content-Type": "application/json"}
OPEN = {"GET /v1/health/live", "GET /v1/health/ready"}


@pytest.fixture(scope="module")
def anybody(served: "Running") -> Iterator[httpx.Client]:
    """Without a key."""
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


def ask(client: httpx.Client, route: Route, **more: Any) -> httpx.Response:
    path = route.path.format(item_id="access-1", user_id="access-person")
    return client.request(route.method, path, json=route.body, **more)


def is_problem(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "errors"}
    assert problem["status"] == answer.status_code
    assert problem["instance"] == f"urn:tailrec:request:{answer.headers['x-request-id']}"
    assert problem["detail"]


def test_every_route_is_looked_at(anybody: httpx.Client) -> None:
    paths = anybody.get("/openapi.json").json()["paths"]
    described = {f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs}
    assert described == {f"{route.method} {route.path}" for route in ROUTES} | OPEN


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "secret"},
        {"X-API-Key": "trk_000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {"X-API-Key": "trk__"},
        {"X-API-Key": "x" * 5_000},
        {"X-API-Key": b"\xff\xfe\xc3"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
    ],
)
def test_without_a_valid_key_there_is_nothing(
    anybody: httpx.Client, headers: dict[str, Any]
) -> None:
    for route in ROUTES:
        answer = ask(anybody, route, headers=headers)
        assert answer.status_code == 401
        is_problem(answer)
        assert answer.headers["www-authenticate"].startswith("ApiKey")
    # What is not there is not told apart from what is.
    for method, path in (("GET", "/v1/nothing"), ("DELETE", "/v1/recommend"), ("TRACE", "/")):
        assert anybody.request(method, path, headers=headers).status_code == 401


def test_what_is_open_says_nothing(anybody: httpx.Client) -> None:
    assert anybody.get("/v1/health/live").json() == {"status": "live"}
    assert anybody.get("/v1/health/ready").json() == {"status": "ready"}
    assert anybody.get("/openapi.json").status_code == 200
    for path in ("/docs", "/redoc", "/"):
        assert anybody.get(path).status_code == 401


def test_half_a_key_is_none(served: "Running", anybody: httpx.Client) -> None:
    mine = served.keys[served.folders[0]]
    read, admin = (parts_of(mine[role]) or ("", "") for role in ("read", "admin"))
    mixed = f"trk_{admin[0]}_{read[1]}"
    for key in (mixed, mine["admin"][:-1], mine["admin"] + "A", mine["admin"].swapcase()):
        answer = anybody.get("/v1/models", headers={"X-API-Key": key})
        assert answer.status_code == 401
        assert key not in answer.text
    bearer = {"Authorization": f"Bearer {mine['admin']}"}
    assert anybody.get("/v1/models", headers=bearer).status_code == 200


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_its_part_and_no_more(served: "Running", role: str) -> None:
    with served.client("admin") as admin:
        ask(admin, ROUTES[6])
        ask(admin, ROUTES[5])
    with served.client(role) as client:
        for route in ROUTES:
            answer = ask(client, route)
            if ROLES.index(role) < ROLES.index(route.role):
                assert answer.status_code == 403, route
                assert route.role in answer.json()["detail"]
                is_problem(answer)
            else:
                assert answer.status_code not in (401, 403), route
                assert answer.status_code < 500, route


def test_a_revoked_key_stops_soon(served: "Running") -> None:
    folder = served.folders[0]
    with Shop.open(folder) as shop, served.each_worker() as workers:
        keys = Keys(shop.store)
        headers = {"X-API-Key": keys.create("read")}
        for worker in workers:  # a new one counts at once
            until = time.monotonic() + 5
            while worker.get("/metrics", headers=headers).status_code != 200:
                assert time.monotonic() < until
                time.sleep(0.1)
        keys.revoke((parts_of(headers["X-API-Key"]) or ("", ""))[0])
        time.sleep(2)
        for worker in workers:
            assert worker.get("/metrics", headers=headers).status_code == 401


def test_shops_of_one_server_never_see_each_other(mall: "Running") -> None:
    north, south, strict = mall.folders
    with mall.client("admin", north) as one, mall.client("admin", south) as other:
        assert one.get(f"/v1/items/{SOUTHERN}-2").status_code == 404
        assert other.get(f"/v1/items/{SOUTHERN}-2").status_code == 200
        assert other.get("/v1/items/P000001").status_code == 404
        person = f"{SOUTHERN}-u2"
        assert other.get(f"/v1/users/{person}").json()["n_events"] == 2
        for path in (f"/v1/users/{person}", f"/v1/users/{person}/profile"):
            assert one.get(path).status_code == 404
        assert one.delete(f"/v1/users/{person}").json()["erased"] == dict.fromkeys(
            ("events", "users", "aliases", "slates"), 0
        )
        assert other.get(f"/v1/users/{person}").json()["n_events"] == 2
        event = {"user_id": person, "item_id": "P000001", "type": "view"}
        assert one.post("/v1/events", json={"events": [event]}).status_code == 202
        assert other.get(f"/v1/users/{person}").json()["n_events"] == 2
        models = [client.get("/v1/models").json() for client in (one, other)]
        assert models[0]["serving"] != models[1]["serving"]
        stolen = {"version": models[1]["serving"]}
        assert one.put("/v1/models/current", json=stolen).status_code == 422
        answers = [
            one.post("/v1/search", json={"query": f"{SOUTHERN} amber lamp", "n": 200}),
            one.post("/v1/recommend", json={"user_id": person, "n": 200, "seen": "show"}),
            one.post("/v1/recommend", json={"item_id": f"{SOUTHERN}-2", "n": 200}),
            one.post("/v1/rerank", json={"items": [f"{SOUTHERN}-2", "P000001"]}),
        ]
        for answer in answers:
            found = [item["item_id"] for item in answer.json()["items"]]
            assert found
            assert not any(SOUTHERN in item for item in found)
        # Metrics are of the shop of the key alone.
        told = {name: c.get("/metrics").text for name, c in (("north", one), ("south", other))}
        for name, text in told.items():
            shops = {
                line.split('shop="')[1].split('"')[0]
                for line in text.splitlines()
                if "shop=" in line
            }
            assert shops == {name, ""}  # what came without a valid key is of none
            counts = [line for line in text.splitlines() if "seconds_count" in line]
            assert any(f'shop="{name}"' in line for line in counts)
    keys = {key for folder in (north, south, strict) for key in mall.keys[folder].values()}
    assert len(keys) == 9


def test_too_many_requests_are_told_when_to_come_back(mall: "Running") -> None:
    north, _, strict = mall.folders
    with mall.client("read", strict) as client, mall.client("read", north) as other:
        answers = [client.post("/v1/search", json={"query": "lamp"}) for _ in range(12)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:6] == [200] * 6  # what may come at once
        assert 429 in statuses
        refused = next(answer for answer in answers if answer.status_code == 429)
        is_problem(refused)
        wait_s = int(refused.headers["retry-after"])
        assert wait_s >= 1
        # Another key, and another shop, are not held up by this one.
        assert other.post("/v1/search", json={"query": "vase"}).status_code == 200
        with mall.client("write", strict) as writer:
            assert writer.post("/v1/search", json={"query": "lamp"}).status_code == 200
        time.sleep(wait_s)
        assert client.post("/v1/search", json={"query": "lamp"}).status_code == 200


def test_no_other_site_may_read_answers(served: "Running") -> None:
    origin = {"Origin": "https://elsewhere.example"}
    with served.client("admin") as client:
        answers = [
            client.post("/v1/recommend", json={}, headers=origin),
            client.get("/v1/health/live", headers=origin),
            client.options(
                "/v1/recommend",
                headers={**origin, "Access-Control-Request-Method": "POST"},
            ),
        ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
    assert answers[2].status_code == 405


def test_a_request_keeps_the_id_it_came_with(served: "Running", anybody: httpx.Client) -> None:
    with served.client("read") as client:
        answer = client.post("/v1/search", json={}, headers={"X-Request-ID": "abc.1_2-3"})
        assert answer.headers["x-request-id"] == "abc.1_2-3"
        assert answer.json()["instance"] == "urn:tailrec:request:abc.1_2-3"
        ok = client.post("/v1/search", json={"query": "a"}, headers={"X-Request-ID": "abc"})
        assert ok.headers["x-request-id"] == "abc"
        for odd in ("a b", "x" * 65, '"; rm -rf', "{}", ""):
            made = client.get("/v1/items/none", headers={"X-Request-ID": odd})
            assert made.headers["x-request-id"] != odd
            assert len(made.headers["x-request-id"]) == 16
            is_problem(made)
    assert len(anybody.get("/v1/health/live").headers["x-request-id"]) == 16


def test_every_error_is_a_problem(served: "Running") -> None:
    with served.client("admin") as client:
        answers = [
            (404, client.get("/v1/nothing")),
            (404, client.post("/v1/recommend/", json={})),
            (405, client.delete("/v1/recommend")),
            (400, client.post("/v1/recommend", content=b"{bad", headers=JSON)),
            (422, client.post("/v1/recommend", json={"n": "many"})),
            (413, client.post("/v1/events", content=b"x" * (9 << 20))),
        ]
    for status, answer in answers:
        assert answer.status_code == status
        is_problem(answer)
    assert answers[2][1].headers["allow"] == "POST"


def test_there_are_no_web_sockets(served: "Running") -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with httpx.Client(base_url=served.url, timeout=5) as anybody:
        assert anybody.get("/v1/models", headers=upgrade).status_code == 401
        assert anybody.get("/v1/health/live", headers=upgrade).status_code == 200


def test_the_log_says_nothing_of_people_and_no_secret(served: "Running") -> None:
    secret = "Xjq-unmistakable"
    with served.client("admin") as client:
        event = {"user_id": secret, "item_id": "P000001", "type": "view", "text": secret}
        person = {"user_id": secret, "attributes": {"name": secret}}
        client.post("/v1/events", json={"events": [event]})
        client.put("/v1/users", json={"users": [person]})
        client.post("/v1/recommend", json={"user_id": secret, "session_id": secret})
        client.post("/v1/search", json={"query": secret, "user_id": secret})
        client.post("/v1/explain", json={"user_id": secret, "item_id": "P000001"})
        client.get(f"/v1/users/{secret}/profile")
        client.get(f"/v1/users/{secret}?name={secret}")
        client.post("/v1/recommend", json={"user_id": secret, "n": secret})
        client.post("/v1/recommend", json={"user_id": secret, "scene": secret})
        client.delete(f"/v1/users/{secret}")
        client.get(f"/{secret}")
        name = "log-check"
        client.get("/v1/models", headers={"X-Request-ID": name})
    time.sleep(0.5)
    text = served.log.read_text("utf-8")
    assert name in text
    assert secret not in text
    for key in served.keys[served.folders[0]].values():
        assert (parts_of(key) or ("", ""))[1] not in text
    line = next(line for line in text.splitlines() if name in line)
    told = json.loads(line)
    assert told["route"] == "/v1/models"
    assert (told["status"], told["method"], told["level"]) == (200, "GET", "info")
    assert told["key"] == (parts_of(served.keys[served.folders[0]]["admin"]) or ("",))[0]
