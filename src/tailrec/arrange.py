"""From requests to slates: candidates, then every step that arranges them, in one order."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.random import Generator

from tailrec import columns as c
from tailrec.engine import Engine
from tailrec.items import (
    PADDING,
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    ItemsBatch,
    QueryBatch,
)
from tailrec.reranking.auction import SPONSORED, CompiledSponsored
from tailrec.reranking.exposure_prices import WORTH, steered
from tailrec.reranking.fairness import CompiledFairness, fair
from tailrec.reranking.fatigue import rested
from tailrec.reranking.launch import LAUNCHED, Course, Launch, launched
from tailrec.reranking.response import RESPONSE, ResponseCurve
from tailrec.reranking.rules_compiled import CompiledRules
from tailrec.reranking.variety import Method

POOL: Final = 5
"""A slate that is arranged is chosen from this many times its places."""
OFFERS: Final = 50
"""Items of a launch or a campaign that a slate is offered, at most."""
SOURCE: Final = "source"
"""The column of a slate that says what proposed an item: a position in `SOURCES`."""
SOURCES: Final = ("model", "popular", "rule", "launch", "sponsored")
MODEL_SCORE: Final = "model_score"
"""The column that keeps scores while others stand in for them."""

Seen = Literal["hide", "due", "show"]
"""What is done with items a person has: hidden, shown once they are due again, or shown."""
Valued = Literal["one", "price", "margin", "conversion"]
"""What a response to an item is worth: the same for all, its price, its price less cost, or the
chance that a purchase follows."""

_NO_ITEMS = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Variety:
    """How varied slates are.

    Attributes:
        strength: 0..1; see `reranking.variety`, as for all others.
        method: what varied means.
        window: items above an item that it has to differ from; None: all.
        code: int32 [I], the items' categories or tiers, for the methods that need them.
    """

    strength: float = 0.0
    method: Method = "mmr"
    window: int | None = None
    code: Int32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """What showing an item is expected to bring.

    Attributes:
        curve: from scores to the chance of a response.
        attention: float64 [k or more], chance that a place is looked at; never rises.
        value: float32 [I], of a response to each item; None: 1.
    """

    curve: ResponseCurve
    attention: Float64Array
    value: Float32Array | None = None

    def of(self, pools: ItemsBatch) -> Float32Array:
        """float32 [B, P], expected value of each item if it is looked at; 0 at padding."""
        return self.weighed(self.curve.probability(pools), pools.ids)

    def weighed(self, chance: Float32Array, ids: Int32Array) -> Float32Array:
        """float32 [B, P], chances of a response times what it is worth."""
        return chance if self.value is None else chance * self.value[ids]

    def response(self, pools: ItemsBatch, offers: ItemsBatch) -> Float32Array:
        """float32 [B, M], the chance of a response to offers, judged beside the pools."""
        both = ItemsBatch(pools.ids, pools.scores).beside(offers)
        order = np.argsort(-both.scores, axis=1, kind="stable")
        chance = self.curve.probability(both.ordered(order))
        back = np.argsort(order, axis=1)
        return np.take_along_axis(chance, back, axis=1)[:, pools.ids.shape[1] :]


@dataclass(frozen=True, slots=True, eq=False)
class Steering:
    """Exposure control over slates.

    Attributes:
        price: float32 [I], what a unit of exposure of each item is worth beyond itself.
        cost: 0..1, share of its worth a slate may lose.
    """

    price: Float32Array
    cost: float


@dataclass(frozen=True, slots=True, eq=False)
class Launching:
    """New items that are promised showings.

    Attributes:
        recipe: what they are promised.
        course: how far they have come.
        waiting: bool [I], those the promise is still to be kept for.
        rng: draws; it is shared, and no request is the same as another.
    """

    recipe: Launch
    course: Course
    waiting: BoolArray
    rng: Generator


@dataclass(frozen=True, slots=True, eq=False)
class Selling:
    """Places for sale.

    Attributes:
        terms: campaigns and places.
        bids: float64 [C], for a click now.
        shown: int32 [B, C], how often the people were shown each campaign this day; None: never.
    """

    terms: CompiledSponsored
    bids: Float64Array
    shown: Int32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """How slates are made of what the engine proposes.

    Attributes:
        k: places.
        variety: within a slate.
        rules: pins, boosts and caps; None for none.
        fatigue: in 0..1, what every showing in vain takes from a score.
        shown_rows: int32 [S], requests that were shown something in vain.
        shown: int32 [S], what, once for every time.
        worth: what items bring; steering, launches and sales need it.
        steering: who is shown how often; None: as it comes.
        fairness: protected items in every prefix; None for none.
        launching: new items that are promised showings; None for none.
        selling: places for sale; None for none.
    """

    k: int
    variety: Variety = field(default_factory=Variety)
    rules: CompiledRules | None = None
    fatigue: float = 0.0
    shown_rows: Int32Array = field(default_factory=_NO_ITEMS.copy)
    shown: Int32Array = field(default_factory=_NO_ITEMS.copy)
    worth: Worth | None = None
    steering: Steering | None = None
    fairness: CompiledFairness | None = None
    launching: Launching | None = None
    selling: Selling | None = None

    @property
    def pool(self) -> int:
        """Items the engine is asked for."""
        tired = self.fatigue and len(self.shown)
        bends = self.bends_later or self.steering is not None or tired
        return self.k * POOL if bends else self.k

    @property
    def bends_later(self) -> bool:
        """Whether steps after that of exposure choose from the pool."""
        return bool(self.variety.strength or self.rules is not None or self.fairness is not None)

    @property
    def offered(self) -> BoolArray:
        """bool [I], or [1] for all: what may be launched or sold, as far as rules go.

        What a rule never shows would win a place in vain, and nobody pays for a pin.
        """
        if self.rules is None:
            return np.ones(1, np.bool_)
        offered: BoolArray = self.rules.factor > 0
        offered[self.rules.pins] = False
        return offered

    @property
    def sought(self) -> BoolArray | None:
        """bool [I], items looked for beyond the pool: those that are to be shown more."""
        sought = None if self.steering is None else self.steering.price > 0
        if self.fairness is not None:
            mine = self.fairness.protected
            sought = mine if sought is None else sought | mine
        return None if sought is None or not sought.any() else sought


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
    """Slates for requests: `pools_of`, then `arranged`.

    Args:
        engine: fitted.
        queries: B requests in its catalogue numbers.
        how: what is done with the proposals.

    Returns:
        [B, k] best first, with the column `SOURCE` and those that the steps add: `WORTH`,
        `LAUNCHED`, `columns.PROPENSITY`, `SPONSORED`, `CHARGE`, `RULE`.
    """
    return arranged(engine, pools_of(engine, queries, how), queries, how)


def pools_of(engine: Engine, queries: QueryBatch, how: Arrangement) -> ItemsBatch:
    """What slates are made of: the engine's proposals, and the best of what is to be shown more.

    What was shown in vain has stepped back, and rules have bent scores.

    Args:
        engine: fitted.
        queries: B requests in its catalogue numbers.
        how: what is done with the proposals.

    Returns:
        [B, P] best first, with the column `SOURCE`.
    """
    pools, sought = _proposed(engine, queries, how.pool), how.sought
    if sought is not None:
        pools = _joined(pools, _proposed(engine, _among(queries, sought), how.pool))
    pools = rested(pools, how.shown_rows, how.shown, how.fatigue)
    return pools if how.rules is None else how.rules.reweighted(pools)


def arranged(
    engine: Engine, pools: ItemsBatch, queries: QueryBatch, how: Arrangement
) -> ItemsBatch:
    """Slates from pools.

    The order of steps: exposure is steered, variety chooses, protected items are lifted, new
    items are launched, places are sold, and rules have the last word: pins stand where they
    should, and caps are kept.

    Args:
        engine: fitted.
        pools: [B, P] of `pools_of`.
        queries: the requests they are for.
        how: what is done with them.
    """
    chosen = _chosen(engine, pools, queries, how)
    slates = chosen.first(how.k)
    if how.worth is not None:
        offered = partial(_offered, engine, pools, worth=how.worth)
        if how.launching is not None and (waiting := how.launching.waiting & how.offered).any():
            slates = _launched(slates, offered(_among(queries, waiting)), how.launching)
        if how.selling is not None:
            on_offer = how.selling.terms.on_offer & how.offered
            slates = _sold(slates, offered(_among(queries, on_offer)), how.selling)
    if how.rules is not None:
        # Rules pass items over, launched and sold ones, too: below are all that were chosen. Most
        # stand twice then; rules place none twice.
        slates = _by_rules(how.rules, slates.beside(chosen), queries, how.k)
    return _certain(slates)


def _chosen(engine: Engine, pools: ItemsBatch, queries: QueryBatch, how: Arrangement) -> ItemsBatch:
    """Pools in the order that exposure, variety and fairness give them."""
    width = pools.ids.shape[1] if how.rules is not None else how.k
    variety = how.variety
    if how.steering is not None and how.worth is not None:
        pools = _steered(pools, how.worth, how.steering, how.k)
        # Variety trades scores: place by place, those of the order before.
        by_place = -np.sort(-pools.scores, axis=1)
        pools = replace(
            pools, scores=by_place, columns={**pools.columns, MODEL_SCORE: pools.scores}
        )
    if variety.strength:
        wide = pools.ids.shape[1] if how.fairness is not None else width
        pools = engine.varied(
            pools,
            how.k,
            variety.strength,
            method=variety.method,
            window=variety.window,
            width=wide,
            code=variety.code,
            had=(queries.ptr, queries.item),
        )
    if how.fairness is not None:
        # The test is of the places that are seen, however many are handed on.
        minimum = how.fairness.minimum(how.k)
        pools = fair(pools, how.fairness.protected, width, minimum)
    columns = dict(pools.columns)
    scores = columns.pop(MODEL_SCORE, pools.scores)
    return ItemsBatch(pools.ids, scores, columns)


def _steered(pools: ItemsBatch, worth: Worth, steering: Steering, k: int) -> ItemsBatch:
    """Whole pools in the order in which their first k keep the cost."""
    width = pools.ids.shape[1]
    # Below the slate nobody looks: what stands there is for steps that pass items over.
    attention = np.zeros(width)
    n_seen = min(k, width, len(worth.attention))
    attention[:n_seen] = worth.attention[:n_seen]
    price = steering.price
    return steered(pools, worth.of(pools), price, width, attention=attention, cost=steering.cost)


def _proposed(engine: Engine, queries: QueryBatch, n: int) -> ItemsBatch:
    """The engine's n best, and what proposed them."""
    found = engine.recommend(queries, n)
    by_model = np.where(found.scores > 0, 0, 1).astype(np.int8)
    return ItemsBatch(found.ids, found.scores, {**found.columns, SOURCE: by_model})


