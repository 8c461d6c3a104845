"""What a search has measured so far, in memory or in a file that later searches continue.

The file is a journal of Optuna's: a line a fit, only ever appended to. So a process may be killed
at any moment, and several may search at once.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import TypeAdapter

from tailrec import __version__
from tailrec.data.split import Split
from tailrec.dataset import Features
from tailrec.engine import AnySource
from tailrec.errors import ArtifactError
from tailrec.items import Array, BoolArray
from tailrec.journal import journal, lane
from tailrec.tuning_spaces import SPACES, fixed, place

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_MEASURED: Final = "measured"
_NAME: Final = "tailrec"


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of options and what it gave on validation.

    Attributes:
        source: the options.
        ndcg: NDCG@10 over all targets.
        tail_ndcg: NDCG@10 over targets in the tail, in the same lists.
        seconds: it took; the fit counts to the first trial that was measured on it.
    """

    source: AnySource
    ndcg: float
    tail_ndcg: float
    seconds: float = field(default=0.0, compare=False)


_TRIALS: Final = TypeAdapter(list[Trial])


class Study:
    """Everything measured on one inner split, by whichever process.

    Attributes:
        lane: 0; for each further process that searches at the same time the next number.
    """

    def __init__(self, study: "optuna.Study", lane: int) -> None:
        self.lane = lane
        self._study = study
        self._fits: list[list[Trial]] = []

    def fits(self) -> list[list[Trial]]:
        """The trials of each fit, in the order the fits were done."""
        done = self._study.get_trials(deepcopy=False)[len(self._fits) :]
        self._fits += [_TRIALS.validate_python(one.user_attrs[_MEASURED]) for one in done]
        return self._fits

    def add(self, trials: list[Trial]) -> None:
        """Keep what was measured on one fit; it is on the disk, whole, once this returns."""
        from optuna.trial import create_trial

        best = max(trials, key=lambda trial: trial.ndcg)
        done = create_trial(
            params=place(best.source),
            distributions=distributions(best.source.kind),
            value=best.ndcg,
            user_attrs={_MEASURED: _TRIALS.dump_python(trials, mode="json")},
        )
        self._study.add_trial(done)


@contextmanager
def open_study(file: Path | None) -> Iterator[Study]:
    """The study in a file, made where there is none; None keeps it in memory.

    Raises:
        ArtifactError: the file holds something else.
    """
    import optuna  # slow to load

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if file is None:
        yield Study(optuna.create_study(direction="maximize"), 0)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with lane(file) as number:
        try:
            study = Study(_study_in(file), number)
            study.fits()
        except (ValueError, KeyError, TypeError) as error:
            message = f"{file} is no study of this version of tailrec ({error})"
            raise ArtifactError(f"{message}; delete it to begin anew") from error
        yield study


def recorded(file: Path) -> list[Trial]:
    """The trials in a study's file, in the order they were done; none where there is no file."""
    if not file.exists():
        return []
    with open_study(file) as study:
        return [trial for fit in study.fits() for trial in fit]


def study_file(
    folder: Path,
    source: AnySource,
    split: Split,
    features: Features,
    *,
    tail: BoolArray,
    seed: int,
) -> Path:
    """The file of the study of a source on an inner split.

    Its name is made of the kind and of all that decides a trial's figures: what is learnt from
    and asked for, features, tail, seed, the options that are not searched, the space, and the
    version of tailrec. So the figures of other data are never mixed in.

    Args:
        folder: of all studies.
        source: the options that are not searched count.
        split: the inner split.
        features: of the catalogue.
        tail: bool [I].
        seed: of the search and of the fits.
    """
    space = {name: [span.low, span.high] for name, span in SPACES[source.kind].items()}
    facts = [__version__, source.kind, space, fixed(source), seed, split.train.now]
    digest = blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=10)
    train, words = split.train, features.words
    arrays: list[Array] = [train.ptr, train.item, train.time, train.step, train.weight]
    arrays += [split.users, split.asof, split.target_ptr, split.target, tail]
    arrays += [words.indptr, words.indices, words.data, features.dense]
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return folder / f"{source.kind}-{digest.hexdigest()}.journal"


def distributions(kind: str) -> "dict[str, BaseDistribution]":
    """A source's space in Optuna's words."""
    from optuna.distributions import FloatDistribution

    space = SPACES[kind].items()
    return {name: FloatDistribution(span.low, span.high, log=True) for name, span in space}


def _study_in(file: Path) -> "optuna.Study":
    import optuna

    return optuna.create_study(
        study_name=_NAME, storage=journal(file), direction="maximize", load_if_exists=True
    )
