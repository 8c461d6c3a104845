"""From requests to slates: candidates, then fatigue, rules and variety, in one order everywhere."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from tailrec.engine import Engine
from tailrec.items import PADDING, BoolArray, Float32Array, Int32Array, ItemsBatch, QueryBatch
from tailrec.reranking.fatigue import rested
from tailrec.reranking.rules_compiled import CompiledRules

POOL: Final = 5
"""A slate that is arranged is chosen from this many times its places."""
SOURCE: Final = "source"
"""The column of a slate that says what proposed an item: a position in `SOURCES`."""
SOURCES: Final = ("model", "popular", "rule")

Seen = Literal["hide", "due", "show"]
"""What is done with items a person has: hidden, shown once they are due again, or shown."""

_NO_ITEMS = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How slates are made of what the engine proposes.

    Attributes:
        k: places.
        diversity: 0..1, variety within a slate.
        rules: pins, boosts and caps; None for none.
        fatigue: in 0..1, what every showing in vain takes from a score.
        shown_rows: int32 [S], requests that were shown something in vain.
        shown: int32 [S], what, once for every time.
    """

    k: int
    diversity: float = 0.0
    rules: CompiledRules | None = None
    fatigue: float = 0.0
    shown_rows: Int32Array = field(default_factory=_NO_ITEMS.copy)
    shown: Int32Array = field(default_factory=_NO_ITEMS.copy)

    @property
    def pool(self) -> int:
        """Items the engine is asked for."""
        bends = self.diversity or self.rules is not None or (self.fatigue and len(self.shown))
        return self.k * POOL if bends else self.k


def leaving_out(
    queries: QueryBatch,
    seen: Seen,
    again_days: Float32Array,
    further: Int32Array = _NO_ITEMS,
) -> QueryBatch:
    """The same requests, leaving out what the people have.

    Args:
        queries: B requests that leave nothing out.
        seen: what is done with items of the histories.
        again_days: float32 [I'], days after which an item is due again; items numbered beyond
            are new, and due never.
        further: int32 [X], items that every request leaves out too.
    """
    if seen == "show" and not len(further):
        return queries
    left = np.full(len(queries.item), seen != "show")
    if seen == "due":
        known = queries.item < len(again_days)
        left[known] = queries.days[known] < again_days[queries.item[known]]
    upto = np.concatenate([[0], np.cumsum(left)])
    ptr, exclude = upto[queries.ptr], queries.item[left]
    if len(further):
        exclude = np.insert(
            exclude, np.repeat(ptr[1:], len(further)), np.tile(further, len(queries))
        )
        ptr = ptr + np.arange(len(ptr)) * len(further)
    return replace(queries, exclude_ptr=ptr, exclude=exclude.astype(np.int32))


def slates_of(engine: Engine, queries: QueryBatch, how: Arrangement) -> ItemsBatch:
    """Slates for requests.

    The order of steps: the engine proposes a pool; what was shown in vain steps back; rules
    bend scores; variety reorders; rules place pins and keep caps.

    Args:
        engine: fitted.
        queries: B requests in its catalogue numbers.
        how: what is done with the proposals.

    Returns:
        [B, k] best first, with the columns `SOURCE` and, where there are rules, `RULE`.
    """
    pools = engine.recommend(queries, how.pool)
    by_model = np.where(pools.scores > 0, 0, 1).astype(np.int8)
    pools = ItemsBatch(pools.ids, pools.scores, {**pools.columns, SOURCE: by_model})
    pools = rested(pools, how.shown_rows, how.shown, how.fatigue)
    if how.rules is not None:
        pools = how.rules.reweighted(pools)
    if how.diversity:
        width = pools.ids.shape[1] if how.rules is not None else how.k
        pools = engine.diversified(pools, width, how.diversity)
    if how.rules is not None:
        return _by_rules(how.rules, pools, queries, how.k)
    return _first(pools, how.k)


def _by_rules(rules: CompiledRules, pools: ItemsBatch, queries: QueryBatch, k: int) -> ItemsBatch:
    allowed: BoolArray | None = None if queries.hidden is None else ~queries.hidden
    left = (queries.exclude_ptr, queries.exclude)
    slates = rules.placed(pools, k, allowed=allowed, exclude=left)
    source = slates.columns[SOURCE]
    pinned = (source < 0) & (slates.ids != PADDING)
    columns = {**slates.columns, SOURCE: np.where(pinned, np.int8(2), source)}
    return ItemsBatch(slates.ids, slates.scores, columns)


def _first(pools: ItemsBatch, k: int) -> ItemsBatch:
    if pools.ids.shape[1] <= k:
        return pools
    columns = {name: values[:, :k] for name, values in pools.columns.items()}
    return ItemsBatch(pools.ids[:, :k], pools.scores[:, :k], columns)
