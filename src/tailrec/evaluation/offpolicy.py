"""What another policy would have earned, by the log of the one that was run.

A log says what was shown, with which chance, and what came of it. A case that the other policy
would have shown w times as often counts w times. All rests on three things: the chances in the
log are true, the other policy shows nothing that the log never shows, and what somebody does
depends on what they are shown and not on which policy did so. Few cases that count much make an
estimate that is worth nothing; `OffPolicy.refused` says so instead of a verdict.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator

from tailrec.errors import DataError
from tailrec.evaluation.significance import Bootstrap, Interval
from tailrec.items import Array, Float64Array

LEAST_CASES = 100.0
"""Effective cases below which there is no verdict: an interval needs them to be one."""
LEAST_RESPONSES = 10.0
"""Effective cases with a reward below which there is none: a few clicks decide all."""
_THRESHOLDS = np.linspace(0.5, 1.0, 26)
"""Shares of the weights up to which `switch` may trust them."""

Verdict = Literal["better", "worse", "undecided"]


class Predicted(NamedTuple):
    """What a model of rewards says; it must not have been fitted on the cases themselves.

    Attributes:
        shown: float64 [N], the reward of what was shown.
        expected: float64 [N], the mean reward of what the other policy would show instead.
    """

    shown: Float64Array
    expected: Float64Array


@dataclass(frozen=True, slots=True)
class Log:
    """What a policy showed.

    Attributes:
        reward: float64 [N], what came of each case, such as a click (1) or none (0).
        propensity: float64 [N], the chance with which this was shown, in (0, 1].
        group: int [N], cases that belong together, such as those of one person; None: each is
            alone.
    """

    reward: Float64Array
    propensity: Float64Array
    group: Array | None = None

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            DataError: there is nothing, lengths differ, or a propensity is no chance.
        """
        n = len(self.reward)
        if not n or len(self.propensity) != n or (self.group is not None and len(self.group) != n):
            raise DataError(
                f"{n} rewards and {len(self.propensity)} propensities; an off-policy estimate "
                "takes as many of both, and a group for each or none"
            )
        if not np.isfinite(self.reward).all():
            raise DataError(f"{int((~np.isfinite(self.reward)).sum())} rewards are no numbers")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise DataError(
                f"propensities from {self.propensity.min()} to {self.propensity.max()}; what was "
                "shown had a chance above 0 and at most 1"
            )


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """What is known of the other policy's mean reward.

    Attributes:
        estimates: by method, with 95 % bounds: `ips`, `snips`, and with predictions `dr` and
            `switch`.
        logged: the mean reward in the log.
        difference: to the mean reward in the log, by `switch` or else by `snips`.
        weight: the mean weight; 1 where the other policy shows only what the log shows.
        effective_cases: as many cases of equal weight would say as much.
        effective_responses: the same of the cases with a reward.
        heaviest: share of the total weight that the heaviest case has.
        threshold: weight above which `switch` goes by the prediction alone; None without.
    """

    estimates: dict[str, Interval]
    logged: Interval
    difference: Interval
    weight: Interval
    effective_cases: float
    effective_responses: float
    heaviest: float
    threshold: float | None

    @property
    def refused(self) -> str | None:
        """Why there is no verdict; None where there is one."""
        if self.effective_cases < LEAST_CASES:
            return (
                f"the log says as much as {self.effective_cases:.0f} cases of the other policy "
                f"would, and {LEAST_CASES:.0f} are needed; log more, or explore more"
            )
        if self.effective_responses < LEAST_RESPONSES:
            return (
                f"{self.effective_responses:.1f} effective cases have a reward, and "
                f"{LEAST_RESPONSES:.0f} are needed; log longer"
            )
        if not self.weight.low <= 1 <= self.weight.high:
            return (
                f"weights have the mean {self.weight.mid:.2f} and not 1, so the propensities are "
                "wrong, or the other policy shows what the log never shows"
            )
        return None

    @property
    def verdict(self) -> Verdict | None:
        """Whether the other policy is better than the logged one; None where it is refused."""
        if self.refused is not None:
            return None
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "undecided"


