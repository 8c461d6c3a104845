"""A search for the options a run is best trained with; what promises little is ended early.

An attempt is a run under some options. It reports its figure as it goes; where that stays below
the median of finished attempts at the same step, it is pruned. The journal knows every attempt
from its first moment, so one that was cut off is taken up again under its number, goes on from
its own run folder, and the search finds what it would have found at once.

Source:
    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"; Golovin et al. 2017,
    "Google Vizier: a service for black-box optimization", for the median rule.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import torch

from tailrec.errors import RecipeError, TailrecError
from tailrec.features.text import Progress
from tailrec.training.attempts import Attempts, Found, OutOfTime, Pruned, Space, Value

FAILURES: Final = 3
"""Attempts that fail, and none that succeeds, after which a search gives up."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an objective is given.

    Attributes:
        number: from 0; the same one when an attempt is taken up again.
        options: a value for each name of the space.
        report: takes a step and the figure after it; raises `Pruned` where the attempt promises
            too little, and something else when the search's time is over. Let both through.
    """

    number: int
    options: Mapping[str, Value]
    report: Callable[[int, float], None]


Objective = Callable[[Attempt], float]
"""Trains under an attempt's options; the figure, higher is better."""


@dataclass(frozen=True, slots=True)
class Reports:
    """A tracker by which a run reports its watched figure to a search."""

    watched: str
    attempt: Attempt

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after a step."""
        if self.watched in figures:
            self.attempt.report(step, figures[self.watched])


def search(
    space: Space,
    objective: Objective,
    *,
    budget_s: float,
    storage: Path | None = None,
    seed: int = 0,
    given: Mapping[str, Value] | None = None,
    at_most: int | None = None,
    progress: Progress | None = None,
) -> Found:
    """Search a space within a budget of time.

    The options given are tried first; then chance, and after a few attempts a tree-structured
    Parzen estimator, propose. A proposal depends on nothing but the arguments and the attempts
    known. When time is over, the attempt under way is left at its next report, to be taken up by
    the next search; one attempt is always finished. Several processes may search one journal.

    Args:
        space: what each option may be.
        objective: trains and measures.
        budget_s: seconds of this search.
        storage: the journal, made where missing and continued where not; None keeps all in memory.
        seed: of proposals.
        given: options to begin with, one for each name of the space.
        at_most: attempts in all, those of earlier searches included; None: as time allows.
        progress: told the attempt and the best figure so far, seconds spent, and the budget.

    Returns:
        The best attempt and all others.

    Raises:
        ArtifactError: the journal is damaged, or of another space.
        RecipeError: an option given is outside the space, or the first attempts all failed.
    """
    started = monotonic()
    with ExitStack() as held:
        attempts = Attempts(space, storage, seed=seed, held=held)

        def over() -> bool:
            return monotonic() - started >= budget_s and attempts.best() is not None

        while not over() and (number := attempts.next(given, at_most)) is not None:
            if progress is not None:
                progress(_text(attempts, number), int(monotonic() - started), int(budget_s))
            _try(attempts, number, objective, over)
            _give_up(attempts)
        best = attempts.best()
        if best is None:
            raise RecipeError("the search tried nothing; let it try one attempt at least")
        return Found(best, tuple(attempts.tried()))


def _try(attempts: Attempts, number: int, objective: Objective, over: Callable[[], bool]) -> None:
    def report(step: int, figure: float) -> None:
        attempts.report(number, step, figure)
        if over():
            raise OutOfTime

    with suppress(OutOfTime):  # the attempt stays open
        try:
            figure = objective(Attempt(number, attempts.options(number), report))
        except Pruned:
            attempts.end(number, "pruned")
        except (TailrecError, torch.OutOfMemoryError) as error:
            # Options may be too large for the device, or let the loss diverge.
            attempts.end(number, "failed", reason=str(error))
        else:
            if math.isnan(figure):
                attempts.end(number, "failed", reason="its figure is no number")
            else:
                attempts.end(number, "done", figure=figure)


def _give_up(attempts: Attempts) -> None:
    """Stop a search whose first attempts all failed.

    Raises:
        RecipeError: they did; says why the last one failed.
    """
    tried = attempts.tried()
    failed = [one for one in tried if one.state == "failed"]
    if len(failed) >= FAILURES and len(failed) == len(tried):
        raise RecipeError(f"the first {len(failed)} attempts all failed; {failed[-1].reason}")


def _text(attempts: Attempts, number: int) -> str:
    best = attempts.best()
    so_far = "" if best is None else f", best so far {best.figure:.4f} of attempt {best.number + 1}"
    return f"attempt {number + 1}{so_far}"
