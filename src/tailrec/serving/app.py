"""The app of one worker: shops opened, routes joined, everything behind the gate."""

import gc
import multiprocessing
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from tailrec import __version__
from tailrec.serving import (
    events,
    explain,
    health,
    items,
    models,
    problems,
    recommend,
    reports,
    search,
    users,
)
from tailrec.serving.access import Access, Caller
from tailrec.serving.asking import understood
from tailrec.serving.front import Front
from tailrec.serving.gate import OPEN, Gate
from tailrec.serving.logs import log_as_json
from tailrec.serving.metrics import forget_process
from tailrec.shop import Shop
from tailrec.slates import search_items
from tailrec.wire import Problem, Recommend

ROUTERS = (recommend, search, explain, events, items, users, models, reports, health)


@dataclass(frozen=True, slots=True)
class Server:
    """What every worker is told; it makes the worker's app when called.

    Attributes:
        shops: folders, each a shop.
        store_url: overrides the recipe of the shop; only where there is one.
        n_workers: processes that serve together.
        threads: requests that a worker works on at once.
        metrics_folder: where the workers count together; None where there is one alone.
        log_requests: one line a request.
    """

    shops: tuple[Path, ...]
    store_url: str | None = None
    n_workers: int = 1
    threads: int = 4
    metrics_folder: Path | None = None
    log_requests: bool = True

    def __call__(self) -> ASGIApp:
        """The app of this process."""
        log_as_json(requests=self.log_requests)
        _end_with_parent()
        return make_app(self)


def _end_with_parent() -> None:
    """Stop when the first process is gone, even where it was killed: nobody else would say so."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def make_app(server: Server) -> ASGIApp:
    """The app: FastAPI behind the gate.

    Args:
        server: what it serves; opened when the app starts, closed when it stops.
    """
    app = FastAPI(
        title="tailrec",
        version=__version__,
        summary="Recommendations and search that sell the whole catalogue.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(server),
    )
    for part in ROUTERS:
        app.include_router(part.router)
    problems.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return Gate(app, lambda: app.state.access)


def _lifespan(server: Server) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            names = _names(server.shops)
            fronts = []
            for name, folder in zip(names, server.shops, strict=True):
                front = Front(name, Shop.open(folder, store_url=server.store_url))
                stack.callback(front.close)
                fronts.append(front)
            app.state.fronts = fronts
            app.state.access = Access(fronts, server.n_workers)
            app.state.metrics_folder = server.metrics_folder
            anyio.to_thread.current_default_thread_limiter().total_tokens = server.threads
            for front in fronts:
                _warm(front)
            stack.callback(forget_process, server.metrics_folder)
            # What is loaded stays: looking through it for garbage holds up requests.
            gc.collect()
            gc.freeze()
            yield

    return lifespan


def _names(folders: tuple[Path, ...]) -> list[str]:
    """A name a shop: its folder's, numbered where two are called the same."""
    names: list[str] = []
    for folder in folders:
        name = folder.resolve().name
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def _warm(front: Front) -> None:
    """Ask once for everything, so that nobody waits for code that is compiled or loaded."""
    if not front.ready:
        return
    stand = front.standing().stand
    caller = Caller(front, "", "admin")
    first = [str(item_id) for item_id in stand.engine.ids[:1]]
    for diversity in (0.0, 0.5):
        dense = stand.engine.features.features.dense.shape[1]
        body = Recommend(item_id=first[0], n=5, diversity=diversity if dense else 0.0)
        understood(caller, body).slate()
    search_items(stand, "anything", k=1)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the interface, with the key that all but a few paths need."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        parts = schema.setdefault("components", {})
        key = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
        parts["securitySchemes"] = {"key": key}
        place = "#/components/schemas/{model}"
        _, told = models_json_schema([(Problem, "serialization")], ref_template=place)
        parts.setdefault("schemas", {}).update(told["$defs"])
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in OPEN else [{"key": []}]
        app.openapi_schema = schema
    return app.openapi_schema
