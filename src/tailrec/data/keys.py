"""Keys to a shop's service: made and revoked here; the store keeps a digest, never a key."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import polars as pl
from sqlalchemy import insert, select, update

from tailrec import columns as c
from tailrec.data.backend import typed
from tailrec.data.schema import KEYS
from tailrec.data.store import Store
from tailrec.errors import DataError

Role = Literal["read", "write", "admin"]
ROLES: Final[tuple[Role, ...]] = ("read", "write", "admin")
"""Each role may do all that those before it may."""

_PREFIX: Final = "trk"
_SCHEMA: Final = {
    "key_id": pl.String(),
    "digest": pl.String(),
    "role": pl.String(),
    "label": pl.String(),
    "created_at": c.EVENTS[c.TIMESTAMP],
    "revoked_at": c.EVENTS[c.TIMESTAMP],
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret.

    Attributes:
        key_id: the part of it that may be shown.
        digest: of the secret.
        role: what it allows.
        label: who it was made for, or what.
        created_at: when.
        revoked_at: when it stopped to count; None while it does.
    """

    key_id: str
    digest: str
    role: Role
    label: str | None
    created_at: datetime
    revoked_at: datetime | None

    def opens(self, secret: str) -> bool:
        """Whether a secret is this key's; takes as long for a wrong one."""
        return hmac.compare_digest(_digest(secret), self.digest) and self.revoked_at is None


class Keys:
    """The keys of one shop."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, role: str, *, label: str | None = None) -> str:
        """A new key; it cannot be shown again.

        Args:
            role: one of `ROLES`.
            label: who it is for.

        Raises:
            DataError: there is no such role.
        """
        if role not in ROLES:
            raise DataError(f"role is {role!r}; it must be one of {', '.join(ROLES)}")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        row = pl.DataFrame(
            [[key_id, _digest(secret), role, label, datetime.now(UTC), None]],
            schema=_SCHEMA,
            orient="row",
        )
        values = self._store.database.outgoing(row).row(0, named=True)
        with self._store.database.transaction() as connection:
            connection.run(insert(KEYS).values(values))
        return f"{_PREFIX}_{key_id}_{secret}"

    def all(self) -> list[Key]:
        """Every key ever made, oldest first."""
        with self._store.database.connection() as connection:
            found = connection.rows(select(*KEYS.c).order_by(KEYS.c.created_at, KEYS.c.key_id))
        return [Key(*row) for row in typed(found, _SCHEMA).rows()]

    def revoke(self, key_id: str) -> None:
        """Make a key worthless; a running service follows within a second or two.

        Raises:
            DataError: there is no such key, or it was revoked before.
        """
        known = {key.key_id: key for key in self.all()}
        if key_id not in known or known[key_id].revoked_at is not None:
            state = "is revoked already" if key_id in known else "is not a key of this shop"
            raise DataError(f"{key_id!r} {state}; `tailrec keys list` shows them")
        now = pl.DataFrame({"revoked_at": [datetime.now(UTC)]}, schema_overrides=_TIME)
        values = self._store.database.outgoing(now).row(0, named=True)
        with self._store.database.transaction() as connection:
            connection.run(update(KEYS).where(KEYS.c.key_id == key_id).values(values))


def parts_of(key: str) -> tuple[str, str] | None:
    """Id and secret of a key; None where the text has not the form of one."""
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == _PREFIX and key_id and secret else None


_TIME: Final = {"revoked_at": c.EVENTS[c.TIMESTAMP]}


def _digest(secret: str) -> str:
    # 256 random bits: a slow hash would protect nothing that is not protected already.
    return hashlib.sha256(secret.encode()).hexdigest()