def _among(queries: QueryBatch, wanted: BoolArray) -> QueryBatch:
    """The same requests for nothing but some items."""
    hidden = ~wanted if queries.hidden is None else queries.hidden | ~wanted
    return replace(queries, hidden=hidden)


def _joined(pools: ItemsBatch, more: ItemsBatch) -> ItemsBatch:
    """Pools with what else was proposed, each item once, best first."""
    # One more than there are numbers: padding must not meet the last item of the row before.
    span = int(max(pools.ids.max(initial=0), more.ids.max(initial=0))) + 2
    row = np.arange(len(pools), dtype=np.int64)[:, None] * span
    # What only fills up is not what was looked for.
    again = np.isin(row + more.ids, row + pools.ids) | (more.scores <= 0)
    again |= more.ids == PADDING
    ids = np.where(again, np.int32(PADDING), more.ids)
    scores = np.where(again, np.float32(-np.inf), more.scores)
    whole = pools.beside(ItemsBatch(ids, scores, more.columns))
    return whole.ordered(np.argsort(-whole.scores, axis=1, kind="stable"))


def _offered(engine: Engine, pools: ItemsBatch, queries: QueryBatch, *, worth: Worth) -> ItemsBatch:
    """The best items of requests for some items, with what they are expected to bring."""
    found = engine.recommend(queries, OFFERS)
    chance = worth.response(pools, found)
    brings = worth.weighed(chance, found.ids)
    return ItemsBatch(found.ids, found.scores, {RESPONSE: chance, WORTH: brings})


