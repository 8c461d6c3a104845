"""/v1/health and /metrics: what a proxy and a monitor ask."""

from pathlib import Path

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from tailrec.errors import ArtifactError
from tailrec.serving.answers import PROBLEMS, caller_of, sent
from tailrec.serving.front import Front
from tailrec.serving.metrics import LOST_SLATES, exposition, note_model
from tailrec.wire import Health

router = APIRouter(tags=["health"])


@router.get("/v1/health/live", response_model=Health)
async def live() -> Response:
    """The worker answers. Where it does not, start it again."""
    return sent(Health(status="live"))


@router.get("/v1/health/ready", response_model=Health, responses={503: PROBLEMS[503]})
def ready(request: Request) -> Response:
    """The stores answer, and every shop has something to show. Else send requests elsewhere."""
    fronts: list[Front] = request.app.state.fronts
    waiting = sum(not _is_ready(front) for front in fronts)
    if waiting:
        raise ArtifactError(f"{waiting} of {len(fronts)} shops cannot be answered from; try again")
    return sent(Health(status="ready"))


@router.get("/metrics", response_class=PlainTextResponse, responses=PROBLEMS)
def metrics(request: Request) -> Response:
    """What the workers count, in the format of Prometheus; of the shop of the key alone."""
    caller = caller_of(request, "read")
    folder: Path | None = request.app.state.metrics_folder
    note_state(caller.front)
    return Response(exposition(folder, caller.front.name), media_type=CONTENT_TYPE_LATEST)


def note_state(front: Front) -> None:
    """Say in the metrics what a shop is served with."""
    LOST_SLATES.labels(front.name).set(front.slates.lost)
    if front.ready:
        standing = front.standing()
        note_model(front.name, standing.version, standing.fallback)


def _is_ready(front: Front) -> bool:
    return front.ready and front.moment(None)[1]
