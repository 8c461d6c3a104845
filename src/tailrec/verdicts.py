"""What may be said of one recommender beside others, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from tailrec.contender import Contender
from tailrec.evaluation.significance import Bootstrap, Interval, holm
from tailrec.items import Float64Array

DRAWS: Final = 10_000
"""Bootstrap draws of an interval."""
LEVEL: Final = 0.05

Word = Literal["better", "better?", "not told apart", "worse?", "worse"]
"""`?`: the interval says so, but not any more once all questions asked are counted (Holm)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One contender beside another in one figure.

    Attributes:
        figure: name of the figure.
        one: the contender judged.
        other: beside whom.
        ratio: one / other with 95 % bounds; None where the other's figure is 0 for every user.
        p: two-sided chance of such a ratio if both were alike, corrected for all verdicts
            (Holm); None where both are 0 for every user.
        word: what may be said.
    """

    figure: str
    one: str
    other: str
    ratio: Interval | None
    p: float | None
    word: Word

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "figure": self.figure,
            "one": self.one,
            "other": self.other,
            "ratio": None if self.ratio is None else self.ratio._asdict(),
            "p_holm": self.p,
            "verdict": self.word,
        }


def judged(at: Sequence[int]) -> tuple[str, ...]:
    """Names of the figures that verdicts are given on, the most telling first."""
    short, long = at[0], at[-1]
    return (
        f"ndcg@{short}",
        f"recall@{short}",
        f"recall@{long}/pareto",
        f"ndcg@{short}/pareto",
        f"recall@{long}/mass",
        f"recall@{long}/rare",
        f"recall@{long}/cold",
        f"recall@{long}/tail_users",
        f"recall_ips@{long}",
    )


def judge(contenders: Sequence[Contender], at: Sequence[int], *, seed: int = 0) -> list[Verdict]:
    """The first contender beside each other one.

    Args:
        contenders: of one comparison.
        at: its slate lengths.
        seed: of the draws.

    Returns:
        A verdict for each other contender and figure of `judged` that both have; all intervals
        come from the same draws of users.
    """
    one, *others = contenders
    pairs = [
        (figure, other.name, (one.per_user(figure), other.per_user(figure)))
        for other in others
        for figure in judged(at)
        if figure in one.figures and figure in other.figures
    ]
    # There is no ratio to nothing, but a chance of it: that of the ratio the other way round.
    asked = [(a, b) if np.nansum(b) > 0 else (b, a) for _, _, (a, b) in pairs]
    known = [place for place, (_, b) in enumerate(asked) if np.nansum(b) > 0]
    bootstrap = Bootstrap(one.users, draws=DRAWS, rng=np.random.default_rng(seed))
    found = bootstrap.ratios([asked[place] for place in known])
    corrected = holm(np.array([ratio.p for ratio in found])).tolist()
    answers = dict(zip(known, zip(found, corrected, strict=True), strict=True))
    verdicts = []
    for place, (figure, other, (_, b)) in enumerate(pairs):
        if place not in answers:
            verdicts.append(Verdict(figure, one.name, other, None, None, "not told apart"))
            continue
        ratio, p = answers[place]
        interval = ratio.interval if np.nansum(b) > 0 else None
        word = _word(interval, ratio.p, p)
        verdicts.append(Verdict(figure, one.name, other, interval, p, word))
    return verdicts


def mean_intervals(
    contenders: Sequence[Contender], at: Sequence[int], *, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """Figures of `judged` with 95 % bounds over users, by contender and figure."""
    bootstrap = Bootstrap(contenders[0].users, draws=DRAWS, rng=np.random.default_rng(seed))
    keys: list[tuple[str, str]] = []
    values: list[Float64Array] = []
    for one in contenders:
        for figure in judged(at):
            # The weights of unbiased recall are normalised over all requests, which a draw does
            # not do anew: its ratios have intervals, the figure itself has none.
            if figure in one.figures and not figure.startswith("recall_ips"):
                keys.append((one.name, figure))
                values.append(one.per_user(figure))
    found: dict[str, dict[str, Interval]] = {one.name: {} for one in contenders}
    for (name, figure), interval in zip(keys, bootstrap.means(values), strict=True):
        found[name][figure] = interval
    return found


def _word(interval: Interval | None, alone: float, p: float) -> Word:
    """What may be said; `alone` is the chance before the correction.

    Without an interval, the other one has nothing, and one hit more than nothing may be luck.
    """
    if alone < LEVEL if interval is None else interval.low > 1:
        return "better" if p < LEVEL else "better?"
    if interval is not None and interval.high < 1:
        return "worse" if p < LEVEL else "worse?"
    return "not told apart"