def _launched(slates: ItemsBatch, offers: ItemsBatch, launching: Launching) -> ItemsBatch:
    slates = launched(slates, offers, launching.course, recipe=launching.recipe, rng=launching.rng)
    return _from(slates, slates.columns[LAUNCHED], "launch")


def _sold(slates: ItemsBatch, offers: ItemsBatch, selling: Selling) -> ItemsBatch:
    offers = selling.terms.offers(offers)
    slates = selling.terms.placed(
        slates, offers, offers.columns[RESPONSE], selling.bids, shown=selling.shown
    )
    return _from(slates, slates.columns[SPONSORED] >= 0, "sponsored")


def _by_rules(rules: CompiledRules, pools: ItemsBatch, queries: QueryBatch, k: int) -> ItemsBatch:
    allowed: BoolArray | None = None if queries.hidden is None else ~queries.hidden
    left = (queries.exclude_ptr, queries.exclude)
    slates = rules.placed(pools, k, allowed=allowed, exclude=left)
    return _from(slates, (slates.columns[SOURCE] < 0) & (slates.ids != PADDING), "rule")


def _from(slates: ItemsBatch, mask: BoolArray, source: str) -> ItemsBatch:
    """The slates, saying of some places [B, K] what put an item there."""
    code = np.where(mask, np.int8(SOURCES.index(source)), slates.columns[SOURCE])
    return replace(slates, columns={**slates.columns, SOURCE: code})


def _certain(slates: ItemsBatch) -> ItemsBatch:
    """The slates with a chance of 1 for what came after the draws: sold items, pins, the rest."""
    chance = slates.columns.get(c.PROPENSITY)
    if chance is None:
        return slates
    known = np.where(chance == 0, 1.0, chance)
    return replace(slates, columns={**slates.columns, c.PROPENSITY: known})
