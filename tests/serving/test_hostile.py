"""Requests that mean harm: none brings the service down, and none gets at another shop."""

import json
import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tailrec import columns as c
from tailrec.data.store import Store

if TYPE_CHECKING:
    from tests.running import Running

SOUTHERN, HUSHED = "Zqsouthern", "Qzhushed"
LEAK = re.compile(rf"{HUSHED}|{SOUTHERN}-(?!1\b)\d|{SOUTHERN}-u(?!1\b)\d".encode())
"""Anything of the other shop but the two ids that the requests themselves name."""
MEBIBYTE = 1 << 20

PATHS = (
    ("POST", "/v1/recommend"),
    ("POST", "/v1/similar"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/search"),
    ("POST", "/v1/explain"),
    ("POST", "/v1/events"),
    ("PUT", "/v1/items"),
    ("GET", "/v1/items/{}"),
    ("PATCH", "/v1/items/{}"),
    ("DELETE", "/v1/items/{}"),
    ("PUT", "/v1/users"),
    ("GET", "/v1/users/{}"),
    ("GET", "/v1/users/{}/profile"),
    ("DELETE", "/v1/users/{}"),
    ("GET", "/v1/models"),
    ("PUT", "/v1/models/current"),
    ("GET", "/metrics"),
    ("GET", "/v1/health/ready"),
    ("GET", "/{}"),
)
TEXTS = (
    "", "a", "P000001", f"{SOUTHERN}-1", f"{SOUTHERN}-u1", "'; DROP TABLE items; --",
    "' OR '1'='1", '" UNION SELECT * FROM keys --', "$1", "%s", "{0}", "${jndi:ldap://x}",
    "../../../../etc/passwd", "..\\..\\store.db", "/etc/passwd\0.png", "C:\\nul", "\0", "a\0b",
    "\ud800", "\udfff\ud800", "\ufeff", "\u202e", "\U0010ffff", "e\u0301" * 40, "ﷺ" * 30,
    "\r\nX-Injected: yes", "<script>alert(1)</script>", "x" * 513, "y" * 30_000, "NaN", "null",
    "true", "-1", "session:", "\u0130\u0131\u00df", "😀" * 200, "\x7f\x1b[31m", "İ" * 400,
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 200, 201, 1e308, -1e308, 1e-320, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30,
    0.1, float("nan"), float("inf"), float("-inf"), -0.0,
)  # fmt: skip
TIMES = (
    "2026-05-04T10:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "1677-09-21T00:12:43Z", "2262-04-12T00:00:00Z", "2026-02-30T00:00:00Z", "1e99", "now",
    "2026-05-04T10:00:00.1234567891234Z", "-292277022399-01-01T00:00:00Z",
)  # fmt: skip
FIELDS = (
    "user_id", "session_id", "session", "item_id", "filter", "exclude", "tail", "diversity", "seen",
    "rules", "n", "scene", "explain", "items", "query", "facets", "request", "events", "users",
    "version", "title", "price", "stock", "attributes", "images", "created_at", "available",
    "event_id", "type", "timestamp", "value", "position", "propensity", "__proto__", "constructor",
    "brand", "category", "cost",
)  # fmt: skip
OPERATORS = (
    "eq", "ne", "in", "not_in", "lt", "lte", "gt", "gte", "contains", "under", "exists", "since",
    "until", "regex", "$where",
)  # fmt: skip
COLUMNS = (
    "item_id", "title", "description", "brand", "category", "price", "cost", "stock", "seller_id",
    "images", "created_at", "available", "tier", "attributes.colour", "attributes.", "all",
    "attributes.\ud800", "attributes.a.b", "any", "not", "rowid", "1=1",
)  # fmt: skip


class Wild(NamedTuple):
    """One request, as bytes of a connection; some of a body may never be sent."""

    kind: str
    data: bytes


class Mischief:
    """Makes requests that mean harm, the same ones for the same seed."""

    def __init__(self, seed: int, key: str) -> None:
        self._rng = random.Random(seed)
        self._key = key
        self._kinds: tuple[Callable[[], Wild], ...] = (
            *(self._odd_body,) * 8, *(self._filters,) * 3, self._broken_json, self._deep,
            self._wrong_type, self._headers, self._method, self._path, self._path, self._garbage,
            self._length, self._unicode,
        )  # fmt: skip
        self._rare = (self._huge_said, self._huge_sent, self._huge_chunked, self._long_url)

    def requests(self, n_requests: int) -> Iterator[Wild]:
        """Requests of all kinds; the costly ones now and then."""
        for number in range(n_requests):
            rare = number % 100 == 0
            yield self._rng.choice(self._rare if rare else self._kinds)()

    def any_filter(self, depth: int = 0) -> Any:
        """Something like a filter, right or wrong."""
        rng = self._rng
        pick = rng.random()
        if depth > 4 or pick < 0.1:
            return self._value(3)
        if pick < 0.25:
            inner = [self.any_filter(depth + 1) for _ in range(rng.randrange(4))]
            return {rng.choice(("all", "any")): inner}
        if pick < 0.35:
            return {"not": self.any_filter(depth + 1)}
        condition: dict[str, Any] = {}
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice(COLUMNS)
            asked = {rng.choice(OPERATORS): self._operand() for _ in range(rng.choice((1, 1, 2)))}
            condition[name] = rng.choice((asked, asked, asked, self._operand()))
        return condition

    def _operand(self) -> Any:
        rng = self._rng
        return rng.choice(
            (
                rng.choice(TEXTS),
                rng.choice(NUMBERS),
                rng.choice(("Irismark", "Home", "Home > Decoration", "tail", "head", True, False)),
                [rng.choice((*TEXTS[:9], *NUMBERS[:5])) for _ in range(rng.randrange(4))],
                rng.choice(TIMES),
                None,
                rng.randrange(100),
            )
        )

    def _value(self, depth: int = 0) -> Any:
        rng = self._rng
        pick = rng.random()
        if pick < 0.25:
            return rng.choice(TEXTS)
        if pick < 0.45:
            return rng.choice(NUMBERS)
        if pick < 0.55:
            return rng.choice((None, True, False))
        if pick < 0.65:
            return rng.choice(TIMES)
        if pick < 0.7:
            return self.any_filter()
        if depth > 3:
            return []
        if pick < 0.85:
            return [self._value(depth + 1) for _ in range(rng.randrange(4))]
        return self._object(depth + 1)

    def _object(self, depth: int = 0) -> dict[str, Any]:
        return {
            self._rng.choice(FIELDS): self._value(depth) for _ in range(self._rng.randrange(1, 6))
        }

    def _right(self, path: str) -> dict[str, Any]:
        """A body that the path takes, as the start of one that it does not."""
        rng = self._rng
        item, user = rng.choice(TEXTS[1:4]), rng.choice(TEXTS[1:5])
        event = {"user_id": user, "item_id": item, "type": "view"}
        bodies: dict[str, dict[str, Any]] = {
            "/v1/similar": {"item_id": item},
            "/v1/rerank": {"items": [item]},
            "/v1/search": {"query": rng.choice(TEXTS)},
            "/v1/explain": {"item_id": item},
            "/v1/events": {"events": [event | self._object(3) if rng.random() < 0.5 else event]},
            "/v1/items": {"items": [{"item_id": "wild", "title": "Wild"} | self._object(3)]},
            "/v1/users": {"users": [{"user_id": user, "attributes": self._value()}]},
            "/v1/models/current": {"version": rng.choice(TEXTS)},
        }
        return bodies.get(path, {"user_id": user})

    def _odd_body(self) -> Wild:
        rng = self._rng
        method, path = rng.choice([pair for pair in PATHS if pair[0] != "GET"])
        body: Any = self._right(path) if rng.random() < 0.8 else self._value()
        if isinstance(body, dict) and rng.random() < 0.6:
            body |= self._object()
        return self._of("odd body", method, self._filled(path), json.dumps(body).encode())

    def _filters(self) -> Wild:
        rng = self._rng
        if rng.random() < 0.7:
            body: dict[str, Any] = {"filter": self.any_filter()}
        else:
            rule = {"filter": self.any_filter(), "factor": rng.choice(NUMBERS)}
            body = {"rules": {rng.choice(("boost", "bury", "cap", "pin")): [rule]}}
        path = rng.choice(("/v1/recommend", "/v1/search", "/v1/similar"))
        if path != "/v1/recommend":
            body |= self._right(path)
        return self._of("filter", "POST", path, json.dumps(body).encode())

    def _broken_json(self) -> Wild:
        rng = self._rng
        body = json.dumps(self._object()).encode()
        at = rng.randrange(len(body) + 1)
        broken = rng.choice(
            (body[:at], body[:at] + b"\xff\xfe" + body[at:], body + body, b"", b"\xef\xbb\xbf{}",
             b"{'a': 1}", b'{"n": 01}', b"\x00" * 20, body.decode().encode("utf-16"))
        )  # fmt: skip
        method, path = rng.choice([pair for pair in PATHS if pair[0] != "GET"])
        return self._of("broken JSON", method, self._filled(path), broken)

    def _deep(self) -> Wild:
        depth = self._rng.choice((50, 900, 20_000, 200_000))
        opening, closing = self._rng.choice(
            ((b"[", b"]"), (b'{"a":', b"}"), (b'{"not":', b"}"), (b'{"all":[', b"]}"))
        )
        deep = opening * depth + b"1" + closing * depth
        name = self._rng.choice((b"filter", b"rules", b"attributes"))
        body = self._rng.choice((deep, b'{"user_id":"a","%b":%b}' % (name, deep)))
        return self._of("deep", "POST", "/v1/recommend", body)

    def _wrong_type(self) -> Wild:
        kind = self._rng.choice(
            (b"text/plain", b"application/xml", b"multipart/form-data", b"", b"application/json; "
             b"charset=utf-16", b"*/*", b"application/x-www-form-urlencoded", b"\xff")
        )  # fmt: skip
        body = json.dumps(self._right("/v1/events")).encode()
        return self._of("wrong type", "POST", "/v1/events", body, content_type=kind)

    def _headers(self) -> Wild:
        rng = self._rng
        extra = rng.choice(
            (
                b"X-Request-ID: " + rng.choice((b"\xff\xfe", b"a" * 5_000, b"../..", b"\t")),
                b"X-API-Key: another\r\nX-API-Key: third",
                b"Host: evil.example\r\nX-Forwarded-For: 127.0.0.1",
                b"Content-Encoding: gzip",
                b"Range: bytes=0-99999999999",
                b"Cookie: " + b"a=b; " * 500,
                b"X-Long: " + b"z" * 60_000,
                b"Expect: 100-continue",
                b"Accept: application/xml\r\nIf-None-Match: *",
                b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                b"Authorization: Bearer \xc3\x28",
            )
        )
        method, path = rng.choice(PATHS)
        body = json.dumps(self._right(path)).encode()
        return self._of("headers", method, self._filled(path), body, extra=extra)

    def _method(self) -> Wild:
        method = self._rng.choice(
            ("PROPFIND", "TRACE", "OPTIONS", "HEAD", "CONNECT", "get", "GARBAGE", "P" * 300, "BREW")
        )
        return self._of("method", method, self._filled(self._rng.choice(PATHS)[1]), b"")

    def _path(self) -> Wild:
        rng = self._rng
        method, path = rng.choice(PATHS)
        filled = self._filled(path) + rng.choice(("", "/", "//", "?a=%00", "?" + "q" * 2_000, "#x"))
        return self._of("path", method, filled, json.dumps(self._right(path)).encode())

    def _garbage(self) -> Wild:
        rng = self._rng
        return Wild(
            "garbage",
            rng.choice(
                (
                    rng.randbytes(rng.randrange(1, 300)) + b"\r\n\r\n",
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"GET /v1/models HTTP/1.1\nHost: a\n\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(100),
                    b"POST /v1/events HTTP/1.1\r\nHost : a\r\n\r\n",
                )
            ),
        )

    def _length(self) -> Wild:
        rng = self._rng
        length = rng.choice((b"-1", b"abc", b"1e3", b"99999999999999999999", b"+5", b"0x10", b"0"))
        head = self._head("POST", "/v1/recommend", b"application/json")
        also = rng.choice((b"", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n"))
        data = head + b"Content-Length: " + length + b"\r\n" + also + b"\r\n{}\r\n"
        return Wild("length", data)

    def _unicode(self) -> Wild:
        rng = self._rng
        path = rng.choice(("/v1/search", "/v1/recommend", "/v1/events", "/v1/users"))
        body = self._right(path)
        text = json.dumps(body | {"query": rng.choice(TEXTS)} if path == "/v1/search" else body)
        odd = rng.choice(
            (b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", rb"\ud800", rb"\u0000")
        )
        return self._of("unicode", "POST", path, text.encode().replace(b"a", odd, 1))

    def _huge_said(self) -> Wild:
        head = self._head("POST", "/v1/events", b"application/json")
        return Wild("huge", head + b"Content-Length: %d\r\n\r\n{" % (500 * MEBIBYTE))

    def _huge_sent(self) -> Wild:
        body = b'{"user_id":"a","exclude":["' + b"x" * (9 * MEBIBYTE) + b'"]}'
        return self._of("huge", "POST", "/v1/recommend", body)

    def _huge_chunked(self) -> Wild:
        head = self._head("POST", "/v1/recommend", b"application/json")
        chunk = b"100000\r\n" + b"[" * MEBIBYTE + b"\r\n"
        return Wild("huge", head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 9 + b"0\r\n\r\n")

    def _long_url(self) -> Wild:
        return self._of("long URL", "GET", "/v1/items/" + "a" * 200_000, b"")

    def _filled(self, path: str) -> str:
        rng = self._rng
        text = rng.choice((*TEXTS, "%00", "%ff%fe", "%E0%A4%A", "..%2f..%2fetc%2fpasswd", "a/b/c"))
        safe = rng.choice(("%", "%", "/%.:"))
        return path.replace("{}", quote(text.encode("utf-8", "surrogatepass"), safe=safe))

    def _head(self, method: str, path: str, content_type: bytes, key: bool = True) -> bytes:
        line = f"{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n".encode()
        named = b"X-API-Key: " + self._key.encode() + b"\r\n" if key else b""
        return line + named + b"Content-Type: " + content_type + b"\r\n"

    def _of(
        self,
        kind: str,
        method: str,
        path: str,
        body: bytes,
        *,
        content_type: bytes = b"application/json",
        extra: bytes = b"",
    ) -> Wild:
        head = self._head(method, path, content_type, key=self._rng.random() < 0.95)
        more = extra + b"\r\n" if extra else b""
        length = b"Content-Length: %d\r\n" % len(body) if body or method != "GET" else b""
        return Wild(kind, head + more + length + b"\r\n" + body)


def said(url: str, request: Wild) -> bytes:
    """All that a server says to a request, until it closes the connection."""
    where = urlsplit(url)
    answer = b""
    # It may go on waiting for the rest of what is none.
    patience_s = 0.5 if request.kind in ("garbage", "length") else 30
    with socket.create_connection((where.hostname, where.port), patience_s) as connection:
        with suppress(ConnectionError):  # it has heard enough; what it says may still be there
            connection.sendall(request.data)
        with suppress(ConnectionError, TimeoutError if patience_s < 1 else ConnectionError):
            while part := connection.recv(1 << 16):
                answer += part
    return answer


def do_mischief(mall: "Running", n_requests: int, seed: int) -> Counter[tuple[str, str]]:
    """How often each kind of request was answered with each status."""
    north = mall.folders[0]
    mischief = Mischief(seed, mall.keys[north]["admin"])
    told: Counter[tuple[str, str]] = Counter()
    for request in mischief.requests(n_requests):
        answer = said(mall.url, request)
        assert not LEAK.search(answer), (request, answer)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[9:12].decode("ascii", "replace") if head.startswith(b"HTTP/1.1 ") else "none"
        assert b"X-Injected" not in head, request
        if status[0] == "5":
            # Deliberate, and only where something is away; nothing is, here.
            raise AssertionError((status, request.data[:3_000], body[:500]))
        if status[0] == "4" and b"x-request-id" in head and not request.data.startswith(b"HEAD"):
            assert b"application/problem+json" in head, request
        told[request.kind, status] += 1
    return told


def counts(mall: "Running", place: int) -> list[int]:
    with Store.open(mall.folders[place] / "store.db") as store:
        return [store.count(name) for name in c.TABLES]


def check(mall: "Running", n_requests: int, seed: int) -> None:
    before = counts(mall, 1), counts(mall, 2)
    started = mall.log.stat().st_size
    told = do_mischief(mall, n_requests, seed)
    assert sum(told.values()) == n_requests
    statuses = {status for _, status in told}
    assert statuses >= {"200", "202", "400", "401", "404", "405", "413", "422"}, told
    # What never reached the app is the server's own to refuse.
    assert {kind for kind, status in told if status == "none"} <= {"garbage", "method", "length"}
    with mall.client("read") as client:
        assert client.post("/v1/recommend", json={"n": 5}).status_code == 200
        assert client.post("/v1/search", json={"query": "vase"}).json()["items"]
    with mall.log.open("rb") as log:
        log.seek(started)
        assert not [line for line in log if b'"level": "error"' in line]
    assert (counts(mall, 1), counts(mall, 2)) == before


def test_requests_that_mean_harm_do_none(mall: "Running") -> None:
    check(mall, 600, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_ten_thousand_requests_that_mean_harm_do_none(mall: "Running") -> None:
    check(mall, 10_000, seed=2)


def fuzz_filters(mall: "Running", n_filters: int, seed: int) -> Counter[int]:
    north = mall.folders[0]
    mischief = Mischief(seed, "")
    statuses: Counter[int] = Counter()
    paths: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/v1/recommend", {}),
        ("/v1/search", {"query": "vase"}),
        ("/v1/similar", {"item_id": "P000002"}),
    )
    with mall.client("write", north) as client:
        for number in range(n_filters):
            path, body = paths[number % 3]
            content = json.dumps({**body, "n": 5, "filter": mischief.any_filter()}).encode()
            headers = {"Content-Type": "application/json"}
            answer = client.post(path, content=content, headers=headers)
            assert answer.status_code in (200, 400, 422), (content, answer.text)
            if answer.status_code == 422:
                fault = answer.json()["errors"][0]
                assert fault["path"].startswith("filter")
                assert fault["message"]
            assert HUSHED not in answer.text
            statuses[answer.status_code] += 1
    return statuses


def test_any_filter_is_answered_or_refused(mall: "Running") -> None:
    statuses = fuzz_filters(mall, 400, seed=3)
    assert min(statuses[200], statuses[422]) > 30


@pytest.mark.slow
def test_many_more_filters_are_answered_or_refused(mall: "Running") -> None:
    assert sum(fuzz_filters(mall, 5_000, seed=4).values()) == 5_000


def test_a_body_that_comes_slowly_does_not_hold_others_up(mall: "Running") -> None:
    where = urlsplit(mall.url)
    key = mall.keys[mall.folders[0]]["write"]
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Length: 100\r\n\r\n{{"
    )
    slow = [socket.create_connection((where.hostname, where.port)) for _ in range(40)]
    try:
        for connection in slow:
            connection.sendall(head.encode())
        with mall.client("read") as client:
            answer = client.post("/v1/recommend", json={"n": 3}, timeout=httpx.Timeout(10))
            assert answer.status_code == 200
    finally:
        for connection in slow:
            connection.close()
