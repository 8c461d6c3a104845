"""Sources side by side on the same splits, each fitted on train and asked for the same slates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np

from tailrec import columns as c
from tailrec.data.split import Split, validation
from tailrec.dataset import Catalog, Features
from tailrec.engine import AnySource, EngineRecipe
from tailrec.evaluation.report import Evaluation, evaluate
from tailrec.evaluation.significance import Interval, ratio_interval
from tailrec.features.build import FeatureModel
from tailrec.features.text import Progress
from tailrec.items import BoolArray, Float64Array
from tailrec.tail.segments import DEFINITIONS, Definition, is_tail
from tailrec.tuning import KEEP, choose, tune

DRAWS: Final = 10_000
"""Bootstrap draws of an interval."""


class Search(NamedTuple):
    """How the options of each source are chosen on an inner split.

    Attributes:
        budget_s: seconds for each source and split.
        tail: the tail that the choice looks at.
        keep: share of the best overall NDCG that a choice keeps; within it, the tail decides.
    """

    budget_s: float
    tail: Definition = "pareto"
    keep: float = KEEP


@dataclass(frozen=True, slots=True)
class Contender:
    """One source on all splits.

    Attributes:
        name: of the source.
        options: of the source on each split, chosen on validation where there was a budget.
        evaluations: on each split.
        fit_seconds: mean over the splits, encoding of texts aside.
    """

    name: str
    options: list[AnySource]
    evaluations: list[Evaluation]
    fit_seconds: float

    @property
    def figures(self) -> dict[str, float]:
        """Figures averaged over the splits that have them."""
        names = dict.fromkeys(name for e in self.evaluations for name in e.figures)
        return {
            name: float(np.mean([e.figures[name] for e in self.evaluations if name in e.figures]))
            for name in names
        }

    @property
    def slate_seconds(self) -> float:
        """Mean seconds of one slate."""
        return float(np.mean([e.seconds_per_slate for e in self.evaluations]))

    def per_user(self, name: str) -> Float64Array:
        """A figure's values of every request of every split; NaN where a request has none."""
        parts = [e.per_user.get(name, np.full(len(e.ids), np.nan)) for e in self.evaluations]
        return np.concatenate(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "figures": self.figures,
            "splits": [{"split": e.split, "figures": dict(e.figures)} for e in self.evaluations],
            "options": [options.model_dump() for options in self.options],
            "fit_seconds": self.fit_seconds,
            "slate_milliseconds": 1_000 * self.slate_seconds,
        }


def compare(
    recipe: EngineRecipe,
    sources: Sequence[AnySource],
    splits: Sequence[Split],
    *,
    at: Sequence[int] = (10, 20),
    search: Search | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    on_source: Callable[[str], None] | None = None,
) -> list[Contender]:
    """Fit and evaluate each source on each split.

    All get the same texts, the same train part, the same requests and exclusions, and the same
    seconds to choose options on an inner split; the test is seen once, at the end.

    Args:
        recipe: everything but the source.
        sources: what is compared.
        splits: of one dataset.
        at: slate lengths.
        search: how options are chosen on validation; None takes them as given.
        cache: folder of vectors made before.
        progress: called while texts are encoded.
        on_source: called with what is worked on.

    Returns:
        A contender for each source, in the order given.
    """
    parts: list[list[tuple[AnySource, Evaluation, float]]] = [[] for _ in sources]
    for split in splits:
        features = split_features(recipe, split, cache, progress)
        masks: dict[str, BoolArray] = {
            name: is_tail(split.train.item_counts, name) for name in DEFINITIONS
        }
        for place, source in enumerate(sources):
            if on_source:
                on_source(f"{source.kind} on {split.name}")
            chosen = _chosen(source, split, features.features, search, recipe.seed)
            started = perf_counter()
            engine = recipe.model_copy(update={"source": chosen}).fit(
                split.train, features=features
            )
            seconds = perf_counter() - started
            figures = evaluate(split, engine.recommend, at=at, masks=masks)
            parts[place].append((chosen, figures, seconds))
    return [
        Contender(
            source.kind,
            [options for options, _, _ in own],
            [evaluation for _, evaluation, _ in own],
            float(np.mean([seconds for _, _, seconds in own])),
        )
        for source, own in zip(sources, parts, strict=True)
    ]


def ratio(one: Contender, other: Contender, name: str, *, seed: int = 0) -> Interval | None:
    """95 % interval (low, middle, high) of a figure's ratio, one to other, over users.

    None where the figure of the other is nothing, or no request has one.
    """
    a, b = one.per_user(name), other.per_user(name)
    if not np.nansum(b):
        return None
    return ratio_interval(a, b, draws=DRAWS, rng=np.random.default_rng(seed))


def split_features(
    recipe: EngineRecipe, split: Split, cache: Path | None, progress: Progress | None
) -> FeatureModel:
    """Features that know nothing dated after the split.

    Vocabulary and word frequencies come from the items created before the cut; later ones get
    their vectors as a new product would.
    """
    catalog = split.train.catalog
    # What was bought before the cut was there, whatever its date says.
    known = _created_before(catalog, split.cut) | (split.train.item_counts > 0)
    if known.all():
        return recipe.features.fit(catalog, cache=cache, progress=progress)
    early = Catalog(catalog.table.filter(known))
    model = recipe.features.fit(early, cache=cache, progress=progress)
    return replace(model, features=model.transform(catalog))


def _created_before(catalog: Catalog, cut: int | None) -> BoolArray:
    """bool [I], items that were there at the cut; all where no date is known."""
    if cut is None or c.CREATED_AT not in catalog.table.columns:
        return np.ones(len(catalog), bool)
    created = catalog.table[c.CREATED_AT].dt.epoch("us").fill_null(0).to_numpy()
    return np.asarray(created < cut)


def _chosen(
    source: AnySource, split: Split, features: Features, search: Search | None, seed: int
) -> AnySource:
    """The source's options, chosen on an inner split where there is time for it."""
    if search is None:
        return source
    inner = validation(split)
    tail = is_tail(inner.train.item_counts, search.tail)
    trials = tune(source, inner, features, tail, budget_s=search.budget_s, seed=seed)
    return choose(trials, search.keep).source
