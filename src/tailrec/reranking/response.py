"""How likely an item in a slate is to be answered, told from what a model says of it.

Models give scores that order items and mean nothing else. A curve learnt from slates and what
came of them turns a score into the chance of a response, so that chances can be summed, weighed
by attention and compared with those of items a model knows nothing of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

import numpy as np
from scipy.optimize import isotonic_regression

from tailrec.errors import DataError
from tailrec.items import (
    PADDING,
    Array,
    BoolArray,
    Float32Array,
    Float64Array,
    Int64Array,
    ItemsBatch,
)

RESPONSE: Final = "response"
"""The column of a slate or pool that holds the chance of a response, float32."""

Feature = Literal["score", "share", "rank"]
FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)
"""What a curve may be over: the score, its share of the row's best, or the log of the place."""

_KNOTS: Final = 200
_CASES_A_KNOT: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class ResponseCurve:
    """The chance of a response as a curve over one feature, straight between its knots.

    Attributes:
        feature: what the curve is over; chosen by how well it foretells responses.
        at: float64 [T], the knots, rising.
        chance: float64 [T], in (0, 1); falling for ``rank``, else rising.
        fill: the chance of an item that only fills up a slate (score below 0), at most. It
            never gets more than the items of its row that a model proposed.
        log_loss: by feature, on slates the curve was not learnt from.
    """

    feature: Feature
    at: Float64Array
    chance: Float64Array
    fill: float
    log_loss: Mapping[Feature, float]

    def probability(self, pools: ItemsBatch) -> Float32Array:
        """The chance of a response to each item, given that it is looked at.

        Args:
            pools: [B, P], best first. Items beyond the places or scores that were learnt from
                get the chance at the nearest end of the curve.

        Returns:
            float32 [B, P], in (0, 1), 0 at padding; never rising along a row whose scores
            never rise.
        """
        proposed = (pools.ids != PADDING) & (pools.scores >= 0)
        chance = np.interp(_feature(pools, self.feature), self.at, self.chance)
        if proposed.all():
            return chance.astype(np.float32)
        lowest = np.where(proposed, chance, self.fill).min(axis=1, initial=self.fill)
        chance = np.where(proposed, chance, lowest[:, None])
        chance[pools.ids == PADDING] = 0
        return chance.astype(np.float32)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        return {
            "feature": np.array([FEATURES.index(self.feature)], np.int8),
            "at": self.at,
            "chance": self.chance,
            "fill": np.array([self.fill]),
            "log_loss": np.array([self.log_loss[name] for name in FEATURES]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The curve that gave these arrays; they may be read-only and are not copied."""
        losses = dict(zip(FEATURES, arrays["log_loss"].tolist(), strict=True))
        feature = FEATURES[int(arrays["feature"][0])]
        return cls(feature, arrays["at"], arrays["chance"], float(arrays["fill"][0]), losses)


def fit_response(
    slates: ItemsBatch, hits: BoolArray, *, attention: Float64Array | None = None
) -> ResponseCurve:
    """Learn how likely a response is.

    For each feature an isotonic regression, centred so that it rises all along, is learnt from
    every second row and judged on the others, and the other way round; the feature with the
    least log-loss is learnt from all rows.

    Args:
        slates: [B, K], best first, as a model gave them; as wide as the pools to be judged.
            Take rows the model was not fitted on: it knows too much of the others.
        hits: bool [B, K], places that were answered.
        attention: float64 [K], chance that a place is looked at; responses are taken to be
            rarer by that much than for items looked at. None: all places are looked at.

    Returns:
        The curve. No chance is nearer to 0 or 1 than half a response among all that was shown.

    Raises:
        DataError: shapes differ, attention is not in (0, 1], fewer than two rows show anything,
            or nothing was answered.

    Source:
        Zadrozny and Elkan 2002, doi:10.1145/775047.775151 (isotonic calibration); Oron and
        Flournoy 2017, doi:10.1080/19466315.2017.1286256 (centred).
    """
    cases = _Cases.of(slates, hits, attention)
    first = cases.row % 2 == 0
    losses = {name: cases.crossed_loss(name, first) for name in FEATURES}
    feature = min(FEATURES, key=losses.__getitem__)
    at, chance = cases.curve(feature, np.ones(len(cases.row), np.bool_))
    return ResponseCurve(feature, at, chance, cases.fill, losses)


@dataclass(frozen=True, slots=True, eq=False)
class _Cases:
    """Items shown that a model proposed, each [N], and the rate of those that only fill up."""

    row: Int64Array
    features: Mapping[str, Float64Array]
    looked: Float64Array
    hit: Float64Array
    fill: float
    least: float  # the chance nearest to 0 that is given

    @classmethod
    def of(cls, slates: ItemsBatch, hits: BoolArray, attention: Float64Array | None) -> "_Cases":
        looks = np.ones(slates.ids.shape[1]) if attention is None else attention
        _check(slates, hits, looks)
        there = slates.ids != PADDING
        proposed = there & (slates.scores >= 0)
        looked = np.broadcast_to(looks, hits.shape)
        # Where a model proposed nothing, or nothing fills up, the other rate stands in.
        filled = there & ~proposed if (there & ~proposed).any() else there
        known = proposed if len(np.unique(np.nonzero(proposed)[0])) > 1 else there
        least = 0.5 / (looked[there].sum() + 1)
        rate = hits[filled].sum() / looked[filled].sum()
        return cls(
            np.unique(np.nonzero(known)[0], return_inverse=True)[1],
            {name: _feature(slates, name)[known] for name in FEATURES},
            looked[known],
            hits[known].astype(np.float64),
            float(np.clip(rate, least, 1 - least)),
            least,
        )

    def crossed_loss(self, name: Feature, first: BoolArray) -> float:
        """Mean log-loss of what each half says of the other."""
        total = 0.0
        for own in (first, ~first):
            chance = self.looked[~own] * np.interp(
                self.features[name][~own], *self.curve(name, own)
            )
            hit = self.hit[~own]
            total -= float(hit @ np.log(chance) + (1 - hit) @ np.log1p(-chance))
        return total / len(self.hit)

    def curve(self, name: Feature, own: BoolArray) -> tuple[Float64Array, Float64Array]:
        """Knots and chances [T] learnt from some cases.

        A knot stands for cases that follow each other, as many for each, equal ones together.
        """
        value, looked = self.features[name][own], self.looked[own]
        n_knots = int(np.clip(len(value) // _CASES_A_KNOT, 1, _KNOTS))
        edges = np.unique(np.quantile(value, np.linspace(0, 1, n_knots + 1)[1:-1]))
        knot = np.searchsorted(edges, value, "left")
        weight = np.bincount(knot, looked).astype(np.float64)
        filled = weight > 0
        at = np.bincount(knot, value * looked)[filled] / weight[filled]
        rate = np.bincount(knot, self.hit[own])[filled] / weight[filled]
        chance = isotonic_regression(rate, weights=weight[filled], increasing=name != "rank").x
        ends = value.min(), value.max()
        at, chance = _centred((at, chance, weight[filled]), ends)
        return at, np.clip(chance, self.least, 1 - self.least)


def _centred(
    steps: tuple[Float64Array, Float64Array, Float64Array], ends: tuple[float, float]
) -> tuple[Float64Array, Float64Array]:
    """A stepwise curve made straight between the middles of its steps, and on to its ends.

    Along a step all items would be worth the same, though a model tells them apart. Beyond the
    outer middles the curve goes on as steeply as before them, to at most twice the chance.
    """
    at, chance, weight = steps
    step = np.concatenate([[0], np.cumsum(np.diff(chance) != 0)])
    heavy = np.bincount(step, weight)
    at, chance = np.bincount(step, at * weight) / heavy, np.bincount(step, chance * weight) / heavy
    if len(at) < 2:
        return at, chance
    slope = np.diff(chance) / np.diff(at)
    low = chance[0] + slope[0] * (ends[0] - at[0])
    high = chance[-1] + slope[-1] * (ends[1] - at[-1])
    beyond = np.clip([low, high], 0, 2 * chance[[0, -1]])
    inner = (at > ends[0]) & (at < ends[1])
    at, chance = np.append(ends[0], at[inner]), np.append(beyond[0], chance[inner])
    return np.append(at, ends[1]), np.append(chance, beyond[1])


def _feature(slates: ItemsBatch, name: Feature) -> Float64Array:
    """float64 [B, K], a feature of every item; anything where the item only fills up."""
    scores = np.maximum(slates.scores, 0).astype(np.float64)
    if name == "score":
        return scores
    if name == "share":
        best = scores.max(axis=1, keepdims=True, initial=0.0)
        share: Float64Array = np.divide(scores, best, out=np.zeros_like(scores), where=best > 0)
        return share
    place = np.log(np.arange(1, scores.shape[1] + 1))
    return np.asarray(np.broadcast_to(place, scores.shape), np.float64)


def _check(slates: ItemsBatch, hits: BoolArray, attention: Float64Array) -> None:
    if hits.shape != slates.ids.shape or attention.shape != hits.shape[1:]:
        raise DataError(
            f"slates of {slates.ids.shape}, hits of {hits.shape} and attention of "
            f"{attention.shape}; hits are needed for each place, attention for each column"
        )
    if not ((attention > 0) & (attention <= 1)).all():
        raise DataError(f"attention from {attention.min()} to {attention.max()}; it lies in (0, 1]")
    there = slates.ids != PADDING
    if there.any(axis=1).sum() < 2 or not hits[there].any():
        raise DataError(
            f"{int(there.any(axis=1).sum())} slates with {int(hits[there].sum())} responses; at "
            f"least 2 and 1 are needed to learn how likely a response is"
        )
