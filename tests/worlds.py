"""Small worlds whose right answers can be proved, shared by the tests of all models."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import sparse

from tailrec import columns as c
from tailrec.dataset import DAY_US, Catalog, Dataset, Features
from tailrec.engine import AnySource
from tailrec.mixture import Mixture
from tailrec.training.recipes import Course
from tailrec.tuning_spaces import source_named

PURCHASE = c.EVENT_TYPES.index("purchase")
QUICK = Course(steps=60, rate=0.02, check_every=60, device="cpu")
"""Enough for a world."""


def quick(kind: str) -> AnySource:
    """A source with its default options, but a short course where it is trained in steps."""
    source = source_named(kind)
    if isinstance(source, Mixture):
        return source.model_copy(update={"parts": tuple(quick(p.kind) for p in source.parts)})
    return source.model_copy(update={"course": QUICK}) if hasattr(source, "course") else source


def shop(histories: Sequence[Sequence[int]], titles: Sequence[str]) -> Dataset:
    """A dataset in which every event is a purchase, and a step and a day of its own.

    Args:
        histories: catalogue numbers of each user's items, oldest first.
        titles: of each item; item ids are made from the numbers.
    """
    lengths = [len(history) for history in histories]
    ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n_events = int(ptr[-1])
    step = np.arange(n_events, dtype=np.int32) - np.repeat(ptr[:-1], lengths).astype(np.int32)
    table = pl.DataFrame(
        {c.ITEM_ID: [f"i{number}" for number in range(len(titles))], c.TITLE: list(titles)},
        schema={c.ITEM_ID: pl.String, c.TITLE: pl.String},
    )
    return Dataset(
        catalog=Catalog(table),
        user_ids=np.array([f"u{number}" for number in range(len(histories))], dtype=object),
        ptr=ptr,
        item=np.array([item for history in histories for item in history], dtype=np.int32),
        time=step.astype(np.int64) * DAY_US,
        step=step,
        weight=np.ones(n_events, np.float32),
        type=np.full(n_events, PURCHASE, np.int8),
        value=np.full(n_events, np.nan, np.float32),
        now=max(lengths, default=0) * DAY_US,
    )


def words_of(data: Dataset) -> Features:
    """Features with a column for each word of the titles, rows of unit length, no vectors."""
    titles = [title.split() for title in data.catalog.text([c.TITLE])]
    vocabulary = {word: n for n, word in enumerate(sorted({w for t in titles for w in t}))}
    counts = np.zeros((len(titles), len(vocabulary)), np.float32)
    for row, title in enumerate(titles):
        for word in title:
            counts[row, vocabulary[word]] += 1
    lengths = np.linalg.norm(counts, axis=1, keepdims=True)
    unit = np.divide(counts, lengths, out=counts, where=lengths > 0)
    return Features(sparse.csr_array(unit), np.zeros((len(titles), 0), np.float32))


def checkerboard(n: int = 20) -> Dataset:
    """n people and n items of two colours: even and odd numbers.

    A person has every item of the own colour but the one of the same number. So the one item of
    the right colour that person u lacks is item u.
    """
    histories = [[item for item in range(u % 2, n, 2) if item != u] for u in range(n)]
    return shop(histories, [f"{('red', 'black')[i % 2]} thing{i}" for i in range(n)])


def ring(n: int = 12, steps: int = 4) -> Dataset:
    """n people walk round a ring of n items: person u from item u on, `steps` items in order.

    All items are alike under rotation. What comes next for person u is item u + steps; by
    symmetry, a model blind to order and recency likes the item before the walk just as much.
    """
    histories = [[(u + step) % n for step in range(steps)] for u in range(n)]
    return shop(histories, [f"stop{i}" for i in range(n)])


def cold_twin() -> Dataset:
    """Three people had item 0; item 3 has the same words as item 0, and nobody had it.

    Item 1 is had together with item 0 and shares no word with it; item 2 has no words at all.
    The last person had only item 0.
    """
    titles = ["green tea", "steel kettle", "", "green tea"]
    return shop([[0, 1], [1, 0], [1, 2], [0]], titles)


def crowd(rng: np.random.Generator, n_users: int = 60, n_items: int = 50) -> Dataset:
    """No answer to prove: random histories of every length, for properties that always hold.

    The first user has no history and the last five items have no events; items repeat.
    """
    popularity = 1.0 / np.arange(1, n_items - 4)
    lengths = np.concatenate([[0], rng.integers(1, 13, n_users - 1)])
    choose = popularity / popularity.sum()
    histories = [rng.choice(n_items - 5, length, p=choose).tolist() for length in lengths]
    return shop(histories, [f"word{i % 7} word{i % 11} thing{i}" for i in range(n_items)])
