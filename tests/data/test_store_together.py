"""Several at once, and one killed in the middle: only whole batches, each once."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import delete

from tailrec.data.schema import TABLES
from tailrec.data.store import Store

N_BATCHES = 10
BATCH_ROWS = 4_000

WRITER = f"""
import sys
import polars as pl
from tailrec.data.store import Store

with Store.open(sys.argv[1]) as store:
    for rows in pl.read_parquet(sys.argv[2]).iter_slices({BATCH_ROWS}):
        print("writing", flush=True)
        store.write("events", rows)
        print("written", flush=True)
"""


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of events without ids, one a second."""
    number = pl.int_range(N_BATCHES * BATCH_ROWS, eager=True)
    rows = pl.DataFrame({"user_id": number * 7919 % 997, "item_id": number % 101})
    moment = pl.lit(datetime(2024, 1, 1, tzinfo=UTC)) + pl.duration(seconds=number)
    path = tmp_path_factory.mktemp("clicks") / "clicks.parquet"
    rows.with_columns(type=pl.lit("click"), timestamp=moment).write_parquet(path)
    return path


def start(url: str, clicks: Path) -> subprocess.Popen[str]:
    """A process that writes the file in batches, and says so before and after each."""
    command = [sys.executable, "-c", WRITER, url, str(clicks)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_killed_writer_leaves_whole_batches(url: str, clicks: Path, pause_s: float) -> None:
    Store.open(url, create=True).close()
    with start(url, clicks) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(5)]
        time.sleep(pause_s)
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    n_written = sum(line == "written\n" for line in said)
    assert 2 <= n_written < N_BATCHES
    with Store.open(url) as store:
        n_whole, rest = divmod(store.count("events"), BATCH_ROWS)
        assert rest == 0
        # What was reported is there; a batch may be whole without its report having got out.
        assert n_whole in (n_written, n_written + 1)
        assert store.check() == []
        rows = pl.read_parquet(clicks)
        n_new = sum(store.write("events", part) for part in rows.iter_slices(3 * BATCH_ROWS))
        assert n_new == (N_BATCHES - n_whole) * BATCH_ROWS
        assert store.count("events") == N_BATCHES * BATCH_ROWS
        assert store.read("events")["event_id"].n_unique() == N_BATCHES * BATCH_ROWS


def test_readers_and_writers_at_once(url: str, clicks: Path) -> None:
    """Two processes write the same batches, this one reads all the while."""
    Store.open(url, create=True).close()
    seen = []
    with Store.open(url) as store, start(url, clicks) as one, start(url, clicks) as two:
        while one.poll() is None or two.poll() is None:
            seen.append(store.count("events"))
            assert len(store.history("5")) <= 50
            time.sleep(0.02)  # leave the processors to the writers
        assert (one.returncode, two.returncode) == (0, 0)
        assert store.count("events") == N_BATCHES * BATCH_ROWS
    assert all(n % BATCH_ROWS == 0 for n in seen)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, "nothing was read while they wrote"


def test_a_reader_does_not_wait_for_a_writer(url: str) -> None:
    with Store.open(url, create=True) as store:
        store.write("users", pl.DataFrame({"user_id": ["a"]}))
        with store.database.transaction() as connection:
            connection.run(delete(TABLES["users"]))
            began = time.perf_counter()
            assert store.count("users") == 1
            assert time.perf_counter() - began < 5.0
        assert store.count("users") == 0


def test_threads_share_a_store(url: str) -> None:
    rows = pl.DataFrame({"user_id": [str(i) for i in range(400)]})
    with Store.open(url, create=True) as store, ThreadPoolExecutor(8) as pool:
        new = list(pool.map(lambda part: store.write("users", part), rows.iter_slices(25)))
        assert sum(new) == 400
        lengths = pool.map(lambda user: len(store.history(user)), rows["user_id"])
        assert list(lengths) == [0] * 400
        assert store.count("users") == 400


def test_what_is_erased_is_gone_from_the_files(tmp_path: Path) -> None:
    """SQLite alone would only mark the pages as free."""
    secret = "correct horse battery staple"
    people = [f"u{i}" for i in range(2_000)]
    with Store.open(tmp_path / "store.db", create=True) as store:
        rows = pl.DataFrame({"user_id": people, "attributes": [f"of {user}" for user in people]})
        mine = pl.when(pl.col("user_id") == "u77").then(pl.lit(secret))
        store.write("users", rows.with_columns(attributes=mine.otherwise("attributes")))
        assert any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())
        # A reader that is done must not hold the log back.
        assert store.history("u77").is_empty()
        assert store.delete_user("u77")["users"] == 1
        assert not any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())
