"""Cleaning rules on prices, quantities and other numbers."""

import polars as pl

from tailrec import columns as c
from tailrec.data.cleaning import Cleaning
from tailrec.data.coerce import BAD
from tailrec.data.mapping import QUANTITY
from tailrec.data.rules import Verdict, first_of, said

_EVENT_NUMBERS = (c.PRICE, QUANTITY, c.VALUE, c.POSITION, c.PROPENSITY)
_MAD_TO_SIGMA = 1.4826  # makes the MAD of a normal distribution its standard deviation
_LEAST_SPREAD = 0.5  # an item always sold by the dozen may be sold by the score


def prices(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Rejects purchases whose price or quantity cannot be; empties such cells of items."""
    if c.TIMESTAMP not in frame.columns:
        return _item_prices(frame, options)
    present = [name for name in _EVENT_NUMBERS if name in frame.columns]
    bad = [
        (pl.col(BAD + name).is_not_null(), said(f"{name} '", pl.col(BAD + name), "' is no number"))
        for name in present
        if BAD + name in frame.columns
    ]
    bought = pl.col(c.TYPE) == "purchase"
    cases = list(bad)
    if c.PRICE in present:
        price = pl.col(c.PRICE)
        cases += [
            (bought & price.is_null(), pl.lit("price is missing")),
            (bought & (price <= 0), said("price ", price.cast(pl.String), " is not above 0")),
            (price > options.max_price, said("price ", price.cast(pl.String), " is absurd")),
        ]
    if QUANTITY in present:
        quantity = pl.col(QUANTITY)
        cases += [
            (bought & quantity.is_null(), pl.lit("quantity is missing")),
            (bought & (quantity == 0), pl.lit("quantity is 0")),
        ]
    elif c.VALUE in present:
        negative = bought & (pl.col(c.VALUE) < 0)
        cases.append((negative, said("value ", pl.col(c.VALUE).cast(pl.String), " is below 0")))
    dropped = frame.drop([BAD + name for name in present], strict=False)
    return Verdict(dropped, first_of(frame, *cases) if cases else None)


def _item_prices(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    numbers = [name for name in (c.PRICE, c.COST, c.STOCK) if name in frame.columns]
    possible = {
        c.PRICE: pl.col(c.PRICE).is_between(0, options.max_price, closed="right"),
        c.COST: pl.col(c.COST).is_between(0, options.max_price),
        c.STOCK: pl.col(c.STOCK) >= 0,
    }
    emptied = frame.with_columns(pl.when(possible[name]).then(name) for name in numbers)
    return Verdict(emptied.drop([BAD + name for name in numbers], strict=False))


def quantities(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Caps (or rejects) quantities far above what is usual for the item.

    Usual is judged on logarithms: an order of ten dozen is no outlier among dozens. A value that
    is the quantity, or quantity times price, is capped with it. Where the file states another
    value, as for fuel sold by the millilitre, that value is the measure and nothing is capped.
    """
    if QUANTITY not in frame.columns:
        return Verdict(frame)
    limit, quantity, value = _limits(frame, options), pl.col(QUANTITY), pl.col(c.VALUE)
    over = quantity > limit
    if c.VALUE in frame.columns:
        made = quantity * pl.col(c.PRICE) if c.PRICE in frame.columns else quantity
        over &= value.is_null() | ((value - made).abs() <= 1e-6 * made.abs())
    if options.outliers == "reject":
        shown = said("quantity ", quantity.cast(pl.String), " is over ", limit.cast(pl.String))
        return Verdict(frame, first_of(frame, (over, shown)))
    capped = [pl.when(over).then(limit).otherwise(quantity).alias(QUANTITY)]
    if c.VALUE in frame.columns:
        capped.append(pl.when(over).then(value * limit / quantity).otherwise(value).alias(c.VALUE))
    return Verdict(frame.with_columns(capped))


def _limits(frame: pl.DataFrame, options: Cleaning) -> pl.Expr:
    """The largest usual quantity of each row's item, in whole pieces."""
    size = pl.col(QUANTITY).filter(pl.col(QUANTITY) > 0).log()
    spread = (size - size.median()).abs().median() * _MAD_TO_SIGMA
    top = (size.median() + options.quantity_spread * pl.max_horizontal(spread, _LEAST_SPREAD)).exp()
    overall = frame.select(top).to_series()[0] or float("inf")
    measured = frame.group_by(c.ITEM_ID).agg(top.alias("top"), size.count().alias("n"))
    own = measured.filter(pl.col("n") >= options.quantity_rows)
    limit = pl.col(c.ITEM_ID).replace_strict(
        own[c.ITEM_ID], own["top"], default=overall, return_dtype=pl.Float64
    )
    return pl.max_horizontal(limit, pl.lit(options.quantity_floor)).floor()
