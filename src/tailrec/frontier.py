"""What the long tail costs: relevance against tail exposure for each knob, on validation.

Each knob is turned alone, from plain slates on, and every setting is measured on the same
requests. Settings that answer a question are measured, too, never read off between two others.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from tailrec.data.split import inner_split
from tailrec.dataset import Dataset
from tailrec.errors import DataError, RecipeError
from tailrec.evaluation.significance import Bootstrap, Interval
from tailrec.features.text import Progress
from tailrec.frontier_answers import (
    GRIDS,
    Curve,
    least_with_more,
    look_for_more,
    look_within,
    most_exposed,
    most_within,
)
from tailrec.frontier_bench import KNOBS, NDCG, TAIL_EXPOSURE, Bench, Knob, Measured
from tailrec.items import Float64Array
from tailrec.recipe_file import replace_table
from tailrec.shop_recipe import ShopRecipe
from tailrec.tail.segments import Definition

Question = Literal["more", "at_most"]
WRITABLE: Final[tuple[Knob, ...]] = ("tail", "diversity")
"""Knobs that are options of `[slate]`."""
MOST: Final = 10.0
"""So much more tail exposure may be asked for, as a share of what there is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a frontier.

    Attributes:
        more: tail exposure wanted beyond that of plain slates, as a share of it; None: not asked.
        at_most: share of the plain slates' NDCG@10 that may be lost; None: not asked.
        knobs: those to turn; None: all that can be turned here.
        n_requests: requests that are looked at, at most, drawn by the recipe's seed.
        draws: bootstrap draws of an interval.

    Raises:
        DataError: a share is out of range, a knob is unknown, or a number is below 1.
    """

    more: float | None = 0.2
    at_most: float | None = 0.01
    knobs: tuple[Knob, ...] | None = None
    n_requests: int = 10_000
    draws: int = 2_000

    def __post_init__(self) -> None:
        if self.more is not None and not 0 < self.more <= MOST:
            raise DataError(
                f"{self.more:.4g} times more tail exposure was asked for; it must be above 0 and "
                f"no more than {MOST:.0%}, as 20% or 0.2"
            )
        if self.at_most is not None and not 0 < self.at_most < 1:
            raise DataError(
                f"a loss of at most {self.at_most:.4g} times the NDCG was asked for; it must lie "
                f"between 0 and 100%, as 1% or 0.01"
            )
        for knob in self.knobs or ():
            if knob not in KNOBS:
                raise DataError(f"knob {knob!r} is not known; there are {', '.join(KNOBS)}")
        n_knobs = len(KNOBS if self.knobs is None else self.knobs)
        if min(n_knobs, self.n_requests, self.draws) < 1:
            raise DataError(
                f"{n_knobs} knobs, {self.n_requests} requests and {self.draws} "
                f"draws were asked for; at least 1 of each is needed"
            )


@dataclass(frozen=True, slots=True)
class Setting:
    """A knob at a value, measured beside plain slates.

    Attributes:
        knob: the one that is turned.
        value: of it.
        figures: by name; see `frontier_bench`.
        ratios: of figures of requests to those of plain slates, with 95 % bounds over users; one
            that is 0 for plain slates is left out.
    """

    knob: Knob
    value: float
    figures: Mapping[str, float]
    ratios: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        ratios = {name: ratio._asdict() for name, ratio in self.ratios.items()}
        return {"knob": self.knob, "value": self.value, "figures": self.figures, "ratios": ratios}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a knob says to a question.

    Attributes:
        question: ``more``: the least setting with so much more tail exposure; ``at_most``: the
            setting with the most tail exposure that loses no more of NDCG@10.
        wanted: the share asked for.
        knob: the one that is turned.
        setting: the answer. Where there is none: the setting with the most tail exposure for
            ``more``, None for ``at_most``.
        met: whether there is one.
    """

    question: Question
    wanted: float
    knob: Knob
    setting: Setting | None
    met: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        own = None if self.setting is None else self.setting.to_dict()
        named = {"question": self.question, "wanted": self.wanted, "knob": self.knob}
        return named | {"met": self.met, "setting": own}


