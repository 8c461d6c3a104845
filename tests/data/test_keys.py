"""Keys are made once, kept as digests, and revoked for good."""

import polars as pl
import pytest
from sqlalchemy import select

from tailrec.data.keys import ROLES, Keys, parts_of
from tailrec.data.schema import KEYS
from tailrec.data.store import Store
from tailrec.errors import DataError


def test_a_key_opens_until_it_is_revoked(store: Store) -> None:
    keys = Keys(store)
    text = keys.create("write", label="the till")
    parts = parts_of(text)
    assert parts is not None
    (key,) = keys.all()
    assert (key.key_id, key.role, key.label) == (parts[0], "write", "the till")
    assert key.opens(parts[1])
    assert not key.opens(parts[1] + "x")
    assert not key.opens("")
    keys.revoke(key.key_id)
    (key,) = keys.all()
    assert key.revoked_at is not None
    assert key.revoked_at >= key.created_at
    assert not key.opens(parts[1])


def test_the_store_never_holds_a_secret(store: Store) -> None:
    text = Keys(store).create("admin")
    parts = parts_of(text)
    assert parts is not None
    with store.database.connection() as connection:
        rows = connection.rows(select(*KEYS.c))
    kept = rows.select(pl.all().cast(pl.String)).row(0)
    assert not any(parts[1] in (value or "") for value in kept)


def test_keys_differ(store: Store) -> None:
    keys = Keys(store)
    assert len({keys.create(role) for role in ROLES for _ in range(3)}) == 9
    assert [key.role for key in keys.all()] == [role for role in ROLES for _ in range(3)]


def test_bad_roles_and_ids_are_refused(store: Store) -> None:
    keys = Keys(store)
    with pytest.raises(DataError, match="read, write, admin"):
        keys.create("root")
    with pytest.raises(DataError, match="not a key of this shop"):
        keys.revoke("nothing")
    keys.create("read")
    key_id = keys.all()[0].key_id
    keys.revoke(key_id)
    with pytest.raises(DataError, match="revoked already"):
        keys.revoke(key_id)


@pytest.mark.parametrize("text", ["", "trk", "trk_", "trk_a", "trk_a_", "trk__b", "abc_a_b", "🔑"])
def test_what_is_no_key_is_told_apart(text: str) -> None:
    assert parts_of(text) is None
