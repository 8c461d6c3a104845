"""The core model: a closed-form item model of behaviour, order and words together.

A = PᵀP + K + λI, T = PᵀF + τ·offdiag(K), B = A⁻¹T, score(u) = w(u)·B (see `gram` for P and F,
`kernel` for K, `local` for the solver). An item nobody touched has a column all the same:
its words, smoothed by everybody's behaviour. A score is a sum over the history, and each term
splits into what behaviour and what text gave, so explanations are exact. A prior π·p_j may come
on top: being popular speaks for an item, and most with those who did little yet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator
from scipy import sparse

from tailrec.artifact import under
from tailrec.candidates.arrivals import Arrivals
from tailrec.candidates.basis import Basis
from tailrec.candidates.dense import solve_dense
from tailrec.candidates.gram import Bonds, Gram, gram
from tailrec.candidates.heap import csr_over
from tailrec.candidates.kernel import Lessons, TextKernel
from tailrec.candidates.local import solve_local
from tailrec.candidates.nearest import nearest_to_each_other
from tailrec.candidates.popular import Popular, PopularModel
from tailrec.candidates.prior import Prior
from tailrec.candidates.private import Privacy, Spent
from tailrec.candidates.select import Weights, history_weights, sparse_candidates
from tailrec.dataset import DAY_US, Dataset, Features
from tailrec.items import Array, Float32Array, Int32Array, Int64Array, ItemsBatch, QueryBatch
from tailrec.recipe import Recipe

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(gt=0, le=1)]

KEPT_LEANS = 8
"""Leans to the tail whose factors are kept ready."""


class Linear(Recipe):
    """Options of the core model.

    Attributes:
        words: a, weight of the words in the text kernel.
        meaning: b, weight of the language model's vectors in the text kernel.
        whiten: ridge of the whitening of those vectors; 0 leaves them as they are.
        lift: how strongly words that go with being had together count more; 0: not at all.
        agreement: how strongly directions of meaning along which such items agree do.
        directions: most directions of meaning kept, where they are whitened.
        ridge: λ, how strongly everything shrinks to nothing.
        text: τ, how much likeness counts as a reason, beside its part in the smoothing.
        decay: γ of training, what a step back leaves of a past event.
        ahead: φ of training, what a step ahead leaves of a later event.
        reverse: share of a pair that counts against the order of time, too.
        recall: γ of serving, what a step back leaves of a past event.
        tilt: lean to the tail of every request, as (n_i / n_j)^tilt; below 0 to the head.
        half_life_days: days after which an event counts half, in training and serving; None: never.
        prior: π, what being the most popular item counts in its score; others by their share.
        basket: what a pair within one basket counts; pairs a step apart count 1.
        window: pairs further apart than this many steps are left out.
        neighbours: m, items in the small system of each item.
        solver: `local`, or `dense` to check it on a small shop.
        privacy: noise by which no person can be told from the model; none: there is none.
    """

    kind: Literal["linear"] = "linear"
    words: NotNegative = 6.0
    meaning: NotNegative = 5.0
    whiten: NotNegative = 0.01
    lift: NotNegative = 0.5
    agreement: NotNegative = 0.0
    directions: Annotated[int, Field(ge=1)] = 128
    ridge: Positive = 100.0
    text: Positive = 0.6
    decay: Decay = 0.75
    ahead: Decay = 0.3
    reverse: NotNegative = 0.1
    recall: Decay = 0.7
    tilt: Annotated[float, Field(ge=-1, le=1)] = -0.04
    half_life_days: Positive | None = None
    prior: NotNegative = 0.0
    basket: NotNegative = 0.3
    window: Annotated[int, Field(ge=1)] = 30
    neighbours: Annotated[int, Field(ge=1)] = 100
    solver: Literal["local", "dense"] = "local"
    privacy: Privacy | None = None

    @model_validator(mode="after")
    def _ages_tell_of_nobody(self) -> Self:
        if self.privacy is not None and self.half_life_days is not None:
            raise ValueError(
                "ages are reckoned from the newest event, which is some person's, so there is no "
                f"privacy with half_life_days = {self.half_life_days:g}; leave it out"
            )
        return self

    def restore(self, arrays: Mapping[str, Array]) -> "LinearModel":
        """The model that gave these arrays."""
        return LinearModel.from_arrays(self, arrays)

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> "LinearModel":
        """Learn the model; nothing is drawn at random but the noise of privacy.

        Args:
            data: histories.
            features: of every item of the catalogue.
            rng: not used: the solution is in closed form, and privacy has a source of its own.

        Cost:
            Time and memory linear in the items and in their co-occurring pairs; with the
            dense solver cubic in the items.

        Raises:
            RecipeError: the dense solver is asked for more than `DENSE_LIMIT` items.
        """
        known = self._known(data, features, rng)
        behaviour = known.pairs
        lessons = Lessons(
            self.words, self.meaning, self.whiten, self.lift, self.agreement, self.directions
        )
        kernel = TextKernel.fit(features, behaviour, lessons)
        text = kernel.vectors(features)
        near, _ = nearest_to_each_other(text, self.neighbours)
        ridge = behaviour.diagonal + text.diagonal() + np.float32(self.ridge)
        basis = Basis(text, behaviour, ridge)
        solve = solve_dense if self.solver == "dense" else solve_local
        matrix, by_text = solve(basis, near, self.neighbours)
        by_text *= np.float32(self.text)
        matrix.data += by_text
        prior, none = Prior.of(known.popular), Arrivals.none(data.n_items)
        return LinearModel(
            self, matrix, by_text, known.counts, prior, kernel, basis, none, known.spent
        )

    def _known(self, data: Dataset, features: Features, rng: Generator) -> "_Known":
        """All that is taken from behaviour; with privacy, all of it is noised."""
        bonds = Bonds(self.decay, self.ahead, self.reverse, self.basket)
        weight = self._weights(data)
        if self.privacy is None:
            popular = Popular(half_life_days=self.half_life_days).fit(data, features, rng=rng)
            pairs = gram(data, weight, window=self.window, bonds=bonds)
            return _Known(pairs, data.item_counts, popular, None)
        pairs, counts, spent = self.privacy.sums(data, weight, window=self.window, bonds=bonds)
        return _Known(pairs, counts, PopularModel.of(counts), spent)

    def _weights(self, data: Dataset) -> Float32Array:
        if self.half_life_days is None:
            return data.weight
        age = (data.now - data.time) / DAY_US
        return (data.weight * np.exp2(-age / self.half_life_days)).astype(np.float32)


class _Known(NamedTuple):
    """What behaviour tells: pairs of items, events of each, the most popular, the budget spent."""

    pairs: Gram
    counts: Int64Array
    popular: PopularModel
    spent: Spent | None


@dataclass(frozen=True, slots=True)
class Contributions:
    """Why one item has its score for one person: a sum over the history and a prior, exact.

    Attributes:
        ids: int32 [H], catalogue numbers of the past items, largest contribution first.
        behaviour: float32 [H], what co-behaviour with each past item gave.
        text: float32 [H], what likeness of words and meaning gave.
        popularity: what being popular gave, whatever the history.
        others: what else gave something, by name: in a mixture the other sources, and `base`, the
            rest: what items of the kind have, the lean to the tail, and where scores begin.
    """

    ids: Int32Array
    behaviour: Float32Array
    text: Float32Array
    popularity: float
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The score these parts add up to."""
        own = float(self.behaviour.sum() + self.text.sum()) + self.popularity
        return own + sum(self.others.values())

    def plus(self, other: "Contributions") -> "Contributions":
        """Both, what they say of one past item added up."""
        named = np.concatenate([self.ids, other.ids])
        ids, place = np.unique(named, return_inverse=True)
        behaviour, text = (
            np.bincount(place, np.concatenate(both), len(ids)).astype(np.float32)
            for both in ((self.behaviour, other.behaviour), (self.text, other.text))
        )
        order = np.argsort(-np.abs(behaviour + text), kind="stable")
        order = order[(behaviour != 0)[order] | (text != 0)[order]]
        others = dict(self.others)
        for name, value in other.others.items():
            others[name] = others.get(name, 0.0) + value
        popularity = self.popularity + other.popularity
        return Contributions(ids[order], behaviour[order], text[order], popularity, others)

    def times(self, factor: float) -> "Contributions":
        """All parts, that many times as large."""
        return Contributions(
            self.ids,
            self.behaviour * np.float32(factor),
            self.text * np.float32(factor),
            self.popularity * factor,
            {name: value * factor for name, value in self.others.items()},
        )


