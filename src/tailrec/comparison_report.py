"""A comparison as files: one page for people, and the figures behind it for machines."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tailrec.comparison import Comparison
from tailrec.comparison_costs import cost_table, draw_costs
from tailrec.comparison_pictures import (
    draw_deciles,
    draw_histories,
    draw_lorenz,
    draw_plane,
)
from tailrec.comparison_tables import (
    accuracy_columns,
    decile_table,
    exposure_columns,
    figures_table,
    history_table,
    long_table,
    mapping_table,
    options_table,
    slate_columns,
    split_table,
    verdict_table,
)
from tailrec.comparison_words import (
    SIGNS,
    accuracy,
    cannot_tell,
    counted,
    duration,
    glossary,
    headline,
    headline_figures,
    in_plain,
    not_ahead,
    place_of,
    plain_name,
    said_of_others,
    told,
)
from tailrec.evaluation.guards import CHECKS
from tailrec.files import plain
from tailrec.pages import folded, page, picture, write_bytes
from tailrec.tuning_search import Goal

__all__ = ["draw_plane", "write_report"]


def write_report(
    comparison: Comparison,
    folder: Path,
    *,
    title: str = "Recommenders side by side",
) -> list[Path]:
    """Write a page that needs no other file, and the figures as JSON and CSV.

    Each file is written beside its place and renamed into it, the page last, so that a reader
    never meets half a file.

    Args:
        comparison: what came of it.
        folder: made where it is missing; files of the same names are replaced.
        title: of the page.

    Returns:
        Paths of comparison.json (what is not finite is null), figures.csv and index.html.
    """
    values = json.dumps(plain(comparison.to_dict()), indent=2, allow_nan=False, ensure_ascii=False)
    files = {
        "comparison.json": values.encode(),
        "figures.csv": long_table(comparison).write_csv().encode(),
        "index.html": page(title, _body(comparison, title)).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [write_bytes(folder / name, content) for name, content in files.items()]


def _body(comparison: Comparison, title: str) -> str:
    parts = [
        _top(comparison, title),
        _figures(comparison),
        _plane(comparison),
        _deciles(comparison),
        _exposure(comparison),
        _histories(comparison),
        _costs(comparison),
        _making(comparison),
        _words(comparison),
    ]
    # A number stays with its sign.
    return "\n".join(parts).replace(" %", "&nbsp;%")


def _section(heading: str, how: str, *content: str) -> str:
    """A part of the page; `how`, plain text, says how to read it."""
    return (
        f"<section><h2>{html.escape(heading)}</h2><p>{html.escape(how)}</p>"
        f"{''.join(content)}</section>"
    )


def _listing(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _top(comparison: Comparison, title: str) -> str:
    """Title, the verdict in one sentence, its numbers, and what was not shown."""
    everything, tail = headline_figures(comparison)
    first = comparison.contenders[0]
    asked = sum(split["n_requests"] for split in comparison.splits)
    sizes = [split["n_items"] for split in comparison.splits]
    how_much = (
        f"{counted(len(comparison.contenders), 'contender')}, "
        f"{counted(len(comparison.splits), 'split')}, {counted(asked, 'request')} of "
        f"{counted(len(np.unique(first.users)), 'person').replace('persons', 'people')}, "
        f"{counted(max(sizes), 'item')}. All answered the same requests from the same catalogue."
    )
    return (
        f'<header><h1>{html.escape(title)}</h1><p class="soft">{html.escape(how_much)}</p></header>'
        f"<section><h2>What this says</h2>"
        f'<p class="verdict">{html.escape(headline(comparison))}</p>'
        f'<div class="cards">{_card(comparison, everything, "Overall")}'
        f"{_card(comparison, tail, 'On the long tail')}</div>"
        f"{_limits(comparison)}</section>"
    )


def _limits(comparison: Comparison) -> str:
    """What must not be taken from the page."""
    behind = not_ahead(comparison)
    first = html.escape(comparison.contenders[0].name)
    parts = [("What this cannot tell", cannot_tell(comparison))]
    if behind:
        parts.insert(0, (f"Where {first} was not shown to be better", behind))
    inner = "".join(
        f'<div class="card plain"><h3>{heading}</h3>{_listing(lines)}</div>'
        for heading, lines in parts
    )
    return f'<div class="cards">{inner}</div>'


def _card(comparison: Comparison, name: str, heading: str) -> str:
    """One of the two figures that the verdict is told by."""
    first = comparison.contenders[0]
    value, place, plainly = accuracy(first.figures.get(name)), "", ""
    if len(comparison.contenders) > 1 and name in first.figures:
        place = " · number {} of {}".format(*place_of(comparison, name))
    if name in first.figures:
        plainly = f"<p>{html.escape(in_plain(name, first.figures[name]))}</p>"
    return (
        f'<div class="card"><h3>{html.escape(heading)}</h3><p class="big">{value}</p>'
        f'<p class="soft">{html.escape(f"{plain_name(name)} of {first.name}{place}")}</p>'
        f"{plainly}<p>{html.escape(told(comparison, name))}</p>"
        f"{_listing(said_of_others(comparison, name))}</div>"
    )


def _figures(comparison: Comparison) -> str:
    at = comparison.rules.at
    how = "Higher is better; the small print is the 95 % interval."
    if comparison.verdicts:
        how += " ★ marks the best of a column; whether it is surely so, the verdicts below say."
    if any(one.spread for one in comparison.contenders):
        how += (
            f" What draws at random was fitted {comparison.rules.seeds} times: its figures are "
            f"means, and ± is the standard deviation between fits."
        )
    content = [
        "<h3>Found what people turned to</h3>",
        figures_table(comparison, accuracy_columns(at)),
        "<h3>What the slates are like</h3>",
        "<p>For Gini, lower is more equal. Slates drawn at random would have the best coverage, "
        "Gini and novelty: read them beside the tail figures above.</p>",
        figures_table(comparison, slate_columns(at)),
    ]
    if comparison.verdicts:
        first = html.escape(comparison.contenders[0].name)
        signs = ", ".join(f"{sign} {word}" for word, sign in SIGNS.items())
        content += [
            f"<h3>{first} beside each other contender</h3>",
            f"<p>Each number is the figure of {first} over that of the other, with its 95 % "
            f"interval: 1.20 is 20 % more. {signs}. A question mark means that the interval says "
            f"so, but that with so many questions asked it may be chance.</p>",
            verdict_table(comparison),
        ]
    return _section("The figures", how, *content)


def _plane(comparison: Comparison) -> str:
    both = headline_figures(comparison)
    columns = [c for c in accuracy_columns(comparison.rules.at) if c.figure in both]
    return _section(
        "Accuracy and the tail",
        "Further right finds more of everything; further up finds more of the long tail. Up and "
        "right is best. The bars are 95 % intervals.",
        '<div class="beside">',
        picture(draw_plane(comparison), "plane", "Each contender by overall NDCG and tail recall"),
        figures_table(comparison, columns),
        "</div>",
    )


def _deciles(comparison: Comparison) -> str:
    return _section(
        "From the rarest items to the most popular",
        "The items are put in ten equal groups by how often they were bought or seen. A line that "
        "stays up on the left finds rare items; one that rises only at the right repeats what is "
        "popular anyway. Cold items have no events yet.",
        picture(
            draw_deciles(comparison), "deciles", "Recall of each contender by popularity decile"
        ),
        decile_table(comparison),
    )


def _exposure(comparison: Comparison) -> str:
    how = (
        "The nearer a curve is to the dashed line, the more equally the items are shown. A curve "
        "that lies on the floor and leaps up at the right shows a few items to everybody. The "
        "dotted curve is that of the events the contenders learnt from."
    )
    return _section(
        "How much of the catalogue is shown",
        how,
        picture(draw_lorenz(comparison), "lorenz", "Lorenz curves of the places given to items"),
        figures_table(comparison, exposure_columns(comparison.rules.at)),
    )


def _histories(comparison: Comparison) -> str:
    return _section(
        "By how much is known of the person",
        "Compare the contenders inside a group and not one group with another: people with long "
        "histories look for other things. Groups with few requests say little.",
        picture(draw_histories(comparison), "histories", "NDCG of each contender by history"),
        history_table(comparison),
    )


def _costs(comparison: Comparison) -> str:
    return _section(
        "Time and memory",
        "Means over the splits, on the machine of this comparison; memory is the highest peak. "
        "Costs of slates from elsewhere are what their makers say.",
        picture(draw_costs(comparison), "costs", "Seconds, slates per second and memory"),
        cost_table(comparison),
    )


def _making(comparison: Comparison) -> str:
    """Splits, rules, options, checks and versions."""
    rules = comparison.rules
    searched = (
        f"Each contender of ours that has options to choose got {duration(rules.budget_s)} on each "
        f"split for it, on an inner split that knows nothing of the test. {_goal(rules.goal)}"
        if rules.budget_s
        else "Options were taken as they are; none were searched for."
    )
    seeds = f"What draws at random was fitted {counted(rules.seeds, 'time')} on each split."
    options = "".join(
        folded(f"Options of {one.name}", options_table(one))
        for one in comparison.contenders
        if one.card is None
    )
    cards = "".join(
        folded(f"What is said of {one.name}", mapping_table(dict(one.card)))
        for one in comparison.contenders
        if one.card
    )
    return _section(
        "How it was made",
        "What was asked of each contender. Splits with the same fingerprint are the same.",
        split_table(comparison),
        f"<p>{html.escape(searched)} {seeds}</p>",
        "<h3>Checked before anything was said</h3>",
        _listing(CHECKS),
        options,
        cards,
        folded("Versions", mapping_table(dict(comparison.versions))),
    )


def _goal(goal: Goal) -> str:
    """What a choice of options was made by."""
    tail = f"NDCG on the tail ({goal.tail})"
    raised, kept = (tail, "overall NDCG") if goal.objective == "tail" else ("overall NDCG", tail)
    return (
        f"Chosen was the best {raised} among options that keep {goal.keep:.1%} of the best {kept}."
    )


def _words(comparison: Comparison) -> str:
    lines = "".join(
        f"<dt>{html.escape(word)}</dt><dd>{html.escape(meaning)}</dd>"
        for word, meaning in glossary(comparison.rules.at).items()
    )
    return f"<section><h2>What the words mean</h2><dl>{lines}</dl></section>"
