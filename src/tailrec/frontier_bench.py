"""Slates at any setting of a knob, on one split, and their figures."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.random import Generator

from tailrec import columns as c
from tailrec.arrange import (
    POOL,
    Arrangement,
    Steering,
    Variety,
    Worth,
    arranged,
    pools_of,
    slates_of,
)
from tailrec.data.split import Split
from tailrec.engine import Engine
from tailrec.errors import DataError
from tailrec.evaluation.accuracy import PerUser
from tailrec.evaluation.facets import facets_of
from tailrec.evaluation.report import evaluate
from tailrec.hits import find_hits
from tailrec.items import (
    PADDING,
    BoolArray,
    Float64Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
)
from tailrec.reranking.attention import dcg
from tailrec.reranking.exposure_prices import CEILING
from tailrec.reranking.grouping import UNGROUPED, groups_of
from tailrec.reranking.response import fit_response
from tailrec.shop_recipe import ShopRecipe
from tailrec.tail.segments import is_tail, tiers

Knob = Literal["tail", "diversity", "exposure"]
KNOBS: Final[tuple[Knob, ...]] = get_args(Knob)

K: Final = 20
"""Places of a slate."""
AT: Final = (10, K)
NDCG: Final = "ndcg@10"
COLD: Final = "recall@20/cold"
TAIL_EXPOSURE: Final = "exposure@20/tail"
"""The share of the attention of a slate's filled places that tail items get."""
OF_REQUESTS: Final = (
    TAIL_EXPOSURE,
    NDCG,
    "recall@20",
    "ndcg@10/tail",
    "recall@20/tail",
    COLD,
    "ild@10",
    "categories@10",
)
"""Figures that are means over requests; one that is nowhere defined is left out."""
OF_SLATES: Final = ("coverage@20", "gini@20")
"""Figures of all slates together."""
CHUNK: Final = 2048
"""Requests whose pools are made in one call."""


class Measured(NamedTuple):
    """A setting of a knob and what its slates are like.

    Attributes:
        value: of the knob.
        figures: by name, those of `OF_REQUESTS` and `OF_SLATES`.
        per_user: by name, float64 [B], what the figures of requests are means of.
    """

    value: float
    figures: Mapping[str, float]
    per_user: PerUser

    @property
    def exposure(self) -> float:
        """The tail's share of attention."""
        return self.figures[TAIL_EXPOSURE]

    @property
    def ndcg(self) -> float:
        """NDCG@10 of all targets."""
        return self.figures[NDCG]


@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """Half of the requests, with what the other half says of how likely items are answered.

    Attributes:
        rows: int64 [R], numbers of the requests, rising.
        queries: those requests.
        pools: [R, P], what the engine proposes, and the best of the tail.
        worth: learnt from the other half.
        steering: the price of tail items, at no cost.
    """

    rows: Int64Array
    queries: QueryBatch
    pools: ItemsBatch
    worth: Worth
    steering: Steering


