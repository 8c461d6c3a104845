"""Recommenders side by side on the same splits: ours fitted, those from elsewhere by their slates.

All get the same texts, the same train part, the same requests and exclusions, and the same
seconds to choose options on an inner split; the test is seen once, at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from tailrec import __version__
from tailrec import columns as c
from tailrec.candidates.als import Als
from tailrec.candidates.content import Content
from tailrec.candidates.ease import Ease
from tailrec.candidates.linear import Linear
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.popular import Popular
from tailrec.candidates.sequence import Sequential
from tailrec.contender import MEMORY, Contender, Part, evaluate_slates, read_card
from tailrec.cost import measured
from tailrec.data.exchange import check_slates, summary
from tailrec.data.seen import check_unseen
from tailrec.data.split import Split, validation
from tailrec.dataset import Catalog
from tailrec.engine import AnySource, EngineRecipe
from tailrec.errors import DataError, RecipeError
from tailrec.evaluation.facets import Facets, facets_of
from tailrec.evaluation.guards import CHECKS, check_comparison
from tailrec.evaluation.report import Evaluation, Recommend, evaluate
from tailrec.evaluation.significance import Interval
from tailrec.features.build import FeatureModel
from tailrec.features.text import Progress
from tailrec.items import BoolArray, Int64Array
from tailrec.mixture import Mixture
from tailrec.tail.segments import DEFINITIONS, is_tail
from tailrec.tuning import choose, tune
from tailrec.tuning_search import Goal
from tailrec.verdicts import Verdict, judge, mean_intervals


class Entry(NamedTuple):
    """One of ours in a comparison.

    Attributes:
        name: of the contender.
        source: where options start.
        searched: whether options are searched.
        quick: whether a fit takes seconds; others are compared when they are named.
    """

    name: str
    source: AnySource
    searched: bool = True
    quick: bool = True


PEERS: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Entry("popular", Popular(), searched=False),
            Entry("recent", Popular(half_life_days=30.0)),
            Entry("itemknn", ItemKnn()),
            Entry("sequence", Sequential(), quick=False),
            Entry("mixture", Mixture(), searched=False, quick=False),
            Entry("ease", Ease()),
            Entry("als", Als()),
            Entry("content", Content()),
            Entry("linear", Linear()),
        )
    }
)
"""What may be put beside a shop's source, by name."""

