"""The attempts of a search: which there are, how they stand, what is tried next."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from tailrec.errors import ArtifactError, RecipeError
from tailrec.journal import journal, lane, taken

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

DRAWN: Final = 8
"""Attempts, those given included, before the estimator takes over from chance."""
UNPRUNED: Final = 4
"""Attempts that are finished before any is pruned."""

_NAME: Final = "tailrec-training"
_SPACE, _LANE, _REASON = "space", "lane", "reason"
_DRAWS: Final = 100
"""Proposals, known ones left out, before a space counts as tried out."""

Value = str | int | float | bool | None
State = Literal["done", "pruned", "failed", "open"]


@dataclass(frozen=True, slots=True)
class Between:
    """A number in a range, its ends included.

    Attributes:
        low: least.
        high: greatest.
        log: drawn evenly by its logarithm.
        whole: without a fraction.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few values."""

    values: tuple[Value, ...]


Space = Mapping[str, Between | OneOf]
"""What each option may be."""


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that was begun.

    Attributes:
        number: from 0.
        options: under which.
        state: `done`, `pruned`, `failed`, or `open` where it was cut off or another process is
            at it.
        figure: of a finished attempt, and the last one reported by a pruned one.
        reports: figures by step.
        reason: why it failed.
    """

    number: int
    options: Mapping[str, Value]
    state: State
    figure: float | None
    reports: Mapping[int, float]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        best: the finished attempt of the highest figure, the earliest of equals.
        tried: all, in the order they were begun.
    """

    best: Tried
    tried: tuple[Tried, ...]


class Pruned(Exception):  # noqa: N818
    """An attempt promises too little to go on."""


class OutOfTime(Exception):  # noqa: N818
    """The search's time is over; the attempt may be taken up again."""


