"""Real processes killed in the middle: the shop opens, and the old model still recommends."""

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tailrec import columns as c
from tailrec.artifact import get_current
from tailrec.batch import recommended
from tailrec.data.ingest import ingest
from tailrec.doctor import examine
from tailrec.shop import Shop
from tailrec.slates import Ask

N_FILES, N_ROWS = 8, 10_000

INGEST = """
import sys
from pathlib import Path
from tailrec.data.ingest import ingest
from tailrec.shop import Shop


def waiting(stage, rows):
    # After each write it waits for a word, so that it cannot be done too soon.
    if stage == "write":
        print(rows, flush=True)
        input()


with Shop.open(Path(sys.argv[1])) as shop:
    # Every file counts as a large one: it is read twice, and written part by part.
    ingest(shop.store, "events", sys.argv[2:], whole_rows=10, progress=waiting)
"""
FIT = """
import os
import signal
import sys
from pathlib import Path
from tailrec import artifact, shop


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


# At sync all files of the model are written, beside their place; at set_current they are in it.
setattr(artifact if sys.argv[2] == "sync" else shop, sys.argv[2], killed)
with shop.Shop.open(Path(sys.argv[1])) as opened:
    opened.fit()
"""


@pytest.fixture
def words_alone(shop_folder: Path) -> Path:
    """A fitted shop whose later fits need no language model, which is quicker."""
    (shop_folder / "tailrec.toml").write_text("[features]\nencode = false\n", "utf-8")
    return shop_folder


@pytest.fixture
def many_files(tmp_path: Path) -> list[Path]:
    """Views without an event_id, as exports have them."""
    paths = []
    for part in range(N_FILES):
        numbers = pl.select(number=pl.int_range(part * N_ROWS, (part + 1) * N_ROWS))
        table = numbers.select(
            pl.format("L{}", pl.col("number") % 500).alias(c.USER_ID),
            pl.format("P{}", (pl.col("number") % 190).cast(pl.String).str.zfill(6)).alias(
                c.ITEM_ID
            ),
            pl.lit("view").alias(c.TYPE),
            (
                pl.lit(datetime(2025, 3, 1, tzinfo=UTC)) + pl.duration(seconds=pl.col("number"))
            ).alias(c.TIMESTAMP),
        )
        paths.append(tmp_path / f"views-{part}.parquet")
        table.write_parquet(paths[-1])
    return paths


def slates(folder: Path) -> pl.DataFrame:
    """Slates of people whose histories stay as they are."""
    with Shop.open(folder) as shop:
        table = recommended(shop, users="all", ask=Ask(k=10))
    return table.filter(pl.col(c.USER_ID).str.starts_with("U"))


def test_an_ingest_that_is_killed(words_alone: Path, many_files: list[Path]) -> None:
    before = slates(words_alone)
    with Shop.open(words_alone) as shop:
        n_before = shop.store.count("events")
    words = [sys.executable, "-c", INGEST, str(words_alone), *map(str, many_files)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for n_told in (N_ROWS, 2 * N_ROWS, 3 * N_ROWS):
            assert process.stdout.readline() == f"{n_told}\n"
            process.stdin.write("go on\n")
        # It is at the next part, somewhere between reading and commit.
        process.kill()
    assert process.returncode == -signal.SIGKILL
    with Shop.open(words_alone) as shop:
        n_there = shop.store.count("events") - n_before
        # What was told is there, and perhaps the part it was at: all of it or nothing.
        assert n_there in (n_told, n_told + N_ROWS)
    assert all(finding.well for finding in examine(words_alone))
    assert slates(words_alone).equals(before)
    with Shop.open(words_alone) as shop:
        result = ingest(shop.store, "events", many_files, whole_rows=10)
        assert result.new_rows == {"events": N_FILES * N_ROWS - n_there}
        assert shop.store.count("events") == n_before + N_FILES * N_ROWS
        assert ingest(shop.store, "events", many_files[:1]).new_rows == {"events": 0}


@pytest.mark.parametrize("moment", ["sync", "save_artifact", "set_current"])
def test_a_fit_that_is_killed(words_alone: Path, moment: str) -> None:
    before = slates(words_alone)
    models = words_alone / "models"
    version = get_current(models)
    done = subprocess.run([sys.executable, "-c", FIT, str(words_alone), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    left = [entry.name for entry in models.iterdir() if entry.name.startswith(".")]
    assert len(left) == (1 if moment == "sync" else 0)
    assert get_current(models) == version
    assert all(finding.well for finding in examine(words_alone))
    assert slates(words_alone).equals(before)
    with Shop.open(words_alone) as shop:
        new = shop.fit().version
        assert new in shop.versions()
    assert get_current(models) == new
    assert not [entry.name for entry in models.iterdir() if entry.name.startswith(".")]
