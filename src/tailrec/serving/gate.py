"""What every request passes, before and after it is answered: id, key, size, log, metrics.

Plain ASGI and no framework's middleware: it takes a few microseconds, and bodies that are too
large are cut off while they come.
"""

import json
import logging
import re
import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailrec.serving.access import Access, Caller, Refused
from tailrec.serving.metrics import LATENCY, REQUESTS
from tailrec.serving.problems import problem

MOST_BYTES: Final = 8 << 20
"""Bytes of a request's body, at most."""
OPEN: Final = frozenset({"/v1/health/live", "/v1/health/ready", "/openapi.json"})
"""Paths that say nothing of any shop, and need no key."""
_TOO_LARGE: Final = f"a body has {MOST_BYTES:,} bytes at most; send smaller batches"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger("tailrec.requests")


class Gate:
    """Wraps the app.

    Args:
        app: answers.
        access: knows keys; called at the first request, since the shops are opened before it.
    """

    def __init__(self, app: ASGIApp, access: Callable[[], Access]) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of the server's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        try:
            self._admit(scope, headers, state)
        except Refused as refused:
            retry_s = refused.retry_s
            refusal = problem(refused.status, str(refused), request_id, retry_s=retry_s)
            await refusal(scope, receive, answer)
        else:
            await self._app(scope, _bounded(receive), answer)
        finally:
            _note(scope, state, status, time.perf_counter() - started)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes], state: dict[str, Any]) -> None:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MOST_BYTES:
            raise Refused(413, _TOO_LARGE)
        if scope["path"] not in OPEN:
            state["caller"] = self._access().caller(_key(headers))


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's own, where it can be quoted safely; else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else token_hex(8)


def _key(headers: dict[bytes, bytes]) -> str | None:
    """The key; a scraper that knows nothing but bearer tokens sends it as one."""
    given = headers.get(b"x-api-key")
    if given is None:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = token.strip() if scheme.lower() == b"bearer" else None
    return None if given is None else given.decode("latin-1")


def _bounded(receive: Receive) -> Receive:
    """The same body, that ends with an error where it grows too large."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MOST_BYTES:
            # The one kind of error that FastAPI lets through while it reads a body.
            raise HTTPException(413, _TOO_LARGE)
        return message

    return bounded


def _note(scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
    """Count and log a request; of what was asked, only which route it took."""
    caller: Caller | None = state.get("caller")
    shop = caller.front.name if caller else ""
    route = getattr(scope.get("route"), "path", "unknown")
    method = scope["method"] if route != "unknown" else "ANY"
    REQUESTS.labels(shop, method, route, str(status)).inc()
    LATENCY.labels(shop, method, route).observe(seconds)
    if log.isEnabledFor(logging.INFO):
        said = {
            "request_id": state["request_id"],
            "shop": shop,
            "key": caller.key_id if caller else None,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1e3, 2),
        }
        log.info(json.dumps(said))