def off_policy(
    log: Log,
    chance: Float64Array,
    *,
    predicted: Predicted | None = None,
    draws: int = 10_000,
    rng: Generator,
) -> OffPolicy:
    """Estimate the mean reward that another policy would have had.

    Args:
        log: N cases.
        chance: float64 [N], with which the other policy would have shown what was shown.
        predicted: what a model says of the rewards; gives `dr` and `switch`.
        draws: bootstrap resamples of the groups.
        rng: draws them.

    Returns:
        Estimates by inverse propensity (`ips`: unbiased), by the same over the sum of the weights
        (`snips`: a little biased, much steadier), doubly robust (`dr`: the prediction, and what it
        misses in the log, weighed), and `switch`: the same, without the misses of cases of great
        weight, where what they cost in bias is less than what they cost in variance.

    Raises:
        DataError: lengths differ, a chance is not in 0..1, or the other policy shows nothing of
            what the log shows.

    Source:
        Horvitz & Thompson 1952; Swaminathan & Joachims 2015, "The self-normalized estimator for
        counterfactual learning"; Dudík et al. 2011, arXiv:1103.4601; Wang et al. 2017,
        arXiv:1612.01205.
    """
    weight = _weights(log, chance, predicted)
    reward, mean = log.reward, float(weight.mean())
    snips = float(weight @ reward / weight.sum())
    # What a case moves the estimate by; the mean of these values is the estimate itself.
    parts = {"ips": weight * reward, "snips": snips + weight * (reward - snips) / mean}
    threshold = None
    if predicted is not None:
        missed = weight * (reward - predicted.shown)
        threshold = _threshold(weight, predicted.expected, missed, float(np.ptp(reward)))
        parts["dr"] = predicted.expected + missed
        parts["switch"] = predicted.expected + np.where(weight <= threshold, missed, 0)
    best = parts.get("switch", parts["snips"])
    group = np.arange(len(reward)) if log.group is None else log.group
    figures = [*parts.values(), reward, best - reward, weight]
    *found, logged, difference, whole = Bootstrap(group, draws=draws, rng=rng).means(figures)
    return OffPolicy(
        dict(zip(parts, found, strict=True)),
        logged,
        difference,
        whole,
        effective_cases=effective_size(weight, group),
        effective_responses=effective_size(np.abs(weight * reward), group),
        heaviest=float(weight.max() / weight.sum()),
        threshold=threshold,
    )


def effective_size(weight: Float64Array, group: Array) -> float:
    """How many groups of equal weight would say as much; 0 where all weigh nothing.

    Args:
        weight: float64 [N], at least 0.
        group: int [N], cases that belong together.

    Source:
        Kish 1965, Survey Sampling.
    """
    total = np.bincount(np.unique(group, return_inverse=True)[1], weight)
    square = float(total @ total)
    return float(total.sum() ** 2 / square) if square > 0 else 0.0


def _weights(log: Log, chance: Float64Array, predicted: Predicted | None) -> Float64Array:
    n = len(log.reward)
    given = [len(chance), *(map(len, predicted) if predicted is not None else ())]
    if set(given) != {n}:
        raise DataError(f"the log has {n} cases; chances and predictions are of {given}")
    if not ((chance >= 0) & (chance <= 1)).all():
        raise DataError(f"chances from {chance.min()} to {chance.max()}; they lie in 0..1")
    if not chance.any():
        raise DataError(
            f"the other policy would have shown none of the {n} cases; a log that it shares "
            "nothing with says nothing of it"
        )
    return np.asarray(chance / log.propensity, np.float64)


def _threshold(
    weight: Float64Array, expected: Float64Array, missed: Float64Array, spread: float
) -> float:
    """The weight up to which misses are corrected: least variance and squared bias together.

    The bias is at most the whole range of rewards on what is left uncorrected.
    """
    tried = np.unique(np.quantile(weight, _THRESHOLDS, method="higher"))
    below = weight <= tried[:, None]
    variance = (expected + np.where(below, missed, 0)).var(axis=1) / len(weight)
    bias = spread * np.where(below, 0, weight).mean(axis=1)
    return float(tried[np.argmin(variance + bias**2)])
