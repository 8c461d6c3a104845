"""Tables of events and items, made into the histories a model learns from."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field

from tailrec import columns as c
from tailrec.dataset import Catalog, Dataset
from tailrec.errors import SchemaError
from tailrec.items import Int32Array, Int64Array
from tailrec.recipe import Recipe

log = logging.getLogger(__name__)

Repeats = Literal["first", "last", "all"]
Weight = Annotated[float, Field(ge=0)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RATED = ("rating", "review")


class Weights(Recipe):
    """What one event of each type counts in a history; 0 keeps the type out of it."""

    purchase: Weight = 1.0
    rating: Weight = 1.0
    review: Weight = 1.0
    play: Weight = 1.0
    favourite: Weight = 0.7
    cart: Weight = 0.7
    click: Weight = 0.3
    view: Weight = 0.3
    impression: Weight = 0.0
    search: Weight = 0.0

    @classmethod
    def of_all(cls, weight: float) -> Self:
        """The same weight for every type."""
        return cls(**dict.fromkeys(cls.model_fields, weight))


class Histories(Recipe):
    """How events become histories.

    Attributes:
        weights: what an event counts, by type; types left out keep their default.
        min_rating: a rating or review with a value below it is not liked, and left out.
        baskets: ``session``: neighbouring events of one session_id, or of one instant, share a
            step; ``instant``: only those of one instant (for click streams, whose order inside
            a session says much).
        repeats: what stands for several events of one user and item: the ``first``, the ``last``,
            or ``all`` of them. One that stands for several counts as much as the strongest.
    """

    weights: Weights = Weights()
    min_rating: float | None = None
    baskets: Literal["session", "instant"] = "session"
    repeats: Repeats = "last"


def build_dataset(
    events: pl.DataFrame,
    items: pl.DataFrame,
    recipe: Histories,
    *,
    until: datetime | None = None,
    whole: bool = False,
) -> Dataset:
    """Ordered histories over a catalogue, both sorted by id.

    Events are ordered by user, time, event_id. Inside one instant the order is that of the
    event_id, which for events without one of their own is a hash of their content: data that
    knows no order gets a random one, not that of its item ids. Events without a user, an item
    or a time are no history. An item that has events and is missing from `items` gets a
    catalogue row without text; a log line says how many there are.

    Args:
        events: table of `columns.EVENTS`; user_id, item_id, type and timestamp are needed.
        items: table of `columns.ITEMS`; item_id is needed.
        recipe: what counts, and how much.
        until: only events before this instant (UTC where it names no zone), which becomes `now`.
        whole: keep every repeat whatever the recipe says. Splits cut whole histories and settle
            repeats afterwards, since which event is the last is not known before the cut.

    Returns:
        The dataset; `now` is `until`, or the newest event of any type.

    Raises:
        SchemaError: a column is missing or of the wrong type.
        DataError: an item_id stands twice in `items`.
    """
    _require(events, (c.USER_ID, c.ITEM_ID, c.TYPE), "events")
    _require(items, (c.ITEM_ID,), "items")
    if not isinstance(events.schema.get(c.TIMESTAMP), pl.Datetime):
        got = events.schema.get(c.TIMESTAMP, "none")
        raise SchemaError(f"events need a column {c.TIMESTAMP!r} of dates with time, got {got}")
    # dt.epoch reads naive times as UTC, and brings every unit to microseconds.
    events = events.with_columns(pl.col(c.TIMESTAMP).dt.epoch("us"))
    if until is not None:
        events = events.filter(pl.col(c.TIMESTAMP) < microseconds(until))
        now = microseconds(until)
    else:
        # The newest of an empty table is None.
        now = int(events.select(pl.col(c.TIMESTAMP).max().fill_null(0)).item())
    history = _history(events, recipe)
    catalog = _catalog(items, history)
    data = _ordered(history, catalog, now, recipe)
    return data if whole else settle_repeats(data, recipe.repeats)


def microseconds(instant: datetime) -> int:
    """Whole microseconds since 1970, UTC; an instant without a zone is read as UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def settle_repeats(data: Dataset, repeats: Repeats) -> Dataset:
    """One event for each user and item: the first or the last, counting as the strongest.

    Steps keep their numbers.

    Args:
        data: histories, repeats included.
        repeats: which event stands for the others; ``all`` changes nothing.

    Returns:
        A dataset of the same users and catalogue.
    """
    if repeats == "all" or not data.n_events:
        return data
    pair = data.user.astype(np.int64) * data.n_items + data.item
    by_pair = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[by_pair], prepend=-1))
    if len(starts) == data.n_events:
        return data
    # The sort is stable, so each group stands in the order of time.
    ends = np.append(starts[1:], data.n_events) - 1
    chosen = by_pair[starts if repeats == "first" else ends]
    kept = np.zeros(data.n_events, bool)
    kept[chosen] = True
    weight = data.weight.copy()
    weight[chosen] = np.maximum.reduceat(data.weight[by_pair], starts)
    return replace(data, weight=weight).keep(kept)


