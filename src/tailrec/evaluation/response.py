"""How good predicted probabilities of a response are: order, sharpness, and honesty."""

import numpy as np

from tailrec import columns as c
from tailrec.errors import DataError
from tailrec.items import BoolArray, Float64Array, Int8Array, Int64Array


def response(
    probability: Float64Array, outcome: BoolArray, *, tier: Int8Array | None = None
) -> dict[str, float]:
    """All figures of a prediction, overall and by the tier of the item shown.

    Args:
        probability: float64 [N], of a response, in 0..1.
        outcome: bool [N], whether there was one.
        tier: int8 [N], the items' codes of `columns.TIERS`; None gives overall figures.

    Returns:
        ``auc``, ``log_loss`` and ``calibration_error``, and each with ``/<tier>`` for the tiers
        that occur. Where all outcomes are alike there is no ``auc``.

    Raises:
        DataError: lengths differ, there is nothing, or a probability is not in 0..1.
    """
    _check(probability, outcome)
    figures = _figures(probability, outcome)
    if tier is not None:
        for code in np.unique(tier):
            own = tier == code
            apart = _figures(probability[own], outcome[own])
            figures |= {f"{name}/{c.TIERS[code]}": value for name, value in apart.items()}
    return {name: value for name, value in figures.items() if not np.isnan(value)}


def auc(probability: Float64Array, outcome: BoolArray) -> float:
    """Chance that a case with a response was given a higher probability than one without.

    Args:
        probability: float64 [N]; equal ones count half.
        outcome: bool [N].

    Returns:
        0 to 1, 0.5 by chance; NaN where all outcomes are alike.

    Source:
        Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    n_one = int(outcome.sum())
    n_pairs = n_one * (len(outcome) - n_one)
    if not n_pairs:
        return float("nan")
    below, equal = _places(probability)
    rank = below + (equal + 1) / 2
    return float((rank[outcome].sum() - n_one * (n_one + 1) / 2) / n_pairs)


def log_loss(probability: Float64Array, outcome: BoolArray) -> float:
    """Mean of -ln of the probability given to what happened; 0 is perfect.

    A probability of exactly 0 or 1 counts as the next number inside: certainty that was wrong
    costs much, and not infinitely much.

    Args:
        probability: float64 [N].
        outcome: bool [N].
    """
    tiny = np.finfo(np.float64).eps
    given = np.where(outcome, probability, 1 - probability)
    return float(-np.log(np.clip(given, tiny, 1 - tiny)).mean())


def expected_calibration_error(
    probability: Float64Array, outcome: BoolArray, bins: int = 10
) -> float:
    """Mean distance between the probability said and the share that came true.

    Bins hold as many cases each: responses are rare, and bins of equal width would hold them
    all in the first. Equal probabilities are never parted.

    Args:
        probability: float64 [N].
        outcome: bool [N].
        bins: how many, at least 1.

    Returns:
        0 (honest in every bin) to 1.

    Raises:
        ValueError: bins is below 1.

    Source:
        Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning";
        Nguyen and O'Connor 2015, doi:10.18653/v1/D15-1182 (bins of equal size).
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1 is needed")
    below, _ = _places(probability)
    own = below * bins // len(probability)
    gap = np.bincount(own, probability - outcome, minlength=bins)
    return float(np.abs(gap).sum() / len(probability))


def _places(values: Float64Array) -> tuple[Int64Array, Int64Array]:
    """int64 [N] each: how many values are smaller than this one, and how many equal it."""
    _, own, count = np.unique(values, return_inverse=True, return_counts=True)
    before = np.cumsum(count) - count
    return before[own], count[own]


def _figures(probability: Float64Array, outcome: BoolArray) -> dict[str, float]:
    return {
        "auc": auc(probability, outcome),
        "log_loss": log_loss(probability, outcome),
        "calibration_error": expected_calibration_error(probability, outcome),
    }


def _check(probability: Float64Array, outcome: BoolArray) -> None:
    if probability.shape != outcome.shape or not probability.size:
        raise DataError(
            f"{probability.shape} probabilities and {outcome.shape} outcomes; as many are needed, "
            f"at least one"
        )
    if not ((probability >= 0) & (probability <= 1)).all():
        raise DataError(
            f"probabilities from {probability.min()} to {probability.max()}; they lie in 0..1"
        )
