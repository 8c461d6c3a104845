"""A transformer over a person's events; an item is what its texts say and a part of its own.

An item's vector is a learnt map of its language-model vector, the sum of learnt vectors of its
words, and a part of its own that counts n / (n + `own`) with n events. So an item nobody had has a
place from its words alone, and one that many had may be what no text tells. While learning, the
own part of some items is left out of every step, so that the texts learn to stand alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from tailrec.artifact import under
from tailrec.candidates.select import blank, row_blocks, top_k
from tailrec.candidates.transformer import classes, contextual, normed
from tailrec.dataset import Dataset, Features
from tailrec.errors import ArtifactError
from tailrec.items import Array, Float32Array, Int32Array, Int64Array, ItemsBatch, QueryBatch
from tailrec.recipe import Recipe
from tailrec.training.recipes import Course, beside

_AT_ONCE = 1 << 21
"""Numbers of the largest array of attention that is held while requests are answered."""


COURSE: Final = Course(steps=3000, rate=2e-3, weight_decay=0.3, check_every=500, keep_every=1000)


class Sequential(Recipe):
    """Options of the transformer.

    Attributes:
        width: of all vectors; a multiple of `heads`.
        blocks: of the transformer.
        heads: of attention in each block.
        length: latest events of a history that are read.
        dropout: share of numbers left out of a step of learning.
        own: events with which an item's own part counts one half.
        left_out: share of the items whose own part is left out of a step of learning.
        ahead: chance that what is to be foretold is one more step ahead, again and again.
        within: share of the batches in which a basket is taken apart, so that its items foretell
            each other.
        negatives: items that all targets of a step are told apart from; as many as the shop has, or
            more: all of them.
        adjust: how much of being popular is taken out of the scores, in logarithms; 0: nothing.
        events: of one step of learning, padding counted.
        held_out: people whose last step says which state is best, at most a tenth of all; where
            that is fewer than 50, the last state is kept.
        again: share of the steps that an update has, which goes on from an earlier model.
        course: steps, rates, checks.
    """

    kind: Literal["sequence"] = "sequence"
    width: int = Field(default=64, ge=1)
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    length: int = Field(default=50, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    own: float = Field(default=10.0, gt=0)
    left_out: float = Field(default=0.3, ge=0, lt=1)
    ahead: float = Field(default=0.0, ge=0, lt=1)
    within: float = Field(default=1.0, ge=0, le=1)
    negatives: int = Field(default=2048, ge=1)
    adjust: float = Field(default=0.0, ge=-1, le=1)
    events: int = Field(default=1024, ge=1)
    held_out: int = Field(default=1000, ge=0)
    again: float = Field(default=0.2, gt=0, le=1)
    course: Annotated[Course, beside(COURSE)] = COURSE

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        self.course.refuse_what_is_for_encoders()
        return self

    def restore(self, arrays: Mapping[str, Array]) -> "SequentialModel":
        """The model that gave these arrays."""
        return SequentialModel(self, dict(arrays))

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> "SequentialModel":
        """Learn from what came next.

        Args:
            data: histories.
            features: of every item of the catalogue.
            rng: draws the seed of all that is drawn.

        Source:
            Kang and McAuley 2018, doi:10.1109/ICDM.2018.00035 (SASRec); sampled softmax with
            the logarithm of the sampling rate taken off as in Yi et al. 2019,
            doi:10.1145/3298689.3346996; `adjust` as in Menon et al. 2021, arXiv:2007.07314.
        """
        return self._learnt(data, features, self.course, None, rng)

    def update(
        self,
        before: "SequentialModel",
        placed: Int32Array,
        data: Dataset,
        features: Features,
        *,
        rng: Generator,
    ) -> "SequentialModel":
        """Go on from an earlier model, with a share of the steps (`again`).

        Args:
            before: the model.
            placed: int32 [I], the number that each item had for it, or -1.
            data: histories as they are now.
            features: of every item, made with the vocabulary of the earlier fit.
            rng: draws the seed of all that is drawn.

        Raises:
            ArtifactError: the model was fitted before models could be gone on from.
        """
        if "own" not in before.parts:
            raise ArtifactError(
                "the model was fitted by an earlier version, and cannot be gone on from; "
                "run `tailrec fit` once without --update"
            )
        steps = max(round(self.again * self.course.steps), 1)
        # Further than when everything is new, a step would undo what the last ones learnt.
        course = self.course.model_copy(update={"steps": steps, "rate": self.course.rate / 2})
        # Nothing is held out: the earlier model has learnt from it, and would always seem better.
        taken = self.model_copy(update={"held_out": 0})
        found = taken._learnt(data, features, course, (before.parts, placed), rng)
        return replace(found, recipe=self)

    def _learnt(
        self,
        data: Dataset,
        features: Features,
        course: Course,
        before: tuple[Mapping[str, Array], Int32Array] | None,
        rng: Generator,
    ) -> "SequentialModel":
        """Learn, from the beginning or from an earlier model's parts and its items' numbers."""
        # PyTorch takes seconds to load, and serving has no use for it.
        from tailrec.candidates.sequence_fit import learnt, network
        from tailrec.candidates.sequence_lessons import Drawing
        from tailrec.candidates.sequence_net import Shape

        seed = int(rng.integers(2**30)) + course.seed
        shape = Shape(self.width, self.blocks, self.heads, self.dropout)
        net = network(shape, features, data.item_counts, self.own, seed)
        if before is not None:
            net.go_on(*before)
        parts = learnt(
            net,
            data,
            features,
            Drawing(
                self.events, self.negatives, self.ahead, self.within, self.left_out, self.adjust
            ),
            course.model_copy(update={"seed": seed}),
            length=self.length,
            held_out=self.held_out,
            propose=lambda parts, queries, k: self.restore(parts).candidates(queries, k),
            rng=rng,
        )
        return self.restore(parts)


@dataclass(frozen=True)
class SequentialModel:
    """The fitted transformer.

    Attributes:
        recipe: the options it was fitted with.
        parts: `items` float32 [I, W], vectors of all items; `map` [D, W] and `words` [V, W], which
            make vectors of new ones; `own` [I, W], what items have beside their texts, for a fit
            that goes on; the parameters of the blocks and the last norm.
        n_late: items that came after the fit; they are no part of the artifact.
    """

    recipe: Sequential
    parts: Mapping[str, Array]
    n_late: int = 0

    def candidates(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """The k best items a request; an empty history gives an empty row.

        Args:
            queries: B requests.
            k: width of the result.

        Returns:
            [B, k], best first; scores are above the mean of the person's, and told from it.
        """
        people, items = self.people(queries), self.parts["items"]
        some = np.abs(people).sum(axis=1) > 0
        ids, best = blank(len(queries), k)
        for rows in row_blocks(len(queries), len(items)):
            scores = people[rows] @ items.T
            scores -= scores.mean(axis=1, keepdims=True)
            scores[~some[rows]] = 0
            part = top_k(scores, queries.rows(rows.start, rows.stop), k)
            ids[rows], best[rows] = part.ids, part.scores
        return ItemsBatch(ids, best)

    def people(self, queries: QueryBatch) -> Float32Array:
        """float32 [B, W], vectors of the requests' pasts; zero where there is none."""
        queries = queries.latest(self.recipe.length, len(self.parts["items"]))
        lengths = np.diff(queries.ptr)
        out = np.zeros((len(queries), self.recipe.width), np.float32)
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        start = 0
        while start < len(order):
            size = max(_AT_ONCE // (self.recipe.heads * int(lengths[order[start]]) ** 2), 1)
            rows = order[start : start + min(size, 4096)]
            # Lengths rise: the last of the rows is the longest.
            longest = int(lengths[rows[-1]])
            rows = rows[: max(_AT_ONCE // (self.recipe.heads * longest**2), 1)]
            out[rows] = self._after(queries, queries.padded(rows))
            start += len(rows)
        return out

    def _after(self, queries: QueryBatch, own: Int64Array) -> Float32Array:
        """float32 [R, W], pasts of some requests; `own` [R, L] are places of events, -1 pads."""
        real = own >= 0
        age = queries.age[own]
        step = np.where(real, age.max(initial=0) - age, -1)
        between, seen = classes(step.astype(np.int32), -queries.days[own])
        vectors = self.parts["items"][queries.item[own]]
        x = contextual(vectors, between, seen, self._blocks, self.recipe.heads)
        x = normed(x, self.parts, "last")
        latest = step == step.max(axis=1, keepdims=True)
        share = (latest / latest.sum(axis=1, keepdims=True)).astype(np.float32)
        out: Float32Array = np.einsum("rlw,rl->rw", x, share)
        return out

    @cached_property
    def _blocks(self) -> list[Mapping[str, Array]]:
        return [under(self.parts, f"blocks.{n}.") for n in range(self.recipe.blocks)]

    def extended(self, features: Features) -> "SequentialModel":
        """The model with items appended that had no events when it was fitted.

        Args:
            features: [N] rows of the new items, made with the vocabulary of the fit.
        """
        new = features.dense @ self.parts["map"] + features.words @ self.parts["words"]
        items = np.concatenate([self.parts["items"], new.astype(np.float32)])
        return replace(self, parts={**self.parts, "items": items}, n_late=self.n_late + len(new))

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        items = self.parts["items"]
        return {**self.parts, "items": items[: len(items) - self.n_late]}
