"""Requests: parameters are those of the wire, ids survive the path."""

import inspect
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tailrec import client_calls as calls
from tailrec import wire
from tailrec.client_calls import Call
from tailrec.wire import Event, ItemChange, SessionEvent

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
HTTP = httpx.Client(base_url="http://shop/below")
ODD = st.sampled_from([".", "..", "a/b", "../x", "?q=1", "#", "%2F", "a b", "é", "+"])


@pytest.mark.parametrize(
    ("build", "body"),
    [
        (calls.recommend, wire.Recommend),
        (calls.similar, wire.Similar),
        (calls.search, wire.Search),
        (calls.rerank, wire.Rerank),
        (calls.explain, wire.Explain),
    ],
)
def test_parameters_are_the_fields_of_the_body(
    build: Callable[..., Call[Any]], body: type[wire.Body]
) -> None:
    told = {
        name: None if one.default is inspect.Parameter.empty else one.default
        for name, one in inspect.signature(build).parameters.items()
    }
    fields = {
        name: None if field.is_required() else field.default
        for name, field in body.model_fields.items()
    }
    assert {name: [] if value == () else value for name, value in told.items()} == fields


def test_every_parameter_arrives() -> None:
    session = [SessionEvent(item_id="mug")]
    given: dict[str, Any] = {
        "user_id": "ada",
        "session_id": "s",
        "item_id": "pot",
        "scene": "basket",
        "n": 7,
        "filter": {"price": {"lte": None}},
        "exclude": ("a", "b"),
        "tail": 0.5,
        "diversity": 0.25,
        "seen": "show",
        "rules": {"pin": ["x"]},
        "explain": True,
    }
    body = calls.recommend(session=session, **given).body
    assert body is not None
    told = json.loads(body)
    assert told.pop("session") == [{"item_id": "mug"}]
    assert told == {**given, "exclude": ["a", "b"]}


def test_what_is_not_said_is_not_sent() -> None:
    assert calls.recommend().body == b"{}"
    assert calls.change_item("mug", ItemChange(price=None)).body == b'{"price":null}'


def test_events_get_an_id_before_they_are_sent() -> None:
    plain = Event(user_id="ada", item_id="mug", type="view")
    named = Event(user_id="ada", item_id="mug", type="view", event_id="own")
    body = calls.send_events([plain, plain, named]).body
    assert body is not None
    ids = [event["event_id"] for event in json.loads(body)["events"]]
    assert len(set(ids)) == 3
    assert ids[2] == "own"


@settings(deadline=None)
@given(IDS | ODD)
def test_an_id_is_one_part_of_the_path(item_id: str) -> None:
    call = calls.get_item(item_id)
    path = HTTP.build_request("GET", call.path).url.raw_path.decode()
    assert path.startswith("/below/v1/items/")
    assert unquote(path.removeprefix("/below/v1/items/")) == item_id
    assert path.count("/") == 4


def test_what_cannot_be_right_is_not_sent() -> None:
    with pytest.raises(ValidationError, match="n\n"):
        calls.recommend(n=2_000)
    with pytest.raises(ValidationError, match="at least 1"):
        calls.send_events([])


def test_a_newer_service_may_say_more() -> None:
    read = calls.models().read
    told = {"models": [], "serving": "m1", "fallback": None, "weather": "fine"}
    assert read(200, json.dumps(told).encode()).serving == "m1"
