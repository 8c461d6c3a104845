"""Worker processes over one socket: started, watched, and stopped together."""

import uvicorn
from uvicorn.supervisors import Multiprocess

from tailrec.serving.app import Server
from tailrec.serving.logs import log_as_json

PATIENCE_S = 60
"""Seconds after which a worker that says nothing, as while it loads a model, counts as hung."""
GRACE_S = 20
"""Seconds that requests have to end when the server stops."""


def serve(server: Server, host: str, port: int) -> None:
    """Serve until a signal says to stop; what was begun is finished first.

    A worker that dies is started again by the first process, which holds the socket.

    Args:
        server: what is served.
        host: address to listen on.
        port: of it; 0 for any that is free.
    """
    log_as_json(requests=server.log_requests)
    config = uvicorn.Config(
        server,
        host=host,
        port=port,
        workers=server.n_workers,
        factory=True,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
        timeout_worker_healthcheck=PATIENCE_S,
    )
    if server.n_workers == 1:
        uvicorn.Server(config).run()
        return
    socket = config.bind_socket()
    Multiprocess(config, sockets=[socket]).run()
