"""/v1/models: what was fitted, what is served, and how to go back to an older one."""

import json
import logging

from fastapi import APIRouter, Request
from starlette.responses import Response

from tailrec.artifact import CARD, get_current, set_current, verify_artifact
from tailrec.errors import ArtifactError, DataError
from tailrec.serving.access import Caller
from tailrec.serving.answers import PROBLEMS, caller_of, sent
from tailrec.wire import Activate, ModelInfo, Models

router = APIRouter(tags=["models"])
log = logging.getLogger(__name__)


@router.get("/v1/models", response_model=Models, responses=PROBLEMS)
def get_models(request: Request) -> Response:
    """The models of the shop, and which one this worker answers from."""
    return sent(_models(caller_of(request, "admin")))


@router.put("/v1/models/current", response_model=Models, responses=PROBLEMS)
def activate(body: Activate, request: Request) -> Response:
    """Serve another model from now on; workers change over without dropping a request."""
    caller = caller_of(request, "admin")
    shop = caller.front.shop
    if body.version not in shop.versions():
        known = ", ".join(shop.versions()) or "none"
        raise DataError(f"there is no model {body.version!r}; there: {known}")
    try:
        verify_artifact(shop.models / body.version)
    except ArtifactError as error:
        log.warning("model %s is not made the current one: %s", body.version, error)
        raise DataError(f"model {body.version!r} is damaged; run `tailrec fit`") from error
    set_current(shop.models, body.version)
    return sent(_models(caller))


def _models(caller: Caller) -> Models:
    front = caller.front
    current = get_current(front.shop.models)
    standing = front.standing()
    return Models(
        models=[_told(caller, version, current) for version in front.shop.versions()],
        serving=standing.version,
        fallback=standing.fallback,
    )


def _told(caller: Caller, version: str, current: str | None) -> ModelInfo:
    try:
        card = json.loads((caller.front.shop.models / version / CARD).read_text("utf-8"))
        fitted_at, source = card.get("fitted_at"), card.get("source", {}).get("kind")
        n_items = card.get("data", {}).get("n_items")
    except (OSError, ValueError, AttributeError):
        fitted_at = source = n_items = None  # a damaged one is listed, and cannot be served
    return ModelInfo(
        version=version,
        current=version == current,
        fitted_at=fitted_at,
        source=source,
        n_items=n_items,
    )
