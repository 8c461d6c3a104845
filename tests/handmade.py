"""Evaluations and contenders whose figures are written by hand."""

from collections.abc import Mapping, Sequence

import numpy as np

from tailrec.contender import Contender, Part
from tailrec.evaluation.report import Evaluation


def evaluation(
    per_user: Mapping[str, Sequence[float]],
    *,
    split: str = "by hand",
    users: Sequence[int] | None = None,
) -> Evaluation:
    """Figures of requests, NaN where one is not defined; without users, each has its own."""
    values = {name: np.array(own, np.float64) for name, own in per_user.items()}
    n = len(next(iter(values.values())))
    return Evaluation(
        split=split,
        figures={name: float(np.nanmean(own)) for name, own in values.items()},
        per_user=values,
        ids=np.zeros((n, 1), np.int32),
        seconds_per_slate=0.001,
        users=np.arange(n, dtype=np.int32) if users is None else np.array(users, np.int32),
        tiers={},
    )


def contender(name: str, *runs: Evaluation) -> Contender:
    """A contender with one run on each split."""
    return Contender(name, [Part([run]) for run in runs])