class Attempts:
    """All attempts of a space, by whichever process."""

    def __init__(self, space: Space, file: Path | None, *, seed: int, held: ExitStack) -> None:
        """Open the journal, or begin one.

        Args:
            space: what each option may be.
            file: the journal; None keeps all in memory.
            seed: of proposals.
            held: keeps what belongs to this process until the search ends.

        Raises:
            ArtifactError: the journal is damaged, or of another space.
        """
        import optuna  # slow to load

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._file, self._seed, self._held = file, seed, held
        self._distributions = {name: _distribution(one) for name, one in space.items()}
        self._lanes = {0}
        storage: optuna.storages.BaseStorage = optuna.storages.InMemoryStorage()
        try:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._lanes = {held.enter_context(lane(file))}
                storage = journal(file)
            self._study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED),
            )
            own = {name: {"kind": type(one).__name__, **asdict(one)} for name, one in space.items()}
            known = self._study.user_attrs.get(_SPACE)
            self.tried()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{file} is no search of this version of tailrec ({error})"
            raise ArtifactError(f"{message}; delete it to begin anew") from error
        mark = json.dumps(own, sort_keys=True)
        if known not in (None, mark):
            raise ArtifactError(f"{file} is of another space; name another search, or delete it")
        self._storage, self._lane = storage, min(self._lanes)
        if known is None:
            self._study.set_user_attr(_SPACE, mark)

    def tried(self) -> list[Tried]:
        """All attempts, in the order they were begun."""
        return [_tried(trial) for trial in self._trials()]

    def best(self) -> Tried | None:
        """The finished attempt of the highest figure; None while none is finished."""
        done = [one for one in self.tried() if one.state == "done"]
        return max(done, key=lambda one: one.figure or 0.0, default=None)

    def options(self, number: int) -> Mapping[str, Value]:
        """The options of an attempt."""
        return dict(self._trials()[number].params)

    def next(self, given: Mapping[str, Value] | None, at_most: int | None) -> int | None:
        """Number of the attempt to make now: one that was cut off, or a new one.

        Args:
            given: options of the first.
            at_most: attempts in all.

        Returns:
            None where the space, or the number of attempts, is used up.

        Raises:
            RecipeError: an option given is outside the space.
        """
        trials = self._trials()
        for trial in trials:
            if not trial.state.is_finished() and self._owns(trial.user_attrs[_LANE]):
                return int(trial.number)
        if at_most is not None and len(trials) >= at_most:
            return None
        options = self._given(given) if given is not None and not trials else None
        options = options or self._proposed(trials)
        if options is None:
            return None
        return self._begin(options)

    def report(self, number: int, step: int, figure: float) -> None:
        """Keep a figure reported.

        Raises:
            Pruned: the attempt promises too little.
        """
        trial = self._trials()[number]
        # An attempt taken up again reports once more what it had reported since its checkpoint.
        if step not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(trial._trial_id, step, figure)
            trial = self._trials()[number]
        if step == trial.last_step and self._study.pruner.prune(self._study, trial):
            raise Pruned

    def end(
        self, number: int, state: State, *, figure: float | None = None, reason: str = ""
    ) -> None:
        """Keep how an attempt ended."""
        from optuna.trial import TrialState

        if reason:
            trial = self._trials()[number]
            self._storage.set_trial_user_attr(trial._trial_id, _REASON, reason)
        states = {
            "done": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        self._study.tell(number, figure, state=states[state])

    def _trials(self) -> "list[FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    def _owns(self, number: int) -> bool:
        """Whether a lane is this process's, or left by one that died; then it is now."""
        if number in self._lanes or self._file is None:
            return True
        own = self._held.enter_context(taken(self._file, number))
        if own:
            self._lanes.add(number)
        return own

    def _begin(self, options: Mapping[str, Value]) -> int:
        from optuna.trial import TrialState, create_trial

        # One line of the journal holds it all: what is known of an attempt is known whole.
        begun = create_trial(
            state=TrialState.RUNNING,
            params=dict(options),
            distributions=self._distributions,
            user_attrs={_LANE: self._lane},
        )
        place = self._storage.create_new_trial(self._study._study_id, template_trial=begun)
        return int(self._storage.get_trial_number_from_id(place))

    def _given(self, options: Mapping[str, Value]) -> Mapping[str, Value]:
        for name, span in self._distributions.items():
            inside = name in options and _contains(span, options[name])
            if not inside or options.keys() != self._distributions.keys():
                raise RecipeError(
                    f"options given are {dict(options)}; {name} must be within {span}, and there "
                    f"must be one for each of {', '.join(self._distributions)}"
                )
        return options

    def _proposed(self, trials: "list[FrozenTrial]") -> Mapping[str, Value] | None:
        """Options that were not tried yet; None where there seem to be none."""
        known = [trial.params for trial in trials]
        for draw in range(_DRAWS):
            drawn = np.random.SeedSequence([self._seed, self._lane, len(trials), draw])
            options = self._drawn(trials, int(drawn.generate_state(1)[0]), by_chance=draw > 0)
            if options not in known:
                return options
        return None

    def _drawn(
        self, trials: "list[FrozenTrial]", seed: int, *, by_chance: bool
    ) -> Mapping[str, Value]:
        import optuna

        sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=DRAWN
        )
        if by_chance:
            sampler = optuna.samplers.RandomSampler(seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([trial for trial in trials if trial.state.is_finished()])
        return study.ask(self._distributions).params


def _tried(trial: "FrozenTrial") -> Tried:
    states: dict[str, State] = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
    return Tried(
        number=trial.number,
        options=dict(trial.params),
        state=states.get(trial.state.name, "open"),
        figure=trial.value,
        reports=dict(trial.intermediate_values),
        reason=trial.user_attrs.get(_REASON, ""),
    )


def _distribution(one: Between | OneOf) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(one, OneOf):
        return CategoricalDistribution(one.values)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def _contains(span: "BaseDistribution", value: Any) -> bool:
    try:
        return bool(span._contains(span.to_internal_repr(value)))
    except ValueError:
        return False
