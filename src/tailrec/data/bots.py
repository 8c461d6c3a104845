"""Cleaning rule: users that are programs."""

import polars as pl

from tailrec import columns as c
from tailrec.data.cleaning import Cleaning
from tailrec.data.rules import Verdict, first_of, said

_WHY = "_why"


def bots(frame: pl.DataFrame, options: Cleaning) -> Verdict:
    """Rejects users with too many events on one day, or who act like clockwork.

    Impressions are not counted: the shop makes them. Where every row has one and the same time
    (it was filled in), days say nothing and nobody is rejected.
    """
    acted = frame.filter(pl.col(c.TYPE) != "impression")
    if acted[c.TIMESTAMP].n_unique() < 2:
        return Verdict(frame)
    judged = pl.concat([_busy(acted, options), _steady(acted, options)])
    first = judged.unique(c.USER_ID, keep="first", maintain_order=True)
    if first.is_empty():
        return Verdict(frame)
    marked = frame.join(first, on=c.USER_ID, how="left", maintain_order="left")
    why = said("user '", pl.col(c.USER_ID), "' ", pl.col(_WHY))
    return Verdict(frame, first_of(marked, (pl.col(_WHY).is_not_null(), why)))


def _busy(acted: pl.DataFrame, options: Cleaning) -> pl.DataFrame:
    day = pl.col(c.TIMESTAMP).dt.date().alias("day")
    most = acted.group_by(c.USER_ID, day).len().group_by(c.USER_ID).agg(pl.col("len").max())
    over = most.filter(pl.col("len") > options.bot_daily)
    return over.select(
        c.USER_ID, said("has ", pl.col("len").cast(pl.String), " events on one day").alias(_WHY)
    ).sort(c.USER_ID)


def _steady(acted: pl.DataFrame, options: Cleaning) -> pl.DataFrame:
    gap = pl.col(c.TIMESTAMP).diff().over(c.USER_ID).dt.total_microseconds() / 1e6
    instants = acted.select(c.USER_ID, c.TIMESTAMP).unique().sort(c.USER_ID, c.TIMESTAMP)
    gaps = (
        instants.with_columns(gap.alias("gap"))
        .group_by(c.USER_ID)
        .agg(
            pl.len(),
            pl.col("gap").mean(),
            (pl.col("gap").std() / pl.col("gap").mean()).alias("spread"),
        )
    )
    clockwork = gaps.filter(
        (pl.col("len") >= options.bot_instants)
        & (pl.col("gap") <= options.bot_gap_s)
        & (pl.col("spread") < options.bot_steady)
    )
    every = pl.col("gap").round(1).cast(pl.String)
    return clockwork.select(
        c.USER_ID, said("acts like clockwork, every ", every, " s").alias(_WHY)
    ).sort(c.USER_ID)