@dataclass(frozen=True)
class LinearModel:
    """The fitted core model.

    Attributes:
        recipe: the options it was fitted with.
        matrix: float32 CSR [I, I], B: what past item i says for item j.
        by_text: float32 [nnz], the text part of each entry of `matrix`.
        counts: int64 [I + N], training events of each item.
        popular: the prior, kept whether or not the recipe gives it a weight.
        kernel: makes kernel vectors of new items' features.
        basis: what the columns were solved from; new items are solved from it too.
        arrivals: N items that came after the fit, kept apart: the matrix, which processes share
            in memory, stays as it is.
        spent: the privacy budget of the fit; None where it had none.
    """

    recipe: Linear
    matrix: sparse.csr_array
    by_text: Float32Array
    counts: Int64Array
    popular: Prior
    kernel: TextKernel
    basis: Basis
    arrivals: Arrivals
    spent: Spent | None = None

    def candidates(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """The k best items a request; an empty history gives an empty row, prior or not.

        With `queries.tail` α > 0 an entry B_ij counts (n_i / n_j)^α as much, so that items with
        few events come forward without a new fit. The prior of j counts (1 / n_j)^α as much, as
        if everybody had had one more item, without events.

        Args:
            queries: B requests.
            k: width of the result.

        Returns:
            [B, k], best first, scores above 0.
        """
        row, column = self._scales(queries.tail) or (None, None)
        weight = np.float32(self.recipe.prior)
        return sparse_candidates(
            self._history(queries),
            self.matrix,
            queries,
            k,
            row_scale=row,
            column_scale=column,
            prior=(self.popular.ids, weight * self.popular.shares) if weight else None,
            more=self._late[0] if len(self.arrivals) else None,
        )

    def explain(self, query: QueryBatch, item: int) -> Contributions:
        """The exact parts of an item's score for one person.

        Args:
            query: a batch of one request.
            item: catalogue number of the item to explain.

        Returns:
            One entry for each past item that says something for or against the item, and what
            the prior gives.
        """
        weights = self._history(query).matrix()
        past = weights.indices
        share = weights.data
        popularity = self.recipe.prior * self.popular.share(item) if len(past) else 0.0
        scales = self._scales(query.tail)
        if scales is not None:
            share = share * scales[0][past] * scales[1][item]
            popularity *= float(scales[1][item])
        both, text = share * self._said_for(item, past)
        order = np.argsort(-np.abs(both), kind="stable")
        order = order[both[order] != 0]
        return Contributions(
            past[order].astype(np.int32),
            (both - text)[order],
            text[order].astype(np.float32),
            popularity,
        )

    def reasons(self, query: QueryBatch) -> Callable[[int], Contributions]:
        """What tells the exact parts of scores for one person, item by item; see `explain`."""
        return partial(self.explain, query)

    def extended(self, features: Features) -> "LinearModel":
        """The model with items appended that had no events when it was fitted.

        Args:
            features: [N] rows of the new items, made with the vocabulary of the fit.

        Returns:
            A model of so many items more; what it says of the others is unchanged.

        Cost:
            One small system an item; nothing of the fit is copied.
        """
        text = self.kernel.vectors(features)
        arrivals = self.arrivals.and_then(self.basis, text, self.recipe.ridge)
        counts = np.concatenate([self.counts, np.zeros(len(text.dense), np.int64)])
        return replace(self, arrivals=arrivals, counts=counts)

    def served_as(self, recipe: Linear) -> "LinearModel":
        """The same fit under other options that matter after it.

        These are text, recall, tilt, prior and, in serving alone, half_life_days.

        Args:
            recipe: differs from the model's own in nothing else.
        """
        if recipe.text == self.recipe.text:
            return replace(self, recipe=recipe)
        text = self.by_text * np.float32(recipe.text / self.recipe.text)
        values = self.matrix.data - self.by_text + text
        own = self.matrix
        matrix = csr_over(values, own.indices, own.indptr, own.shape)
        return replace(self, recipe=recipe, matrix=matrix, by_text=text)

    @cached_property
    def _leans(self) -> dict[float, tuple[Float32Array, Float32Array]]:
        """Factors by lean: one power an item is more than all the rest of a request."""
        return {}

    @cached_property
    def _late(self) -> tuple[sparse.csr_array, Float32Array]:
        """What the arrivals add to the matrix, and the text part of each entry."""
        return self.arrivals.matrix(self.recipe.text)

    def _said_for(self, item: int, past: Array) -> Float32Array:
        """float32 [2, H]: what past items say for an item, all of it and the text part."""
        said = np.zeros((2, len(past)), np.float32)
        for matrix, by_text in ((self.matrix, self.by_text), self._late):
            n_rows, n_columns = matrix.shape
            known = np.flatnonzero(past < n_rows)
            if item < n_columns:
                for part, values in enumerate((matrix.data, by_text)):
                    own = csr_over(values, matrix.indices, matrix.indptr, matrix.shape)
                    said[part, known] += own[past[known]][:, [item]].toarray().ravel()
        return said

    def _history(self, queries: QueryBatch) -> Weights:
        recipe = self.recipe
        return history_weights(
            queries,
            len(self.counts),
            decay=recipe.recall,
            half_life_days=recipe.half_life_days,
        )

    def _scales(self, tail: float) -> tuple[Float32Array, Float32Array] | None:
        """Factors of rows and columns that lean scores to the tail; None where nothing does."""
        lean = tail + self.recipe.tilt
        if lean == 0:
            return None
        if lean not in self._leans:
            row = ((1 + self.counts) ** lean).astype(np.float32)
            if len(self._leans) >= KEPT_LEANS:
                self._leans.clear()
            self._leans[lean] = row, np.float32(1) / row
        return self._leans[lean]

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact; arrivals are not part of it."""
        return {
            "indptr": self.matrix.indptr,
            "indices": self.matrix.indices,
            "data": self.matrix.data,
            "by_text": self.by_text,
            "counts": self.counts[: self.matrix.shape[0]],
            **{f"popular.{name}": values for name, values in self.popular.arrays().items()},
            **{f"kernel.{name}": values for name, values in self.kernel.arrays().items()},
            **{f"basis.{name}": values for name, values in self.basis.arrays().items()},
            **({} if self.spent is None else {"spent": self.spent.array()}),
        }

    @classmethod
    def from_arrays(cls, recipe: Linear, arrays: Mapping[str, Array]) -> Self:
        """The model that gave these arrays; they may be read-only and are not copied."""
        n_items = len(arrays["counts"])
        return cls(
            recipe,
            csr_over(arrays["data"], arrays["indices"], arrays["indptr"], (n_items, n_items)),
            arrays["by_text"],
            arrays["counts"],
            Prior.from_arrays(under(arrays, "popular.")),
            TextKernel.from_arrays(under(arrays, "kernel.")),
            Basis.from_arrays(under(arrays, "basis.")),
            Arrivals.none(n_items),
            Spent.from_array(arrays["spent"]) if "spent" in arrays else None,
        )
