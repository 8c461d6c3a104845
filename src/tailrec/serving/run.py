"""Worker processes over one socket: started, watched, and stopped together."""

import signal
from collections.abc import Callable
from socket import socket

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from tailrec.serving.app import Server
from tailrec.serving.logs import log_as_json
from tailrec.shop import Shop

PATIENCE_S = 60
"""Seconds after which a worker that says nothing, as while it loads a model, counts as hung."""
GRACE_S = 20
"""Seconds that requests have to end when the server stops."""
FAILED = 1
"""How a process ends that could not start; its log says why."""


def serve(server: Server, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve until a signal says to stop; what was begun is finished first.

    A worker that dies is started again by the first process, which holds the socket.

    Args:
        server: what is served.
        host: address to listen on.
        port: of it; 0 for any that is free.
        tell: called with the address once it listens.

    Raises:
        StoreError: a shop cannot be opened.
        RecipeError: the recipe of one holds a bad option.
        SystemExit: it could not start; the log says why.
    """
    for folder in server.shops:  # so that what is wrong is said once, and not by each worker
        Shop.open(folder, store_url=server.store_url).close()
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
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
        timeout_worker_healthcheck=PATIENCE_S,
    )
    sockets = [_bound(config)]
    tell(f"http://{host}:{sockets[0].getsockname()[1]}")
    if server.n_workers == 1:
        # A server alone raises its signal again once all is ended; being told to end is no failure.
        signal.signal(signal.SIGTERM, lambda *_: None)
        alone = uvicorn.Server(config)
        alone.run(sockets)
        failed = not alone.started
    else:
        together = _Workers(config, sockets)
        together.run()
        failed = any(worker.exitcode == STARTUP_FAILURE for worker in together.processes)
    if failed:
        raise SystemExit(FAILED)


class _Workers(Multiprocess):
    """Worker processes; one that dies while it is asked how it is does not count as slow.

    Every worker answers through a pipe. The first process has a copy of the worker's end, and as
    long as that is open, a dead worker's silence lasts all of `PATIENCE_S`, and nobody takes its
    place.
    """

    def init_processes(self) -> None:
        """Start the workers."""
        super().init_processes()
        self._close_copies()

    def keep_subprocess_alive(self) -> None:
        """Start others in the place of those that died."""
        super().keep_subprocess_alive()
        self._close_copies()

    def _close_copies(self) -> None:
        for worker in self.processes:
            worker.child_conn.close()


def _bound(config: uvicorn.Config) -> socket:
    try:
        return config.bind_socket()
    except SystemExit as error:  # with a number of uvicorn's own
        raise SystemExit(FAILED) from error
