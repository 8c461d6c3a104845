"""Cleaning rule: cancelled orders, matched to what they cancel."""

import numpy as np
import polars as pl
from numba import njit

from tailrec import columns as c
from tailrec.data.cleaning import Cleaning
from tailrec.data.jsonlines import ROW
from tailrec.data.mapping import QUANTITY
from tailrec.data.rules import Verdict, first_of, said
from tailrec.items import Float64Array, Int64Array

_LEFT = "_left"
_CANCELS = "_cancels"
_BY = "_by"


def cancellations(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Takes cancellations, and what they cancel, out of the purchases.

    A cancellation is a purchase of a negative quantity, or one whose session id begins with
    `cancel_prefix`. It takes back the latest earlier purchases of the same item by the same user,
    as far as its quantity goes: a purchase taken back whole is rejected, one taken back in part
    keeps the rest of its quantity and value. Cancellations themselves are always rejected.
    """
    if QUANTITY not in frame.columns or c.USER_ID not in frame.columns:
        return Verdict(frame)
    bought = pl.col(c.TYPE) == "purchase"
    cancels = bought & (pl.col(QUANTITY) < 0)
    if options.cancel_prefix and c.SESSION_ID in frame.columns:
        cancels |= bought & pl.col(c.SESSION_ID).str.starts_with(options.cancel_prefix)
    marked = frame.with_columns(cancels.fill_null(value=False).alias(_CANCELS))
    if not marked[_CANCELS].any():
        return Verdict(frame)
    matched = _matched(marked)
    left, size = pl.col(_LEFT), pl.col(QUANTITY).abs()
    by = said("taken back by row ", pl.col(_BY).cast(pl.String))
    found = said("takes back ", (size - left).cast(pl.String), " of ", size.cast(pl.String))
    reason = first_of(
        matched,
        (pl.col(_CANCELS) & (left >= size), pl.lit("cancels a purchase that is not here")),
        (pl.col(_CANCELS), found),
        (pl.col(_BY).is_not_null() & (left <= 0), by),
    )
    reduced = ~pl.col(_CANCELS) & pl.col(_BY).is_not_null() & (left > 0)
    changes = [pl.when(reduced).then(left).otherwise(QUANTITY).alias(QUANTITY)]
    if c.VALUE in frame.columns:
        part = pl.col(c.VALUE) * left / size
        changes.append(pl.when(reduced).then(part).otherwise(c.VALUE).alias(c.VALUE))
    return Verdict(matched.with_columns(changes).select(frame.columns), reason)


def _matched(marked: pl.DataFrame) -> pl.DataFrame:
    """The rows with what is left of their quantity, and the row that took a purchase back."""
    place, pair = "_place", [c.USER_ID, c.ITEM_ID]
    bought = marked.with_row_index(place).filter(
        (pl.col(c.TYPE) == "purchase") & pl.col(c.USER_ID).is_not_null()
    )
    part = (
        bought.join(bought.filter(_CANCELS), on=pair, how="semi")
        .sort(*pair, c.TIMESTAMP, _CANCELS, place)
        .with_columns(pl.struct(pair).rle_id().alias("_group"))
    )
    sign = pl.when(_CANCELS).then(-1.0).otherwise(1.0)
    sizes = part.select(sign * pl.col(QUANTITY).fill_null(0).abs()).to_series().to_numpy()
    left, by = take_back(part["_group"].to_numpy().astype(np.int64), sizes)
    rows = part[ROW].to_numpy()
    outcome = part.select(place).with_columns(
        pl.Series(_LEFT, left), pl.Series(_BY, np.where(by < 0, -1, rows[by])).replace(-1, None)
    )
    return (
        marked.with_row_index(place)
        .join(outcome, on=place, how="left", maintain_order="left")
        .drop(place)
    )


@njit(cache=True)
def take_back(group: Int64Array, size: Float64Array) -> tuple[Float64Array, Int64Array]:
    """Matches negative sizes to the latest earlier positive ones of their group.

    Args:
        group: int64 [N], sorted.
        size: float64 [N], in order of time within a group; negative for a cancellation.

    Returns:
        float64 [N], what is left of each size, as a positive number, and int64 [N], position of
        the last cancellation that took from a purchase, or -1.
    """
    left = np.abs(size)
    by = np.full(len(size), -1, np.int64)
    open_purchases = np.empty(len(size), np.int64)
    n_open = 0
    for here in range(len(size)):
        if here == 0 or group[here] != group[here - 1]:
            n_open = 0
        if size[here] > 0:
            open_purchases[n_open] = here
            n_open += 1
            continue
        while left[here] > 0 and n_open > 0:
            latest = open_purchases[n_open - 1]
            taken = min(left[here], left[latest])
            left[here] -= taken
            left[latest] -= taken
            by[latest] = here
            if left[latest] == 0:
                n_open -= 1
    return left, by
