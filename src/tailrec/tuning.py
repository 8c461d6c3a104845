"""Options of a source, chosen on validation within a budget of time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from tailrec.candidates.linear import Linear, LinearModel
from tailrec.data.split import Split
from tailrec.dataset import Features
from tailrec.engine import AnySource
from tailrec.evaluation.report import evaluate
from tailrec.items import BoolArray
from tailrec.protocols import Source

if TYPE_CHECKING:
    import optuna

KEEP: Final = 0.995
"""Share of the best overall NDCG that a choice keeps if nothing else is said."""
TAIL_WEIGHT: Final = 0.4
"""What the logarithm of tail NDCG counts beside that of overall NDCG while searching."""
AT: Final = 10


@dataclass(frozen=True, slots=True)
class Range:
    """Where an option is searched, on a logarithmic scale."""

    low: float
    high: float


SPACES: Final[Mapping[str, Mapping[str, Range]]] = MappingProxyType(
    {
        "linear": {
            "words": Range(1, 16),
            "meaning": Range(1, 16),
            "text": Range(0.4, 3),
            "ridge": Range(20, 400),
            "decay": Range(0.45, 0.95),
            "ahead": Range(0.05, 0.8),
            "reverse": Range(0.03, 1.0),
            "basket": Range(0.1, 3.0),
            "recall": Range(0.55, 0.98),
        },
        "ease": {"regularization": Range(5, 2_000), "decay": Range(0.5, 1.0)},
        "itemknn": {
            "neighbours": Range(20, 500),
            "shrinkage": Range(0.1, 100),
            "decay": Range(0.5, 1.0),
        },
        "als": {
            "factors": Range(16, 192),
            "regularization": Range(0.001, 10),
            "alpha": Range(1, 60),
        },
        "content": {
            "words": Range(0.5, 8),
            "meaning": Range(0.5, 8),
            "decay": Range(0.5, 1.0),
        },
        "popular": {"half_life_days": Range(3, 400)},
    }
)
_SERVED: Final = ((0.7, -0.05), (1.4, 0.0), (3.0, 0.1), (8.0, 0.1))
"""Factors of `text`, and tilts, that each fit of `linear` is also measured with."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of options and what it gave on validation.

    Attributes:
        source: the options.
        ndcg: NDCG@10 over all targets.
        tail_ndcg: NDCG@10 over targets in the tail, in the same lists.
    """

    source: AnySource
    ndcg: float
    tail_ndcg: float

    @property
    def merit(self) -> float:
        """What the search raises: overall and tail together."""
        overall, tail = np.log(np.maximum([self.ndcg, self.tail_ndcg], 1e-9))
        return float(overall + TAIL_WEIGHT * tail)


def tune(
    source: AnySource,
    split: Split,
    features: Features,
    tail: BoolArray,
    *,
    budget_s: float,
    seed: int,
    progress: Callable[[float, Trial], None] | None = None,
) -> list[Trial]:
    """Search a source's options on an inner split.

    The options given are tried first, then a tree-structured Parzen estimator proposes. No
    trial starts once the budget is spent; the first is always made.

    Args:
        source: where the search starts; options outside `SPACES` stay as they are.
        split: an inner split (`data.split.validation`), never the test.
        features: of the catalogue.
        tail: bool [I], the tail by the inner split's train part.
        budget_s: seconds.
        seed: of the search and of the fits.
        progress: called after each trial with the seconds spent and the trial.

    Returns:
        All trials, the options given first; `choose` picks one.

    Source:
        Bergstra et al. 2011, "Algorithms for hyper-parameter optimization".
    """
    import optuna  # slow to load

    started = monotonic()
    trials: list[Trial] = []

    def merit(options: AnySource) -> float:
        made = []
        for model, candidate in _variants(options, split, features, seed):
            made.append(_measured(candidate, model, split, tail))
            trials.append(made[-1])
            if progress:
                progress(monotonic() - started, made[-1])
        return max(trial.merit for trial in made)

    def objective(trial: optuna.Trial) -> float:
        return merit(source.model_copy(update=_suggested(source, trial)))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trial(_tried(source, merit(source)))
    while monotonic() - started < budget_s:
        study.optimize(objective, n_trials=1)
    return trials


def choose(trials: list[Trial], keep: float = KEEP) -> Trial:
    """The best tail among the trials that keep a share of the best overall NDCG.

    Args:
        trials: at least one.
        keep: in (0, 1]; what is given up of the best overall NDCG buys tail.
    """
    enough = keep * max(trial.ndcg for trial in trials)
    return max((t for t in trials if t.ndcg >= enough), key=lambda trial: trial.tail_ndcg)


def _tried(source: AnySource, merit: float) -> "optuna.trial.FrozenTrial":
    """What is known of the options given; those outside their range count as its nearest end."""
    from optuna.distributions import FloatDistribution
    from optuna.trial import create_trial

    space = SPACES[source.kind]
    options = {name: getattr(source, name) for name in space}
    return create_trial(
        # None stands for no limit.
        params={
            name: float(
                np.clip(np.inf if value is None else value, space[name].low, space[name].high)
            )
            for name, value in options.items()
        },
        distributions={n: FloatDistribution(s.low, s.high, log=True) for n, s in space.items()},
        value=merit,
    )


def _suggested(source: AnySource, trial: "optuna.Trial") -> dict[str, float | int]:
    options: dict[str, float | int] = {}
    for name, span in SPACES[source.kind].items():
        value = trial.suggest_float(name, span.low, span.high, log=True)
        whole = isinstance(getattr(source, name), int)
        options[name] = round(value) if whole else value
    return options


def _variants(
    source: AnySource, split: Split, features: Features, seed: int
) -> Iterator[tuple[Source, AnySource]]:
    """A fit of the options, and what can be varied without another."""
    model = source.fit(split.train, features, rng=np.random.default_rng(seed))
    if not isinstance(model, LinearModel) or not isinstance(source, Linear):
        yield model, source
        return
    yield model, source
    for factor, tilt in _SERVED:
        varied = source.model_copy(update={"text": source.text * factor, "tilt": tilt})
        yield model.served_as(varied), varied


def _measured(source: AnySource, model: Source, split: Split, tail: BoolArray) -> Trial:
    figures = evaluate(split, model.candidates, at=(AT,), masks={"tail": tail}).figures
    return Trial(source, figures[f"ndcg@{AT}"], figures.get(f"ndcg@{AT}/tail", 0.0))
