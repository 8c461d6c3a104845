"""How calls go, against a real server that follows a script."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tailrec.client import AsyncClient, Client, Failed, NoAnswer, Refused, ServiceError
from tailrec.errors import DataError, ProviderError
from tailrec.wire import Event

KEY = "key-that-nobody-may-see"
SLATE = {"slate_id": "s", "model": "m", "arm": "a", "fallback": None, "took_ms": 1, "items": []}
ACCEPTED = {"accepted": 1}
EVENT = Event(user_id="ada", item_id="mug", type="view")
LOST = None
"""The connection is closed without an answer."""

Answer = tuple[int, Any, dict[str, str]] | None


@dataclass
class Script:
    """A server that answers as it was told, and notes what it was asked."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    script: Script
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.script.asked.append((f"{self.command} {self.path}", headers, body))
        answer = self.script.answers.pop(0)
        if answer is None:
            self.close_connection = True
            return
        status, value, more = answer
        told = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(told)), **more}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def script() -> Iterator[Script]:
    """A running server with nothing to say yet."""
    told = Script()
    handler = type("Handler", (_Handler,), {"script": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


Ask = Callable[[str, Callable[[Any], Any]], Any]


@pytest.fixture(params=["waits", "awaits"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls one method of a client of either kind."""

    def waits(url: str, call: Callable[[Any], Any], **options: Any) -> Any:
        with Client(url, KEY, **options) as client:
            return call(client)

    def awaits(url: str, call: Callable[[Any], Any], **options: Any) -> Any:
        async def run() -> Any:
            async with AsyncClient(url, KEY, **options) as client:
                return await call(client)

        return asyncio.run(run())

    return waits if request.param == "waits" else awaits


def problem(status: int, detail: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": "Not so",
        "status": status,
        "detail": detail,
        "instance": "/v1/x",
        "errors": [{"path": "body.n", "message": "too many"}],
    }


def test_an_answer(script: Script, ask: Ask) -> None:
    script.answers = [(200, SLATE, {})]
    assert ask(script.url, lambda shop: shop.recommend(user_id="ada")).slate_id == "s"
    ((what, headers, body),) = script.asked
    assert (what, body) == ("POST /v1/recommend", b'{"user_id":"ada"}')
    assert headers["x-api-key"] == KEY
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("tailrec/")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(script: Script, ask: Ask, status: int) -> None:
    script.answers = [(status, b"", {"Retry-After": "0"}), (status, b"", {}), (200, SLATE, {})]
    assert ask(script.url, lambda shop: shop.recommend()).slate_id == "s"
    assert len(script.asked) == 3


def test_a_service_that_stays_busy(script: Script, ask: Ask) -> None:
    script.answers = [(429, problem(429, "too fast"), {"Retry-After": "0"})] * 3
    with pytest.raises(Refused, match=r"POST /v1/similar: 429 Not so: too fast: body\.n") as told:
        ask(script.url, lambda shop: shop.similar("mug"))
    assert (told.value.status, told.value.retry_after_s, len(script.asked)) == (429, 0.0, 3)
    assert told.value.problem is not None
    assert told.value.problem.errors[0].path == "body.n"


def test_a_wait_that_is_asked_for_is_kept(script: Script, ask: Ask) -> None:
    script.answers = [(503, b"", {"Retry-After": "1"}), (200, SLATE, {})]
    began = datetime.now(UTC)
    ask(script.url, lambda shop: shop.recommend())
    assert datetime.now(UTC) - began >= timedelta(seconds=1)


@pytest.mark.parametrize("form", ["seconds", "moment"])
def test_a_long_wait_is_the_callers(script: Script, ask: Ask, form: str) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    wait = "3600" if form == "seconds" else moment
    script.answers = [(503, b"", {"Retry-After": wait})]
    with pytest.raises(Failed, match="503 Service Unavailable") as told:
        ask(script.url, lambda shop: shop.recommend())
    assert told.value.retry_after_s == pytest.approx(3600, abs=300)


def test_a_lost_answer_is_asked_for_again_where_that_is_safe(script: Script, ask: Ask) -> None:
    script.answers = [LOST, (202, ACCEPTED, {})]
    assert ask(script.url, lambda shop: shop.send_events([EVENT])).accepted == 1
    (_, _, first), (_, _, second) = script.asked
    assert first == second
    assert json.loads(first)["events"][0]["event_id"]


@pytest.mark.parametrize(
    "call",
    [
        lambda shop: shop.recommend(),
        lambda shop: shop.similar("mug"),
        lambda shop: shop.rerank(["mug"]),
        lambda shop: shop.erase_user("ada"),
        lambda shop: shop.delete_item("mug"),
    ],
    ids=["recommend", "similar", "rerank", "erase_user", "delete_item"],
)
def test_and_not_where_it_is_not(script: Script, ask: Ask, call: Callable[[Any], Any]) -> None:
    script.answers = [LOST, (200, SLATE, {})]
    with pytest.raises(NoAnswer, match=script.url):
        ask(script.url, call)
    assert len(script.asked) == 1


def test_a_service_that_is_not_there(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NoAnswer, match="no answer from the service at http://127") as told:
        ask("http://127.0.0.1:9", lambda shop: shop.recommend())
    assert isinstance(told.value, ServiceError | ProviderError)
    assert told.value.status is None
    assert KEY not in str(told.value) + repr(told.value) + caplog.text


def test_answers_that_are_none(script: Script, ask: Ask) -> None:
    script.answers = [(502, b"<h1>Bad  gateway</h1>", {}), (200, b"<h1>Welcome</h1>", {})]
    with pytest.raises(Failed, match="502 <h1>Bad gateway</h1>") as told:
        ask(script.url, lambda shop: shop.models())
    assert told.value.problem is None
    with pytest.raises(Failed, match=r"GET /v1/models: the answer is none .*Welcome"):
        ask(script.url, lambda shop: shop.models())


def test_a_refusal_names_what_is_not_there(script: Script, ask: Ask) -> None:
    script.answers = [(404, problem(404, "item 'mug' is not in this shop"), {})]
    with pytest.raises(Refused, match=r"GET /v1/items/mug: 404 .*'mug' is not in this shop"):
        ask(script.url, lambda shop: shop.get_item("mug"))
    assert len(script.asked) == 1


def test_health(script: Script, ask: Ask) -> None:
    script.answers = [(200, {}, {}), (503, problem(503, "no model"), {}), (200, {}, {})]
    assert ask(script.url, lambda shop: shop.ready()) is True
    assert ask(script.url, lambda shop: shop.ready()) is False
    assert ask(script.url, lambda shop: shop.live()) is True
    assert len(script.asked) == 3


def test_no_retries(script: Script) -> None:
    script.answers = [(503, b"", {})]
    with Client(script.url, KEY, retries=0) as client, pytest.raises(Failed):
        client.models()
    assert len(script.asked) == 1


def test_both_clients_have_the_same_methods() -> None:
    ways = {"close", "aclose"}
    waits, awaits = (
        {name for name in vars(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)
    )
    assert waits - ways == awaits - ways
    assert {"recommend", "send_events"} <= waits


def test_the_key_is_not_shown() -> None:
    with Client("http://shop", KEY) as client:
        assert KEY not in repr(client)
        assert repr(client) == "Client('http://shop')"


@pytest.mark.parametrize("key", ["", "se\ncret", "sécret"])
def test_a_key_that_cannot_be_one(key: str) -> None:
    with pytest.raises(DataError, match="keys create") as told:
        Client("http://shop", key)
    assert "cret" not in str(told.value)


@pytest.mark.parametrize("url", ["shop", "ftp://shop", "http://me:secret@shop", "http://a:b:c"])
def test_an_address_that_cannot_be_one(url: str) -> None:
    with pytest.raises(DataError, match="the service's address") as told:
        Client(url, KEY)
    assert "secret" not in str(told.value)
