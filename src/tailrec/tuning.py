"""Options of a source, chosen on validation within a budget of time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import Final, Literal

import numpy as np

from tailrec.candidates.content import Content
from tailrec.candidates.ease import Ease
from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.linear import Linear, LinearModel
from tailrec.candidates.neighbours import ItemKnn
from tailrec.data.split import Split
from tailrec.dataset import Features
from tailrec.engine import AnySource
from tailrec.errors import RecipeError
from tailrec.evaluation.report import evaluate
from tailrec.items import BoolArray
from tailrec.protocols import Source
from tailrec.tuning_spaces import SPACES, STARTS, place, served, with_options
from tailrec.tuning_study import Study, Trial, distributions, open_study

KEEP: Final = 0.995
"""Share of the best figure of the one kind that a choice keeps if nothing else is said."""
RAISED_WEIGHT: Final = 0.4
"""What the logarithm of the figure raised counts beside that of the figure kept, while searching.

Only options near the best of what is kept may be chosen, so that is where the search must go.
"""
AT: Final = 10
_DRAWN: Final = 8
"""Fits, the first ones given included, before the estimator takes over from chance."""

OnTrial = Callable[[float, Trial], None]
"""Told the seconds spent and a trial just done."""
Objective = Literal["tail", "overall"]
"""Which NDCG is raised: that of the tail with the overall one kept, or the other way round."""


def tune(
    source: AnySource,
    split: Split,
    features: Features,
    tail: BoolArray,
    *,
    budget_s: float,
    seed: int,
    objective: Objective = "tail",
    storage: Path | None = None,
    progress: OnTrial | None = None,
) -> list[Trial]:
    """Search a source's options on an inner split.

    The options given are tried first, then a few known to be good, then a tree-structured
    Parzen estimator proposes. No fit starts once the budget is spent; the options given are
    always measured. What is proposed depends on nothing but the arguments and the fits known,
    so a search that was cut short and is continued finds what it would have found.

    Args:
        source: where the search starts; options outside its space stay as they are.
        split: an inner split (`data.split.validation`), never the test.
        features: of the catalogue.
        tail: bool [I], the tail by the inner split's train part.
        budget_s: seconds.
        seed: of the search and of the fits.
        objective: what the search raises.
        storage: the study's file, named by `tuning_study.study_file`; its trials are continued,
            under either objective. None keeps the study in memory.
        progress: called after each new trial with the seconds spent and the trial.

    Returns:
        All trials of the study, in the order they were done; `choose` picks one.

    Raises:
        ArtifactError: the storage is damaged.
        RecipeError: nothing of the source is searched.

    Source:
        Bergstra et al. 2011, "Algorithms for hyper-parameter optimization".
    """
    if not SPACES[source.kind]:
        raise RecipeError(
            f"source {source.kind!r} has no options that are searched; search its parts one by one "
            "(`tailrec tune --source KIND`), write them into the recipe, and fit with --budget 0"
        )
    started = monotonic()

    def measured(options: AnySource) -> list[Trial]:
        trials = []
        for trial in _measure(options, split, features, tail, seed=seed):
            trials.append(trial)
            if progress:
                progress(monotonic() - started, trial)
        return trials

    with open_study(storage) as study:
        if not _is_known(source, study):
            study.add(measured(source))
        while monotonic() - started < budget_s:
            study.add(measured(_proposed(source, study, objective, seed)))
        return [trial for fit in study.fits() for trial in fit]


def choose(trials: list[Trial], keep: float = KEEP, *, objective: Objective = "tail") -> Trial:
    """The trial with the best figure of one kind among those that keep a share of the other's.

    Args:
        trials: at least one.
        keep: in (0, 1]; what is given up of the best of the one figure buys the other.
        objective: `tail`: the best tail NDCG that keeps the overall one; `overall`: the best
            overall NDCG that keeps the tail's.
    """
    enough = keep * max(_kept_and_raised(trial, objective)[0] for trial in trials)
    may_be = [trial for trial in trials if _kept_and_raised(trial, objective)[0] >= enough]
    return max(may_be, key=lambda trial: _kept_and_raised(trial, objective)[1])


def _kept_and_raised(trial: Trial, objective: Objective) -> tuple[float, float]:
    figures = (trial.ndcg, trial.tail_ndcg)
    return figures if objective == "tail" else figures[::-1]


def _merit(trial: Trial, objective: Objective) -> float:
    """What the search raises: both figures together."""
    kept, raised = np.log(np.maximum(_kept_and_raised(trial, objective), 1e-9))
    return float(kept + RAISED_WEIGHT * raised)


def _is_known(source: AnySource, study: Study) -> bool:
    return any(trial.source == source for fit in study.fits() for trial in fit)


def _proposed(source: AnySource, study: Study, objective: Objective, seed: int) -> AnySource:
    """What to try next."""
    starts = [with_options(source, options) for options in STARTS[source.kind]]
    untried = [start for start in starts if not _is_known(start, study)]
    # Processes that begin together each take another one.
    if study.lane < len(untried):
        return untried[study.lane]
    fits = study.fits()
    drawn = np.random.SeedSequence([seed, study.lane, len(fits)]).generate_state(1)
    return with_options(source, _estimated(fits, objective, int(drawn[0])))


def _estimated(fits: list[list[Trial]], objective: Objective, seed: int) -> dict[str, float]:
    """Options the estimator proposes; of each fit it is told the best trial under the objective."""
    import optuna
    from optuna.trial import create_trial

    spans = distributions(fits[0][0].source.kind)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_DRAWN)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for fit in fits:
        best = max(fit, key=lambda trial: _merit(trial, objective))
        merit = _merit(best, objective)
        study.add_trial(create_trial(params=place(best.source), distributions=spans, value=merit))
    return study.ask(spans).params


def _measure(
    source: AnySource, split: Split, features: Features, tail: BoolArray, *, seed: int
) -> Iterator[Trial]:
    """A fit of the options, measured with all that can be varied without another."""
    started = perf_counter()
    model = source.fit(split.train, features, rng=np.random.default_rng(seed))
    for varied in served(source):
        asked = _served_as(model, varied).candidates
        figures = evaluate(split, asked, at=(AT,), masks={"tail": tail}).figures
        now = perf_counter()
        # No target in the tail: nothing of it was found.
        found = figures.get(f"ndcg@{AT}/tail", 0.0)
        yield Trial(varied, figures[f"ndcg@{AT}"], found, now - started)
        started = now


def _served_as(model: Source, source: AnySource) -> Source:
    """A fitted model that answers under other options that matter after the fit."""
    if isinstance(model, LinearModel) and isinstance(source, Linear):
        return model.served_as(source)
    if isinstance(model, ItemToItem) and isinstance(source, Ease | ItemKnn | Content):
        return replace(model, decay=source.decay)
    return model
