"""The chance that somebody who looks at an item clicks it, or buys it, learnt from impressions.

An item at place k is clicked with the chance that the place is looked at times the item's own: the
first is given, the second is learnt from what is known of person, item and moment, by boosted trees
or by a small network, under the likelihood of both together. So a place low in the slate, where few
look, does not make what stands there worse. A rising curve, learnt on impressions apart, makes the
chances true.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Protocol

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator
from scipy.special import expit, logit

from tailrec.artifact import under
from tailrec.errors import DataError
from tailrec.items import Array, BoolArray, Float32Array, Float64Array, Int32Array
from tailrec.ranking.calibrate import Calibration, Way, calibrated, slopes
from tailrec.ranking.layers import Layers
from tailrec.ranking.trees import Trees
from tailrec.recipe import Recipe
from tailrec.training.recipes import Course, beside

_FEWEST: Final = 10
"""Clicks below which nothing is told apart: everything has the mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Impressions:
    """What was shown where, and what came of it.

    Attributes:
        known: float32 [N, F], of person, item and moment; NaN where something is not known.
        position: int32 [N], places from 1, the top.
        clicked: bool [N].
        attention: float64 [K], chance that each place is looked at, in (0, 1]; places beyond have
            that of the last.

    Raises:
        DataError: lengths differ, a place is below 1, or attention is not in (0, 1].
    """

    known: Float32Array
    position: Int32Array
    clicked: BoolArray
    attention: Float64Array

    def __post_init__(self) -> None:
        lengths = {"position": len(self.position), "clicked": len(self.clicked)}
        if self.known.ndim != 2 or set(lengths.values()) != {len(self.known)}:
            raise DataError(f"known is {self.known.shape}; position and clicked are of {lengths}")
        if self.position.min(initial=1) < 1:
            raise DataError(f"a place is {self.position.min()}; the top is 1")
        low, high = self.attention.min(initial=np.inf), self.attention.max(initial=-np.inf)
        if not 0 < low <= high <= 1:
            raise DataError(f"attention lies in {low}..{high}; it must lie in (0, 1]")

    def __len__(self) -> int:
        return len(self.clicked)

    @property
    def looked(self) -> Float64Array:
        """float64 [N], chance that each was looked at."""
        looked: Float64Array = self.attention[np.minimum(self.position, len(self.attention)) - 1]
        return looked

    def take(self, rows: Array) -> "Impressions":
        """Some of them."""
        return Impressions(
            self.known[rows], self.position[rows], self.clicked[rows], self.attention
        )


class Learner(Protocol):
    """What tells one case from another."""

    def odds(self, known: Float32Array) -> Float64Array:
        """float64 [N], log-odds of a click by those who look, beside those of the mean."""
        ...

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        ...