def _require(table: pl.DataFrame, names: Iterable[str], what: str) -> None:
    for name in names:
        got = table.schema.get(name)
        if got != pl.String():
            found = "there is none" if got is None else f"it is {got}"
            raise SchemaError(f"{what} need a text column {name!r}, but {found}")


def _history(events: pl.DataFrame, recipe: Histories) -> pl.DataFrame:
    """The events that count, with weight and the number of their type."""
    weights = [float(getattr(recipe.weights, name)) for name in c.EVENT_TYPES]
    numbers = list(range(len(c.EVENT_TYPES)))
    kind = pl.col(c.TYPE)
    value = pl.col(c.VALUE) if c.VALUE in events.columns else pl.lit(None)
    history = events.drop_nulls([c.USER_ID, c.ITEM_ID, c.TIMESTAMP]).with_columns(
        kind.replace_strict(c.EVENT_TYPES, weights, default=0.0, return_dtype=pl.Float32)
        .fill_null(0)
        .alias("weight"),
        kind.replace_strict(c.EVENT_TYPES, numbers, default=None, return_dtype=pl.Int8).alias(
            "number"
        ),
        value.cast(pl.Float32).alias(c.VALUE),
    )
    history = history.filter(pl.col("weight") > 0)
    if recipe.min_rating is None:
        return history
    disliked = kind.is_in(RATED) & (pl.col(c.VALUE) < recipe.min_rating)
    return history.filter(~disliked.fill_null(False))


def _catalog(items: pl.DataFrame, history: pl.DataFrame) -> Catalog:
    """The items sorted by id; those known by their events alone have no text."""
    unknown = history.join(items, on=c.ITEM_ID, how="anti")
    missing = unknown.select(pl.col(c.ITEM_ID).unique())
    if len(missing):
        message = "%d events name %d items that the catalogue lacks, such as %r; added without text"
        log.warning(message, len(unknown), len(missing), missing[c.ITEM_ID].min())
    return Catalog(pl.concat([items, missing], how="diagonal").sort(c.ITEM_ID))


def _ordered(history: pl.DataFrame, catalog: Catalog, now: int, recipe: Histories) -> Dataset:
    """Histories in their order, as arrays."""
    users = history[c.USER_ID].unique().sort()
    history = history.with_columns(
        pl.col(c.USER_ID).cast(pl.Enum(users)).to_physical().alias("user"),
        pl.col(c.ITEM_ID).cast(pl.Enum(catalog.table[c.ITEM_ID])).to_physical().alias("item"),
    )
    if c.EVENT_ID not in history.columns:
        tie = pl.concat_str(c.USER_ID, c.ITEM_ID, c.TYPE, separator="\n").hash()
        history = history.with_columns(tie.alias(c.EVENT_ID))
    history = history.sort("user", c.TIMESTAMP, c.EVENT_ID)
    user = history["user"].to_numpy()
    ptr = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(users)))]).astype(np.int64)
    return Dataset(
        catalog=catalog,
        user_ids=users.to_numpy().astype(object),
        ptr=ptr,
        item=history["item"].to_numpy().astype(np.int32),
        time=history[c.TIMESTAMP].to_numpy().astype(np.int64),
        step=_steps(history, ptr, recipe),
        weight=history["weight"].to_numpy(writable=True),
        type=history["number"].to_numpy(writable=True),
        value=history[c.VALUE].fill_null(float("nan")).to_numpy(writable=True),
        now=now,
    )


def _steps(history: pl.DataFrame, ptr: Int64Array, recipe: Histories) -> Int32Array:
    """int32 [E], number of each event's basket within its user, from 0."""
    starts = pl.col(c.TIMESTAMP) != pl.col(c.TIMESTAMP).shift()
    if recipe.baskets == "session" and c.SESSION_ID in history.columns:
        session = pl.col(c.SESSION_ID)
        starts &= ~(session == session.shift()).fill_null(False)
    step = history.select(starts.fill_null(True).cum_sum())[:, 0].to_numpy().astype(np.int64)
    # Counted over all users in a row; each user's first event becomes step 0.
    own = np.repeat(step[ptr[:-1]], np.diff(ptr))
    return (step - own).astype(np.int32)
