"""What goes wrong, in one shape: problems as RFC 9457 has them."""

import json
import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tailrec.data.filters import FilterError
from tailrec.errors import (
    ArtifactError,
    DataError,
    RecipeError,
    StoreError,
    TailrecError,
    UnknownItem,
    UnknownUser,
)
from tailrec.serving.access import Refused
from tailrec.wire import Fault, Problem

MEDIA_TYPE: Final = "application/problem+json"
_RETRY_S: Final = 1
_STATUS: Final[Mapping[type[TailrecError], int]] = {
    UnknownItem: 404,
    UnknownUser: 404,
    DataError: 422,
    RecipeError: 422,
    StoreError: 503,
    ArtifactError: 503,
}
"""Most special first."""

log = logging.getLogger(__name__)


def problem(
    status: int,
    detail: str,
    request_id: str,
    *,
    errors: list[Fault] | None = None,
    retry_s: float | None = None,
) -> Response:
    """A problem as an answer.

    Args:
        status: of HTTP.
        detail: what happened and what to do.
        request_id: under which the logs have it.
        errors: places in the request that are at fault.
        retry_s: seconds after which to try again.
    """
    phrase = HTTPStatus(status).phrase
    body = Problem(
        type="about:blank",
        title=phrase,
        status=status,
        detail=detail,
        instance=f"urn:tailrec:request:{request_id}",
        errors=errors or [],
    )
    headers = {} if retry_s is None else {"Retry-After": str(max(1, round(retry_s)))}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'ApiKey header="X-API-Key"'
    # Escaped: a detail may quote text that is no valid Unicode.
    content = json.dumps(body.model_dump(), ensure_ascii=True).encode()
    return Response(content, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every failure of the app a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(TailrecError, _ours)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Exception, _unexpected)


def _id_of(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", "unknown"))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [Fault(path=_path(each["loc"]), message=each["msg"]) for each in error.errors()[:20]]
    broken = any(each["type"] == "json_invalid" for each in error.errors())
    detail = "the body is no JSON" if broken else f"{faults[0].path}: {faults[0].message}"
    return problem(400 if broken else 422, detail, _id_of(request), errors=faults)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = problem(error.status_code, str(error.detail), _id_of(request))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(error.status, str(error), _id_of(request), retry_s=error.retry_s)


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, TailrecError)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    faults = [Fault(path=error.path, message=error.fault)] if isinstance(error, FilterError) else []
    retry_s = _RETRY_S if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    detail = str(error)
    if isinstance(error, StoreError):
        # Where the store is and what it says is for the log alone.
        log.warning("%s: %s", _id_of(request), error)
        detail = "the store is away; send the request again"
    return problem(status, detail, _id_of(request), errors=faults, retry_s=retry_s)


def _unexpected(request: Request, error: Exception) -> Response:
    # Where it happened, and not what with: a message may quote what somebody sent.
    where = "".join(traceback.format_tb(error.__traceback__)[-6:])
    log.error("%s failed: %s\n%s", _id_of(request), type(error).__name__, where)
    detail = "an error of the service's own; its logs have it under the request's id"
    return problem(500, detail, _id_of(request))


def _path(location: tuple[Any, ...]) -> str:
    """`body.events[3].type`"""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")
