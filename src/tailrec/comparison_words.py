"""A comparison in plain sentences, made from its figures, and what the words mean."""

from collections.abc import Iterable, Sequence
from math import isfinite, isinf
from typing import Final

from tailrec.comparison import DRAWN, Comparison
from tailrec.contender import Contender
from tailrec.evaluation.significance import Interval
from tailrec.verdicts import Verdict, Word, judged

SIGNS: Final[dict[Word, str]] = {
    "better": "▲",
    "better?": "△",
    "not told apart": "=",
    "worse?": "▽",
    "worse": "▼",
}
MOST_NAMED: Final = 3
"""Contenders that the headline names one by one."""
NOTHING: Final = "–"
"""Stands where there is no figure."""


def headline_figures(comparison: Comparison) -> tuple[str, str]:
    """The figure for all targets and the one for the tail that the verdict is told by."""
    short, long = comparison.rules.at[0], comparison.rules.at[-1]
    return f"ndcg@{short}", f"recall@{long}/pareto"


def plain_name(figure: str) -> str:
    """A figure's name for people: `recall@20/pareto` is "tail Recall@20"."""
    metric, _, group = figure.partition("/")
    kind, _, k = metric.partition("@")
    spelt = {"ndcg": f"NDCG@{k}", "recall": f"Recall@{k}"}.get(kind, f"unbiased Recall@{k}")
    whom = {
        "": f"{spelt}, all targets" if kind != "recall_ips" else spelt,
        "pareto": f"tail {spelt}",
        "mass": f"tail {spelt} (by share of events)",
        "rare": f"{spelt}, rare items",
        "cold": f"{spelt}, cold items",
        "tail_users": f"{spelt}, people with little history",
    }
    return whom.get(group, f"{spelt}, {group}")


def listed(names: Iterable[str]) -> str:
    """Names as in a sentence: `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def counted(n: int, noun: str) -> str:
    """A number and what is counted: `1 split`, `1,200 requests`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def accuracy(value: float | None) -> str:
    """An accuracy as the page writes it."""
    return NOTHING if value is None or not isfinite(value) else f"{value:.4f}"


def span(interval: Interval | None) -> str:
    """Bounds of an accuracy; empty where none are known."""
    return "" if interval is None else f"{accuracy(interval.low)}–{accuracy(interval.high)}"


def times(value: float) -> str:
    """A ratio to three digits or so: `1.21`, `25.3`, `118`, or ∞."""
    if isinf(value):
        return "∞"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def times_span(ratio: Interval) -> str:
    """Bounds of a ratio."""
    return f"{times(ratio.low)}–{times(ratio.high)}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for size, unit in ((3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"


