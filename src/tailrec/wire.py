"""What goes over the wire: bodies of requests and answers, the same for server and client."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

MOST_ROWS = 1_000
"""Events, items or users of one request, at most."""
MOST_PLACES = 200
"""Places of a slate, at most."""
MOST_ATTRIBUTE_BYTES = 50_000
HISTORY_PLACES = 200
"""Events of a session told in a request, at most."""


def _plain_json(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (ValueError, RecursionError) as error:
        raise ValueError("is no plain JSON object: odd numbers, texts, or too deep") from error
    if size > MOST_ATTRIBUTE_BYTES:
        raise ValueError(f"has {size} bytes; {MOST_ATTRIBUTE_BYTES} at most")
    return value


def _reachable(value: datetime) -> datetime:
    # Those of the first and the last year may have no time in UTC.
    if not 1677 < value.year < 2262 or not 1677 < value.astimezone(UTC).year < 2262:
        raise ValueError("lies outside the years 1678 to 2261")
    return value


_NO_NUL = r"^[^\x00]*$"
"""No database takes a NUL in a text; other odd letters are checked wherever text is read."""
Id = Annotated[str, Field(min_length=1, max_length=512, pattern=_NO_NUL)]
Line = Annotated[str, Field(max_length=2_000, pattern=_NO_NUL)]
Text = Annotated[str, Field(max_length=20_000, pattern=_NO_NUL)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Moment = Annotated[AwareDatetime, AfterValidator(_reachable)]
"""An instant with its zone, that every database can hold."""
Attributes = Annotated[dict[str, Any], AfterValidator(_plain_json)]
"""Any JSON object of moderate size."""
EventType = Literal[
    "impression", "click", "view", "favourite", "cart",
    "purchase", "rating", "review", "search", "play",
]  # fmt: skip
Role = Literal["read", "write", "admin"]


class Body(BaseModel):
    """Base of all bodies: frozen; a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionEvent(Body):
    """One thing somebody did in the session that is going on, told with the request itself."""

    item_id: Id
    type: EventType = "view"
    value: Amount | None = None
    timestamp: Moment | None = None


class Event(Body):
    """One event. Without `event_id` it gets one from its content; without `timestamp`, now's.

    Either `user_id` or `session_id` is needed: somebody without a name is known by the session.
    """

    item_id: Id
    type: EventType
    user_id: Id | None = None
    session_id: Id | None = None
    event_id: Id | None = None
    timestamp: Moment | None = None
    value: Amount | None = None
    text: Text | None = None
    slate_id: Id | None = None
    position: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    propensity: Annotated[float, Field(gt=0, le=1)] | None = None
    arm: Id | None = None
    platform: Id | None = None

    @model_validator(mode="after")
    def _of_somebody(self) -> Self:
        if self.user_id is None and self.session_id is None:
            raise ValueError("an event needs a user_id or a session_id")
        return self


class Events(Body):
    """Events to keep, all of them or none."""

    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_ROWS)]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "event_id": "order-77-1",
                            "user_id": "ada",
                            "item_id": "teapot-3",
                            "type": "purchase",
                            "value": 24.5,
                            "timestamp": "2026-05-04T10:00:00Z",
                            "slate_id": "0651f2c4d8a1e0-5e1c",
                            "position": 2,
                        }
                    ]
                }
            ]
        }
    )


class Accepted(Body):
    """How many rows were sent, all of which are durable now."""

    accepted: int


class _Told(Body):
    """What may be told of a product, beside its name."""

    description: Text | None = None
    brand: Id | None = None
    category: Line | None = None
    price: NotNegative | None = None
    cost: NotNegative | None = None
    stock: Amount | None = None
    seller_id: Id | None = None
    images: Annotated[list[Line], Field(max_length=100)] | None = None
    attributes: Attributes | None = None
    available: bool | None = None


class Item(_Told):
    """A product. Fields left out stay as they are where the item is known."""

    item_id: Id
    title: Annotated[Line, Field(min_length=1)]
    created_at: Moment | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "item_id": "teapot-9",
                    "title": "Cast iron teapot with a bamboo lid",
                    "brand": "Hoshi",
                    "category": "Kitchen > Tea > Teapots",
                    "price": 39.0,
                    "stock": 12,
                    "attributes": {"colour": "black", "litres": 0.8},
                    "available": True,
                }
            ]
        }
    )


class StoredItem(Body):
    """A product as it is stored; texts that an ingest brought may be of any length."""

    item_id: str
    title: str
    description: str | None
    brand: str | None
    category: str | None
    price: float | None
    cost: float | None
    stock: float | None
    seller_id: str | None
    images: list[str] | None
    attributes: dict[str, Any] | None
    created_at: datetime | None
    available: bool | None


class Items(Body):
    """Products to put."""

    items: Annotated[list[Item], Field(min_length=1, max_length=MOST_ROWS)]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"items": [{"item_id": "teapot-9", "title": "Iron teapot", "price": 39.0}]}
            ]
        }
    )


class ItemChange(_Told):
    """Fields of a product to change; null empties one."""

    title: Annotated[Line, Field(min_length=1)] = ""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"price": 34.9, "stock": 3}, {"available": False}]}
    )


class User(Body):
    """A person; attributes are any JSON object."""

    user_id: Id
    attributes: Attributes | None = None
    created_at: Moment | None = None


class Users(Body):
    """People to put."""

    users: Annotated[list[User], Field(min_length=1, max_length=MOST_ROWS)]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"users": [{"user_id": "ada", "attributes": {"region": "north"}}]}]
        }
    )


class Person(Body):
    """What is stored of a person."""

    user_id: str
    attributes: dict[str, Any] | None
    created_at: datetime | None
    n_events: int


