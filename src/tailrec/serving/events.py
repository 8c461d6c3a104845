"""POST /v1/events: what people did, durable before it is acknowledged."""

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from tailrec.serving.answers import PROBLEMS, caller_of, sent
from tailrec.serving.event_rows import AHEAD, event_rows
from tailrec.serving.metrics import EVENTS
from tailrec.wire import Accepted, Events

router = APIRouter(tags=["events"])


@router.post("/v1/events", status_code=202, response_model=Accepted, responses=PROBLEMS)
async def put_events(body: Events, request: Request) -> Response:
    """Keep events, all of them or none; one whose `event_id` is known is kept once.

    The answer comes once they are durable, and the person's next slate knows them.
    """
    caller = caller_of(request, "write")
    now = datetime.now(UTC)
    _check_times(body, now)
    rows = event_rows(body.events, now)
    await asyncio.wrap_future(caller.front.events.write(rows))
    EVENTS.labels(caller.front.name).inc(len(rows))
    return sent(Accepted(accepted=len(rows)), 202)


def _check_times(body: Events, now: datetime) -> None:
    for place, event in enumerate(body.events):
        if event.timestamp is not None and event.timestamp > now + AHEAD:
            said = f"lies more than {AHEAD.days} day ahead of the server's clock"
            where = ("body", "events", place, "timestamp")
            raise RequestValidationError([{"loc": where, "msg": said, "type": "future"}])
