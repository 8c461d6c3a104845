"""One recommender in a comparison: its slates on every split, their figures, and what they cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tailrec.data.exchange import FINGERPRINT, fingerprint, read_slates
from tailrec.data.split import Split
from tailrec.errors import DataError
from tailrec.evaluation.facets import Facets
from tailrec.evaluation.report import Evaluation, evaluate
from tailrec.items import BoolArray, Float64Array, Int32Array

TIMES: Final = ("search_seconds", "fit_seconds", "slate_seconds")
MEMORY: Final = "peak_bytes"


@dataclass(frozen=True, slots=True)
class Part:
    """A contender on one split.

    Attributes:
        runs: an evaluation for each seed; one where nothing is drawn at random.
        options: of the source, chosen on validation where there was a budget; None for slates
            from elsewhere.
        costs: seconds to choose options, to fit, and of one slate, under the names `TIMES`; the
            peak of memory in bytes (`MEMORY`), and how much of it came on top of what was held
            before (`extra_bytes`). What is not known is left out.
    """

    runs: list[Evaluation]
    options: dict[str, Any] | None = None
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """One recommender on all splits.

    Attributes:
        name: of the contender.
        parts: one for each split.
        card: what is said of slates from elsewhere; None for ours.
    """

    name: str
    parts: list[Part]
    card: Mapping[str, Any] | None = None

    @property
    def runs(self) -> list[Evaluation]:
        """The evaluations of all splits and seeds."""
        return [run for part in self.parts for run in part.runs]

    @property
    def figures(self) -> dict[str, float]:
        """Figures of all requests of all splits together, averaged over the seeds.

        What is of slates and not of requests (coverage, Gini, ...) is averaged over the splits.
        """
        return _averaged([_pooled(runs) for runs in self._by_seed()])

    @property
    def spread(self) -> dict[str, float]:
        """Standard deviation of the figures between seeds; empty where there is one seed."""
        seeds = [_pooled(runs) for runs in self._by_seed()]
        if len(seeds) < 2:
            return {}
        names = [name for name in self.figures if all(name in own for own in seeds)]
        return {name: float(np.std([own[name] for own in seeds], ddof=1)) for name in names}

    @property
    def costs(self) -> dict[str, float]:
        """Mean seconds and the highest peak over the splits; the card's where there is one."""
        if self.card is not None:
            return {name: self.card[name] for name in (*TIMES, MEMORY) if name in self.card}
        known: dict[str, list[float]] = {}
        for part in self.parts:
            for name, cost in part.costs.items():
                known.setdefault(name, []).append(cost)
        return {
            name: float((np.mean if name in TIMES else max)(own)) for name, own in known.items()
        }

    def _by_seed(self) -> list[list[Evaluation]]:
        """The evaluations of all splits, by seed."""
        n_seeds = min(len(part.runs) for part in self.parts)
        return [[part.runs[seed] for part in self.parts] for seed in range(n_seeds)]

    def per_user(self, name: str) -> Float64Array:
        """A figure's values of every request of every split, mean over the seeds.

        NaN where a request has none.
        """
        parts = []
        for part in self.parts:
            nothing = np.full(len(part.runs[0].ids), np.nan)
            parts.append(np.mean([run.per_user.get(name, nothing) for run in part.runs], axis=0))
        return np.concatenate(parts)

    @property
    def users(self) -> Int32Array:
        """int32, who made each request of every split."""
        return np.concatenate([part.runs[0].users for part in self.parts])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "figures": self.figures,
            "spread": self.spread,
            "costs": self.costs,
            "splits": [
                {
                    "split": part.runs[0].split,
                    "figures": _averaged([run.figures for run in part.runs]),
                    "options": part.options,
                    "costs": dict(part.costs),
                }
                for part in self.parts
            ],
            "card": self.card,
        }


def evaluate_slates(
    path: Path,
    split: Split,
    at: Sequence[int],
    masks: Mapping[str, BoolArray],
    facets: Facets,
) -> Part:
    """The figures of slates made elsewhere.

    Args:
        path: the slates; see `data.exchange.read_slates`.
        split: what they answer.
        at: slate lengths.
        masks: tiers, as for `evaluate`.
        facets: of the catalogue.

    Raises:
        DataError: they do not fit the split.
    """
    slates = read_slates(path, split, max(at))
    # All requests in one call: the slates are known by their order.
    run = evaluate(split, lambda _, __: slates, at=at, masks=masks, facets=facets, chunk=len(split))
    return Part([run])


def read_card(path: Path, splits: Sequence[Split]) -> dict[str, Any]:
    """What is said of a file of slates: the JSON of the same name beside it, if there is one.

    Args:
        path: the slates.
        splits: what they must answer.

    Returns:
        `search_seconds`, `fit_seconds`, `slate_seconds` and `peak_bytes` where they are given,
        and whatever else the file says (library, versions, options, seeds).

    Raises:
        DataError: it is no JSON object, a cost is no number, or its `fingerprints` are of other
            splits.
    """
    beside = path.with_suffix(".json")
    if not beside.exists():
        return {}
    try:
        card = json.loads(beside.read_text("utf-8"), parse_constant=_refused)
    except ValueError as error:
        raise DataError(f"{beside} is no JSON: {error}") from error
    if not isinstance(card, dict):
        raise DataError(f"{beside} holds {type(card).__name__}; a card is an object")
    for name in (*TIMES, MEMORY):
        cost = card.get(name, 0)
        if isinstance(cost, bool) or not isinstance(cost, int | float) or cost < 0:
            raise DataError(f"{beside}: {name} is {cost!r}; it must be a number, at least 0")
    asked = [fingerprint(split) for split in splits]
    told = card.get(FINGERPRINT + "s", asked)
    if told != asked:
        raise DataError(
            f"{path} was made for the splits {told}, and is compared on {asked}; "
            f"write the splits anew with --export and let the other recommender answer those"
        )
    return card


def _pooled(runs: Sequence[Evaluation]) -> dict[str, float]:
    """Figures of several splits; those of requests over all requests that have them."""
    figures = _averaged([run.figures for run in runs])
    for name in dict.fromkeys(name for run in runs for name in run.per_user):
        values = [run.per_user[name] for run in runs if name in run.per_user]
        figures[name] = float(np.nanmean(np.concatenate(values)))
    return figures


def _averaged(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of figures over those that have them."""
    names = dict.fromkeys(name for figures in several for name in figures)
    return {
        name: float(np.mean([figures[name] for figures in several if name in figures]))
        for name in names
    }


def _refused(word: str) -> None:
    """NaN and infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{word} is no number")
