"""The tables a store is given are those of `columns.TABLES`, and old ones are brought there."""

from pathlib import Path

import pytest

from tailrec import columns as c
from tailrec.data.schema import STEPS, migrate, version_of
from tailrec.data.sqlite import SqliteDatabase
from tailrec.data.store import Store
from tailrec.errors import StoreError

COLOUR = ("ALTER TABLE items ADD COLUMN colour {text}",)
BROKEN = ("ALTER TABLE items ADD COLUMN size {text}", "ALTER TABLE nowhere ADD COLUMN x {text}")


def version(store: Store) -> int:
    """The schema version a store is at."""
    with store.database.connection() as connection:
        return version_of(connection, store.database)


def test_the_steps_lead_to_the_tables(store: Store) -> None:
    """Reading names every column of `columns.TABLES`, so one that is missing would fail."""
    assert version(store) == len(STEPS)
    for table, schema in c.TABLES.items():
        assert store.read(table).schema == dict(schema)
    assert store.check() == []


def test_a_newer_store_is_refused(url: str) -> None:
    with Store.open(url, create=True) as store:
        migrate(store.database, create=False, steps=(*STEPS, COLOUR))
        assert version(store) == len(STEPS) + 1
    with pytest.raises(
        StoreError,
        match=rf"schema version {len(STEPS) + 1}, this tailrec knows .* up to {len(STEPS)}",
    ):
        Store.open(url)


def test_a_step_that_fails_changes_nothing(url: str) -> None:
    with Store.open(url, create=True) as store:
        with pytest.raises(StoreError, match="nowhere"):
            migrate(store.database, create=False, steps=(*STEPS, COLOUR, BROKEN))
        assert version(store) == len(STEPS)
        # Neither the good step before it nor the first half of the bad one is left behind.
        migrate(store.database, create=False, steps=(*STEPS, COLOUR, BROKEN[:1]))
        assert version(store) == len(STEPS) + 2


def test_a_store_is_made_only_when_asked(url: str) -> None:
    with pytest.raises(StoreError, match=r"no store at .*; run `tailrec init`"):
        Store.open(url)
    Store.open(url, create=True).close()
    Store.open(url, create=True).close()
    with Store.open(url) as store:
        assert store.count("events") == 0


def test_a_missing_table_is_found(url: str) -> None:
    with Store.open(url, create=True) as store:
        migrate(store.database, create=False, steps=(*STEPS, ("DROP TABLE aliases",)))
        (problem,) = store.check()
        assert "aliases" in problem


def test_wrong_addresses(tmp_path: Path) -> None:
    for where in ("mysql://host/shop", "sqlite://", "postgresql://host:port:x/"):
        with pytest.raises(StoreError, match="write sqlite:///FILE or postgresql://"):
            Store.open(where)
    with pytest.raises(StoreError, match="is a folder"):
        Store.open(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(text)
    assert text.read_text().startswith("not a database at all")
    with pytest.raises(StoreError) as refused:
        Store.open(f"postgresql://someone:secret@/shop?host={tmp_path}")
    assert "secret" not in str(refused.value)


def test_an_interrupted_init_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    with pytest.raises(StoreError, match="no store at"):
        Store.open(path)
    with Store.open(path, create=True) as store:
        assert version(store) == len(STEPS)


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.count("events")


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(path, create=True).close()
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\x5a" * 4096
    path.write_bytes(content)
    with Store.open(path) as store:
        assert any("damaged" in problem for problem in store.check())


def test_files_are_in_wal_mode(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "store.db")
    migrate(database, create=True)
    assert (tmp_path / "store.db-wal").exists()
    database.close()
