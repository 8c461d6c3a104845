"""Several sources as one: each proposes, and a ranker weighs what they say.

What a ranker has to learn is whom to trust for which item and which person, so it learns from
requests that no source has seen: the parts are fitted twice, on an inner split for the ranker to
learn from, and on everything for what is served.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator
from scipy import sparse

from tailrec.artifact import under
from tailrec.candidates.als import Als
from tailrec.candidates.content import Content, ContentModel
from tailrec.candidates.ease import Ease
from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.linear import Contributions, Linear, LinearModel
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.popular import Popular
from tailrec.candidates.sequence import Sequential, SequentialModel
from tailrec.data.histories import Repeats
from tailrec.data.split import inner_split
from tailrec.dataset import Dataset, Features
from tailrec.errors import DataError
from tailrec.hits import find_hits
from tailrec.items import (
    PADDING,
    Array,
    Float32Array,
    Float64Array,
    Int32Array,
    Items,
    ItemsBatch,
    QueryBatch,
)
from tailrec.ranking.attention import Attention, AttentionModel, ByEvent
from tailrec.ranking.blend import Blend, BlendModel
from tailrec.ranking.greedy import Greedy
from tailrec.ranking.known import Known
from tailrec.ranking.lambdamart import LambdaMart, LambdaMartModel
from tailrec.ranking.lesson import Lesson
from tailrec.ranking.pools import SCORE, between, names_of, pooled, source_of
from tailrec.recipe import Recipe
from tailrec.tail.segments import is_tail

AnyPart = Annotated[
    Linear | Content | ItemKnn | Ease | Als | Popular | Sequential, Field(discriminator="kind")
]
"""What a mixture may be of; of each kind one."""

AnyRanker = Annotated[Blend | Greedy | LambdaMart | Attention, Field(discriminator="kind")]

LEAST: Final = 1e-3
"""Scores of what no source proposed among its first are below it."""


class Mixture(Recipe):
    """Options of a mixture.

    Attributes:
        parts: the sources, the strongest first: it fills what the pool is too short for.
        depth: items that each source proposes.
        requests: most requests that the ranker learns from.
        ranker: how what they say is weighed.
    """

    kind: Literal["mixture"] = "mixture"
    parts: tuple[AnyPart, ...] = (Linear(), Sequential(), Content(), ItemKnn())
    depth: int = Field(default=100, ge=1)
    requests: int = Field(default=12_000, ge=1)
    ranker: AnyRanker = Blend()

    @field_validator("parts")
    @classmethod
    def _one_of_each(cls, parts: tuple[AnyPart, ...]) -> tuple[AnyPart, ...]:
        kinds = [part.kind for part in parts]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"a mixture is of one source or more, one of each kind, not {kinds}")
        if any(isinstance(part, Linear) and part.privacy is not None for part in parts):
            raise ValueError("the other parts of a mixture would tell of people; leave out privacy")
        return parts

    def restore(self, arrays: Mapping[str, Array]) -> "MixtureModel":
        """The model that gave these arrays."""
        models: dict[str, Any] = {
            part.kind: part.restore(under(arrays, f"{part.kind}.")) for part in self.parts
        }
        known = Known.of(arrays["ranker.counts"], _speaking(models))
        ranker = self.ranker.restore(under(arrays, "ranker."), names_of(models), known)
        return MixtureModel(self, models, ranker)

    def fit(
        self,
        data: Dataset,
        features: Features,
        *,
        rng: Generator,
        whole: Dataset | None = None,
        repeats: Repeats = "all",
    ) -> "MixtureModel":
        """Fit the parts without the latest events, learn to weigh them by these, fit them again.

        Args:
            data: histories.
            features: of every item of the catalogue.
            rng: draws the seeds of the parts and the requests.
            whole: the same with every repeat, where `data` has one event of a user and item: which
                of them is the last is not known before the latest events are cut off.
            repeats: which event of `whole` stands for several.
        """
        return self.fit_each((self.ranker,), data, features, rng=rng, whole=whole, repeats=repeats)[
            0
        ]

    def fit_each(
        self,
        rankers: Sequence[AnyRanker],
        data: Dataset,
        features: Features,
        *,
        rng: Generator,
        whole: Dataset | None = None,
        repeats: Repeats = "all",
    ) -> list["MixtureModel"]:
        """The mixture under several rankers, that share the fits of the parts; see `fit`."""
        seed = int(rng.integers(2**31))
        if whole is None:
            whole, repeats = data, "all"
        lesson = self._lesson(whole, repeats, features, seed)
        models = self._fitted(data, features, seed)
        known = Known.of(data.item_counts, _speaking(models))
        found = []
        for ranker in rankers:
            learnt = ranker.fit(lesson, rng=np.random.default_rng(seed)).over(known)
            found.append(MixtureModel(self.model_copy(update={"ranker": ranker}), models, learnt))
        return found

    def update(
        self,
        before: "MixtureModel",
        placed: Int32Array,
        data: Dataset,
        features: Features,
        *,
        rng: Generator,
    ) -> "MixtureModel":
        """Fit the parts to more events, what is trained going on from before; weights stay.

        Args:
            before: an earlier model of these options.
            placed: int32 [I], the number that each item had for it, or -1.
            data: histories as they are now.
            features: of every item, made with the vocabulary of the earlier fit.
            rng: draws the seeds of the parts.
        """
        seed = int(rng.integers(2**31))
        models: dict[str, Any] = {}
        for place, part in enumerate(self.parts):
            own = np.random.default_rng([seed, place])
            if isinstance(part, Sequential):
                earlier = before.models[part.kind]
                models[part.kind] = part.update(earlier, placed, data, features, rng=own)
            else:
                models[part.kind] = part.fit(data, features, rng=own)
        known, ranker = Known.of(data.item_counts, _speaking(models)), before.ranker
        if isinstance(ranker, AttentionModel):
            return MixtureModel(self, models, ranker.anew(known, features.dense))
        return MixtureModel(self, models, ranker.over(known))

    def _fitted(self, data: Dataset, features: Features, seed: int) -> dict[str, Any]:
        return {
            part.kind: part.fit(data, features, rng=np.random.default_rng([seed, place]))
            for place, part in enumerate(self.parts)
        }

    def _lesson(self, data: Dataset, repeats: Repeats, features: Features, seed: int) -> Lesson:
        """Pools of the latest events' requests; none where there is too little to hold out."""
        try:
            split = inner_split(data, repeats)
        except DataError:
            return _nothing(data, [part.kind for part in self.parts])
        if len(split) > self.requests:
            rows = np.random.default_rng(seed).choice(len(split), self.requests, replace=False)
            split = split.take(np.sort(rows))
        models = self._fitted(split.train, features, seed)
        pools = pooled({k: m.candidates(split.queries, self.depth) for k, m in models.items()})
        known = Known.of(split.train.item_counts, _speaking(models))
        answers, tail = (split.target_ptr, split.target), is_tail(known.counts, "pareto")
        lesson = Lesson.of(split.queries, pools, answers, known, tail)
        return replace(lesson, meaning=features.dense)


