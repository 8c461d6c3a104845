"""What a search keeps on the disk: a journal of Optuna's, which is only ever appended to.

So a process may be killed at any moment, and several may search at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from optuna.storages.journal import JournalStorage
    from optuna.storages.journal._file import BaseJournalFileLock


def journal(file: Path) -> "JournalStorage":
    """The journal in a file, made where there is none."""
    from optuna.storages.journal import JournalFileBackend, JournalStorage  # slow to load

    lock = cast("BaseJournalFileLock", _Lock(file))  # of that shape; deriving would load Optuna
    return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))


@contextmanager
def lane(file: Path) -> Iterator[int]:
    """The lowest number no other living process holds: who searches alone always gets 0."""
    for number in count():
        with taken(file, number) as own:
            if own:
                yield number
                return


@contextmanager
def taken(file: Path, number: int) -> Iterator[bool]:
    """Hold a lane; whether it was free. A process that dies lets go of its own."""
    with (file.parent / f".{file.stem}.{number}").open("ab") as held:
        try:
            flock(held, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


class _Lock:
    """Keeps other processes out while a line is appended.

    The kernel lets go of it when a process dies; Optuna's own locks are files, which outlive a
    killed process and hold up everybody else.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._held: BinaryIO | None = None

    def acquire(self) -> bool:
        """Wait until nobody else writes."""
        self._held = self._file.open("r+b")
        flock(self._held, LOCK_EX)
        _cut_torn_line(self._held)
        return True

    def release(self) -> None:
        """Let the next one write."""
        if self._held is not None:
            self._held.close()


def _cut_torn_line(file: BinaryIO) -> None:
    """Remove a last line that its writer was killed over; the next would be appended to it."""
    whole = file.read()
    file.truncate(whole.rfind(b"\n") + 1)
