"""How slates are looked at: the chance that a place is, and that what stands there is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.arrange import POOL
from tailrec.artifact import under
from tailrec.data.split import Split
from tailrec.engine import EngineRecipe
from tailrec.features.build import FeatureModel
from tailrec.hits import find_hits
from tailrec.items import Array, Float32Array, Float64Array, ItemsBatch, StrArray
from tailrec.reranking.attention import Attention, AttentionCurve, ClickLog
from tailrec.reranking.conversion import conversion
from tailrec.reranking.response import ResponseCurve, fit_response

PLACES: Final = 200
"""Places whose attention is known: the longest slate."""
WIDTH: Final = 20 * POOL
"""Places of the slates a curve of responses is learnt from: the pool of a usual slate."""
OPTIMISM: Final = 1.0
"""Standard deviations by which a rate of purchases may be higher than is known."""
REQUESTS: Final = 10_000
"""Requests it is learnt from, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What was learnt of how slates are looked at.

    Attributes:
        curve: from scores of the engine to the chance of a response.
        attention: float64 [k], chance that a place is looked at.
        conversion: float32 [I], how often a look at an item ends in a purchase.
    """

    curve: ResponseCurve
    attention: Float64Array
    conversion: Float32Array

    def arrays(self) -> dict[str, Array]:
        """As files; see `load_model`."""
        own = {f"curve.{name}": values for name, values in self.curve.arrays().items()}
        return own | {"attention": self.attention, "conversion": self.conversion}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Looks | None":
        """What gave these arrays; None without any."""
        if not arrays:
            return None
        curve = ResponseCurve.from_arrays(under(arrays, "curve."))
        return cls(curve, arrays["attention"], arrays["conversion"])


def learn_looks(
    recipe: EngineRecipe,
    inner: Split,
    features: FeatureModel,
    *,
    attention: AttentionCurve,
    bought: Float32Array,
) -> Looks:
    """Learn how likely items are answered, on events an engine has not seen.

    Args:
        recipe: of the engine; it is fitted once more, on the train part of the split.
        inner: what it is judged on.
        features: of the catalogue.
        attention: of the places.
        bought: float32 [I], how often a look at each item ends in a purchase.

    Raises:
        DataError: not a single response was found.
    """
    engine = recipe.fit(inner.train, whole=inner.whole, features=features)
    rng = np.random.default_rng(recipe.seed)
    asked = inner
    if len(inner) > REQUESTS:
        asked = inner.take(np.sort(rng.choice(len(inner), REQUESTS, replace=False)))
    pools = engine.recommend(asked.queries, WIDTH)
    pools = ItemsBatch(pools.ids, pools.scores)
    hits = find_hits(pools.ids, asked.target_ptr, asked.target)
    return Looks(fit_response(pools, hits), attention.attention, bought)


def attention_of(recipe: Attention, slates: pl.DataFrame, events: pl.DataFrame) -> AttentionCurve:
    """How likely places are looked at, from what was served and clicked where that is asked for.

    Args:
        recipe: what is asked for.
        slates: table of `columns.SLATES`.
        events: table of `columns.EVENTS`.
    """
    log = None if recipe.kind != "estimated" else click_log(slates, events)
    return recipe.curve(PLACES, log)


def conversion_of(events: pl.DataFrame, ids: StrArray) -> Float32Array:
    """float32 [I], how often a look at each item ends in a purchase.

    Args:
        events: table of `columns.EVENTS`.
        ids: object [I], the items.
    """
    row = pl.DataFrame({c.ITEM_ID: ids.astype(str)}, schema={c.ITEM_ID: pl.String})
    looked = pl.col(c.TYPE).is_in(["view", "click"]).sum().cast(pl.Float64).alias("looks")
    bought = (pl.col(c.TYPE) == "purchase").sum().cast(pl.Float64).alias("bought")
    counts = events.group_by(c.ITEM_ID).agg(looked, bought)
    known = row.join(counts, on=c.ITEM_ID, how="left", maintain_order="left").fill_null(0.0)
    looks, purchases = known["looks"].to_numpy(), known["bought"].to_numpy()
    return conversion(looks, purchases, optimism=OPTIMISM)


def click_log(slates: pl.DataFrame, events: pl.DataFrame) -> ClickLog:
    """What was shown where and whether it was clicked, a row a place.

    An item stands high for those who like it, so an item is told apart for each person.

    Args:
        slates: table of `columns.SLATES`.
        events: table of `columns.EVENTS`; clicks count that name their slate.
    """
    ids = pl.col(c.ITEM_IDS).str.json_decode(pl.List(pl.String))
    shown = (
        slates.select(c.SLATE_ID, c.USER_ID, ids.alias(c.ITEM_ID))
        .with_columns(pl.int_ranges(1, pl.col(c.ITEM_ID).list.len() + 1).alias(c.POSITION))
        .explode(c.ITEM_ID, c.POSITION)
        .drop_nulls(c.ITEM_ID)
    )
    clicks = (
        events.filter(pl.col(c.TYPE) == "click")
        .select(c.SLATE_ID, c.ITEM_ID)
        .drop_nulls()
        .unique()
        .with_columns(pl.lit(value=True).alias(c.CLICKED))
    )
    told = shown.join(clicks, on=[c.SLATE_ID, c.ITEM_ID], how="left", maintain_order="left")
    pair = pl.struct(c.USER_ID, c.ITEM_ID).rank("dense") - 1
    log = told.select(
        pair.cast(pl.Int32).alias(c.ITEM_ID),
        pl.col(c.POSITION).cast(pl.Int32),
        pl.col(c.CLICKED).fill_null(value=False),
    )
    return ClickLog(*(log[name].to_numpy() for name in log.columns))
