"""A frontier in plain sentences, made from its figures."""

from collections.abc import Sequence
from typing import Final

from tailrec.evaluation.significance import Interval
from tailrec.frontier import WRITABLE, Answer, Frontier, Question, Setting
from tailrec.frontier_bench import COLD, NDCG, TAIL_EXPOSURE
from tailrec.tail.segments import Definition

NAMES: Final = {
    TAIL_EXPOSURE: "tail exposure@20",
    NDCG: "NDCG@10",
    "recall@20": "Recall@20",
    "ndcg@10/tail": "tail NDCG@10",
    "recall@20/tail": "tail Recall@20",
    COLD: "cold Recall@20",
    "coverage@20": "coverage@20",
    "gini@20": "Gini@20",
    "ild@10": "distance@10",
    "categories@10": "categories@10",
}
"""Figures as people read them, in the order they are shown."""
MEANINGS: Final = {
    "tail exposure@20": "the share of the attention of a slate's 20 places that tail items get; "
    "place n has the attention 1 / log2(1 + n)",
    "NDCG@10": "what people turned to afterwards, among the first 10 places, higher places "
    "counting more; the best there is has 1",
    "Recall@20": "the share of what people turned to that stands in the 20 places",
    "tail NDCG@10, tail Recall@20": "the same, of what they turned to in the tail alone, found "
    "among all items; cold are those without an event to learn from",
    "coverage@20": "the share of the catalogue that stands in at least one slate",
    "Gini@20": "how unequally items are shown: 0 all alike, 1 one alone",
    "distance@10": "intra-list distance: how unlike the words of the first 10 items are: 0 all the "
    "same, 1 none in common",
    "categories@10": "how many categories the first 10 items show",
}


def figures_of(frontier: Frontier) -> list[str]:
    """Names of the figures there are, in the order they are shown."""
    return [name for name in NAMES if name in frontier.base]


def spelt(value: float) -> str:
    """A setting's value, as short as it is exact."""
    return f"{value:.6g}"


def per_cent(share: float) -> str:
    """A share as it was given."""
    return f"{100 * share:.6g} %"


def moved(name: str, ratio: Interval | None) -> str:
    """How a figure changes, with its interval: `NDCG@10 falls by 1.2 % (95 %: -2 to -0.4 %)`."""
    if ratio is None:
        return f"{name} cannot be compared"
    change = ratio.mid - 1
    way = "rises" if change > 0 else "falls"
    return f"{name} {way} by {100 * abs(change):.1f} % ({_bounds(ratio)})"


def _bounds(ratio: Interval) -> str:
    return f"95 %: {100 * (ratio.low - 1):+.1f} to {100 * (ratio.high - 1):+.1f} %"


def what_was_measured(frontier: Frontier) -> str:
    """What the figures are of."""
    return (
        f"validation, not test: {frontier.n_requests:,} requests of {frontier.split!r}, source "
        f"{frontier.source}; the tail ({frontier.tail}) is {frontier.n_tail:,} of "
        f"{frontier.n_items:,} items"
    )


def question_of(question: Question, wanted: float) -> str:
    """A question in words."""
    if question == "more":
        return f"What does {per_cent(wanted)} more tail exposure cost?"
    return f"What does at most {per_cent(wanted)} of NDCG@10 buy?"


def told(answer: Answer) -> str:
    """An answer in a sentence or two."""
    return _told_more(answer) if answer.question == "more" else _told_within(answer)


def headline(frontier: Frontier, question: Question) -> str:
    """The best of the answers to a question; empty where it was not asked."""
    asked = [answer for answer in frontier.answers if answer.question == question]
    if not asked:
        return ""
    best = frontier.cheapest(question)
    if best is None or best.setting is None:
        if question == "more":
            return f"No knob reaches {per_cent(asked[0].wanted)} more tail exposure."
        return f"No knob raises tail exposure for at most {per_cent(asked[0].wanted)} of NDCG@10."
    ndcg = moved("NDCG@10", best.setting.ratios.get(NDCG))
    named = f"{best.knob} {spelt(best.setting.value)}"
    if question == "more":
        return f"{per_cent(best.wanted)} more tail exposure costs least with {named}: {ndcg}."
    exposure = moved("tail exposure", best.setting.ratios.get(TAIL_EXPOSURE))
    return f"At most {per_cent(best.wanted)} of NDCG@10 buys most with {named}: {exposure}."