def memory(n_bytes: float) -> str:
    """Bytes in MB or GB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def verdicts_on(comparison: Comparison, name: str) -> list[Verdict]:
    """What is said on one figure, in the order of the contenders."""
    return [verdict for verdict in comparison.verdicts if verdict.figure == name]


def headline(comparison: Comparison) -> str:
    """The whole comparison in one sentence."""
    one, *others = comparison.contenders
    if not others:
        return f"{one.name}, measured by itself: there is nothing beside it to judge it by."
    everything, tail = headline_figures(comparison)
    overall, on_tail = _standing(comparison, everything), _standing(comparison, tail)
    if overall == on_tail:
        return f"{one.name} is {overall}, both overall and on the long tail."
    return f"Overall, {one.name} is {overall}; on the long tail it is {on_tail}."


def _standing(comparison: Comparison, name: str) -> str:
    """What follows "is": better than whom, behind whom."""
    found = verdicts_on(comparison, name)
    if not found:
        return "not judged, as no request has a target there"
    n = len(found)
    better = [verdict.other for verdict in found if verdict.word == "better"]
    worse = [verdict.other for verdict in found if verdict.word == "worse"]
    unsure = [verdict.other for verdict in found if verdict.word not in ("better", "worse")]
    parts = []
    if worse:
        parts.append(f"behind {_so_many(worse, n)}")
    if better:
        parts.append(f"better than {_so_many(better, n)}")
    if unsure:
        parts.append(f"not surely told apart from {_so_many(unsure, n)}")
    return listed(parts)


def _so_many(names: Sequence[str], n: int) -> str:
    """Names where they are few, and how many of n where they are not."""
    if len(names) <= MOST_NAMED:
        return listed(names)
    return f"all {n} others" if len(names) == n else f"{len(names)} of the {n} others"


def place_of(comparison: Comparison, name: str) -> tuple[int, int]:
    """The place of the first contender by a figure, from 1, and of how many that have it."""
    own = [one.figures[name] for one in comparison.contenders if name in one.figures]
    mine = comparison.contenders[0].figures[name]
    return 1 + sum(value > mine for value in own), len(own)


def told(comparison: Comparison, name: str) -> str:
    """Who is first by a figure, and where the first contender stands."""
    one = comparison.contenders[0]
    if name not in one.figures:
        return "No request has a target there, so nothing can be said."
    found = verdicts_on(comparison, name)
    if not found:
        bounds = span(comparison.intervals[one.name].get(name))
        return f"The 95 % interval is {bounds}." if bounds else ""
    mine = _valued(comparison, one, name)
    place, n = place_of(comparison, name)
    having = [other for other in comparison.contenders[1:] if name in other.figures]
    best = max(having, key=lambda other: other.figures[name])
    ratio = next(v.ratio for v in found if v.other == best.name)
    if place > 1:
        start = f"{best.name} is first with {_valued(comparison, best, name)}; "
        start += f"{one.name} is number {place} of {n} with {mine}"
    elif best.figures[name] == one.figures[name]:
        start = f"{one.name} and {best.name} are level with {mine}"
    else:
        start = f"{one.name} is first of {n} with {mine}; the next is {best.name} with "
        start += _valued(comparison, best, name)
    if ratio is None:
        return f"{start}."
    return f"{start}. That is {times(ratio.mid)} times {best.name} ({times_span(ratio)})."


def _valued(comparison: Comparison, one: Contender, name: str) -> str:
    bounds = span(comparison.intervals[one.name].get(name))
    return accuracy(one.figures[name]) + (f" ({bounds})" if bounds else "")


def in_plain(figure: str, value: float) -> str:
    """What a value of one of the two headline figures says, without its name."""
    metric, _, group = figure.partition("/")
    kind, _, k = metric.partition("@")
    if kind == "ndcg":
        return "1 would be all that a person turned to, on top of the slate."
    what = "tail items" if group else "items"
    return f"On average, {k} places hold {value:.1%} of the {what} that a person turned to."


def said_of_others(comparison: Comparison, name: str) -> list[str]:
    """Each word once, after its sign, with all the contenders it is said of."""
    return [f"{SIGNS[word]} {text}" for word, text in _by_word(verdicts_on(comparison, name))]


def _by_word(found: Sequence[Verdict]) -> list[tuple[Word, str]]:
    say: dict[Word, str] = {
        "better": "better than",
        "better?": "perhaps better than",
        "not told apart": "not told apart from",
        "worse?": "perhaps worse than",
        "worse": "worse than",
    }
    others = {word: [v.other for v in found if v.word == word] for word in say}
    return [(word, f"{say[word]} {listed(own)}") for word, own in others.items() if own]


def not_ahead(comparison: Comparison) -> list[str]:
    """For each figure, whom the first contender is not shown to be better than."""
    lines = []
    for name in judged(comparison.rules.at):
        weak = [v for v in verdicts_on(comparison, name) if v.word != "better"]
        if weak:
            lines.append(f"{plain_name(name)}: {'; '.join(text for _, text in _by_word(weak))}")
    return lines


def cannot_tell(comparison: Comparison) -> list[str]:
    """What a reader might take from the page and must not."""
    one, *others = comparison.contenders
    rules = comparison.rules
    limits = []
    if len(others) > 1:
        limits.append(
            f"How the others stand to each other: each verdict is on {one.name} and one of them."
        )
    elsewhere = [each.name for each in comparison.contenders if each.card is not None]
    if elsewhere:
        limits.append(
            f"How {listed(elsewhere)} came to be: the slates were made elsewhere. That they answer "
            f"the same requests from the same catalogue was checked, and nothing else."
        )
    if len(elsewhere) < len(comparison.contenders) and rules.budget_s == 0:
        limits.append("What a search for options would give: options were taken as they are.")
    fitted_once = [each.name for each in comparison.contenders if _drawn_once(each)]
    if fitted_once:
        limits.append(f"How another random start would change {listed(fitted_once)}.")
    if len(comparison.splits) == 1:
        limits.append("Whether it holds at another time: there is one split.")
    limits.append(
        "Whether people would have liked what they were never shown. The past is replayed here; "
        "only an experiment with people can tell."
    )
    return limits


def _drawn_once(one: Contender) -> bool:
    options = one.parts[0].options
    return options is not None and options.get("kind") in DRAWN and len(one.parts[0].runs) == 1


def glossary(at: Sequence[int]) -> dict[str, str]:
    """One line for each word the page uses."""
    short, long = at[0], at[-1]
    return {
        "slate": f"The items a recommender shows to one person, best first: {long} places here, "
        f"chosen from the whole catalogue.",
        "split": "How the past is parted: what may be learnt from (train), and the requests, whose "
        "answers are kept hidden. A time split parts at one instant, the cut.",
        "target": "An item that the person turned to after the moment of the request, and that no "
        "contender of ours was told of.",
        f"NDCG@{short}": f"How many targets stand in the first {short} places, a higher place "
        f"counting more; 1 is perfect, 0 finds none.",
        f"Recall@{short}, Recall@{long}": f"The share of a person's targets that stand in the "
        f"first {short} or {long} places.",
        "tail": "The least popular 80 % of the items (pareto), by the events there were to learn "
        "from. Tail figures count targets in the tail, at the places they have in the same slates.",
        "tail by share of events (mass)": "The items outside the few that take 80 % of the events.",
        "rare items": "Items with 1 to 5 events to learn from.",
        "cold items": "Items without any event to learn from, such as new ones.",
        "people with little history": "People with at most 5 events before the request.",
        f"unbiased Recall@{long}": "Recall in which a target counts more the less popular it is, "
        "to make up for popular items having been met more often; few rare targets decide it.",
        "coverage": "The share of the catalogue that is in at least one slate.",
        "Gini": "How unequally places are given to items: 0 is all alike, 1 is one item alone.",
        "tail places": "The share of all places given to tail items.",
        "variety (ILD)": "How different the items of one slate are by their words: 0 is all the "
        "same, 1 is nothing in common.",
        "novelty": "How few people have what is shown, in bits: one bit more is half as many.",
        "serendipity": "Targets found that a list of the most popular would have placed lower.",
        "decile": "A tenth of the items that have events, by popularity; 1 is the least popular.",
        "interval": "Small print below a figure: people were drawn anew 10,000 times, and 95 % of "
        "the draws lie between the two numbers.",
        "ratio": "A figure of the one judged over that of the other, on the same draws of people.",
        "better, worse": "The whole interval of the ratio lies above 1, or below, and still would "
        "once all questions of this page are counted (Holm). With a question mark: the interval "
        "says so, but with so many questions asked it may be chance.",
        "±": "Standard deviation between fits that differ in their random start alone.",
        "peak memory": "The most memory the process held while it fitted and answered, the data "
        "included.",
        "memory on top": "The part of it that came on top of what the process held before; memory "
        "that an earlier contender gave back but the system kept makes it too small.",
    }
