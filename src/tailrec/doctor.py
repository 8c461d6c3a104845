"""What is wrong with a shop, and what to do about it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tailrec import columns as c
from tailrec.artifact import get_current, verify_artifact
from tailrec.errors import TailrecError
from tailrec.shop import Shop

LEAST_FREE = 1 << 30
"""Bytes of free disk below which a fit or an ingest may fail half-way."""


class Finding(NamedTuple):
    """One thing looked at.

    Attributes:
        part: store, data, model, encoder or disk; shop where it cannot be opened at all.
        well: nothing to do.
        says: what was found, and what to do where it is not well.
    """

    part: str
    well: bool
    says: str


def examine(folder: Path, *, store_url: str | None = None) -> list[Finding]:
    """Look at every part of a shop; one that fails does not hide the others.

    Args:
        folder: of the shop.
        store_url: overrides the recipe's.
    """
    checks = (_store, _data, _model, _encoder, _disk)
    try:
        with Shop.open(folder, store_url=store_url) as shop:
            return [finding for check in checks for finding in _guarded(check, shop)]
    except TailrecError as error:
        return [Finding("shop", False, str(error))]


def _guarded(check: Callable[[Shop], Iterator[Finding]], shop: Shop) -> Iterator[Finding]:
    try:
        yield from check(shop)
    except TailrecError as error:
        yield Finding(check.__name__.strip("_"), False, str(error))


def _store(shop: Shop) -> Iterator[Finding]:
    wrong = shop.store.check()
    for problem in wrong:
        yield Finding("store", False, f"{problem}; restore a copy, or ingest the raw files again")
    if not wrong:
        yield Finding("store", True, "opens, is intact, and has this version's tables")


def _data(shop: Shop) -> Iterator[Finding]:
    counts = {table: shop.store.count(table) for table in c.TABLES}
    says = ", ".join(f"{n:,} {table}" for table, n in counts.items())
    if not counts["events"] or not counts["items"]:
        yield Finding("data", False, f"{says}; run `tailrec ingest`")
        return
    events, items = (shop.store.read(t, columns=[c.ITEM_ID]) for t in ("events", "items"))
    lost = events.join(items, on=c.ITEM_ID, how="anti").height
    if lost > len(events) // 100:
        yield Finding(
            "data", False, f"{says}; {lost:,} events name items without a row: ingest those items"
        )
    else:
        yield Finding("data", True, says)


def _model(shop: Shop) -> Iterator[Finding]:
    version = get_current(shop.models)
    if version is None:
        yield Finding("model", False, "there is none; run `tailrec fit`")
        return
    engine = shop.engine(version)
    verify_artifact(shop.models / version)
    n_new = int((engine.counts == 0).sum())
    says = f"{version} loads and knows {len(engine.ids):,} items, {n_new:,} of them without events"
    yield Finding("model", True, says)


def _encoder(shop: Shop) -> Iterator[Finding]:
    if not shop.recipe.features.encode:
        yield Finding("encoder", True, "none is used")
        return
    encoder = shop.recipe.features.text.prepare(cache=shop.cache, home=shop.folder)
    length = float(np.linalg.norm(encoder.encode_texts(["red mug"])[0]))
    if np.isclose(length, 1, atol=1e-3):
        yield Finding("encoder", True, f"gives vectors of {encoder.dim} numbers")
    else:
        says = f"gives a vector of length {length:.3f} and not 1; delete {shop.cache}, fit again"
        yield Finding("encoder", False, says)


def _disk(shop: Shop) -> Iterator[Finding]:
    free = shutil.disk_usage(shop.folder).free
    says = f"{free / 2**30:.1f} GiB free"
    if free < LEAST_FREE:
        yield Finding("disk", False, f"{says}; make room before the next fit or ingest")
    else:
        yield Finding("disk", True, says)
