"""What of a mixture a budget of time affords: options of its parts, and the parts themselves.

A share of the budget goes to the options of the parts that are quickly fitted, each searched by
itself. What is left decides about parts that are trained: how long a step takes is measured, and
they are given as many steps as they can have, or left out. What is served is what measured best:
the first part alone, the quick parts mixed, or all of them.
"""

from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

import numpy as np

from tailrec.candidates.sequence import Sequential
from tailrec.data.histories import Repeats
from tailrec.data.split import Split
from tailrec.dataset import Features
from tailrec.engine import AnySource
from tailrec.errors import RecipeError
from tailrec.evaluation.report import evaluate
from tailrec.mixture import AnyRanker, Mixture
from tailrec.ranking.attention import Attention
from tailrec.ranking.blend import Blend
from tailrec.tail.segments import is_tail
from tailrec.tuning import AT, OnTrial, choose
from tailrec.tuning_search import Goal, Tuned, search_options
from tailrec.tuning_study import Trial

SEARCHED: Final = 0.4
"""Share of the budget for the options of quick parts; the first has half of it."""
FITS: Final = 4
"""Times that a part is fitted: without the latest events and with them, to be measured and again
to be served. Where responses are weighed, twice more to learn how."""
LEAST: Final = 0.25
"""Share of its steps without which a trained part is left out."""
_PROBED: Final = (10, 60)
"""Steps of two short fits that tell how long one takes."""


class Validation(NamedTuple):
    """What is chosen on, and what for.

    Attributes:
        inner: the split.
        repeats: which event stands for several of one person and item.
        features: of the catalogue.
        goal: what is looked for.
        seed: of searches and fits.
        fits: times that a part is fitted until something is served.
    """

    inner: Split
    repeats: Repeats
    features: Features
    goal: Goal
    seed: int
    fits: int = FITS

    def measured(self, source: Mixture) -> list[Trial]:
        """One fit of the source's parts, and what each ranker made of them."""
        started, train = monotonic(), self.inner.train
        rankers = rankers_beside(source.ranker)
        rng, whole = np.random.default_rng(self.seed), self.inner.whole
        models = source.fit_each(
            rankers, train, self.features, rng=rng, whole=whole, repeats=self.repeats
        )
        masks = {"tail": is_tail(train.item_counts, self.goal.tail)}
        trials = []
        for model in models:
            figures = evaluate(self.inner, model.candidates, at=(AT,), masks=masks).figures
            now, found = monotonic(), figures.get(f"ndcg@{AT}/tail", 0.0)
            trials.append(Trial(model.recipe, figures[f"ndcg@{AT}"], found, now - started))
            started = now
        return trials


class Pace(NamedTuple):
    """How long a trained part takes.

    Attributes:
        fixed_s: seconds of a fit besides its steps.
        step_s: seconds of a step.
    """

    fixed_s: float
    step_s: float

    @classmethod
    def of(cls, part: Sequential, on: Validation) -> "Pace":
        """Measured by two short fits, after one that loads what fits need."""
        took = []
        for steps in (1, *_PROBED):
            started = monotonic()
            rng = np.random.default_rng(on.seed)
            of_steps(part, steps).fit(on.inner.train, on.features, rng=rng)
            took.append(monotonic() - started)
        _, few_s, many_s = took
        few, many = _PROBED
        step_s = max((many_s - few_s) / (many - few), 1e-6)
        return cls(max(few_s - few * step_s, 0.0), step_s)

    def steps(self, seconds: float) -> int:
        """Steps that a fit of so many seconds may have."""
        return max(int((seconds - self.fixed_s) / self.step_s), 0)

    def seconds(self, steps: int) -> float:
        """How long a fit of so many steps takes."""
        return self.fixed_s + steps * self.step_s


def search_source(
    source: AnySource,
    on: Validation,
    *,
    folder: Path,
    budget_s: float,
    progress: OnTrial | None = None,
) -> Tuned:
    """Choose what is served of a source of any kind; see `search_mixture`, `search_options`."""
    if isinstance(source, Mixture):
        return search_mixture(source, on, folder=folder, budget_s=budget_s, progress=progress)
    return search_options(
        source,
        on.inner,
        on.features,
        on.goal,
        folder=folder,
        budget_s=budget_s,
        seed=on.seed,
        progress=progress,
    )