@dataclass(frozen=True, slots=True)
class Frontier:
    """Relevance against tail exposure, coverage and diversity.

    Attributes:
        split: name of the split; it is cut from events that may be learnt from later.
        n_requests: requests looked at, of as many people.
        n_items: items of the catalogue.
        n_tail: how many of them are in the tail.
        tail: the tail that is meant.
        source: kind of the shop's source.
        variety: how the shop varies slates.
        base: figures of plain slates, every knob off.
        intervals: 95 % bounds of those that are means over requests.
        settings: everything measured, knob by knob, the lowest setting first.
        answers: question by question, one a knob.
        left_out: why a knob could not be turned, by knob.
        draws: bootstrap draws of an interval.
    """

    split: str
    n_requests: int
    n_items: int
    n_tail: int
    tail: Definition
    source: str
    variety: str
    base: Mapping[str, float]
    intervals: Mapping[str, Interval]
    settings: list[Setting]
    answers: list[Answer]
    left_out: Mapping[Knob, str]
    draws: int

    @property
    def knobs(self) -> list[Knob]:
        """Those that were turned."""
        return list(dict.fromkeys(setting.knob for setting in self.settings))

    def of(self, knob: Knob) -> list[Setting]:
        """The settings of a knob, the lowest first."""
        return [setting for setting in self.settings if setting.knob == knob]

    def answer(self, question: Question, knob: Knob) -> Answer | None:
        """What a knob says to a question; None where it was not asked."""
        own = (a for a in self.answers if (a.question, a.knob) == (question, knob))
        return next(own, None)

    def cheapest(self, question: Question) -> Answer | None:
        """The best answer: the least NDCG lost for ``more``, the most exposure for ``at_most``."""
        figure = NDCG if question == "more" else TAIL_EXPOSURE
        met = [
            (answer.setting.figures[figure], answer)
            for answer in self.answers
            if answer.question == question and answer.met and answer.setting is not None
        ]
        return max(met, key=lambda one: one[0])[1] if met else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        simple = ("split", "n_requests", "n_items", "n_tail", "tail", "source", "variety", "draws")
        return {name: getattr(self, name) for name in simple} | {
            "base": self.base,
            "intervals": {name: one._asdict() for name, one in self.intervals.items()},
            "settings": [setting.to_dict() for setting in self.settings],
            "answers": [answer.to_dict() for answer in self.answers],
            "left_out": self.left_out,
        }


def measure(
    recipe: ShopRecipe,
    data: Dataset,
    asked: Asked = Asked(),
    *,
    cache: Path | None = None,
    home: Path | None = None,
    progress: Progress | None = None,
) -> Frontier:
    """Turn each knob over its grid on validation, and answer what is asked.

    Args:
        recipe: of the shop; its source is fitted once, on the train part of the split.
        data: whole histories.
        asked: the questions.
        cache: folder of vectors made before.
        home: folder of the shop, where its encoders are.
        progress: called with a stage, what is done of it, and all of it.

    Raises:
        DataError: the data are too small to be split, no item is in the tail, or plain slates
            find nothing or show nothing of the tail, so that nothing can be set beside them.
        RecipeError: a knob that was asked for by name cannot be turned here.
    """
    rng = np.random.default_rng(recipe.seed)
    split = inner_split(data, recipe.histories.repeats)
    if len(split) > asked.n_requests:
        split = split.take(np.sort(rng.choice(len(split), asked.n_requests, replace=False)))
    features = recipe.features.fit(data.catalog, cache=cache, home=home, progress=progress)
    bench = Bench(
        recipe, split, recipe.engine().fit(split.train, whole=split.whole, features=features), rng
    )
    _check_base(bench)
    left_out = _left_out(bench, asked)
    curves = [Curve(bench, knob) for knob in asked.knobs or KNOBS if knob not in left_out]
    _walk(curves, asked, progress)
    settings, intervals = _beside_base(
        curves, bench, Bootstrap(split.users, draws=asked.draws, rng=rng)
    )
    return Frontier(
        split=split.name,
        n_requests=len(split),
        n_items=len(bench.tail),
        n_tail=int(bench.tail.sum()),
        tail=recipe.tail,
        source=recipe.source.kind,
        variety=recipe.slate.variety,
        base=bench.base.figures,
        intervals=intervals,
        settings=list(settings.values()),
        answers=_answers(curves, asked, settings),
        left_out=left_out,
        draws=asked.draws,
    )


def written_knob(name: str) -> Knob:
    """A knob that `write_setting` takes.

    Raises:
        RecipeError: it is another.
    """
    if name == "exposure":
        raise RecipeError(
            "exposure is not one option, so it cannot be written for you: put cost = X under "
            "[exposure] of tailrec.toml, with X as found here, and a goal under "
            '[[exposure.goals]], as tier = ["tail"] and floor = 0.5'
        )
    for knob in WRITABLE:
        if name == knob:
            return knob
    raise RecipeError(f"{name!r} cannot be written; it must be {' or '.join(WRITABLE)}")


