"""Meaning and behaviour of an item weighed by how popular it is, a past attended by the item.

An item i is known twice: by what its text means, e_i, and by behaviour, R_i, of which entry j is
what having item j says for it. A person is known by a past that each item looks at in its own way:

    R̂(u, i) = α(1 - β)·⟨e_i, M(x_u)⟩ + αβ·⟨e_i, r_u⟩ + (1 - α)·⟨M_u, R_i⟩

    a_j ∝ w_j · exp(κ·⟨e_i, A e_j⟩ - λ·log(1 + steps_j) - μ·log(1 + days_j))    attention of i to j
    r_u = Σ_j a_j e_j,   M_u = the same shares a_j, by item,   x_u = Σ_j b_j e_j

with b_j as a_j without the item. So ⟨e_i, M(x_u)⟩ is the person's taste, ⟨e_i, r_u⟩ how near the
item is to what it attends to, ⟨M_u, R_i⟩ what behaviour says of it. α and β are numbers of each
class of item popularity × history length: how far meaning is trusted against behaviour, and what is
attended to against taste. R̂ stands beside the weights of `blend`, τ of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator
from scipy.special import expit, softmax

from tailrec.artifact import under
from tailrec.items import (
    PADDING,
    Array,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
)
from tailrec.ranking.blend import Blend, BlendModel, ranges
from tailrec.ranking.known import Known
from tailrec.ranking.lesson import Lesson
from tailrec.ranking.pools import ranked
from tailrec.recipe import Recipe
from tailrec.training.recipes import Course, beside

_AT_ONCE: Final = 1 << 22
"""Shares of attention that are held while pools are ranked."""


COURSE: Final = Course(steps=300, rate=2e-2, check_every=50, keep_every=300)


class Attention(Recipe):
    """Options of the ranker.

    Attributes:
        width: of the vectors that meanings are turned to, at most that of the encoder.
        length: latest events of a history that are attended to.
        requests: of one step of learning.
        fewest: requests with a right answer below which the weights stand alone.
        blend: weights it stands beside; their classes are those of α, β and τ.
        course: steps, rates, checks.
    """

    kind: Literal["attention"] = "attention"
    width: int = Field(default=64, ge=1)
    length: int = Field(default=20, ge=1)
    requests: int = Field(default=128, ge=1)
    fewest: int = Field(default=100, ge=2)
    blend: Blend = Blend()
    course: Annotated[Course, beside(COURSE)] = COURSE

    @model_validator(mode="after")
    def _no_encoder(self) -> "Attention":
        self.course.refuse_what_is_for_encoders()
        return self

    def fit(self, lesson: Lesson, *, rng: Generator) -> "AttentionModel | BlendModel":
        """The weights of `blend`, then what attention adds to them.

        Both are learnt as a logit over the pool. A tenth of the requests are held out of what
        attention learns, and say which state is the best. With fewer than `fewest` requests
        answered from their pools it learns nothing, and the weights stand alone.

        Args:
            lesson: pools with right answers.
            rng: draws the seed of all that is drawn.

        Source:
            A past attended by the item as in Zhou et al. 2018, arXiv:1706.06978 (DIN), with the
            products and shares of Vaswani et al. 2017, arXiv:1706.03762.
        """
        blend = self.blend.fit(lesson, rng=rng)
        some = lesson.first(self.blend.depth)
        if np.count_nonzero(some.right.any(axis=1)) < self.fewest:
            return blend
        # PyTorch takes seconds to load, and serving has no use for it.
        from tailrec.ranking.attention_fit import Sizes, learnt

        sizes = Sizes(self.width, self.length, self.requests)
        parts = learnt(sizes, blend, some, self.course, rng)
        vectors = turned(lesson.meaning, parts["centre"], parts["turn"])
        return AttentionModel(self, blend, {**parts, "vectors": vectors}, lesson.known)

    def restore(
        self, arrays: Mapping[str, Array], names: tuple[str, ...], known: Known
    ) -> "AttentionModel | BlendModel":
        """The model that gave these arrays, for pools with columns of these names."""
        blend = self.blend.restore(arrays, names, known)
        parts = under(arrays, "attention.")
        return AttentionModel(self, blend, parts, known) if parts else blend


class Looked(NamedTuple):
    """What items see in pasts.

    Attributes:
        past: int32 [B, L], past items, oldest first; -1 pads.
        shares: float32 [B, P, L], attention a_j of each item of a pool; they sum up to 1.
        near: float32 [B, P, L], ⟨e_i, e_j⟩ in units of how far it spreads.
        said: float32 [B, P, L], R_ij, likewise.
        taste: float32 [B, P], ⟨e_i, M(x_u)⟩, likewise.
    """

    past: Int32Array
    shares: Float32Array
    near: Float32Array
    said: Float32Array
    taste: Float32Array

    @property
    def parts(self) -> Float32Array:
        """float32 [B, P, 3]: taste, what is attended to, behaviour."""
        attended = ((self.shares * of).sum(axis=-1) for of in (self.near, self.said))
        return np.stack([self.taste, *attended], axis=-1)


class ByEvent(NamedTuple):
    """What attention adds to an item's value for one person; all of it adds up.

    Attributes:
        past: int32 [L], the items of the events that are attended to, oldest first.
        shares: float32 [L], attention to each; they sum up to 1.
        behaviour: float32 [L], what behaviour adds by way of each.
        text: float32 [L], what its meaning adds.
        taste: what the person's taste adds.
        offset: what items of the class have.
    """

    past: Int32Array
    shares: Float32Array
    behaviour: Float32Array
    text: Float32Array
    taste: float
    offset: float


@dataclass(frozen=True)
class AttentionModel:
    """Learnt weights, and what attention adds.

    Attributes:
        recipe: the options it was learnt with.
        blend: weights of what sources say.
        parts: `vectors` float32 [I, W], e, of unit length or zero; `centre` [D] and `turn` [D, W],
            which make those of new items; `like` [W, W], A; `taste` [W, W], M; `close` [1], κ;
            `fade` [2, 2], λ and μ of attention and of taste; `spread` [3], by which the three parts
            are divided; `alpha`, `beta` (before the sigmoid), `scale` (the logarithm of τ) and
            `offset`, each [C, H] by class of item and history.
        known: of the items.
        n_late: items that came after the fit; they are no part of the artifact.
    """

    recipe: Attention
    blend: BlendModel
    parts: Mapping[str, Array]
    known: Known
    n_late: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of a pool that are weighed."""
        return self.blend.names

    @property
    def counts(self) -> Int64Array:
        """int64 [I], training events of each item."""
        return self.known.counts

    def score(self, queries: QueryBatch, pools: ItemsBatch) -> ItemsBatch:
        """The pools by the weighed sum and what attention adds; see `pools.ranked`."""
        return ranked(queries, pools, self.values(queries, pools), self.counts)

    def values(self, queries: QueryBatch, pools: ItemsBatch) -> Float64Array:
        """float64 [B, P], weighed sums and what attention adds; whatever at padding."""
        said, offset = self.added(queries, pools)
        values: Float64Array = self.blend.values(queries, pools) + said.sum(axis=-1) + offset
        return values

    def given(self, queries: QueryBatch, pools: ItemsBatch) -> Float64Array:
        """float64 [B, P, F], what each column gives; attention's part is in none of them."""
        return self.blend.given(queries, pools)

    def added(self, queries: QueryBatch, pools: ItemsBatch) -> tuple[Float32Array, Float32Array]:
        """float32 [B, P, 3], what taste, what is attended to and behaviour add; [B, P], the rest.

        τ times the three terms of R̂, and the offset of the classes.
        """
        weights, offset = self._tiers(queries, pools)
        out = np.zeros(weights.shape, np.float32)
        longest = min(self.recipe.length, int(np.diff(queries.ptr).max(initial=1)))
        step = max(_AT_ONCE // max(pools.ids.shape[1] * longest, 1), 1)
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            stop = min(start + step, len(queries))
            out[rows] = self.looked(queries.rows(start, stop), pools.rows(rows)).parts
        return out * weights, offset

    def looked(self, queries: QueryBatch, pools: ItemsBatch) -> Looked:
        """What items of pools see in the pasts of some requests; all of it is held at once."""
        parts, recent = self.parts, queries.latest(self.recipe.length, len(self.known.counts))
        own = recent.padded(np.arange(len(recent)))
        if not own.shape[1] or not len(recent.item):
            nothing = np.zeros((*pools.ids.shape, 0), np.float32)
            past = np.zeros((len(recent), 0), np.int32)
            return Looked(past, nothing, nothing, nothing, np.zeros(pools.ids.shape, np.float32))
        real = own >= 0
        past = np.where(real, recent.item[own], np.int32(PADDING))
        vectors = parts["vectors"]
        item, had = vectors[pools.ids], np.where(real[..., None], vectors[past], 0)
        ages = np.stack([np.log1p(recent.age[own]), np.log1p(recent.days[own])], axis=-1)
        faded = np.log(recent.weight[own])[..., None] - ages @ parts["fade"].T  # [B, L, 2]
        faded = np.where(real[..., None], faded, np.float32(-1e9)).astype(np.float32)
        close = item @ (had @ parts["like"]).swapaxes(1, 2)
        shares = _shares(parts["close"] * close + faded[:, None, :, 0])
        taste = (_shares(faded[..., 1])[:, None] @ had)[:, 0] @ parts["taste"]
        spread = parts["spread"]
        return Looked(
            past,
            shares,
            item @ had.swapaxes(1, 2) / spread[1],
            self.known.said_for(pools.ids, past) / spread[2],
            np.einsum("bpw,bw->bp", item, taste) / spread[0],
        )

    def by_event(self, query: QueryBatch, item: int) -> ByEvent:
        """What attention adds to one item, by past event.

        Args:
            query: a batch of one request.
            item: catalogue number.
        """
        alone = ItemsBatch(np.array([[item]], np.int32), np.zeros((1, 1), np.float32))
        looked, (weights, offset) = self.looked(query, alone), self._tiers(query, alone)
        taste, near, said = weights[0, 0]
        shares = looked.shares[0, 0]
        return ByEvent(
            looked.past[0],
            shares,
            said * shares * looked.said[0, 0],
            near * shares * looked.near[0, 0],
            float(taste * looked.taste[0, 0]),
            float(offset[0, 0]),
        )

    def over(self, known: Known, new: Float32Array | None = None) -> "AttentionModel":
        """The same weights for items that are known anew.

        Args:
            known: of the items.
            new: float32 [N, D], meanings of the last N items, that were not there at the fit.
        """
        blend = self.blend.over(known)
        if new is None:
            return replace(self, blend=blend, known=known)
        more = turned(new, self.parts["centre"], self.parts["turn"])
        parts = {**self.parts, "vectors": np.concatenate([self.parts["vectors"], more])}
        return replace(self, blend=blend, parts=parts, known=known, n_late=self.n_late + len(new))

    def anew(self, known: Known, meanings: Float32Array) -> "AttentionModel":
        """The same weights for items that may have other numbers.

        Args:
            known: of the items.
            meanings: float32 [I, D], of all of them.
        """
        vectors = turned(meanings, self.parts["centre"], self.parts["turn"])
        parts = {**self.parts, "vectors": vectors}
        return replace(self, blend=self.blend.over(known), parts=parts, known=known, n_late=0)

    def tiers(self) -> list[dict[str, Any]]:
        """α, β and τ of each class of histories and items."""
        recipe = self.recipe.blend
        alpha, beta = (expit(self.parts[name]) for name in ("alpha", "beta"))
        scale = np.exp(self.parts["scale"])
        return [
            {
                "history": history,
                "item": item,
                "alpha": float(alpha[kind, length]),
                "beta": float(beta[kind, length]),
                "scale": float(scale[kind, length]),
            }
            for length, history in enumerate(ranges(recipe.histories))
            for kind, item in enumerate(ranges(recipe.items))
        ]

    def shares(self) -> list[dict[str, Any]]:
        """What each source counts beside attention; see `BlendModel.shares`."""
        return self.blend.shares()

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact; what is known of items is not in it."""
        vectors = self.parts["vectors"]
        parts = {**self.parts, "vectors": vectors[: len(vectors) - self.n_late]}
        learnt = {f"attention.{name}": values for name, values in parts.items()}
        return {**self.blend.arrays(), **learnt}

    def _tiers(self, queries: QueryBatch, pools: ItemsBatch) -> tuple[Float32Array, Float32Array]:
        """float32 [B, P, 3], τ times the weights of the three terms; [B, P], the offset."""
        parts = self.parts
        alpha, beta = (expit(parts[name]) for name in ("alpha", "beta"))
        table = np.exp(parts["scale"])[..., None] * np.stack(
            [alpha * (1 - beta), alpha * beta, 1 - alpha], axis=-1
        )
        of = self.blend.kind[pools.ids], self.blend.recipe.history(queries)[:, None]
        return table[of].astype(np.float32), parts["offset"][of]


def turned(meanings: Float32Array, centre: Float32Array, turn: Float32Array) -> Float32Array:
    """float32 [N, W], e of items with these meanings [N, D]; zero where there is none."""
    vectors = np.asarray((meanings - centre) @ turn, np.float32)
    vectors[~meanings.any(axis=1)] = 0
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _shares(logits: Float32Array) -> Float32Array:
    """Softmax over the last axis."""
    shares: Float32Array = softmax(logits, axis=-1)
    return shares
