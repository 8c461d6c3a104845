"""What all routes share: who asks, and how an answer is sent."""

from typing import Annotated, Any, Final

from fastapi import Path, Request
from pydantic import AfterValidator, BaseModel
from starlette.responses import Response

from tailrec.data.keys import Role
from tailrec.serving.access import Caller, Refused
from tailrec.serving.problems import MEDIA_TYPE
from tailrec.wire import Problem

JSON: Final = "application/json"


def _plain_id(value: str) -> str:
    # An id in a path has seen no model of the wire's.
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


ItemId = Annotated[str, Path(min_length=1, max_length=512), AfterValidator(_plain_id)]
UserId = ItemId

_SAID: Final = {
    400: "The body is no JSON.",
    401: "There is no key, or it is not valid.",
    403: "The key does not allow this.",
    404: "There is no such thing in this shop.",
    413: "The body is too large.",
    422: "Something in the request does not fit; `errors` say where.",
    429: "The key comes too often.",
    503: "The store is away, or there is nothing to answer from yet.",
}
_SCHEMA: Final = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": said, "content": _SCHEMA} for status, said in _SAID.items()
}
"""What every route may answer instead of what it is asked for."""


def caller_of(request: Request, role: Role) -> Caller:
    """Who asks.

    Raises:
        Refused: the key does not allow what needs this role.
    """
    caller: Caller = request.scope["state"]["caller"]
    if not caller.may(role):
        raise Refused(403, f"this needs a key with the role {role}; this one has {caller.role}")
    return caller


def sent(answer: BaseModel, status: int = 200) -> Response:
    """An answer as JSON; it is one of ours, so it is not checked a second time."""
    return Response(answer.__pydantic_serializer__.to_json(answer), status, media_type=JSON)
