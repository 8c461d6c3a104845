"""Writing on behalf of many requests at once: what waits together is committed together."""

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import polars as pl

from tailrec.data.live import slate_rows
from tailrec.data.store import Store
from tailrec.errors import StoreError

MOST_TOGETHER: Final = 20_000
"""Rows of one transaction, about."""
RETRY_S: Final = (0.05, 0.5)
"""Seconds before a failed write is tried again: a server that was restarted left dead
connections behind, and the next one is a new one."""
AWAY: Final = 3
"""Failures of the store, one after the other, after which nobody else has to wait for it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: pl.DataFrame
    done: "Future[None]"


class EventWriter:
    """Stores events durably; many small requests share a transaction.

    Close it: what was handed in before is written first.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)
        self._thread.start()

    def write(self, rows: pl.DataFrame) -> "Future[None]":
        """Hand in events.

        Args:
            rows: of `columns.EVENTS`, events without an id get one.

        Returns:
            Done once they are durable; failed with what the store says.

        Raises:
            StoreError: the writer was closed.
        """
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # who gives up waiting takes nothing back
        with self._wake:
            if self._closed:
                raise StoreError("the service is stopping; send the events again")
            self._waiting.append(_Waiting(rows, done))
            self._wake.notify()
        return done

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                group = [self._waiting.popleft()]
                size = len(group[0].rows)
                while self._waiting and size + len(self._waiting[0].rows) <= MOST_TOGETHER:
                    group.append(self._waiting.popleft())
                    size += len(group[-1].rows)
            self._commit(group)

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            write_patiently(self._store, "events", pl.concat([each.rows for each in group]))
        except Exception as error:  # noqa: BLE001  the thread lives on; the request is told
            if len(group) == 1:
                group[0].done.set_exception(error)
                return
            self._commit_each(group)
        else:
            for each in group:
                each.done.set_result(None)

    def _commit_each(self, group: list[_Waiting]) -> None:
        """One request's fault is not another's; a store that is away is everybody's."""
        n_failed = 0
        for each in group:
            try:
                self._store.write("events", each.rows)
            except Exception as error:  # noqa: BLE001  as above
                each.done.set_exception(error)
                n_failed = n_failed + 1 if isinstance(error, StoreError) else 0
                if n_failed == AWAY:
                    break
            else:
                each.done.set_result(None)
                n_failed = 0
        for each in group:
            if not each.done.done():
                each.done.set_exception(StoreError("the store is away; send the events again"))


class SlateWriter:
    """Logs what was served, a little later and many slates at once.

    A slate is no event that somebody waits for: where the store is away for long, the oldest
    ones are given up and counted.

    Attributes:
        lost: slates given up.
    """

    LINGER_S: Final = 0.25
    MOST_KEPT: Final = 20_000

    def __init__(self, store: Store) -> None:
        self.lost = 0
        self._store = store
        self._waiting: deque[dict[str, object]] = deque()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="slates", daemon=True)
        self._thread.start()

    def write(self, slate: dict[str, object]) -> None:
        """Hand in a slate, a value for each column of `columns.SLATES`."""
        self._waiting.append(slate)

    def close(self) -> None:
        """Write what waits, then stop; what cannot be written now is lost."""
        self._closed.set()
        self._thread.join()
        self._give_up(len(self._waiting))

    def _work(self) -> None:
        while not self._closed.wait(self.LINGER_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        slates = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if slates:
            self._store_all(slates)

    def _store_all(self, slates: list[dict[str, object]]) -> None:
        try:
            write_patiently(self._store, "slates", slate_rows(slates))
        except StoreError as error:
            log.warning("slates wait for the store: %s", error)
            self._waiting.extendleft(reversed(slates))
            self._give_up(len(self._waiting) - self.MOST_KEPT)
            self._closed.wait(RETRY_S[-1])
        except Exception as error:  # noqa: BLE001  the thread lives on
            if len(slates) == 1:
                log.warning("a slate cannot be stored: %s", error)
                self.lost += 1
                return
            for slate in slates:  # one slate's fault is not another's
                self._store_all([slate])

    def _give_up(self, n_slates: int) -> None:
        for _ in range(n_slates):
            self._waiting.popleft()
            self.lost += 1


def write_patiently(store: Store, table: str, rows: pl.DataFrame) -> int:
    """Write rows, and again where the store fails at once; both are idempotent.

    Raises:
        StoreError: it failed every time.
    """
    for wait_s in RETRY_S:
        try:
            return store.write(table, rows)
        except StoreError as error:
            log.warning("%d rows of %s are written again: %s", len(rows), table, error)
            time.sleep(wait_s)
    return store.write(table, rows)
