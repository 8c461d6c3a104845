"""A shop in one file, taken while it works, and a shop made of such a file.

::

    backup.json  tailrec.toml  store.db  models/current  models/<version>/<file>

What was acknowledged before a backup began is in it. A store in PostgreSQL is not: `pg_dump`
takes that, see docs/deploy.md.
"""

import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from tailrec import __version__
from tailrec.artifact import ARRAYS, CARD, CURRENT, RECIPE, get_current
from tailrec.data.sqlite import SqliteDatabase
from tailrec.data.store import Store
from tailrec.errors import DataError
from tailrec.files import sync, whole_file

ABOUT: Final = "backup.json"
_OPTIONS: Final = "tailrec.toml"
_STORE: Final = "store.db"
_MODELS: Final = "models"
_PARTS: Final = "|".join(re.escape(name) for name in (RECIPE, ARRAYS, CARD))
_EXPECTED: Final = re.compile(
    rf"{re.escape(ABOUT)}|{re.escape(_OPTIONS)}|{re.escape(_STORE)}"
    rf"|{_MODELS}/(?:{CURRENT}|[\w-][\w.-]*/(?:{_PARTS}))"
)
"""Names of a backup's files; there are no others, so none can lead out of the folder."""


def back_up(folder: Path, store: Store, path: Path) -> dict[str, Any]:
    """Write a shop to a file, whole or not at all; others may write to the shop meanwhile.

    Args:
        folder: of the shop.
        store: of the shop, open.
        path: of the file, which only its owner may read; replaced if it exists. Beside it, there
            must be room for another copy of the store.

    Returns:
        What `backup.json` says: version, moment, whether the store is in it, models.

    Raises:
        DataError: the file's folder does not exist.
        StoreError: the store cannot be copied.
    """
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is no folder; make it, or name another file")
    about: dict[str, Any] = {
        "tailrec": __version__,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "store": store.database.dialect.name,
    }
    with whole_file(path) as beside, _copy_of(store, path) as copy:
        beside.touch(mode=0o600)
        with tarfile.open(beside, "w") as archive:
            if copy:
                archive.add(copy, _STORE)
            archive.add(folder / _OPTIONS, _OPTIONS)
            about["models"] = _add_models(archive, folder / _MODELS)
            _add_text(archive, ABOUT, json.dumps(about, indent=2))
    return about


def restore(path: Path, folder: Path) -> dict[str, Any]:
    """Make a shop of a backup, whole or not at all.

    Args:
        path: a file of `back_up`.
        folder: must not exist.

    Returns:
        What `backup.json` says.

    Raises:
        DataError: the folder exists, or the file is no backup or damaged.
    """
    if folder.exists():
        raise DataError(f"{folder} exists; name another folder, or move this one away")
    if not folder.parent.is_dir():
        raise DataError(f"{folder.parent} is no folder; make it, or name another one")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        _unpack(path, beside)
        about: dict[str, Any] = json.loads((beside / ABOUT).read_text("utf-8"))
        (beside / ABOUT).unlink()
        for part in sorted(beside.rglob("*"), reverse=True):
            sync(part)
        beside.rename(folder)
        sync(folder.parent)
    except (tarfile.TarError, EOFError, FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} is no backup of a shop, or is damaged: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return about


@contextmanager
def _copy_of(store: Store, path: Path) -> Iterator[Path | None]:
    """A copy of the store's file beside `path`; None where the store is no file."""
    copy = path.with_name(f".{path.name}.{os.getpid()}.store")
    copy.unlink(missing_ok=True)
    if not isinstance(store.database, SqliteDatabase):
        yield None
        return
    try:
        with store.database.connection() as connection:
            # One read transaction: writers go on, and the copy is of one moment.
            connection.run(text("VACUUM INTO :copy").bindparams(copy=str(copy)))
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _add_models(archive: tarfile.TarFile, models: Path) -> list[str]:
    """The complete models; they never change, but another may become the current one meanwhile."""
    current = get_current(models)
    versions = sorted(card.parent.name for card in models.glob(f"*/{CARD}"))
    for version in versions:
        for name in (RECIPE, ARRAYS, CARD):
            archive.add(models / version / name, f"{_MODELS}/{version}/{name}")
    if current in versions:
        _add_text(archive, f"{_MODELS}/{CURRENT}", f"{current}\n")
    return versions


def _add_text(archive: tarfile.TarFile, name: str, words: str) -> None:
    data = words.encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _unpack(path: Path, folder: Path) -> None:
    """Write an archive's files below a folder.

    Raises:
        ValueError: a name is not one of a backup's, or stands for something else than a file.
    """
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if not _EXPECTED.fullmatch(member.name) or not member.isreg():
                raise ValueError(f"it holds {member.name!r}, which no backup does")
            source = archive.extractfile(member)
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source is None or target.exists():
                raise ValueError(f"it holds {member.name!r} twice")
            with target.open("wb") as file:
                shutil.copyfileobj(source, file)
            if target.stat().st_size != member.size:
                raise ValueError(f"{member.name} ends too early")
