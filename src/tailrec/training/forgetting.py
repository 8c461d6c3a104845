"""Figures of learning one period after another: what is forgotten, and what helps later.

All are made of a matrix: row i, column j has the figure on what period j held out, measured after
period i was learnt. Higher is better.

Source:
    Lopez-Paz and Ranzato 2017, arXiv:1706.08840, transfer; Chaudhry et al. 2018,
    arXiv:1801.10112, forgetting.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tailrec.items import Array

Known = TypeVar("Known")
Task = TypeVar("Task")


def measured(
    start: Known,
    tasks: Sequence[Task],
    learn: Callable[[Known, Task], Known],
    figure: Callable[[Known, Task], float],
) -> tuple[Array, Array]:
    """Learn one after another, and measure all after each.

    Args:
        start: what is known before the first.
        tasks: [T], in the order in which they are learnt.
        learn: what is known after one more.
        figure: of what is known, on what one held out.

    Returns:
        float64 [T] of the start, and float64 [T, T], row i after the i-th was learnt.
    """
    before = np.array([figure(start, task) for task in tasks])
    known, rows = start, []
    for task in tasks:
        known = learn(known, task)
        rows.append([figure(known, other) for other in tasks])
    return before, np.array(rows)


def forgetting(figures: Array) -> float:
    """Mean over all periods but the last: the best ever measured before the end, less the last.

    Args:
        figures: float64 [T, T], T at least 2.

    Raises:
        ValueError: the matrix is not square, or of one period only.
    """
    _check(figures)
    # What was measured before a period was learnt counts as well: it is lost all the same.
    best = figures[:-1, :-1].max(axis=0)
    return float((best - figures[-1, :-1]).mean())


def backward_transfer(figures: Array) -> float:
    """Mean over all periods but the last: the last figure, less that when it had been learnt.

    Below 0 where learning others later did harm.

    Args:
        figures: float64 [T, T], T at least 2.

    Raises:
        ValueError: the matrix is not square, or of one period only.
    """
    _check(figures)
    return float((figures[-1, :-1] - np.diag(figures)[:-1]).mean())


def forward_transfer(figures: Array, before: Array) -> float:
    """Mean over all periods but the first: the figure just before it is learnt, less the start's.

    Args:
        figures: float64 [T, T], T at least 2.
        before: float64 [T], figures of what was known before any period.

    Raises:
        ValueError: the matrix is not square, of one period only, or `before` does not fit it.
    """
    _check(figures)
    if before.shape != figures.shape[:1]:
        raise ValueError(f"{before.shape} figures of the start do not fit {len(figures)} periods")
    return float((np.diag(figures[:-1, 1:]) - before[1:]).mean())


def _check(figures: Array) -> None:
    if figures.ndim != 2 or figures.shape[0] != figures.shape[1] or len(figures) < 2:
        raise ValueError(f"figures are {figures.shape}; a square matrix of 2 or more is needed")
