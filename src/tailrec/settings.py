"""What is read from the environment, and what is told by it, in one place."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

METRICS = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a process.

    Attributes:
        store_url: `TAILREC_STORE_URL`, overrides the url of every shop's recipe.
        key: `TAILREC_KEY`, with which commands ask a service; never shown.
    """

    store_url: str | None = None
    key: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls) -> Self:
        """The settings of this process."""
        return cls(
            os.environ.get("TAILREC_STORE_URL") or None, os.environ.get("TAILREC_KEY") or None
        )


@contextmanager
def shared_metrics(n_workers: int) -> Iterator[Path | None]:
    """A folder where worker processes count together, told to them by the environment.

    Args:
        n_workers: processes; one alone counts in its own memory.

    Yields:
        The folder, removed at the end; None for one worker.
    """
    if n_workers == 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tailrec-metrics-") as folder:
        os.environ[METRICS] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[METRICS]
