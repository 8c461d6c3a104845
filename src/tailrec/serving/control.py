"""What bends the slates of one shop now, kept up to date beside the requests."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from tailrec.arrange import Arrangement
from tailrec.assortment import Assortment
from tailrec.data.counters import Counters
from tailrec.data.live import Moment
from tailrec.errors import StoreError, TailrecError
from tailrec.items import Array, Int32Array
from tailrec.serving.standby import Standing
from tailrec.shop import Shop
from tailrec.steering import KEPT_DAYS, Controls, Helm, Ledger, counted

EVERY_S: Final = 1.0
"""Seconds between two looks at the counters; so old is what prices know of all that was shown."""
FORGET_S: Final = 3_600.0
MOST_KEPT: Final = 20_000
"""Slates that wait for the store, at most; the oldest are not counted."""

log = logging.getLogger(__name__)


class Control:
    """Counts what a worker shows, and knows what all workers showed.

    A worker that is killed loses what it showed in its last second. Close it.

    Args:
        shop: whose slates are bent.
        standing: what the worker answers from.
    """

    def __init__(self, shop: Shop, standing: Callable[[], Standing | None]) -> None:
        self._recipe = shop.recipe
        self._standing = standing
        self._counters = Counters(shop.store)
        self._ledger = Ledger(self._counters)
        self._helm = Helm(shop.recipe, self._ledger)
        self._controls: Controls | None = None
        self._waiting: deque[tuple[list[str], Array]] = deque(maxlen=MOST_KEPT)
        self._rng = np.random.default_rng()
        self._said = ""
        self._forgotten_at = datetime.min.replace(tzinfo=UTC)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="control", daemon=True)
        if shop.recipe.needs_looks:
            self._try_turn()
            self._thread.start()

    def close(self) -> None:
        """Count what waits, then stop."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def controls(self) -> Controls | None:
        """What bends slates now; None where nothing does, or nothing can yet."""
        return self._controls

    def on(self, how: Arrangement, stand: Assortment, moment: Moment) -> Arrangement:
        """An arrangement with all that bends slates now."""
        controls = None if self._controls is None else self._controls.covering(stand)
        if controls is None:
            return how
        shown = None
        if controls.selling is not None:
            shown = _shown_today(controls, stand, moment)
        return controls.on(how, self._rng, shown)

    def note(self, item_ids: list[str], worth: Array) -> None:
        """Count a slate that is shown: its items from the top, and what each should bring."""
        if self._recipe.needs_looks:
            self._waiting.append((item_ids, worth))

    def _work(self) -> None:
        while not self._closed.wait(EVERY_S):
            self._try_turn()
        self._try_turn()

    def _try_turn(self) -> None:
        try:
            self._turn()
            self._said = ""
        except TailrecError as error:
            # Every second: once is enough.
            if str(error) != self._said:
                log.warning("slates are not steered anew: %s", error)
            self._said = str(error)
            if not isinstance(error, StoreError):
                self._controls = None
        except Exception:
            log.exception("slates cannot be steered")
            self._closed.wait(1.0)

    def _turn(self) -> None:
        standing = self._standing()
        if standing is None:
            return
        now, looks = datetime.now(UTC), standing.stand.model.looks
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if waiting and looks is not None:
            try:
                launches = self._recipe.launch.impressions > 0
                self._counters.add(
                    counted(waiting, looks.attention, now.date(), impressions=launches)
                )
            except StoreError:
                for slate in reversed(waiting):  # the oldest are given up
                    if len(self._waiting) < MOST_KEPT:
                        self._waiting.appendleft(slate)
                raise
        self._ledger.read()
        spent = self._counters.spent(now.date()) if self._recipe.sponsored.campaigns else {}
        self._controls = self._helm.controls(standing.stand, now, spent)
        if (now - self._forgotten_at).total_seconds() > FORGET_S:
            self._counters.forget((now - timedelta(days=KEPT_DAYS)).date())
            self._forgotten_at = now


def _shown_today(controls: Controls, stand: Assortment, moment: Moment) -> Int32Array:
    """int32 [1, C], how many of the person's newest slates of this day held a campaign's item."""
    assert controls.selling is not None
    terms = controls.selling[0]
    counts = np.zeros((1, len(terms.names)), np.int32)
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for item_ids, at in zip(moment.shown, moment.shown_at, strict=True):
        if at >= day.timestamp() * 1e6:
            counts[0, _campaigns(terms.ptr, terms.campaign, stand.numbers(item_ids))] += 1
    return counts


def _campaigns(ptr: Array, campaign: Array, numbers: Int32Array) -> Array:
    """Campaigns about any of some items, each once."""
    own = [campaign[ptr[number] : ptr[number + 1]] for number in numbers.tolist()]
    return np.unique(np.concatenate(own)) if own else campaign[:0]