class Bench:
    """An engine on a split; pools are made once for all settings.

    Args:
        recipe: of the shop: its tail, and its way to vary slates.
        split: what is asked, and what would have been right.
        engine: fitted on the split's train part.
        rng: halves the requests.

    Raises:
        DataError: no item is in the tail.
    """

    def __init__(self, recipe: ShopRecipe, split: Split, engine: Engine, rng: Generator) -> None:
        self.recipe, self.split, self.engine = recipe, split, engine
        self.tail: BoolArray = is_tail(engine.counts, recipe.tail)
        if not self.tail.any():
            raise DataError(
                f"none of the {len(self.tail):,} items is in the tail by {recipe.tail!r}; choose "
                f"another definition with `tail` at the top of tailrec.toml"
            )
        self.attention: Float64Array = dcg(K)
        self._facets = facets_of(split.train.catalog, engine.features.features.words)
        self._order = rng.permutation(len(split))

    def lacking(self, knob: Knob) -> str:
        """Why a knob cannot be turned here; empty where it can be."""
        kind, method = self.recipe.source.kind, self.recipe.slate.variety
        if knob == "tail":
            return "" if self.recipe.leans else f"source {kind!r} cannot lean to the tail"
        if knob == "exposure":
            try:
                return "" if self.halves else "there are no requests"
            except DataError as error:
                return str(error)
        if method in ("mmr", "dpp") and not self.engine.features.features.dense.shape[1]:
            return f"diversity by {method!r} needs vectors, and [features] has encode = false"
        code = self._code
        if method in ("categories", "interests") and code is not None and (code == UNGROUPED).all():
            return f"diversity by {method!r} needs categories, and no item has one"
        return ""

    @cached_property
    def base(self) -> Measured:
        """Plain slates: every knob off."""
        return self._measured(0.0, slates_of(self.engine, self.split.queries, Arrangement(K)))

    def measured(self, knob: Knob, value: float) -> Measured:
        """A setting's figures.

        Args:
            knob: what is turned; all others are off.
            value: 0..1. Exposure at 0 is steered, at no cost; the other knobs at 0 are off.
        """
        if value == 0 and knob != "exposure":
            return self.base
        return self._measured(value, self.slates(knob, value))

    def slates(self, knob: Knob, value: float) -> ItemsBatch:
        """Slates [B, 20] with one knob turned; see `measured`."""
        queries = self.split.queries
        if knob == "tail":
            return slates_of(self.engine, replace(queries, tail=value), Arrangement(K))
        if knob == "diversity":
            slate = self.recipe.slate
            variety = Variety(value, slate.variety, slate.window, self._code)
            return arranged(self.engine, self._pools, queries, Arrangement(K, variety))
        parts = [
            arranged(self.engine, half.pools, half.queries, _steered(half, value))
            for half in self.halves
        ]
        back = np.argsort(np.concatenate([half.rows for half in self.halves]))
        return ItemsBatch.concat(parts).rows(back)

    def _measured(self, value: float, slates: ItemsBatch) -> Measured:
        # All requests in one call: the slates are known by their order.
        found = evaluate(
            self.split,
            lambda _, __: slates,
            at=AT,
            masks={"tail": self.tail},
            facets=self._facets,
            chunk=len(self.split),
        )
        own = dict(found.per_user) | {TAIL_EXPOSURE: self._exposure(found.ids)}
        per_user: PerUser = {name: own[name] for name in OF_REQUESTS if name in own}
        means = {name: float(np.nanmean(values)) for name, values in per_user.items()}
        return Measured(value, means | {n: found.figures[n] for n in OF_SLATES}, per_user)

    def _exposure(self, ids: Int32Array) -> Float64Array:
        """float64 [B], the tail's share of each slate's attention; 0 where it is empty."""
        weight = np.where(ids == PADDING, 0.0, self.attention[: ids.shape[1]])
        total = weight.sum(axis=1)
        share = np.zeros(len(ids))
        np.divide((weight * self.tail[ids]).sum(axis=1), total, out=share, where=total > 0)
        return share

    @cached_property
    def _pools(self) -> ItemsBatch:
        """Pools [B, 100] of what the engine proposes."""
        return self._pools_of(Arrangement(K * POOL))

    def _pools_of(self, how: Arrangement) -> ItemsBatch:
        queries = self.split.queries
        starts = range(0, len(queries), CHUNK)
        parts = (queries.rows(n, min(n + CHUNK, len(queries))) for n in starts)
        return ItemsBatch.concat([pools_of(self.engine, part, how) for part in parts])

    @cached_property
    def _code(self) -> Int32Array | None:
        """int32 [I], what the shop's way to vary slates tells items apart by."""
        method = self.recipe.slate.variety
        if method in ("categories", "interests"):
            return groups_of(self.split.train.catalog.table, c.CATEGORY)[0]
        if method == "popularity":
            return tiers(self.engine.counts, self.recipe.tail).astype(np.int32)
        return None

    @cached_property
    def halves(self) -> list[Half]:
        """Both halves of the requests, each judged by what is learnt from the other.

        Raises:
            DataError: a half has no answers to learn from.
        """
        seek = Steering(self.tail.astype(np.float32), 0.0)
        wide = self._pools_of(Arrangement(K, steering=seek))
        hits = find_hits(self._pools.ids, self.split.target_ptr, self.split.target)
        middle = len(self._order) // 2
        first, second = np.sort(self._order[:middle]), np.sort(self._order[middle:])
        halves = []
        for rows, others in ((first, second), (second, first)):
            worth = Worth(fit_response(self._pools.rows(others), hits[others]), self.attention)
            shown = worth.of(self._pools.rows(rows))[:, :K] @ self.attention
            mean = float(shown.mean() / self.attention.sum())
            # So high that every slate goes as far as its cost allows.
            price = np.where(self.tail, np.float32(CEILING * mean), np.float32(0))
            asked, pools = self.split.queries.take(rows), wide.rows(rows)
            halves.append(Half(rows, asked, pools, worth, Steering(price, 0.0)))
        return halves


def _steered(half: Half, cost: float) -> Arrangement:
    return Arrangement(K, worth=half.worth, steering=replace(half.steering, cost=cost))