def sentences(frontier: Frontier) -> list[str]:
    """The questions, the best answer to each, and the answer of each knob below it."""
    lines: list[str] = []
    for question in dict.fromkeys(answer.question for answer in frontier.answers):
        own = [answer for answer in frontier.answers if answer.question == question]
        lines.append(f"{question_of(question, own[0].wanted)} {headline(frontier, question)}")
        lines += [f"- {told(answer)}" for answer in own]
    return lines + [f"{knob} was not turned: {why}" for knob, why in frontier.left_out.items()]


def how_to_use(frontier: Frontier) -> tuple[list[str], str]:
    """How the settings that cost no more than was said are put to use.

    Returns:
        Sentences, and what is to be written into tailrec.toml by hand; empty for nothing.
    """
    found = {a.knob: a.setting for a in frontier.answers if a.question == "at_most" and a.setting}
    lines = [
        f"--write {knob} puts {knob} = {spelt(found[knob].value)} into [slate] of tailrec.toml"
        for knob in WRITABLE
        if knob in found
    ]
    if "exposure" not in found:
        return lines, ""
    return [*lines, "exposure is written by hand:"], exposure_table(
        found["exposure"], frontier.tail
    )


def exposure_table(setting: Setting, tail: Definition) -> str:
    """What tailrec.toml says to be steered at a setting's cost to its exposure."""
    # A rare item has events; under all other definitions those without are in the tail.
    tiers = '["tail"]' if tail == "rare" else '["tail", "cold"]'
    floor = setting.figures[TAIL_EXPOSURE]
    return (
        f"[exposure]\ncost = {spelt(setting.value)}\n[[exposure.goals]]\ntier = {tiers}\n"
        f"floor = {floor:.3f}"
    )


def ratio_words(ratio: Interval | None) -> str:
    """A ratio with its bounds, as a cell of a table."""
    if ratio is None:
        return ""
    return f"{ratio.mid:.3f} ({ratio.low:.3f}–{ratio.high:.3f})"


def values_of(setting: Setting, names: Sequence[str]) -> list[float | None]:
    """Figures of a setting, None where it has none."""
    return [setting.figures.get(name) for name in names]


def _told_more(answer: Answer) -> str:
    setting = answer.setting
    if setting is None:
        return f"{answer.knob}: nothing was measured."
    exposure, ndcg = setting.ratios.get(TAIL_EXPOSURE), setting.ratios.get(NDCG)
    at = f"{answer.knob} {spelt(setting.value)}"
    if answer.met:
        return f"{at}: {_both(exposure, ndcg)}."
    if exposure is None or exposure.mid <= 1:
        return f"{answer.knob} does not reach it: no setting raises tail exposure."
    return f"{answer.knob} does not reach it; the most is at {at}: {_both(exposure, ndcg)}."


def _told_within(answer: Answer) -> str:
    setting = answer.setting
    if setting is None:
        return f"{answer.knob}: no setting raises tail exposure within that."
    exposure, ndcg = setting.ratios.get(TAIL_EXPOSURE), setting.ratios.get(NDCG)
    line = f"{answer.knob} {spelt(setting.value)}: {_both(exposure, ndcg)}."
    if ndcg is not None and ndcg.low < 1 - answer.wanted:
        line += f" The interval goes below {per_cent(answer.wanted)}: the loss may be larger."
    return line


def _both(exposure: Interval | None, ndcg: Interval | None) -> str:
    return f"{moved('tail exposure', exposure)}, {moved('NDCG@10', ndcg)}"