class Ctr(Recipe):
    """Options of the trees.

    Attributes:
        trees: how many, at most.
        rate: what each adds.
        leaves: of a tree.
        least: impressions of a leaf.
        held_out: share of the impressions that the curve is learnt on, and that says how many
            trees are enough.
        patience: trees without a gain there after which no more are added.
        calibration: `isotonic`, or `platt` for few impressions.
    """

    kind: Literal["trees"] = "trees"
    trees: int = Field(default=400, ge=1)
    rate: float = Field(default=0.05, gt=0, le=1)
    leaves: int = Field(default=15, ge=2)
    least: int = Field(default=100, ge=1)
    held_out: float = Field(default=0.25, gt=0, lt=1)
    patience: int = Field(default=20, ge=1)
    calibration: Way = "isotonic"

    def fit(self, data: Impressions, *, rng: Generator) -> "CtrModel":
        """Learn the chances; see `learnt`.

        Source:
            Friedman 2001, doi:10.1214/aos/1013203451, under the position-based model of Craswell
            et al. 2008, doi:10.1145/1341531.1341545.
        """
        return learnt(self, data, self._boosted, rng)

    def restore(self, arrays: Mapping[str, Array]) -> "CtrModel":
        """The model that gave these arrays."""
        return restored(self, arrays, lambda parts: Trees(parts["trees"]))

    def _boosted(self, own: Impressions, other: Impressions, start: float, seed: int) -> "Trees":
        import lightgbm  # slow to load, and seldom needed

        def objective(odds: Float64Array, _: Any) -> tuple[Float64Array, Float64Array]:
            return _slopes(start + odds, own.clicked, own.looked)

        def loss(odds: Float64Array, _: Any) -> tuple[str, float, bool]:
            click = other.looked * expit(start + odds)
            each = np.where(other.clicked, np.log(click), np.log1p(-click))
            return "loss", -float(each.mean()), False

        learn, judge = (
            lightgbm.Dataset(part.known, part.clicked.astype(np.float32)) for part in (own, other)
        )
        options = {
            "objective": objective,
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.least,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        trees = lightgbm.train(
            options,
            learn,
            num_boost_round=self.trees,
            valid_sets=[judge],
            feval=loss,
            callbacks=[lightgbm.early_stopping(self.patience, verbose=False)],
        )
        return Trees.of(trees, trees.best_iteration)


COURSE: Final = Course(
    steps=1500, rate=2e-3, check_every=50, patience=6, keep_every=1500, device="cpu"
)


class NeuralCtr(Recipe):
    """Options of the network.

    Attributes:
        hidden: widths of its layers.
        dropout: share of numbers left out of a step of learning.
        impressions: of one step.
        held_out: share of the impressions that the curve is learnt on, and that says which state
            is the best.
        calibration: `isotonic`, or `platt` for few impressions.
        course: steps, rates, checks.
    """

    kind: Literal["neural"] = "neural"
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    impressions: int = Field(default=1024, ge=1)
    held_out: float = Field(default=0.25, gt=0, lt=1)
    calibration: Way = "isotonic"
    course: Annotated[Course, beside(COURSE)] = COURSE

    @field_validator("hidden")
    @classmethod
    def _wide(cls, hidden: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden is {list(hidden)}; layers are at least 1 wide")
        return hidden

    def fit(self, data: Impressions, *, rng: Generator) -> "CtrModel":
        """Learn the chances; see `learnt`.

        Numbers are read in units of their spread, and beside them which are missing.

        Source:
            A network over what is known of a case as in Covington et al. 2016,
            doi:10.1145/2959100.2959190, under the position-based model of Craswell et al. 2008,
            doi:10.1145/1341531.1341545.
        """
        return learnt(self, data, self._trained, rng)

    def restore(self, arrays: Mapping[str, Array]) -> "CtrModel":
        """The model that gave these arrays."""
        return restored(self, arrays, Layers.from_arrays)

    def _trained(self, own: Impressions, other: Impressions, start: float, seed: int) -> Layers:
        # PyTorch takes seconds to load, and serving has no use for it.
        from tailrec.ranking.layers_fit import Cases, trained

        learn, judge = (Cases(part.known, part.clicked, part.looked) for part in (own, other))
        course = self.course.model_copy(update={"seed": seed + self.course.seed})
        sizes = (self.hidden, self.dropout, self.impressions)
        return trained(learn, judge, start, sizes, course)


AnyCtr = Ctr | NeuralCtr
Learn = Callable[[Impressions, Impressions, float, int], Learner]
"""Learns from the first impressions, judged on the second, beside log-odds; takes a seed."""


def learnt(recipe: AnyCtr, data: Impressions, learn: Learn, rng: Generator) -> "CtrModel":
    """What both kinds of models do: hold out, learn, make the chances true.

    Args:
        recipe: of the model.
        data: at least one impression. With fewer than ten clicks everything has the mean chance;
            without any, half a click among all that was looked at.
        learn: tells cases from each other.
        rng: draws what is held out, and a seed.

    Raises:
        DataError: there is no impression.
    """
    if not len(data):
        raise DataError("there is no impression to learn from; log what is shown")
    held = rng.random(len(data)) < recipe.held_out
    own, other = data.take(~held), data.take(held)
    seed = int(rng.integers(2**30))
    if min(own.clicked.sum(), other.clicked.sum()) < _FEWEST:
        return CtrModel(recipe, data.known.shape[1], _mean(data), None, None)
    start = float(logit(_mean(own)))
    learner = learn(own, other, start, seed)
    odds = start + learner.odds(other.known)
    curve = calibrated(odds, other.clicked, other.looked, recipe.calibration)
    return CtrModel(recipe, data.known.shape[1], float(expit(start)), learner, curve)


def restored(
    recipe: AnyCtr, arrays: Mapping[str, Array], learner: Callable[[Mapping[str, Array]], Learner]
) -> "CtrModel":
    """The model that gave some arrays; `learner` is made of those of its own."""
    curve, own = under(arrays, "curve."), under(arrays, "learner.")
    return CtrModel(
        recipe,
        int(arrays["width"][0]),
        float(arrays["mean"][0]),
        learner(own) if own else None,
        Calibration.from_arrays(curve) if curve else None,
    )


@dataclass(frozen=True, eq=False)
class CtrModel:
    """Learnt chances.

    Attributes:
        recipe: the options it was fitted with.
        width: F, numbers known of a case.
        mean: chance of all that were looked at.
        learner: tells cases from each other; None where there were too few clicks.
        curve: from log-odds to chances; None where there is no learner.
    """

    recipe: AnyCtr
    width: int
    mean: float
    learner: Learner | None
    curve: Calibration | None

    def probability(self, known: Float32Array) -> Float64Array:
        """float64 [N], chance of a click by somebody who looks, in (0, 1).

        Args:
            known: float32 [N, F], as for the fit.

        Raises:
            DataError: F differs.
        """
        if known.ndim != 2 or known.shape[1] != self.width:
            raise DataError(f"known is {known.shape}; [N, {self.width}] was learnt from")
        if self.learner is None or self.curve is None or not len(known):
            return np.full(len(known), self.mean)
        return self.curve(float(logit(self.mean)) + self.learner.odds(known))

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        found: dict[str, Array] = {
            "width": np.array([self.width]),
            "mean": np.array([self.mean]),
        }
        for name, part in (("curve", self.curve), ("learner", self.learner)):
            if part is not None:
                found |= {f"{name}.{of}": values for of, values in part.arrays().items()}
        return found


def _mean(data: Impressions) -> float:
    """Clicks among all that was looked at; at least half a click, and less than all."""
    looked = float(data.looked.sum())
    return float(np.clip(data.clicked.sum() / looked, 0.5 / (looked + 1), 1 - 0.5 / (looked + 1)))


def _slopes(
    odds: Float64Array, clicked: BoolArray, looked: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Slope and curvature of minus the log-likelihood in the log-odds of those who look.

    The curvature is the expected one, which is never below 0.
    """
    chance = expit(odds)
    click = np.minimum(looked * chance, 1 - 1e-9)
    return slopes(chance, click, clicked), click * np.square(1 - chance) / (1 - click)
