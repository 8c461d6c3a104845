"""The service from Python, typed, with and without async.

::

    with Client("http://127.0.0.1:8080", key) as shop:
        slate = shop.recommend(user_id="ada", n=10)
        shop.send_events([Event(user_id="ada", item_id=slate.items[0].item_id, type="click")])

What can go wrong::

    ProviderError
    └── ServiceError            the service did not do it; has .status, .problem
        ├── NoAnswer            it cannot be reached, or did not answer in time
        ├── Refused             the request is at fault (400 to 499)
        └── Failed              the service is (500 and above, or an answer that is none)

A call is tried again by itself where that is safe: see `Call.lost_is_safe`. Arguments that cannot
be right, as 2,000 places, raise pydantic's `ValidationError` before anything is sent.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from inspect import Parameter, signature
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args

import httpx

from tailrec import __version__
from tailrec import client_calls as calls
from tailrec.client_calls import Call
from tailrec.client_course import Course, Failed, NoAnswer, Refused, ServiceError
from tailrec.errors import DataError

__all__ = ["AsyncClient", "Client", "Failed", "NoAnswer", "Refused", "ServiceError"]

P = ParamSpec("P")
A = TypeVar("A")
M = TypeVar("M", bound=Callable[..., Any])


def _waits(build: Callable[P, Call[A]]) -> Callable[Concatenate["Client", P], A]:
    """A method that sends what `build` makes of its arguments."""

    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> A:
        return self.send(build(*args, **kwargs))

    return _looks_like(method, build)


def _awaits(
    build: Callable[P, Call[A]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, A]]:
    """As `_waits`, to be awaited."""

    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> A:
        return await self.send(build(*args, **kwargs))

    return _looks_like(method, build)


def _looks_like(method: M, build: Callable[..., Call[Any]]) -> M:
    """The method, with name, words and parameters of `build` for whoever asks for help."""
    update_wrapper(method, build)
    del method.__wrapped__  # type: ignore[attr-defined]  # it has no self
    told = signature(build)
    own = Parameter("self", Parameter.POSITIONAL_ONLY)
    (answer,) = get_args(told.return_annotation)
    method.__signature__ = told.replace(  # type: ignore[attr-defined]
        parameters=[own, *told.parameters.values()], return_annotation=answer
    )
    return method


class Client:
    """One shop of a service. Threads may share it; close it, or use it in a `with`.

    Attributes:
        base_url: address of the service.
    """

    send_events = _waits(calls.send_events)
    put_items = _waits(calls.put_items)
    get_item = _waits(calls.get_item)
    change_item = _waits(calls.change_item)
    delete_item = _waits(calls.delete_item)
    put_users = _waits(calls.put_users)
    get_user = _waits(calls.get_user)
    profile = _waits(calls.profile)
    erase_user = _waits(calls.erase_user)
    recommend = _waits(calls.recommend)
    similar = _waits(calls.similar)
    search = _waits(calls.search)
    rerank = _waits(calls.rerank)
    explain = _waits(calls.explain)
    models = _waits(calls.models)
    exposure = _waits(calls.exposure)
    activate = _waits(calls.activate)
    live = _waits(calls.live)
    ready = _waits(calls.ready)

    def __init__(
        self, base_url: str, key: str, *, timeout_s: float = 10.0, retries: int = 2
    ) -> None:
        """Nothing is sent yet.

        Args:
            base_url: `https://HOST`, or with a path where the service is below one.
            key: of `tailrec keys create`; it is never shown or logged.
            timeout_s: for one try, not for all of them.
            retries: how often a call may be sent again.

        Raises:
            DataError: the address or the key cannot be one.
        """
        self.base_url = base_url
        self._retries = retries
        self._http = httpx.Client(**_options(base_url, key, timeout_s))

    def send(self, call: Call[A]) -> A:
        """Send a call, again where that is safe, and read its answer.

        Raises:
            ServiceError: the service did not do it.
        """
        course = Course(call, self.base_url, self._retries)
        while True:
            try:
                answer = self._http.request(call.method, call.path, content=call.body)
                wait_s = course.again_after(answer)
                if wait_s is None:
                    return course.read(answer)
            except httpx.RequestError as error:
                wait_s = course.again_after_none(error)
            time.sleep(wait_s)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.base_url!r})"


class AsyncClient:
    """As `Client`; every method is awaited. Close it with `aclose`, or use `async with`.

    Attributes:
        base_url: address of the service.
    """

    send_events = _awaits(calls.send_events)
    put_items = _awaits(calls.put_items)
    get_item = _awaits(calls.get_item)
    change_item = _awaits(calls.change_item)
    delete_item = _awaits(calls.delete_item)
    put_users = _awaits(calls.put_users)
    get_user = _awaits(calls.get_user)
    profile = _awaits(calls.profile)
    erase_user = _awaits(calls.erase_user)
    recommend = _awaits(calls.recommend)
    similar = _awaits(calls.similar)
    search = _awaits(calls.search)
    rerank = _awaits(calls.rerank)
    explain = _awaits(calls.explain)
    models = _awaits(calls.models)
    exposure = _awaits(calls.exposure)
    activate = _awaits(calls.activate)
    live = _awaits(calls.live)
    ready = _awaits(calls.ready)

    def __init__(
        self, base_url: str, key: str, *, timeout_s: float = 10.0, retries: int = 2
    ) -> None:
        """As `Client`."""
        self.base_url = base_url
        self._retries = retries
        self._http = httpx.AsyncClient(**_options(base_url, key, timeout_s))

    async def send(self, call: Call[A]) -> A:
        """Send a call, again where that is safe, and read its answer.

        Raises:
            ServiceError: the service did not do it.
        """
        course = Course(call, self.base_url, self._retries)
        while True:
            try:
                answer = await self._http.request(call.method, call.path, content=call.body)
                wait_s = course.again_after(answer)
                if wait_s is None:
                    return course.read(answer)
            except httpx.RequestError as error:
                wait_s = course.again_after_none(error)
            await asyncio.sleep(wait_s)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient({self.base_url!r})"


def _options(base_url: str, key: str, timeout_s: float) -> dict[str, Any]:
    """What both kinds of httpx client are made with."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise DataError(f"the service's address cannot be read: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise DataError("the service's address must be https://HOST, without user and password")
    if not key or not key.isascii() or not key.isprintable():
        raise DataError("the key cannot be one; make one with `tailrec keys create`")
    headers = {
        "X-API-Key": key,
        "Content-Type": "application/json",
        "User-Agent": f"tailrec/{__version__}",
    }
    return {"base_url": url, "headers": headers, "timeout": timeout_s}
