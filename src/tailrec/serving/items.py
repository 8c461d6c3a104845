"""/v1/items: products, recommendable and findable as soon as they are put."""

import json
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from starlette.responses import Response

from tailrec import columns as c
from tailrec.serving.answers import PROBLEMS, ItemId, caller_of, sent
from tailrec.wire import Accepted, Item, ItemChange, Items, StoredItem

router = APIRouter(tags=["items"])


@router.put("/v1/items", response_model=Accepted, responses=PROBLEMS)
def put_items(body: Items, request: Request) -> Response:
    """Put products; what a known one has and is not told again stays."""
    caller = caller_of(request, "write")
    rows = pl.DataFrame([_row(item) for item in body.items], schema=dict(c.ITEMS))
    caller.front.shop.store.write("items", rows)
    return sent(Accepted(accepted=len(rows)))


@router.get("/v1/items/{item_id:path}", response_model=StoredItem, responses=PROBLEMS)
def get_item(item_id: ItemId, request: Request) -> Response:
    """A product as it is stored."""
    caller = caller_of(request, "read")
    return sent(_item(caller.front.live.item(item_id), with_cost=caller.may("write")))


@router.patch("/v1/items/{item_id:path}", response_model=StoredItem, responses=PROBLEMS)
def change_item(item_id: ItemId, body: ItemChange, request: Request) -> Response:
    """Change fields of a product; null empties one. It counts in the next slate."""
    caller = caller_of(request, "write")
    values = _texts(body.model_dump(exclude_unset=True))
    return sent(_item(caller.front.live.change_item(item_id, values), with_cost=True))


@router.delete("/v1/items/{item_id:path}", status_code=204, responses=PROBLEMS)
def delete_item(item_id: ItemId, request: Request) -> Response:
    """Take a product out of the catalogue; it is shown to nobody any more."""
    caller_of(request, "write").front.live.delete_item(item_id)
    return Response(status_code=204)


def _row(item: Item) -> dict[str, Any]:
    return _texts(item.model_dump())


def _texts(values: dict[str, Any]) -> dict[str, Any]:
    """Lists and objects as the JSON texts that the store keeps."""
    for name in (c.IMAGES, c.ATTRIBUTES):
        if values.get(name) is not None:
            values[name] = json.dumps(values[name], ensure_ascii=False)
    return values


def _item(stored: dict[str, Any], *, with_cost: bool) -> StoredItem:
    told = {**stored, c.IMAGES: _images(stored), c.ATTRIBUTES: attributes_of(stored)}
    if not with_cost:
        told[c.COST] = None
    return StoredItem.model_validate(told)


def attributes_of(stored: dict[str, Any]) -> dict[str, Any] | None:
    """The attributes of a stored row as an object; text that is none stands under `text`."""
    text = stored[c.ATTRIBUTES]
    if text is None:
        return None
    value = _json(text)
    return value if isinstance(value, dict) else {"text": text}


def _images(stored: dict[str, Any]) -> list[str] | None:
    text = stored[c.IMAGES]
    if text is None:
        return None
    value = _json(text)
    return [str(part) for part in value] if isinstance(value, list) else [text]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
