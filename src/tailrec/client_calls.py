"""Every request of the service: its method, path, body, and what the answer is read as."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

from tailrec import wire, wire_reports

A = TypeVar("A")
M = TypeVar("M", bound=wire.Body)

Seen = Literal["hide", "due", "show"]
Facet = Literal["brand", "category", "price", "tier"]
Read = Callable[[int, bytes], A]
"""Makes an answer of a status and a body."""

_FOUND: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Call(Generic[A]):
    """One request.

    Attributes:
        method: of HTTP.
        path: below the service's address.
        read: what the answer is.
        body: JSON, where there is a body.
        lost_is_safe: it may be sent again although it may have been done already, because doing
            it twice is doing it once. Otherwise it is tried again only where the service surely
            did not do it: no connection, 429 and 503.
        answers: statuses that are answers and no errors.
    """

    method: str
    path: str
    read: Read[A]
    body: bytes | None = None
    lost_is_safe: bool = True
    answers: Sequence[int] = _FOUND


def send_events(events: Sequence[wire.Event]) -> Call[wire.Accepted]:
    """Keep events, all of them or none; they are durable when this returns.

    An event without an `event_id` is given one here, so that sending again adds nothing.

    Args:
        events: 1 to 1,000.
    """
    named = [
        event if event.event_id else event.model_copy(update={"event_id": uuid4().hex})
        for event in events
    ]
    return Call("POST", "/v1/events", _as(wire.Accepted), _json(wire.Events(events=named)))


def put_items(items: Sequence[wire.Item]) -> Call[wire.Accepted]:
    """Put products into the catalogue; fields left out stay as they are.

    Args:
        items: 1 to 1,000.
    """
    return Call("PUT", "/v1/items", _as(wire.Accepted), _json(wire.Items(items=list(items))))


def get_item(item_id: str) -> Call[wire.StoredItem]:
    """A product as it is stored."""
    return Call("GET", f"/v1/items/{_segment(item_id)}", _as(wire.StoredItem))


def change_item(item_id: str, change: wire.ItemChange) -> Call[wire.StoredItem]:
    """Change fields of a product.

    Args:
        item_id: of a product that is there.
        change: fields that are set are changed, those set to None are emptied.
    """
    body = change.model_dump_json(exclude_unset=True).encode()
    return Call("PATCH", f"/v1/items/{_segment(item_id)}", _as(wire.StoredItem), body)


def delete_item(item_id: str) -> Call[None]:
    """Take a product out of the catalogue; it is shown no more."""
    path = f"/v1/items/{_segment(item_id)}"
    return Call("DELETE", path, _nothing, lost_is_safe=False)


def put_users(users: Sequence[wire.User]) -> Call[wire.Accepted]:
    """Put people with their attributes.

    Args:
        users: 1 to 1,000.
    """
    return Call("PUT", "/v1/users", _as(wire.Accepted), _json(wire.Users(users=list(users))))


def get_user(user_id: str) -> Call[wire.Person]:
    """What is stored of a person."""
    return Call("GET", f"/v1/users/{_segment(user_id)}", _as(wire.Person))


def profile(user_id: str) -> Call[wire.Profile]:
    """What the shop can say of a person's taste."""
    return Call("GET", f"/v1/users/{_segment(user_id)}/profile", _as(wire.Profile))


def erase_user(user_id: str) -> Call[wire.Erased]:
    """Erase a person everywhere; says how many rows were erased."""
    path = f"/v1/users/{_segment(user_id)}"
    return Call("DELETE", path, _as(wire.Erased), lost_is_safe=False)


def recommend(
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    session: Sequence[wire.SessionEvent] = (),
    item_id: str | None = None,
    scene: str | None = None,
    n: int | None = None,
    filter: Any = None,  # noqa: A002
    exclude: Sequence[str] = (),
    tail: float | None = None,
    diversity: float | None = None,
    outside: int | None = None,
    seen: Seen | None = None,
    rules: dict[str, Any] | None = None,
    explain: bool = False,
) -> Call[wire.Slate]:
    """A slate for somebody, which the service notes as shown.

    Args:
        user_id: who asks; None: somebody without a name.
        session_id: of the visit.
        session: what they did in it that was not sent as events.
        item_id: the product in view.
        scene: named defaults of the shop's recipe.
        n: places; the scene's or the recipe's where None.
        filter: what may be shown.
        exclude: products that may not.
        tail: leaning to the long tail, 0 to 1.
        diversity: variety, 0 to 1.
        outside: only what is outside the category in view, as far as this level.
        seen: what the person has is hidden, shown when due, or shown.
        rules: pins, boosts, caps.
        explain: give reasons.
    """
    asked = wire.Recommend(
        user_id=user_id,
        session_id=session_id,
        session=list(session),
        item_id=item_id,
        scene=scene,
        n=n,
        filter=filter,
        exclude=list(exclude),
        tail=tail,
        diversity=diversity,
        outside=outside,
        seen=seen,
        rules=rules,
        explain=explain,
    )
    return _slate("/v1/recommend", asked)


