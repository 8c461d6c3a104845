"""One shop as a worker serves it: always up to date, never in the way of a request."""

import logging
import threading
import time
from dataclasses import replace
from typing import Final

import numpy as np

from tailrec.data.live import Live, Moment
from tailrec.errors import ArtifactError, StoreError, TailrecError
from tailrec.serving.standby import Standing, standing_of, wanted_version
from tailrec.serving.writer import EventWriter, SlateWriter
from tailrec.shop import Shop

PATIENCE_S: Final = 0.5
"""A request waits so long for the catalogue's last change; a large one is taken in meanwhile."""
WATCH_S: Final = 0.5
"""Seconds between two looks at which model should be served."""
AT_ONCE: Final = 256
"""Changed items that are taken in before the next ones are looked at."""

log = logging.getLogger(__name__)


class Front:
    """A shop, open, with its model and items in memory and its writers running.

    Attributes:
        name: of the shop, in logs and metrics.
        shop: the shop.
        live: its store, read for every request.
        events: stores events.
        slates: logs what was served.
    """

    def __init__(self, name: str, shop: Shop) -> None:
        self.name = name
        self.shop = shop
        self.live = Live(shop.store)
        self.events = EventWriter(shop.store)
        self.slates = SlateWriter(shop.store)
        self._standing: Standing | None = None
        self._changed = threading.Condition()
        self._wanted = -1
        self._closed = threading.Event()
        self._load()
        self._threads = [
            threading.Thread(target=work, name=f"{name} {work.__name__}", daemon=True)
            for work in (self._keep_items, self._keep_model)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Write what waits, stop, and close the store."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.events.close()
        self.slates.close()
        self.shop.close()

    def moment(self, user_id: str | None) -> tuple[Moment, bool]:
        """What is known of a person now, and whether the store could be asked."""
        for attempt in range(2):  # the first may meet a connection that died
            try:
                return self.live.moment(user_id), True
            except StoreError as error:
                log.warning("history cannot be read (attempt %d): %s", attempt + 1, error)
        standing = self._standing
        revision = standing.stand.revision if standing else 0
        nothing = np.zeros(0, np.int64)
        return Moment(revision, 0, [], [], nothing, [], [], [], nothing), False

    def standing(self, revision: int | None = None) -> Standing:
        """What to answer from.

        Args:
            revision: of the catalogue, as far as the caller knows; its changes are taken in
                first, unless they take longer than `PATIENCE_S`. None: whatever there is.

        Raises:
            ArtifactError: there is nothing to answer from.
        """
        standing = self._standing
        if standing is not None and (revision is None or revision <= standing.stand.revision):
            return standing
        with self._changed:
            self._wanted = max(self._wanted, revision or 0)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_at(revision or 0), PATIENCE_S)
            standing = self._standing
        if standing is None:
            raise ArtifactError("the shop has nothing to show yet; put items, or run `tailrec fit`")
        return standing

    @property
    def ready(self) -> bool:
        """Whether there is something to answer from."""
        return self._standing is not None

    def _is_at(self, revision: int) -> bool:
        standing = self._standing
        return self._closed.is_set() or (
            standing is not None and standing.stand.revision >= revision
        )

    def _load(self) -> None:
        """Take the best model there is; the one that answers stays until it is ready."""
        try:
            standing = standing_of(self.shop)
        except TailrecError as error:
            log.warning("%s has nothing to serve yet: %s", self.name, error)
            return
        with self._changed:
            self._standing = standing
            self._changed.notify_all()
        log.info(
            "%s serves model %s (%s)", self.name, standing.version, standing.fallback or "as named"
        )

    def _keep_model(self) -> None:
        """Follow `models/current`; try again where something else stands in."""
        tried: tuple[str | None, float] = (None, 0.0)
        while not self._closed.wait(WATCH_S):
            standing = self._standing
            wanted = wanted_version(self.shop)
            served = standing.version if standing and standing.fallback is None else None
            again_at = tried[1] + (0 if standing is None else 30)
            if wanted == served and standing is not None and wanted is not None:
                continue
            if wanted == tried[0] and time.monotonic() < again_at:
                continue
            tried = (wanted, time.monotonic())
            if wanted is None and standing is not None:
                continue
            self._load()

    def _keep_items(self) -> None:
        """Take in changes of the catalogue as soon as a request has seen that there are any."""
        while not self._closed.is_set():
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed.is_set() or not self._is_at(self._wanted)
                )
            standing = self._standing
            if self._closed.is_set():
                return
            if standing is None:
                self._load()
                self._closed.wait(WATCH_S if self._standing is None else 0)
                continue
            try:
                self._take_in(standing)
            except TailrecError as error:
                log.warning("changes of the catalogue wait: %s", error)
                self._closed.wait(PATIENCE_S)

    def _take_in(self, standing: Standing) -> None:
        stand = standing.stand
        changed, gone, revision = self.live.changes(stand.revision)
        # What is known already first: prices and stock apply at once, texts take longer.
        known = changed["item_id"].is_in(list(stand.engine.index))
        changed = changed.with_columns(known.alias("known")).sort("known", descending=True)
        changed = changed.drop("known")
        for start in range(0, max(len(changed), 1), AT_ONCE):
            part = changed.slice(start, AT_ONCE)
            last = start + AT_ONCE >= len(changed)
            stand = stand.after(
                part, gone if start == 0 else (), revision if last else stand.revision
            )
            with self._changed:
                if self._standing is not standing:
                    return  # another model came; it is brought up to date from its own revision
                standing = replace(standing, stand=stand)
                self._standing = standing
                if last and revision < self._wanted and not len(changed) and not gone:
                    self._wanted = revision
                self._changed.notify_all()