def search_mixture(
    source: Mixture,
    on: Validation,
    *,
    folder: Path,
    budget_s: float,
    progress: OnTrial | None = None,
) -> Tuned:
    """Search the options of the parts, and measure which parts pay, within a budget.

    Unlike a search for the options of one source, the budget covers the fit of what is served.

    Args:
        source: its parts are where the searches start; its ranker is one of those tried.
        on: what is chosen on.
        folder: of the shop's studies; those of the parts are the ones of `search_options`.
        budget_s: seconds.
        progress: called after each new trial with the seconds spent and the trial.

    Returns:
        What was chosen, with what was afforded in `told`. Its `given` is the first quick part as
        it was given, its study that part's; it is `stopped` if Ctrl-C came before all parts were
        searched.

    Raises:
        KeyboardInterrupt: it was stopped before or after that.
        RecipeError: no part is quick.
    """
    started = monotonic()

    def tell(_: float, trial: Trial) -> None:
        if progress:
            progress(monotonic() - started, trial)

    quick = [part for part in source.parts if not isinstance(part, Sequential)]
    if not quick:
        raise RecipeError(
            "a mixture of trained parts alone has nothing to choose within a budget; add a part "
            "of kind linear, or fit with --budget 0"
        )
    found: list[Tuned] = []
    for share, part in zip(_shares(len(quick)), quick, strict=True):
        own = SEARCHED * share * budget_s
        found.append(search_source(part, on, folder=folder, budget_s=own, progress=tell))
        if found[-1].stopped:
            return found[-1]
    chosen = {tuned.chosen.source.kind: tuned.chosen.source for tuned in found}
    parts = tuple(chosen.get(part.kind, part) for part in source.parts)
    mixture = source.model_copy(update={"parts": parts})
    trials, told = _mixed(mixture, on, until=started + budget_s)
    for trial in trials:
        tell(0.0, trial)
    best = choose([found[0].chosen, *trials], on.goal.keep, objective=on.goal.objective)
    return replace(
        found[0],
        chosen=best,
        trials=[*(trial for tuned in found for trial in tuned.trials), *trials],
        n_new=sum(tuned.n_new for tuned in found) + len(trials),
        told=(*told, _named(best)),
    )


def rankers_beside(named: AnyRanker) -> list[AnyRanker]:
    """The ranker that a recipe names, then weights and attention with what it says of them."""
    blend = named if isinstance(named, Blend) else Blend()
    if isinstance(named, Attention):
        return [named, named.blend]
    others: list[AnyRanker] = [] if isinstance(named, Blend) else [blend]
    return [named, *others, Attention(blend=blend)]


def of_steps(part: Sequential, steps: int) -> Sequential:
    """The part with another number of steps, over which its schedule spans."""
    return part.model_copy(update={"course": part.course.model_copy(update={"steps": steps})})


def _shares(n_parts: int) -> list[float]:
    """Shares of the time that is searched: half for the first part, the rest for the others."""
    others = n_parts - 1
    return [0.5] + [0.5 / others] * others if others else [1.0]


def _mixed(mixture: Mixture, on: Validation, *, until: float) -> tuple[list[Trial], list[str]]:
    """The quick parts mixed, and all of them where there is time for it; what was afforded."""
    quick = tuple(part for part in mixture.parts if not isinstance(part, Sequential))
    trained = [part for part in mixture.parts if isinstance(part, Sequential)]
    trials: list[Trial] = []
    told: list[str] = []
    if monotonic() >= until:
        return trials, ["no time is left to mix anything"]
    if len(quick) > 1:
        trials += on.measured(mixture.model_copy(update={"parts": quick}))
    for part in trained:
        if monotonic() >= until:
            told.append(f"{part.kind} left out: no time is left")
            continue
        pace = Pace.of(part, on)
        # Whatever is mixed, the quick parts are fitted once more to be measured, and to be served.
        rest = until - monotonic() - 2 * sum(trial.seconds for trial in trials)
        steps = min(part.course.steps, pace.steps(rest / on.fits))
        of_all = f"{steps:,} of its {part.course.steps:,} steps"
        if steps < LEAST * part.course.steps:
            needed = on.fits * pace.seconds(int(LEAST * part.course.steps))
            told.append(
                f"{part.kind} left out: {on.fits} fits of a quarter of its steps take "
                f"{needed:,.0f} s, and {max(rest, 0):,.0f} s are left"
            )
            continue
        told.append(f"{part.kind}: {of_all}, {pace.seconds(steps):,.0f} s a fit")
        parts = (of_steps(p, steps) if p is part else p for p in mixture.parts)
        trials += on.measured(mixture.model_copy(update={"parts": tuple(parts)}))
    return trials, told


def _named(best: Trial) -> str:
    """What was chosen, in words."""
    source = best.source
    if not isinstance(source, Mixture):
        return f"served: {source.kind} alone"
    return f"served: {' + '.join(part.kind for part in source.parts)}, by {source.ranker.kind}"
