"""One shop as a worker serves it: always up to date, never in the way of a request."""

import logging
import threading
import time
from dataclasses import replace
from typing import Final

import numpy as np

from tailrec import columns as c
from tailrec.data.live import Live, Moment
from tailrec.errors import ArtifactError, StoreError, TailrecError
from tailrec.serving.control import Control
from tailrec.serving.standby import Standing, standing_of, wanted_version
from tailrec.serving.writer import EventWriter, SlateWriter
from tailrec.shop import Shop

PATIENCE_S: Final = 0.5
"""Requests wait so long for changes of the catalogue; large ones are taken in meanwhile."""
WATCH_S: Final = 0.5
"""Seconds between two looks at which model should be served."""
AGAIN_S: Final = 30.0
"""Seconds after which a stand-in looks for something better, or is made anew of what came since."""
SHARE: Final = 0.05
"""Of the time, at most, is spent on that where looking takes long."""
AT_ONCE: Final = 256
"""Changed items that are taken in before the next ones are looked at."""

Known = tuple[Moment, bool]
"""What is known of a person, and whether the store could be asked."""

log = logging.getLogger(__name__)


class Front:
    """A shop, open, with its model and items in memory and its writers running.

    Attributes:
        name: of the shop, in logs and metrics.
        shop: the shop.
        live: its store, read for every request.
        events: stores events.
        slates: logs what was served.
        control: what bends slates now.
    """

    def __init__(self, name: str, shop: Shop) -> None:
        self.name = name
        self.shop = shop
        self.live = Live(shop.store)
        self.events = EventWriter(shop.store)
        self.slates = SlateWriter(shop.store)
        self._standing: Standing | None = None
        self._tried: str | None = None
        self._again_at = 0.0
        self._changed = threading.Condition()
        self._wanted = -1
        self._behind_since = 0.0
        self._closed = threading.Event()
        self._load()
        self.control = Control(shop, lambda: self._standing)
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
        self.control.close()
        self.live.close()
        self.shop.close()

    def moment(self, user_id: str | None) -> Known:
        """What is known of a person now, and whether the store could be asked."""
        for attempt in range(2):  # the first may meet a connection that died
            try:
                return self.live.moment(user_id), True
            except StoreError as error:
                _log_unread(attempt, error)
        return self._nothing_known()

    async def awaited_moment(self, user_id: str | None) -> Known:
        """As `moment`, in the event loop."""
        for attempt in range(2):
            try:
                return await self.live.awaited_moment(user_id), True
            except StoreError as error:
                _log_unread(attempt, error)
        return self._nothing_known()

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
            now = time.monotonic()
            if not self._is_behind():
                self._behind_since = now
            self._wanted = max(self._wanted, revision or 0)
            self._changed.notify_all()
            # Nobody waits long for a large change: those who came first have waited for all.
            left_s = max(0.0, self._behind_since + PATIENCE_S - now)
            self._changed.wait_for(lambda: self.has(revision or 0), left_s)
            standing = self._standing
        if standing is None:
            raise ArtifactError("the shop has nothing to show yet; put items, or run `tailrec fit`")
        return standing

    def has(self, revision: int) -> bool:
        """Whether `standing` answers for this revision of the catalogue without waiting."""
        standing = self._standing
        return self._closed.is_set() or (
            standing is not None and standing.stand.revision >= revision
        )

    def _nothing_known(self) -> Known:
        standing = self._standing
        revision = standing.stand.revision if standing else 0
        nothing = np.zeros(0, np.int64)
        return Moment(revision, 0, [], [], nothing, [], [], [], nothing), False

    @property
    def ready(self) -> bool:
        """Whether there is something to answer from."""
        return self._standing is not None

    def _load(self) -> None:
        """Take the best model there is; the one that answers stays until it is ready."""
        started = time.monotonic()
        self._tried = wanted_version(self.shop)
        try:
            standing = standing_of(self.shop)
        except TailrecError as error:
            log.warning("%s has nothing to serve yet: %s", self.name, error)
            return
        _load_encoder(standing)
        took_s = time.monotonic() - started
        self._again_at = started + max(AGAIN_S, took_s / SHARE)
        with self._changed:
            self._standing = standing
            self._changed.notify_all()
        log.info(
            "%s serves model %s (%s)", self.name, standing.version, standing.fallback or "as named"
        )

    def _keep_model(self) -> None:
        """Follow `models/current`; try again where something else stands in."""
        while not self._closed.wait(WATCH_S):
            try:
                if self._may_be_better():
                    self._load()
            except Exception:
                log.exception("%s cannot look for a model", self.name)

    def _may_be_better(self) -> bool:
        """Whether there may be something better to answer from."""
        standing = self._standing
        if standing is None:
            return True
        wanted = wanted_version(self.shop)
        if standing.fallback is None and wanted in (None, standing.version):
            return False
        return wanted != self._tried or time.monotonic() >= self._again_at

    def _keep_items(self) -> None:
        """Take in changes of the catalogue as soon as a request has seen that there are any."""
        while not self._closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._closed.is_set() or self._is_behind())
            standing = self._standing
            if self._closed.is_set() or standing is None:
                return
            try:
                self._take_in(standing)
            except TailrecError as error:
                log.warning("changes of the catalogue wait: %s", error)
                self._closed.wait(PATIENCE_S)
            except Exception:
                log.exception("%s cannot take in changes of the catalogue", self.name)
                self._closed.wait(AGAIN_S)

    def _is_behind(self) -> bool:
        return self._standing is not None and not self.has(self._wanted)

    def _take_in(self, standing: Standing) -> None:
        stand = standing.stand
        changed, gone, revision = self.live.changes(stand.revision)
        # What is known already first: prices and stock apply at once, texts take longer.
        index = stand.engine.index
        known = np.array([item_id in index for item_id in changed[c.ITEM_ID].to_list()], bool)
        changed = changed[np.argsort(~known, kind="stable")]
        for start in range(0, max(len(changed), 1), AT_ONCE):
            part = changed.slice(start, AT_ONCE)
            last = start + AT_ONCE >= len(changed)
            stand = stand.after(
                part, gone if start == 0 else (), revision if last else stand.revision
            )
            with self._changed:
                if self._standing is not standing or self._closed.is_set():
                    return  # another model came; it is brought up to date from its own revision
                standing = replace(standing, stand=stand)
                self._standing = standing
                if last and revision < self._wanted and not len(changed) and not gone:
                    self._wanted = revision
                self._changed.notify_all()


def _log_unread(attempt: int, error: StoreError) -> None:
    log.warning("history cannot be read (attempt %d): %s", attempt + 1, error)


def _load_encoder(standing: Standing) -> None:
    """Load what reads words now: it takes longer than a request should."""
    try:
        _ = standing.stand.engine.features.encoder
    except TailrecError as error:
        log.warning("words are not read for their meaning: %s", error)
