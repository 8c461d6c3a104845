"""Small shops for the tail's tests."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.dataset import Catalog, Dataset

Row = tuple[str, int, str, int, float]
"""User, catalogue number, type, day, value."""


def build(n_items: int, rows: list[Row], **item_columns: list[object]) -> Dataset:
    """A dataset of n items named i0, i1 ... in which each day of a user is one step."""
    rows = sorted(rows, key=lambda row: (row[0], row[3]))
    users = sorted({row[0] for row in rows})
    of_user = np.array([users.index(row[0]) for row in rows], np.int64)
    day = np.array([row[3] for row in rows], np.int64)
    table = pl.DataFrame({c.ITEM_ID: [f"i{n}" for n in range(n_items)], **item_columns})
    return Dataset(
        catalog=Catalog(table),
        user_ids=np.array(users, object),
        ptr=np.searchsorted(of_user, np.arange(len(users) + 1)).astype(np.int64),
        item=np.array([row[1] for row in rows], np.int32),
        time=day * 86_400_000_000,
        step=day.astype(np.int32),
        weight=np.ones(len(rows), np.float32),
        type=np.array([c.EVENT_TYPES.index(row[2]) for row in rows], np.int8),
        value=np.array([row[4] for row in rows], np.float32),
        now=int(day.max(initial=0)) * 86_400_000_000,
    )


@pytest.fixture(scope="session")
def shop() -> Callable[..., Dataset]:
    """`build`, for tests that need a shop of their own."""
    return build


@pytest.fixture
def counted(shop: Callable[..., Dataset]) -> Callable[[list[int]], Dataset]:
    """A shop whose items have these numbers of purchases, each by somebody else."""

    def make(counts: list[int]) -> Dataset:
        bought = [item for item, n in enumerate(counts) for _ in range(n)]
        rows = [(f"u{row:05}", item, "purchase", 0, 1.0) for row, item in enumerate(bought)]
        return shop(len(counts), rows, title=[f"title <{n}>" for n in range(len(counts))])

    return make