def similar(
    item_id: str,
    *,
    n: int = 10,
    user_id: str | None = None,
    filter: Any = None,  # noqa: A002
    exclude: Sequence[str] = (),
    tail: float | None = None,
) -> Call[wire.Slate]:
    """Products like one, noted as shown.

    Args:
        item_id: the one.
        n: places.
        user_id: what this person has is left out.
        filter: what may be shown.
        exclude: products that may not.
        tail: leaning to the long tail, 0 to 1.
    """
    asked = wire.Similar(
        item_id=item_id, n=n, user_id=user_id, filter=filter, exclude=list(exclude), tail=tail
    )
    return _slate("/v1/similar", asked)


def search(
    query: str,
    *,
    n: int = 20,
    user_id: str | None = None,
    filter: Any = None,  # noqa: A002
    tail: float = 0.0,
    facets: Sequence[Facet] = (),
) -> Call[wire.Found]:
    """Products by what they say and what they mean.

    Args:
        query: words as somebody types them.
        n: places.
        user_id: whose taste counts a little.
        filter: what may be found.
        tail: leaning to the long tail, 0 to 1.
        facets: columns whose values are counted.
    """
    asked = wire.Search(
        query=query, n=n, user_id=user_id, filter=filter, tail=tail, facets=list(facets)
    )
    return Call("POST", "/v1/search", _as(wire.Found), _json(asked))


def rerank(
    items: Sequence[str],
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    session: Sequence[wire.SessionEvent] = (),
    item_id: str | None = None,
    filter: Any = None,  # noqa: A002
    exclude: Sequence[str] = (),
    tail: float | None = None,
    diversity: float | None = None,
    outside: int | None = None,
    seen: Seen | None = None,
    rules: dict[str, Any] | None = None,
) -> Call[wire.Slate]:
    """Products of yours in the order that suits somebody best, noted as shown.

    Args:
        items: 1 to 1,000 ids.
        user_id: as for `recommend`, and so are all others.
        session_id: of the visit.
        session: what they did in it.
        item_id: the product in view.
        filter: what may be shown.
        exclude: products that may not.
        tail: leaning to the long tail.
        diversity: variety.
        outside: as for `recommend`.
        seen: what becomes of what the person has.
        rules: pins, boosts, caps.
    """
    asked = wire.Rerank(
        items=list(items),
        user_id=user_id,
        session_id=session_id,
        session=list(session),
        item_id=item_id,
        filter=filter,
        exclude=list(exclude),
        tail=tail,
        diversity=diversity,
        outside=outside,
        seen=seen,
        rules=rules,
    )
    return _slate("/v1/rerank", asked)


def explain(
    item_id: str, *, user_id: str | None = None, request: wire.Recommend | None = None
) -> Call[wire.Explained]:
    """Why a product is in a slate, or is not.

    Args:
        item_id: the product.
        user_id: whose slate; None: of somebody without a name.
        request: the slate it is about; a plain one where None.
    """
    asked = wire.Explain(item_id=item_id, user_id=user_id, request=request)
    return Call("POST", "/v1/explain", _as(wire.Explained), _json(asked))


def models() -> Call[wire.Models]:
    """The shop's models, and which one is served."""
    return Call("GET", "/v1/models", _as(wire.Models))


def exposure() -> Call[wire_reports.ExposureNow]:
    """What was shown lately against the goals on it; needs the role admin."""
    return Call("GET", "/v1/reports/exposure", _as(wire_reports.ExposureNow))


def activate(version: str) -> Call[wire.Models]:
    """Serve another model from now on; needs the role admin.

    Args:
        version: name of a model of the shop.
    """
    body = _json(wire.Activate(version=version))
    return Call("PUT", "/v1/models/current", _as(wire.Models), body)


def live() -> Call[bool]:
    """Whether the process answers; where it does not, `NoAnswer` is raised."""
    return Call("GET", "/v1/health/live", _found)


def ready() -> Call[bool]:
    """Whether the service takes requests now."""
    return Call("GET", "/v1/health/ready", _found, answers=(*_FOUND, 503))


def _slate(path: str, asked: wire.Body) -> Call[wire.Slate]:
    # Every slate is noted as shown: one whose answer was lost would count twice.
    return Call("POST", path, _as(wire.Slate), _json(asked), lost_is_safe=False)


def _as(model: type[M]) -> Read[M]:
    """Reads a body; a field that a newer service adds is passed over."""

    def read(_: int, body: bytes) -> M:
        return model.model_validate_json(body, extra="ignore")

    return read


def _nothing(_: int, body: bytes) -> None:
    del body


def _found(status: int, body: bytes) -> bool:
    del body
    return status in _FOUND


def _json(body: wire.Body) -> bytes:
    return body.model_dump_json(exclude_defaults=True).encode()


def _segment(value: str) -> str:
    """An id as one part of a path; `.` and `..` would be steps in it."""
    return quote(value, safe="").replace(".", "%2E") if set(value) <= {"."} else quote(value, "")
