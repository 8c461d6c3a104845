"""A split as files, for recommenders that live elsewhere, and their slates back.

::

    <folder>/ split.json  train.parquet  requests.parquet  items.parquet
              validation/ train.parquet  requests.parquet  targets.parquet

What was right is written for the validation part only; the answers to the requests stay here.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.data.split import Split, validation
from tailrec.dataset import Dataset
from tailrec.errors import DataError
from tailrec.files import whole_file
from tailrec.items import PADDING, Int32Array, ItemsBatch

SPLIT: Final = "split"
"""The column of a slates file that names the split, where there are several."""
FINGERPRINT: Final = "fingerprint"


def fingerprint(split: Split) -> str:
    """What tells this split from any other: its train part, requests and targets, hashed."""
    digest = blake2b(digest_size=8)
    for names in (split.train.user_ids, split.train.catalog.ids):
        digest.update("\n".join(map(str, names)).encode())
    train = split.train
    for array in (train.ptr, train.item, train.time, split.users, split.target_ptr, split.target):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_splits(splits: Sequence[Split], folder: Path) -> list[Path]:
    """Write several splits, each into a folder of its number, as `write_split` does.

    What an earlier export left there of further splits is no split any more.

    Returns:
        The files.
    """
    for stale in folder.glob("*/split.json"):
        stale.unlink()
    return [
        file
        for number, split in enumerate(splits)
        for file in write_split(split, folder / str(number))
    ]


def write_split(split: Split, folder: Path) -> list[Path]:
    """Write what another recommender may know of a split.

    Args:
        split: what is asked.
        folder: made where it is missing; files of the same names are replaced.

    Returns:
        The files: train (user_id, item_id, timestamp, weight; the oldest event of a user
        first), requests (user_id and the instant of each), items (the catalogue), the same of
        an inner split with its targets to choose options on, and `split.json` with name, sizes
        and fingerprint.

    Raises:
        DataError: the train part is too small for an inner split.
    """
    inner = validation(split)
    tables = {
        "train": _events(split.train),
        "requests": _requests(split),
        "items": split.train.catalog.table,
        "validation/train": _events(inner.train),
        "validation/requests": _requests(inner),
        "validation/targets": _targets(inner),
    }
    (folder / "validation").mkdir(parents=True, exist_ok=True)
    # Written last, and gone first: whoever finds it finds files that belong together.
    (folder / "split.json").unlink(missing_ok=True)
    files = []
    for name, table in tables.items():
        files.append(folder / f"{name}.parquet")
        with whole_file(files[-1]) as beside:
            table.write_parquet(beside)
    files.append(folder / "split.json")
    with whole_file(files[-1]) as beside:
        beside.write_text(json.dumps(summary(split), indent=1) + "\n", "utf-8")
    return files


def summary(split: Split) -> dict[str, Any]:
    """What a split is, in plain values: name, sizes, fingerprint."""
    return {
        "name": split.name,
        FINGERPRINT: fingerprint(split),
        "n_requests": len(split),
        "n_targets": len(split.target),
        "n_users": split.train.n_users,
        "n_items": split.train.n_items,
        "n_events": split.train.n_events,
        "cold_items": int((split.train.item_counts == 0).sum()),
        "cold_users": int(split.cold_users.sum()),
        "cut": None if split.cut is None else _instant(split.cut).isoformat(),
    }


def check_slates(path: Path, splits: Sequence[Split]) -> None:
    """Refuse a file that does not say which of several splits a slate is for.

    Raises:
        DataError: there are several splits and no column `split`, or the file cannot be read.
    """
    if len(splits) > 1 and SPLIT not in _read(path).columns:
        raise DataError(
            f"{path} has no column {SPLIT!r}, and there are {len(splits)} splits; give the name "
            f"in split.json with each slate"
        )


def read_slates(path: Path, split: Split, k: int) -> ItemsBatch:
    """Slates made elsewhere, in the order of the split's requests.

    Args:
        path: Parquet with user_id, item_id and rank (1 is the top); `split`, the split's name,
            if the file holds slates of several. A row whose item_id is null says that a user's
            slate is empty. Users who were not asked for, and other columns, are not looked at.
        split: what was asked.
        k: places of a slate; what stands lower is not read.

    Returns:
        [B, k]; scores fall from -1 with the rank, places left open are closed.

    Raises:
        DataError: the file cannot be read, lacks a column, has no slate for a request, names an
            item that is not in the catalogue, or gives one place twice.
    """
    table = _own_rows(path, split)
    # A rank that is missing is a fault, unless the row says that there is nothing.
    table = table.filter(pl.col(c.ITEM_ID).is_null() | (pl.col(c.RANK).fill_null(0) <= k))
    rows = _places(table[c.USER_ID], split.train.user_ids[split.users])
    unasked = rows < 0
    if missing := len(split) - len(np.unique(rows[~unasked])):
        raise DataError(
            f"{path} has no slate for {missing} of the {len(split)} requests of {split.name!r}; "
            f"a user for whom there is nothing gets one row whose item_id is null"
        )
    filled = ~unasked & table[c.ITEM_ID].is_not_null().to_numpy()
    table, rows = table.filter(filled), rows[filled]
    items = _places(table[c.ITEM_ID], split.train.catalog.ids)
    if (items < 0).any():
        example = table[c.ITEM_ID][int(np.argmax(items < 0))]
        raise DataError(
            f"{path} holds {int((items < 0).sum())} items that the catalogue does not have, "
            f"{example!r} for one"
        )
    return _filled(path, table, (rows, items), (len(split), k))


def _filled(
    path: Path, table: pl.DataFrame, at: tuple[Int32Array, Int32Array], shape: tuple[int, int]
) -> ItemsBatch:
    """Slates of `shape` from rows of a table and their (request, item) numbers."""
    ids = np.full(shape, PADDING, np.int32)
    place = table[c.RANK].cast(pl.Int64).fill_null(0).to_numpy() - 1
    own = at[0].astype(np.int64) * shape[1] + place
    if place.min(initial=0) < 0 or (np.diff(np.sort(own)) == 0).any():
        raise DataError(f"{path}: each place of a slate, from rank 1 on, is filled once")
    ids[at[0], place] = at[1]
    # Places left open would count as found nothing; what stands below moves up.
    order = np.argsort(ids == PADDING, axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, axis=1)
    by_rank = -1 - np.arange(shape[1], dtype=np.float32)
    return ItemsBatch(ids, np.where(ids == PADDING, np.float32(-np.inf), by_rank))


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _own_rows(path: Path, split: Split) -> pl.DataFrame:
    """The rows of a slates file that belong to a split, columns checked."""
    table = _read(path)
    missing = [name for name in (c.USER_ID, c.ITEM_ID, c.RANK) if name not in table.columns]
    if missing or not table[c.RANK].dtype.is_integer():
        raise DataError(
            f"{path} has columns {', '.join(f'{n} ({t})' for n, t in table.schema.items())}; "
            f"slates need user_id, item_id and a whole number rank"
        )
    names = [name for name in (c.USER_ID, c.ITEM_ID, SPLIT) if name in table.columns]
    try:
        table = table.with_columns(pl.col(names).cast(pl.String))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: {', '.join(names)} are to be names: {error}") from error
    return table.filter(pl.col(SPLIT) == split.name) if SPLIT in table.columns else table


def _places(names: pl.Series, known: Any) -> Int32Array:
    """int32, where each name stands among the known ones; -1 where it does not."""
    index = pl.DataFrame({"name": pl.Series(known, dtype=pl.String)}).with_row_index("place")
    found = names.to_frame("name").join(index, on="name", how="left", maintain_order="left")
    places: Int32Array = found["place"].cast(pl.Int32).fill_null(-1).to_numpy()
    return places


def _events(data: Dataset) -> pl.DataFrame:
    return pl.DataFrame(
        {
            c.USER_ID: pl.Series(data.user_ids[data.user], dtype=pl.String),
            c.ITEM_ID: pl.Series(data.catalog.ids[data.item], dtype=pl.String),
            c.TIMESTAMP: pl.Series(data.time).cast(pl.Datetime("us", "UTC")),
            "weight": data.weight,
        }
    )


def _requests(split: Split) -> pl.DataFrame:
    return pl.DataFrame(
        {
            c.USER_ID: pl.Series(split.train.user_ids[split.users], dtype=pl.String),
            c.TIMESTAMP: pl.Series(split.asof).cast(pl.Datetime("us", "UTC")),
        }
    )


def _targets(split: Split) -> pl.DataFrame:
    users = np.repeat(split.users, np.diff(split.target_ptr))
    return pl.DataFrame(
        {
            c.USER_ID: pl.Series(split.train.user_ids[users], dtype=pl.String),
            c.ITEM_ID: pl.Series(split.train.catalog.ids[split.target], dtype=pl.String),
        }
    )


def _instant(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