class Erased(Body):
    """Rows erased by table."""

    user_id: str
    erased: dict[str, int]


class Context(Body):
    """Who asks, and in what situation."""

    user_id: Id | None = None
    session_id: Id | None = None
    session: Annotated[list[SessionEvent], Field(max_length=HISTORY_PLACES)] = []
    item_id: Id | None = Field(None, description="The product in view; it weighs most.")
    filter: Any = Field(None, description="What may be shown; see docs/rules.md.")
    exclude: Annotated[list[Id], Field(max_length=MOST_ROWS)] = []
    tail: Share | None = None
    diversity: Share | None = None
    outside: Annotated[int, Field(ge=1, le=9)] | None = Field(
        None,
        description="Only what lies outside the category of the product in view (else of the "
        "latest one), as far as this level: 1 for its first.",
    )
    seen: Literal["hide", "due", "show"] | None = Field(
        None, description="What the person has: hidden, shown when due again, or shown."
    )
    rules: dict[str, Any] | None = Field(None, description="Pins, boosts, caps; see docs/rules.md.")


class Recommend(Context):
    """A slate asked for."""

    n: Annotated[int, Field(ge=1, le=MOST_PLACES)] | None = None
    scene: Id | None = Field(None, description="Named defaults of tailrec.toml, under [scenes].")
    explain: bool = False

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "ada", "n": 10},
                {
                    "session": [{"item_id": "teapot-3", "type": "view"}],
                    "item_id": "teapot-3",
                    "n": 5,
                    "filter": {"all": [{"price": {"lte": 60}}, {"category": {"under": "Kitchen"}}]},
                    "tail": 0.2,
                },
            ]
        }
    )


class Similar(Body):
    """Products like one."""

    item_id: Id
    n: Annotated[int, Field(ge=1, le=MOST_PLACES)] = 10
    user_id: Id | None = Field(None, description="What this person has is left out.")
    filter: Any = None
    exclude: Annotated[list[Id], Field(max_length=MOST_ROWS)] = []
    tail: Share | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"item_id": "teapot-9", "n": 5, "user_id": "ada"}]}
    )


class Rerank(Context):
    """Products to put in the order that suits the person best."""

    items: Annotated[list[Id], Field(min_length=1, max_length=MOST_ROWS)]

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": "ada", "items": ["teapot-9", "teapot-3"]}]}
    )


class Reason(Body):
    """What one past item, being popular or another source gave to a score; all add up to it."""

    item_id: str | None
    behaviour: float
    text: float
    source: str | None = None
    other: float = 0.0


class SlateItem(Body):
    """One place of a slate."""

    item_id: str
    rank: int
    score: float
    tier: str
    propensity: float
    source: str
    rule: str | None = None
    sponsored: str | None = Field(None, description="The campaign that pays; mark the place.")
    reasons: list[Reason] | None = None


class Slate(Body):
    """What is shown. `fallback` says what answered where the model could not."""

    slate_id: str
    model: str
    arm: str
    fallback: str | None
    took_ms: float
    items: list[SlateItem]


class Search(Body):
    """Words somebody typed."""

    query: Annotated[Line, Field(min_length=1, max_length=500)]
    n: Annotated[int, Field(ge=1, le=MOST_PLACES)] = 20
    user_id: Id | None = Field(None, description="Whose taste counts a little.")
    filter: Any = None
    tail: Share = 0.0
    facets: Annotated[list[Literal["brand", "category", "price", "tier"]], Field(max_length=4)] = []

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "cast iron teapto", "facets": ["brand"], "n": 5}]}
    )


class FoundItem(Body):
    """One product found."""

    item_id: str
    rank: int
    score: float
    tier: str
    title: str | None


class Facet(Body):
    """How many of the matches have a value."""

    value: str
    n: int


class Found(Body):
    """Products found, best first; `corrected` says which word was read as which."""

    items: list[FoundItem]
    n_matches: int
    corrected: dict[str, str]
    facets: dict[str, list[Facet]]
    model: str
    fallback: str | None
    took_ms: float


class Explain(Body):
    """A product whose place in a slate, or absence, is asked about."""

    item_id: Id = Field(description="The product asked about.")
    user_id: Id | None = None
    request: Recommend | None = Field(None, description="The slate it is about; else a plain one.")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": "ada", "item_id": "teapot-9"}]}
    )


class Explained(Body):
    """Why a product is in the slate, or which stage dropped it and by how much it missed."""

    item_id: str
    shown: bool
    rank: int | None
    stage: str
    why: str
    score: float | None
    missed_by: float | None
    reasons: list[Reason]
    rules: list[str]


class Profile(Body):
    """What the shop can say of a person's taste, from the events it keeps."""

    user_id: str
    n_events: int
    first_event: datetime | None
    latest_event: datetime | None
    by_type: dict[str, int]
    categories: dict[str, float]
    brands: dict[str, float]
    price_low: float | None
    price_middle: float | None
    price_high: float | None
    tail_share: float | None


class ModelInfo(Body):
    """A fitted model."""

    version: str
    current: bool
    fitted_at: str | None
    source: str | None
    n_items: int | None


class Models(Body):
    """The models of the shop, oldest first, and which one this worker serves."""

    models: list[ModelInfo]
    serving: str
    fallback: str | None


class Activate(Body):
    """The model to serve from now on."""

    version: Id

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": "20260504T100000.123456-5e1c2a"}]}
    )


class Health(Body):
    """How a worker is."""

    status: Literal["live", "ready"]


class Fault(Body):
    """Where in the request a fault is, and what it is."""

    path: str
    message: str


class Problem(Body):
    """A problem as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] = []
