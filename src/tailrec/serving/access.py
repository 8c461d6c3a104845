"""Who may do what: keys, roles and rates. Without a key there is no data."""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tailrec.data.keys import ROLES, Key, Keys, Role, parts_of
from tailrec.errors import TailrecError
from tailrec.serving.front import Front

FRESH_S: Final = 1.0
"""Keys are read again after so many seconds: a revoked one stops to count within them."""
LOOK_AGAIN_S: Final = 0.2
"""A key that is not known is looked for in the store no more often than this."""

log = logging.getLogger(__name__)

_NO_SECRET: Final = Key("", secrets.token_hex(32), "read", None, None, None)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        front: the shop the key belongs to; the caller sees no other.
        key_id: the part of the key that may be logged.
        role: what the key allows.
    """

    front: Front
    key_id: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether the key allows what needs this role."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Refused(Exception):
    """A request that is not served.

    Attributes:
        status: of HTTP.
        retry_s: seconds after which it may be sent again; None: never as it is.
    """

    def __init__(self, status: int, detail: str, *, retry_s: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_s = retry_s


@dataclass(slots=True)
class _Bucket:
    left: float
    filled_at: float = field(default_factory=time.monotonic)

    def take(self, per_s: float, burst: float) -> float:
        """Take one; 0 where that was possible, else seconds until it is."""
        now = time.monotonic()
        self.left = min(burst, self.left + (now - self.filled_at) * per_s)
        self.filled_at = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) / per_s


class Access:
    """The keys of all shops of a server.

    Args:
        fronts: the shops.
        n_workers: processes that share a key's rate.
    """

    def __init__(self, fronts: Sequence[Front], n_workers: int) -> None:
        self._fronts = fronts
        self._n_workers = n_workers
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._keys: list[list[Key]] = [[] for _ in fronts]
        self._known: Mapping[str, tuple[Front, Key]] = {}
        self._twice: set[str] = set()
        self._read_at = float("-inf")
        self._read()

    def caller(self, given: str | None) -> Caller:
        """Who has a key.

        Raises:
            Refused: there is no key, it is not valid, or it comes too often.
        """
        if not given:
            raise Refused(
                401, "send a key in the header X-API-Key; `tailrec keys create` makes one"
            )
        key_id, secret = parts_of(given) or ("", "")
        if time.monotonic() - self._read_at > FRESH_S:
            self._read()
        if key_id not in self._known and time.monotonic() - self._read_at > LOOK_AGAIN_S:
            self._read()
        front, key = self._known.get(key_id, (None, _NO_SECRET))
        # Compared also where the id is unknown: an answer takes the same time either way.
        if not key.opens(secret) or front is None:
            raise Refused(401, "the key is not valid; `tailrec keys list` shows those that are")
        self._throttle(front, key)
        return Caller(front, key.key_id, key.role)

    def _throttle(self, front: Front, key: Key) -> None:
        limit = front.shop.recipe.serve
        if limit.requests_per_s is None:
            return
        per_s, burst = limit.requests_per_s / self._n_workers, limit.burst / self._n_workers
        with self._lock:
            bucket = self._buckets.setdefault(key.key_id, _Bucket(max(burst, 1.0)))
            wait_s = bucket.take(per_s, max(burst, 1.0))
        if wait_s:
            raise Refused(
                429, f"more than {limit.requests_per_s:g} requests a second", retry_s=wait_s
            )

    def _read(self) -> None:
        """Read the keys again; where a store is away, those known before go on counting."""
        with self._lock:
            known: dict[str, tuple[Front, Key]] = {}
            twice: set[str] = set()
            for place, front in enumerate(self._fronts):
                with suppress(TailrecError):
                    self._keys[place] = Keys(front.shop.store).all()
                # A shop copied with its keys would let one key open two: then it opens neither.
                twice.update(key.key_id for key in self._keys[place] if key.key_id in known)
                known |= {key.key_id: (front, key) for key in self._keys[place]}
            if twice - self._twice:
                log.warning("%d keys are of several shops and open none; make new ones", len(twice))
            self._twice = twice
            self._known = {name: own for name, own in known.items() if name not in twice}
            self._read_at = time.monotonic()
