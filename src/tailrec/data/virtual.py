"""People who were made up, so that items nobody touched have somebody's history to stand in.

A virtual person's history is sampled from a fitted source, item by item, each by its score given
those before it. It is what the source believes, not what happened: it may teach another model,
and is never asked about.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.random import Generator

from tailrec import columns as c
from tailrec.data.augment import Augment
from tailrec.data.synthetic import PREFIX, is_synthetic
from tailrec.dataset import DAY_US, Dataset
from tailrec.errors import DataError
from tailrec.items import PADDING, Array, Float32Array, Int32Array, ItemsBatch, QueryBatch
from tailrec.protocols import Source

POOL: Final = 50
"""Best items among which the next one is drawn."""
Start = Literal["item", "history"]


def with_virtual_users(
    data: Dataset,
    source: Source,
    items: Int32Array,
    recipe: Augment,
    rng: Generator,
    *,
    start: Start = "item",
    sharpness: float = 1.0,
) -> Dataset:
    """The dataset with virtual users for some items.

    Args:
        data: what may be learnt from, never what is asked about.
        source: fitted on the same catalogue; all sources in `candidates` will do. One that knows
            items by behaviour alone proposes nothing for those that have none.
        items: int32 [N], catalogue numbers of the items that need users.
        recipe: `virtual_users` of each item, with up to `virtual_length` items each.
        rng: draws; the same rng gives the same people.
        start: `item`: a history begins with the item, and the others are sampled after it;
            `history`: it is the end of a real person's history, and one of the items, sampled
            by its score for that person, comes last. Those who were never proposed get nobody.
        sharpness: exponent of the scores an item is drawn by; above 1 the best are drawn more.

    Returns:
        The same users and, behind them, the virtual ones, with ids that begin with
        `synthetic.PREFIX`; those whose history would be a single item are left out.

    Raises:
        DataError: an item is not in the catalogue, or a user of the data has such an id already.
    """
    if len(items) and not 0 <= items.min() <= items.max() < data.n_items:
        raise DataError(f"items {items.min()}..{items.max()} of a catalogue of {data.n_items}")
    if is_synthetic(data.user_ids).any():
        raise DataError(f"users with ids {PREFIX}... are there already; extend the real data")
    n_made = len(items) * recipe.virtual_users
    if not n_made:
        return data
    if start == "item":
        seeds = np.repeat(items, recipe.virtual_users)[:, None].astype(np.int32)
        made = _walks(seeds, source, data.n_items, recipe.virtual_length, (rng, sharpness))
    else:
        made = _endings(data, source, items, recipe, (rng, sharpness))
    return _extended(data, [row[row != PADDING] for row in made])


def _walks(
    made: Int32Array, source: Source, n_items: int, length: int, luck: tuple[Generator, float]
) -> Int32Array:
    """Histories [N, length] that go on from their first items; padded where nothing is proposed."""
    while made.shape[1] < length:
        found = source.candidates(_queries(made), min(POOL, n_items))
        made = np.concatenate([made, _drawn(found, *luck)[:, None]], axis=1)
    return made


def _endings(
    data: Dataset,
    source: Source,
    items: Int32Array,
    recipe: Augment,
    luck: tuple[Generator, float],
) -> Int32Array:
    """Ends of real histories with one of the items behind them."""
    n_made, own = len(items) * recipe.virtual_users, recipe.virtual_length - 1
    some = np.flatnonzero(np.diff(data.ptr) > 0)
    people = luck[0].choice(some, n_made, replace=n_made > len(some))
    place = data.ptr[people + 1][:, None] - np.arange(own, 0, -1)
    inside = place >= data.ptr[people][:, None]
    past = np.where(inside, data.item[np.maximum(place, 0)], PADDING).astype(np.int32)
    others = np.ones(data.n_items, np.bool_)
    others[items] = False
    asked = replace(_queries(past), hidden=others)
    last = _drawn(source.candidates(asked, min(POOL, data.n_items)), *luck)
    made = np.concatenate([past, last[:, None]], axis=1)
    return np.asarray(made[last != PADDING], np.int32)


def _queries(made: Int32Array) -> QueryBatch:
    """Requests of histories [N, L], padded anywhere; an item a step, the last one the newest."""
    real = made != PADDING
    ptr = np.concatenate([[0], np.cumsum(real.sum(axis=1))]).astype(np.int64)
    behind = np.cumsum(real[:, ::-1], axis=1)[:, ::-1] - 1
    item = made[real]
    ones = np.ones(len(item), np.float32)
    return QueryBatch(ptr, item, behind[real].astype(np.int32), 0 * ones, ones, ptr, item)


def _drawn(found: ItemsBatch, rng: Generator, sharpness: float) -> Int32Array:
    """int32 [N], one item of each row by its score; `PADDING` where there is none."""
    scores: Float32Array = np.where(found.ids == PADDING, 0, np.maximum(found.scores, 0))
    top = np.maximum(scores.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    weight = np.cumsum((scores / top) ** sharpness * (scores > 0), axis=1)
    aim = rng.random(len(scores)) * weight[:, -1]
    place = (weight <= aim[:, None]).sum(axis=1).clip(max=scores.shape[1] - 1)
    drawn = found.ids[np.arange(len(scores)), place]
    return np.where(weight[:, -1] > 0, drawn, PADDING).astype(np.int32)


def _extended(data: Dataset, made: Iterable[Int32Array]) -> Dataset:
    """The dataset with these histories behind its own; a step and a minute an item, up to now."""
    real = [history for history in made if len(history) > 1]
    if not real:
        return data
    lengths = np.array([len(history) for history in real])
    item = np.concatenate(real)
    ptr = np.concatenate([[0], np.cumsum(lengths)])
    step = np.arange(len(item)) - np.repeat(ptr[:-1], lengths)
    back = np.repeat(lengths, lengths) - 1 - step
    usual = np.bincount(data.type, minlength=len(c.EVENT_TYPES)).argmax()
    names = np.array([f"{PREFIX}{number}" for number in range(len(real))], dtype=object)

    def behind(own: Array, more: Array) -> Array:
        return np.concatenate([own, more.astype(own.dtype)])

    return replace(
        data,
        user_ids=np.concatenate([data.user_ids, names]),
        ptr=behind(data.ptr, data.ptr[-1] + ptr[1:]),
        item=behind(data.item, item),
        time=behind(data.time, data.now - back * (DAY_US // 1440)),
        step=behind(data.step, step),
        weight=behind(data.weight, np.ones(len(item))),
        type=behind(data.type, np.full(len(item), usual)),
        value=behind(data.value, np.full(len(item), np.nan)),
    )
