"""A shop's search for options: its split, its study on the disk, and the choice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailrec.data.split import Split
from tailrec.dataset import Features
from tailrec.engine import AnySource
from tailrec.errors import RecipeError
from tailrec.tail.segments import Definition, is_tail
from tailrec.tuning import KEEP, Objective, OnTrial, choose, tune
from tailrec.tuning_study import Trial, recorded, study_file


@dataclass(frozen=True, slots=True)
class Goal:
    """What is looked for.

    Attributes:
        objective: which NDCG is raised.
        keep: share of the best of the other NDCG that a choice keeps.
        tail: the tail that is meant.
    """

    objective: Objective = "tail"
    keep: float = KEEP
    tail: Definition = "pareto"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search for options gave.

    Attributes:
        given: the options it started from, measured.
        chosen: the best by the goal.
        trials: of the whole study, in the order they were done, earlier searches' included.
        n_new: how many of them this search added.
        goal: what was looked for.
        stopped: whether it was interrupted (Ctrl-C) before its budget was spent.
        study: the file that the next search continues.
        told: what a budget afforded, in words; see `tuning_mixture`.
    """

    given: Trial
    chosen: Trial
    trials: list[Trial]
    n_new: int
    goal: Goal
    stopped: bool
    study: Path
    told: tuple[str, ...] = ()

    def card(self) -> dict[str, Any]:
        """What a model's card says of it."""
        figures = {"ndcg@10": self.chosen.ndcg, "tail_ndcg@10": self.chosen.tail_ndcg}
        return {
            "validation": figures,
            "n_trials": len(self.trials),
            "afforded": list(self.told),
        }

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Options in which the choice differs from those given: name to given and chosen."""
        before, after = self.given.source.model_dump(), self.chosen.source.model_dump()
        return {n: (before[n], after[n]) for n in after if before[n] != after[n]}


def search_options(
    source: AnySource,
    inner: Split,
    features: Features,
    goal: Goal,
    *,
    folder: Path,
    budget_s: float,
    seed: int,
    progress: OnTrial | None = None,
) -> Tuned:
    """Continue the study of a source on an inner split, and choose.

    Ctrl-C ends the search early: the fit it was at is lost, all before it are kept.

    Args:
        source: where the search starts.
        inner: what options are chosen on.
        features: of the catalogue.
        goal: what is looked for.
        folder: of the shop's studies.
        budget_s: seconds; with 0 only the options given are measured, if they were not before.
        seed: of the search and of the fits.
        progress: called after each new trial with the seconds spent and the trial.

    Raises:
        KeyboardInterrupt: not even the options given were measured.
        ArtifactError: the study's file is damaged.
        RecipeError: the source is private.
    """
    if getattr(source, "privacy", None) is not None:
        raise RecipeError(
            "a search fits the same people again and again and chooses by what they did, beyond "
            "the budget of source.privacy; search on data you may use for it, without privacy, "
            "write the options into the recipe, and fit with --budget 0"
        )
    tail = is_tail(inner.train.item_counts, goal.tail)
    file = study_file(folder, source, inner, features, tail=tail, seed=seed)
    n_before = len(recorded(file))
    stopped = False
    try:
        trials = tune(
            source,
            inner,
            features,
            tail,
            budget_s=budget_s,
            seed=seed,
            objective=goal.objective,
            storage=file,
            progress=progress,
        )
    except KeyboardInterrupt:
        stopped, trials = True, recorded(file)
        if source not in [trial.source for trial in trials]:
            raise
    given = next(trial for trial in trials if trial.source == source)
    chosen = choose(trials, goal.keep, objective=goal.objective)
    return Tuned(given, chosen, trials, len(trials) - n_before, goal, stopped, file)
