"""When somebody who has an item is due to have it again, by category, where the data say so."""

from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from tailrec import columns as c
from tailrec.dataset import DAY_US, Dataset
from tailrec.items import Float32Array
from tailrec.recipe import Recipe

NEVER = np.float32(np.inf)
"""Days after which what nobody has twice is due again."""
_ACQUIRED = tuple(c.EVENT_TYPES.index(name) for name in ("purchase", "play"))


class Repurchase(Recipe):
    """When an item is due again.

    Attributes:
        rate: share of the people who had an item of a category and came back for it, from which
            on the category is one of things bought again.
        prior: people, returning at the rate of the whole shop, whom every category is credited
            with: a small category has to show more.
        wait: when an item is due again, as a share of its category's median time between.
    """

    rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    prior: Annotated[float, Field(gt=0)] = 20.0
    wait: Annotated[float, Field(ge=0)] = 0.5

    def fit(self, data: Dataset) -> Float32Array:
        """Days after which each item is due again.

        Args:
            data: histories with every repeat; purchases and plays count.

        Returns:
            float32 [I]; `NEVER` where people do not come back for the category's items.
        """
        category = _categories(data)
        pairs = _pairs(data).join(category, on="item", how="left")
        usual = pairs.select((pl.col("times") > 1).mean().fill_null(0)).item()
        rates = pairs.group_by(c.CATEGORY).agg(
            ((pl.col("times") > 1).sum() + self.prior * usual) / (pl.len() + self.prior),
            (pl.col("between") / DAY_US).median().alias("days"),
        )
        again = rates.filter((pl.col("times") >= self.rate) & pl.col("days").is_not_null())
        due = category.join(
            again, on=c.CATEGORY, how="left", maintain_order="left", nulls_equal=True
        )
        # Never comes last: no share of it, not even none, makes it sooner.
        days = (due["days"] * self.wait).cast(pl.Float32).fill_null(float(NEVER)).to_numpy()
        return np.asarray(days, np.float32)


def _categories(data: Dataset) -> pl.DataFrame:
    """item, and its category; items without one are one category."""
    table = data.catalog.table
    named = c.CATEGORY in table.columns
    names = table[c.CATEGORY] if named else pl.repeat(None, len(table), dtype=pl.String, eager=True)
    return pl.DataFrame({"item": np.arange(len(table), dtype=np.int32), c.CATEGORY: names})


def _pairs(data: Dataset) -> pl.DataFrame:
    """item, times: on how many occasions one person had it, between: microseconds a time."""
    acquired = np.isin(data.type, _ACQUIRED)
    events = pl.DataFrame(
        {
            "user": data.user[acquired],
            "item": data.item[acquired],
            "step": data.step[acquired],
            "time": data.time[acquired],
        }
    )
    pairs = events.group_by("user", "item").agg(
        pl.col("step").n_unique().alias("times"),
        (pl.col("time").max() - pl.col("time").min()).alias("span"),
    )
    between = pl.when(pl.col("times") > 1).then(pl.col("span") / (pl.col("times") - 1))
    return pairs.select("item", "times", between.alias("between"))