def _nothing(data: Dataset, kinds: Sequence[str]) -> Lesson:
    """A lesson without requests, for a shop that has too little to learn from."""
    queries = data.queries(np.zeros(0, np.int32))
    empty = ItemsBatch(np.zeros((0, 1), np.int32), np.zeros((0, 1), np.float32))
    pools = pooled(dict.fromkeys(kinds, empty))
    answers = np.zeros(1, np.int64), np.zeros(0, np.int32)
    return Lesson.of(queries, pools, answers, Known.of(data.item_counts), data.item_counts < 0)


def _speaking(models: Mapping[str, Any]) -> sparse.csr_array | None:
    """float32 [J, J], what having an item says for others, by the first that knows behaviour."""
    return next(
        (
            model.matrix
            for model in models.values()
            if isinstance(model, LinearModel | ItemToItem) and not isinstance(model, ContentModel)
        ),
        None,
    )


@dataclass(frozen=True)
class MixtureModel:
    """The fitted parts and what weighs them.

    Attributes:
        recipe: the options it was fitted with.
        models: the fitted sources, by kind, in the recipe's order.
        ranker: weighs what they say.
        n_late: items that came after the fit; they are no part of the artifact.
    """

    recipe: Mixture
    models: Mapping[str, Any]
    ranker: BlendModel | LambdaMartModel | AttentionModel
    n_late: int = 0

    def candidates(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """The k best items a request; an empty history gives an empty row.

        Args:
            queries: B requests.
            k: width of the result. Beyond what the sources propose among their first `depth`, the
                first source goes on.

        Returns:
            [B, k], best first, scores above 0.
        """
        ranked = self.ranker.score(queries, self.pools(queries)).first(k)
        if ranked.ids.shape[1] < k or (ranked.ids[:, -1] == PADDING).any():
            ranked = self._filled(ranked, queries, k)
        # What is popular is proposed to anybody; a mixture is for those who did something.
        nobody = np.diff(queries.ptr)[:, None] == 0
        ids = np.where(nobody, np.int32(PADDING), ranked.ids)
        return ItemsBatch(ids, np.where(nobody, np.float32(-np.inf), ranked.scores))

    def pools(self, queries: QueryBatch) -> ItemsBatch:
        """What the sources propose, which do not lean to the tail; see `ranking.pools.pooled`."""
        level, depth = replace(queries, tail=0.0), self.recipe.depth
        return pooled({k: model.candidates(level, depth) for k, model in self.models.items()})

    def _filled(self, ranked: ItemsBatch, queries: QueryBatch, k: int) -> ItemsBatch:
        """Slates of k, behind them what the first source would go on with."""
        first = next(iter(self.models.values()))
        more = first.candidates(queries, k + ranked.ids.shape[1])
        ptr = np.concatenate([[0], np.cumsum((ranked.ids != PADDING).sum(axis=1))])
        known = find_hits(more.ids, ptr.astype(np.int64), ranked.ids[ranked.ids != PADDING])
        rest = np.where(known, PADDING, more.ids)
        ids = np.concatenate([ranked.ids, rest], axis=1)
        small = LEAST / (2 + np.arange(rest.shape[1], dtype=np.float32))
        scores = np.concatenate([ranked.scores, np.broadcast_to(small, rest.shape)], axis=1)
        order = np.argsort(ids == PADDING, axis=1, kind="stable")[:, :k]
        ids = np.take_along_axis(ids, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
        return ItemsBatch(ids, np.where(ids == PADDING, np.float32(-np.inf), scores))

    @cached_property
    def linear(self) -> LinearModel | None:
        """The part that gives exact reasons, if there is one and sums are what weighs it."""
        if isinstance(self.ranker, LambdaMartModel):
            return None
        return next((m for m in self.models.values() if isinstance(m, LinearModel)), None)

    def explain(self, query: QueryBatch, item: int) -> Contributions:
        """The exact parts of an item's score for one person; see `reasons`.

        Args:
            query: a batch of one request.
            item: catalogue number.
        """
        return self.reasons(query)(item)

    def reasons(self, query: QueryBatch) -> Callable[[int], Contributions]:
        """What tells the exact parts of scores for one person, item by item.

        What the linear part says is split as it splits it itself, and so is what attention adds;
        what else counts for the item is in `others`. For what no source proposes among its first,
        the parts are the first source's, at the scale of its score in the slate; for what is not
        shown at all, at their own scale.

        Args:
            query: a batch of one request.

        Raises:
            ValueError: no part is linear.
        """
        if self.linear is None or isinstance(self.ranker, LambdaMartModel):
            raise ValueError("only weights over a linear part give reasons; this has none")
        return _Reasons(self, query, self.linear, self.ranker).of

    def extended(self, features: Features) -> Self:
        """The model with items appended that had no events when it was fitted.

        Parts that cannot place an item by its words do not know them.

        Args:
            features: [N] rows of the new items, made with the vocabulary of the fit.
        """
        models = {
            kind: m.extended(features) if isinstance(m, LinearModel | SequentialModel) else m
            for kind, m in self.models.items()
        }
        counts = np.concatenate([self.ranker.counts, np.zeros(len(features), np.int64)])
        late = self.n_late + len(features)
        ranker = self.ranker.over(Known.of(counts, _speaking(models)), features.dense)
        return replace(self, models=models, ranker=ranker, n_late=late)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        known = self.ranker.counts[: len(self.ranker.counts) - self.n_late]
        found = {f"ranker.{name}": values for name, values in self.ranker.arrays().items()}
        found["ranker.counts"] = known
        for kind, model in self.models.items():
            found |= {f"{kind}.{name}": values for name, values in model.arrays().items()}
        return found


@dataclass(frozen=True)
class _Reasons:
    """Why items have their scores for one person; what is asked of sources is asked once."""

    model: MixtureModel
    query: QueryBatch
    linear: LinearModel
    ranker: BlendModel | AttentionModel

    def of(self, item: int) -> Contributions:
        """The parts of an item's score."""
        own = self.linear.explain(self._level, item)
        by_text = dict(zip(own.ids.tolist(), _text_shares(own).tolist(), strict=True))
        place = np.flatnonzero(self._pools.ids[0] == item)
        if not len(place):
            return self._beyond(item, own)
        given = self._given[place[0]]
        others = dict.fromkeys(self.model.models, 0.0)
        for name, value in zip(self.ranker.names, given.tolist(), strict=True):
            others[source_of(name)] += value
        factor = given[self.ranker.names.index(SCORE + "linear")] * self._slope(item)
        own = own.times(float(factor))
        others["linear"] -= own.score
        own = replace(own, others=others)
        if isinstance(self.ranker, AttentionModel):
            added = self.ranker.by_event(self.query, item)
            shares = [by_text.get(past, 0.0) if self._speaks else 0.0 for past in added.past]
            own = own.plus(_by_event(added, np.array(shares, np.float32)))
        rest = float(self._ranked.scores[self._ranked.ids == item][0]) - own.score
        return replace(own, others={**own.others, "base": own.others.get("base", 0.0) + rest})

    def _beyond(self, item: int, own: Contributions) -> Contributions:
        """Of what no source proposes among its first; `own` is what the linear part says."""
        score = self._shown.scores[self._shown.ids == item]
        if not len(score):
            return own
        first = next(iter(self.model.models))
        if first == "linear" and own.score > 0:
            return own.times(float(score[0]) / own.score)
        return replace(own.times(0.0), others={first: float(score[0])})

    def _slope(self, item: int) -> float:
        """By what share of its column a unit of the linear part's score changes it."""
        at = self._proposed.ids[0] == item
        real = self._proposed[0].scores
        if not at.any() or real[0] == real[-1]:
            return 0.0
        floor, column = 1 / len(real), between(self._proposed)[0][at][0]
        return (1 - floor) / float(real[0] - real[-1]) / float(column)

    @cached_property
    def _speaks(self) -> bool:
        """Whether what attention knows of behaviour is what the linear part says."""
        return _speaking(self.model.models) is self.linear.matrix

    @cached_property
    def _level(self) -> QueryBatch:
        return replace(self.query, tail=0.0)

    @cached_property
    def _pools(self) -> ItemsBatch:
        return self.model.pools(self.query)

    @cached_property
    def _given(self) -> Float64Array:
        """float64 [P, F], what each column gives."""
        given: Float64Array = self.ranker.given(self.query, self._pools)[0]
        return given

    @cached_property
    def _ranked(self) -> Items:
        return self.ranker.score(self.query, self._pools)[0]

    @cached_property
    def _proposed(self) -> ItemsBatch:
        return self.linear.candidates(self._level, self.model.recipe.depth)

    @cached_property
    def _shown(self) -> Items:
        """Everything, in order."""
        return self.model.candidates(self.query, len(self.ranker.counts))[0]


def _by_event(added: ByEvent, by_text: Float32Array) -> Contributions:
    """What attention adds, as reasons; of what it calls behaviour these shares [L] are text."""
    others = {"taste": added.taste, "base": added.offset}
    text = added.behaviour * by_text
    return Contributions(added.past, added.behaviour - text, added.text + text, 0.0, others)


def _text_shares(own: Contributions) -> Float32Array:
    """float32 [H], what of each past item's part is by text."""
    both = own.behaviour + own.text
    shares: Float32Array = np.zeros_like(both)
    np.divide(own.text, both, out=shares, where=both != 0)
    return shares
