"""What a piece of work costs: seconds, and the memory of the process while it runs."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

_RESET: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_FORGET_PEAK: Final = "5"


@dataclass(slots=True)
class Cost:
    """Filled when the work is done.

    Attributes:
        seconds: of wall clock.
        held_bytes: memory the process held before; 0 where the system does not tell.
        peak_bytes: most memory the process held meanwhile, what it held before included; None
            where the system does not tell (only Linux does).
    """

    seconds: float = 0.0
    held_bytes: int = 0
    peak_bytes: int | None = None


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the work inside. Measurements within each other spoil the outer one's peak."""
    gc.collect()
    cost = Cost()
    told = _forget_peak()
    if told:
        cost.held_bytes = _peak()
    started = perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = perf_counter() - started
        cost.peak_bytes = _peak() if told else None


def _forget_peak() -> bool:
    """Set the recorded peak of this process to what it holds now; whether that can be done.

    Source:
        proc(5), ``/proc/pid/clear_refs``.
    """
    try:
        _RESET.write_text(_FORGET_PEAK, "ascii")
    except OSError:
        return False
    return True


def _peak() -> int:
    line = next(
        line for line in _STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024