def write_setting(path: Path, knob: Knob, value: float) -> ShopRecipe:
    """Put a knob's value into `[slate]` of a recipe file; all else in it stays.

    Args:
        path: of a complete recipe.
        knob: ``tail`` or ``diversity``.
        value: 0..1.

    Returns:
        The recipe as it now is.

    Raises:
        RecipeError: the knob is no option of `[slate]`, the file holds a bad option, or `[slate]`
            in a form that cannot be changed line by line; the file is as it was.
    """
    option = written_knob(knob)
    ShopRecipe.load(path)  # people edit it, too: what is wrong is said before anything changes
    there = tomllib.loads(path.read_text("utf-8")).get("slate", {})
    replace_table(path, "slate", there | {option: value})
    return ShopRecipe.load(path)


def _check_base(bench: Bench) -> None:
    base = bench.base
    if not base.ndcg or not base.exposure:
        raise DataError(
            f"plain slates of source {bench.recipe.source.kind!r} have NDCG@10 {base.ndcg:.4g} and "
            f"give the tail {base.exposure:.4g} of the attention on the {len(bench.split):,} "
            f"requests of {bench.split.name!r}; both must be above 0 to set anything beside them"
        )


def _left_out(bench: Bench, asked: Asked) -> dict[Knob, str]:
    """Why knobs cannot be turned.

    Raises:
        RecipeError: one that was asked for by name cannot be, or none can.
    """
    lacking = {knob: bench.lacking(knob) for knob in asked.knobs or KNOBS}
    why = {knob: reason for knob, reason in lacking.items() if reason}
    if why and (asked.knobs or len(why) == len(lacking)):
        told = "; ".join(f"{knob} cannot be turned here: {reason}" for knob, reason in why.items())
        raise RecipeError(told)
    return why


def _walk(curves: list[Curve], asked: Asked, progress: Progress | None) -> None:
    """Measure all grids, then between their points."""
    for curve in curves:
        grid = GRIDS[curve.knob]
        for done, value in enumerate(grid):
            if progress:
                progress(f"measuring {curve.knob}", done, len(grid))
            curve.at(value)
        if progress:
            progress(f"measuring {curve.knob}", len(grid), len(grid))
    for done, curve in enumerate(curves):
        if progress:
            progress("looking for answers", done, len(curves))
        if asked.more is not None:
            look_for_more(curve, asked.more)
        if asked.at_most is not None:
            look_within(curve, asked.at_most)
    if progress:
        progress("looking for answers", len(curves), len(curves))


def _beside_base(
    curves: list[Curve], bench: Bench, bootstrap: Bootstrap
) -> tuple[dict[tuple[Knob, float], Setting], dict[str, Interval]]:
    """Every setting with its ratios to plain slates, by knob and value; bounds of those."""
    base = bench.base.per_user
    measured = [(curve.knob, one) for curve in curves for one in curve.points]
    named, pairs = [], []
    for knob, one in measured:
        for name, values in one.per_user.items():
            pair = _paired(values, base.get(name))
            if pair is not None:
                named.append((knob, one.value, name))
                pairs.append(pair)
    ratios: dict[tuple[Knob, float], dict[str, Interval]] = {}
    for (knob, value, name), ratio in zip(named, bootstrap.ratios(pairs), strict=True):
        ratios.setdefault((knob, value), {})[name] = ratio.interval
    settings = {
        (knob, one.value): Setting(knob, one.value, one.figures, ratios.get((knob, one.value), {}))
        for knob, one in measured
    }
    return settings, dict(zip(base, bootstrap.means(list(base.values())), strict=True))


def _paired(
    values: Float64Array, base: Float64Array | None
) -> tuple[Float64Array, Float64Array] | None:
    """Both figures where both are defined; None where there is no ratio."""
    if base is None:
        return None
    gap = np.isnan(values) | np.isnan(base)
    pair = np.where(gap, np.nan, values), np.where(gap, np.nan, base)
    return pair if np.nansum(pair[1]) > 0 else None


def _answers(
    curves: list[Curve], asked: Asked, settings: Mapping[tuple[Knob, float], Setting]
) -> list[Answer]:
    answers = []
    if asked.more is not None:
        for curve in curves:
            found = least_with_more(curve, asked.more)
            shown = _setting(curve, found or most_exposed(curve), settings)
            answers.append(Answer("more", asked.more, curve.knob, shown, found is not None))
    if asked.at_most is not None:
        for curve in curves:
            found = most_within(curve, asked.at_most)
            own = None if found is None else _setting(curve, found, settings)
            answers.append(Answer("at_most", asked.at_most, curve.knob, own, found is not None))
    return answers


def _setting(
    curve: Curve, one: Measured, settings: Mapping[tuple[Knob, float], Setting]
) -> Setting:
    return settings[curve.knob, one.value]