DRAWN: Final = frozenset({"als", "sequence", "mixture"})
"""Kinds whose fit draws at random, so that several seeds tell something."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a comparison is made.

    Attributes:
        at: slate lengths.
        budget_s: seconds to choose the options of each entry on each split; 0 takes them as
            they are.
        goal: what a choice of options looks for.
        seeds: fits of whatever draws at random; its figures are means over them.
    """

    at: tuple[int, ...] = (10, 20)
    budget_s: float = 0.0
    goal: Goal = field(default_factory=Goal)
    seeds: int = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        splits: name, sizes and fingerprint of each.
        item_counts: int64 [I] of each split, events of each item in its train part.
        contenders: in the order given, the first is the one judged.
        verdicts: the first against each other one, for each figure of `verdicts.judged`.
        intervals: those figures with 95 % bounds over users, by contender and figure.
        rules: how it was made.
        versions: of the libraries that had a part in it.
    """

    splits: list[dict[str, Any]]
    item_counts: list[Int64Array]
    contenders: list[Contender]
    verdicts: list[Verdict]
    intervals: dict[str, dict[str, Interval]]
    rules: Rules
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "splits": self.splits,
            "at": list(self.rules.at),
            "budget_seconds": self.rules.budget_s,
            "goal": asdict(self.rules.goal),
            "seeds": self.rules.seeds,
            "checks": list(CHECKS),
            "contenders": [
                one.to_dict()
                | {"intervals": {n: i._asdict() for n, i in self.intervals[one.name].items()}}
                for one in self.contenders
            ],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "versions": self.versions,
        }


Tell = Callable[[str], None]
"""Told what is worked on."""


def peers_named(names: Sequence[str]) -> list[Entry]:
    """The peers of these names.

    Raises:
        RecipeError: there is no such peer, or one is named twice.
    """
    wrong = [name for name in names if name not in PEERS]
    if wrong:
        raise RecipeError(f"{', '.join(wrong)} cannot be compared; known are {', '.join(PEERS)}")
    if len(set(names)) != len(names):
        raise RecipeError(f"{', '.join(names)}: each is named once")
    return [PEERS[name] for name in names]


def compare(
    recipe: EngineRecipe,
    entries: Sequence[Entry],
    splits: Sequence[Split],
    *,
    rules: Rules = Rules(),
    slates: Mapping[str, Path] | None = None,
    cache: Path | None = None,
    home: Path | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Comparison:
    """Fit and evaluate each entry on each split, read the slates from elsewhere, and judge.

    Args:
        recipe: everything but the source.
        entries: what is fitted; the first is judged against all others.
        splits: of one dataset.
        rules: how it is done.
        slates: files of slates made elsewhere for the same splits, by name; see
            `data.exchange.read_slates`, and `contender.read_card` for what may lie beside them.
        cache: folder of vectors made before.
        home: folder of the shop, where its encoders are.
        progress: called while texts are encoded.
        tell: called with what is worked on.

    Returns:
        The comparison, which has passed `evaluation.guards.check_comparison`.

    Raises:
        DataError: there is nothing to compare, a name stands twice, slates do not fit the
            splits, or the comparison is not valid.
    """
    given = slates or {}
    names = [*(entry.name for entry in entries), *given]
    if not names or not splits:
        raise DataError(f"{len(names)} contenders on {len(splits)} splits; at least 1 of each")
    if len(set(names)) != len(names):
        raise DataError(f"{', '.join(names)}: two contenders of one name")
    if recipe.features.encode:
        reader = recipe.features.text
        check_unseen(reader.model, reader.card(home), splits)
    for path in given.values():
        check_slates(path, splits)
    cards = {name: read_card(path, splits) for name, path in given.items()}
    parts: dict[str, list[Part]] = {name: [] for name in names}
    for split in splits:
        features = split_features(recipe, split, cache, progress, home=home)
        bench = _Bench(recipe, split, features, rules)
        # Before the fits, which take long: a file that does not fit is told at once.
        for name, path in given.items():
            parts[name].append(evaluate_slates(path, split, rules.at, bench.masks, bench.facets))
        for entry in entries:
            if tell:
                tell(f"{entry.name} on {split.name}")
            parts[entry.name].append(bench.part(entry))
    contenders = [Contender(name, own, cards.get(name)) for name, own in parts.items()]
    check_comparison(splits, _all_runs(contenders))
    if tell:
        tell("intervals")
    return Comparison(
        [summary(split) for split in splits],
        [split.train.item_counts for split in splits],
        contenders,
        judge(contenders, rules.at),
        mean_intervals(contenders, rules.at),
        rules,
        {name: version(name) for name in ("numpy", "scipy", "polars", "implicit", "optuna")}
        | {"tailrec": __version__},
    )


def _all_runs(contenders: Sequence[Contender]) -> dict[str, list[Evaluation]]:
    """Evaluations on all splits, by contender and, where there are several fits, by fit."""
    return {
        one.name if not seed else f"{one.name}, fit {seed + 1}": [
            part.runs[seed] for part in one.parts
        ]
        for one in contenders
        for seed in range(len(one.parts[0].runs))
    }


class _Bench:
    """One split with all that is the same for every entry on it."""

    def __init__(
        self, recipe: EngineRecipe, split: Split, features: FeatureModel, rules: Rules
    ) -> None:
        self.recipe, self.split, self.features, self.rules = recipe, split, features, rules
        counts = split.train.item_counts
        self.masks: dict[str, BoolArray] = {name: is_tail(counts, name) for name in DEFINITIONS}
        self.facets: Facets = facets_of(split.train.catalog, features.features.words)

    @cached_property
    def inner(self) -> Split:
        """The split that options are chosen on, cut once for all entries."""
        return validation(self.split)

    def part(self, entry: Entry) -> Part:
        """An entry's options chosen, fitted and evaluated."""
        with measured() as search:
            source = self._chosen(entry)
        n_seeds = self.rules.seeds if source.kind in DRAWN else 1
        runs: list[Evaluation] = []
        fit_seconds = 0.0
        with measured() as whole:
            for seed in range(self.recipe.seed, self.recipe.seed + n_seeds):
                recipe = self.recipe.model_copy(update={"source": source, "seed": seed})
                started = perf_counter()
                engine = recipe.fit(
                    self.split.train, whole=self.split.whole, features=self.features
                )
                fit_seconds += (perf_counter() - started) / n_seeds
                runs.append(self._evaluated(engine.recommend))
        costs = {
            "search_seconds": search.seconds,
            "fit_seconds": fit_seconds,
            "slate_seconds": float(np.mean([run.seconds_per_slate for run in runs])),
        }
        if whole.peak_bytes is not None:
            costs |= {MEMORY: whole.peak_bytes, "extra_bytes": whole.peak_bytes - whole.held_bytes}
        return Part(runs, source.model_dump(mode="json"), costs)

    def _chosen(self, entry: Entry) -> AnySource:
        """The entry's options, chosen on an inner split where there is time for it."""
        if not entry.searched or self.rules.budget_s == 0:
            return entry.source
        inner, goal = self.inner, self.rules.goal
        trials = tune(
            entry.source,
            inner,
            self.features.features,
            is_tail(inner.train.item_counts, goal.tail),
            budget_s=self.rules.budget_s,
            seed=self.recipe.seed,
            objective=goal.objective,
        )
        return choose(trials, goal.keep, objective=goal.objective).source

    def _evaluated(self, recommend: Recommend) -> Evaluation:
        at, masks, facets = self.rules.at, self.masks, self.facets
        return evaluate(self.split, recommend, at=at, masks=masks, facets=facets)


def split_features(
    recipe: EngineRecipe,
    split: Split,
    cache: Path | None,
    progress: Progress | None,
    *,
    home: Path | None = None,
) -> FeatureModel:
    """Features that know nothing dated after the split.

    Vocabulary and word frequencies come from the items created before the cut; later ones get
    their vectors as a new product would.
    """
    catalog = split.train.catalog
    # What was bought before the cut was there, whatever its date says.
    known = _created_before(catalog, split.cut) | (split.train.item_counts > 0)
    if known.all():
        return recipe.features.fit(catalog, cache=cache, home=home, progress=progress)
    early = Catalog(catalog.table.filter(known))
    model = recipe.features.fit(early, cache=cache, home=home, progress=progress)
    return replace(model, features=model.transform(catalog))


def _created_before(catalog: Catalog, cut: int | None) -> BoolArray:
    """bool [I], items that were there at the cut; all where no date is known."""
    if cut is None or c.CREATED_AT not in catalog.table.columns:
        return np.ones(len(catalog), bool)
    created = catalog.table[c.CREATED_AT].dt.epoch("us").fill_null(0).to_numpy()
    return np.asarray(created < cut)
