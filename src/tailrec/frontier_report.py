"""A frontier as files: a picture, a page for people, and the figures for machines."""

import html
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tailrec.frontier import Frontier, Setting
from tailrec.frontier_bench import OF_SLATES
from tailrec.frontier_pictures import COLOURS, draw_frontier
from tailrec.frontier_words import (
    MEANINGS,
    NAMES,
    figures_of,
    headline,
    how_to_use,
    question_of,
    ratio_words,
    spelt,
    told,
    what_was_measured,
)
from tailrec.pages import Cell, Row, folded, html_table, number, page, png, png_image, write_bytes

PICTURE, TABLE, PAGE = "frontier.png", "frontier.csv", "frontier.html"
TITLE = "What the long tail costs"
LIMITS = (
    "Everything was measured on validation: events that a shop's next fit may learn from. What a "
    "setting is worth to people who see it, a test on live traffic says.",
    "Answers are settings that were picked by these figures, and look a little better here than "
    "they will elsewhere. Intervals are of each setting alone.",
    "People could only turn to what they came across. Tail items they never met count as misses, "
    "so that the cost of showing more of them is, if anything, overstated.",
    "Each knob was turned alone, from plain slates on: no rules, launches, sold places or "
    "fairness, and the other knobs off. Two knobs together are another setting.",
    "Exposure was steered with prices so high that every slate goes as far as its cost allows. "
    "Goals that are met earlier cost less.",
)


def write_frontier(frontier: Frontier, folder: Path) -> list[Path]:
    """Write the picture of a frontier, its table and its page, each in one step, the page last.

    Args:
        frontier: what was measured.
        folder: made where it is missing; files of the same names are replaced.

    Returns:
        Paths of frontier.png, frontier.csv and frontier.html; the page needs no other file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = png(draw_frontier(frontier))
    files = {
        PICTURE: drawn,
        TABLE: frontier_table(frontier).write_csv().encode(),
        PAGE: page(TITLE, _body(frontier, drawn)).encode(),
    }
    return [write_bytes(folder / name, content) for name, content in files.items()]


def frontier_table(frontier: Frontier) -> pl.DataFrame:
    """The figures behind the picture, one row a setting and figure.

    Returns:
        knob (`plain` for slates with every knob off), setting, figure, value, ratio to plain
        slates, ratio_low and ratio_high (its 95 % bounds; null where there are none), then more
        and at_most: whether the setting is the knob's answer to that question.
    """
    rows: list[tuple[object, ...]] = [
        ("plain", 0.0, name, frontier.base[name], None, None, None, False, False)
        for name in figures_of(frontier)
    ]
    chosen = {
        (a.question, a.knob, a.setting.value) for a in frontier.answers if a.met and a.setting
    }
    for setting in frontier.settings:
        picked = [
            (question, setting.knob, setting.value) in chosen for question in ("more", "at_most")
        ]
        for name in figures_of(frontier):
            ratio = setting.ratios.get(name)
            bounds = (None,) * 3 if ratio is None else (ratio.mid, ratio.low, ratio.high)
            value = setting.figures.get(name)
            rows.append((setting.knob, setting.value, name, value, *bounds, *picked))
    numbers = ("value", "ratio", "ratio_low", "ratio_high")
    schema = {"knob": pl.String, "setting": pl.Float64, "figure": pl.String}
    schema |= dict.fromkeys(numbers, pl.Float64) | {"more": pl.Boolean, "at_most": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _body(frontier: Frontier, drawn: bytes) -> str:
    top = (
        f"<header><h1>{TITLE}</h1>"
        f'<p class="soft">{html.escape(what_was_measured(frontier))}</p></header>'
    )
    parts = [top, *_questions(frontier), _curves(frontier, drawn), _figures(frontier)]
    words = "".join(
        f"<dt>{html.escape(word)}</dt><dd>{html.escape(meaning)}</dd>"
        for word, meaning in MEANINGS.items()
    )
    parts += [
        _section("What this cannot tell", _listing(LIMITS)),
        _section("What the words mean", f"<dl>{words}</dl>"),
    ]
    # A number stays with its sign.
    return "\n".join(parts).replace(" %", "&nbsp;%")


def _section(heading: str, *content: str) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{''.join(content)}</section>"


def _listing(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _questions(frontier: Frontier) -> list[str]:
    """Each question with its answers, and how they are put to use."""
    parts = []
    for question in dict.fromkeys(answer.question for answer in frontier.answers):
        own = [answer for answer in frontier.answers if answer.question == question]
        lines = [told(answer) for answer in own]
        by_hand = ""
        if question == "at_most":
            use, by_hand = how_to_use(frontier)
            lines += use
        best = f'<p class="verdict">{html.escape(headline(frontier, question))}</p>'
        block = f'<pre class="code">{html.escape(by_hand)}</pre>' if by_hand else ""
        parts.append(_section(question_of(question, own[0].wanted), best, _listing(lines), block))
    return parts


def _curves(frontier: Frontier, drawn: bytes) -> str:
    how = (
        "Each line is a knob, turned from plain slates on; the numbers are its settings, the band "
        "is the 95 % interval. Higher keeps more relevance; further right shows more of the tail, "
        "more of the catalogue, or items less alike. Open marks are the answers above."
    )
    not_turned = [f"{knob} was not turned: {why}" for knob, why in frontier.left_out.items()]
    image = png_image(drawn, "Relevance against tail exposure, coverage and distance, by knob")
    # Three panels beside each other want the whole width of the page.
    wide = image.replace("<img ", '<img style="max-width: 100%" ', 1)
    return _section("The curves", f"<p>{html.escape(how)}</p>", wide, _listing(not_turned))


def _figures(frontier: Frontier) -> str:
    shown = figures_of(frontier)
    head = ["", *(NAMES[name] for name in shown)]
    base: Row = ["plain slates", *(number(f"{frontier.base[name]:.4f}") for name in shown)]
    parts = [
        "<p>Below each figure, what it is over that of plain slates, with its 95 % interval.</p>",
        html_table(head, [base]),
    ]
    for knob in frontier.knobs:
        rows = [_row(setting, shown, COLOURS[knob]) for setting in frontier.of(knob)]
        parts.append(folded(f"Every setting of {knob}", html_table(head, rows)))
    return _section("The figures", *parts)


def _row(setting: Setting, shown: Sequence[str], colour: str) -> Row:
    cells = [
        number(f"{value:.4f}" if value is not None else "", _note(setting, name))
        for name in shown
        for value in (setting.figures.get(name),)
    ]
    return [Cell(f"{setting.knob} {spelt(setting.value)}", colour=colour), *cells]


def _note(setting: Setting, name: str) -> str:
    return "" if name in OF_SLATES else ratio_words(setting.ratios.get(name)).replace(" (", "\n(")
