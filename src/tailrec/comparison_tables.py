"""The tables of a comparison's page, as HTML."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import polars as pl

from tailrec.comparison import Comparison
from tailrec.comparison_pictures import COLD, DECILES, HISTORIES, history_groups, looks
from tailrec.comparison_words import (
    NOTHING,
    SIGNS,
    accuracy,
    plain_name,
    span,
    times,
    times_span,
)
from tailrec.contender import Contender
from tailrec.pages import Cell, Row, html_table, number
from tailrec.verdicts import Verdict, judged

Best = Literal["high", "low", ""]


class Column(NamedTuple):
    """A column of figures: which, its heading, how a value is written, and which end is best."""

    figure: str
    head: str
    written: Callable[[float], str] = accuracy
    best: Best = "high"


SHARE: Final = "{:.1%}".format
THREE: Final = "{:.3f}".format
TWO: Final = "{:.2f}".format


def accuracy_columns(at: Sequence[int]) -> list[Column]:
    """What people turned to: all targets, and those of the tail, the new, and the new people."""
    short, long = at[0], at[-1]
    return [
        Column(f"ndcg@{short}", f"NDCG@{short}, all"),
        Column(f"recall@{short}", f"Recall@{short}, all"),
        Column(f"recall@{long}/pareto", f"Recall@{long}, tail"),
        Column(f"ndcg@{short}/pareto", f"NDCG@{short}, tail"),
        Column(f"recall@{long}/rare", f"Recall@{long}, rare items"),
        Column(f"recall@{long}/cold", f"Recall@{long}, cold items"),
        Column(f"recall@{long}/tail_users", f"Recall@{long}, people with little history"),
        Column(f"recall_ips@{long}", f"unbiased Recall@{long}"),
    ]


def slate_columns(at: Sequence[int]) -> list[Column]:
    """What the slates are, beside right."""
    long = at[-1]
    return [
        Column(f"coverage@{long}", f"coverage@{long}", SHARE),
        Column(f"gini@{long}", f"Gini@{long}", THREE, "low"),
        Column(f"share@{long}/pareto", f"tail places@{long}", SHARE, ""),
        Column(f"ild@{long}", f"variety (ILD@{long})", THREE),
        Column(f"novelty@{long}", f"novelty@{long}, bits", TWO, ""),
        Column(f"serendipity@{long}", f"serendipity@{long}"),
    ]


def exposure_columns(at: Sequence[int]) -> list[Column]:
    """How the catalogue is shown, at both lengths of slates."""
    return [
        column
        for k in dict.fromkeys((at[0], at[-1]))
        for column in (
            Column(f"coverage@{k}", f"coverage@{k}", SHARE),
            Column(f"gini@{k}", f"Gini@{k}", THREE, "low"),
            Column(f"share@{k}/pareto", f"tail places@{k}", SHARE, ""),
        )
    ]


def figures_table(comparison: Comparison, columns: Sequence[Column]) -> str:
    """Contenders by figures, the best of each column marked, intervals and spreads below.

    A column that no contender has a figure for is left out.
    """
    columns = [c for c in columns if any(c.figure in one.figures for one in comparison.contenders)]
    best = [_best(comparison, column) for column in columns]
    rows = [
        [
            name_cell(comparison, one),
            *(
                _figure_cell(comparison, one, column, top)
                for column, top in zip(columns, best, strict=True)
            ),
        ]
        for one in comparison.contenders
    ]
    return html_table(["", *(column.head for column in columns)], rows)


def name_cell(comparison: Comparison, one: Contender) -> Cell:
    """A contender's name with the dot of its colour."""
    look = looks(comparison.contenders)[one.name]
    note = "" if one.card is None else "slates from elsewhere"
    return Cell(one.name, note, "first" if look.first else "", look.colour)


def _best(comparison: Comparison, column: Column) -> str:
    """The best of a column as it is written; empty where nobody can be said to be best."""
    values = [o.figures[column.figure] for o in comparison.contenders if column.figure in o.figures]
    if not column.best or len(values) < 2 or max(values) == min(values):
        return ""
    return column.written(max(values) if column.best == "high" else min(values))


def _figure_cell(comparison: Comparison, one: Contender, column: Column, best: str) -> Cell:
    if column.figure not in one.figures:
        return number(NOTHING)
    text = column.written(one.figures[column.figure])
    notes = [span(comparison.intervals[one.name].get(column.figure))]
    spread = one.spread.get(column.figure)
    if spread is not None and np.isfinite(spread):
        notes.append(f"± {spread:.2%}" if column.written is SHARE else f"± {spread:.4f}")
    marked = best and text == best
    return number(
        f"★ {text}" if marked else text,
        "\n".join(note for note in notes if note),
        look="best" if marked else "",
    )


def verdict_table(comparison: Comparison) -> str:
    """The judged figures by the other contenders: ratio, bounds, and the word for it."""
    others = comparison.contenders[1:]
    found = {(v.figure, v.other): v for v in comparison.verdicts}
    rows: list[Row] = [
        [
            plain_name(name),
            *(_verdict_cell(found.get((name, other.name))) for other in others),
        ]
        for name in judged(comparison.rules.at)
        if any((name, other.name) in found for other in others)
    ]
    return html_table(["figure", *(f"over {other.name}" for other in others)], rows)


def _verdict_cell(verdict: Verdict | None) -> Cell:
    if verdict is None:
        return number(NOTHING)
    look = {"better": "good", "better?": "good", "worse": "bad", "worse?": "bad"}
    sign, word = SIGNS[verdict.word], verdict.word
    if verdict.ratio is None:
        if verdict.p is None:
            return number(sign, "neither\nfinds any")
        return number(f"{sign} {word}", "the other\nfinds none", look=look.get(word, ""))
    return number(
        f"{sign} {times(verdict.ratio.mid)}",
        f"{times_span(verdict.ratio)}\n{word}",
        look=look.get(word, ""),
    )


def group_table(
    comparison: Comparison, metric: str, groups: Sequence[tuple[str, str]], first: list[list[str]]
) -> str:
    """A figure of each contender by groups.

    Args:
        comparison: the contenders.
        metric: of which `<metric>/<group>` is shown.
        groups: names of the groups, and their headings.
        first: rows above the contenders, each a heading and a text a group.
    """
    rows: list[Row] = [[row[0], *(number(text, look="soft") for text in row[1:])] for row in first]
    for one in comparison.contenders:
        values = [one.figures.get(f"{metric}/{group}") for group, _ in groups]
        rows.append([name_cell(comparison, one), *(number(accuracy(value)) for value in values)])
    return html_table(["", *(heading for _, heading in groups)], rows)


def decile_table(comparison: Comparison) -> str:
    """Recall by popularity, with the number of items and of requests of each tenth."""
    metric = f"recall@{comparison.rules.at[-1]}"
    groups = [(COLD, "cold"), *((name, name.removeprefix("decile_")) for name in DECILES)]
    sizes = [sorted(set(_tier_sizes(comparison, name))) for name, _ in groups]
    items = ["–".join(f"{n:,}" for n in each[:1] + each[1:][-1:]) for each in sizes]
    asked = [f"{_requests(comparison, f'{metric}/{name}'):,}" for name, _ in groups]
    return group_table(
        comparison, metric, groups, [["items", *items], ["requests with a target there", *asked]]
    )


def _tier_sizes(comparison: Comparison, tier: str) -> list[int]:
    """Items of a tier on each split."""
    runs = [part.runs[0] for part in comparison.contenders[0].parts]
    return [int(run.tiers[tier].sum()) for run in runs if tier in run.tiers]


def _requests(comparison: Comparison, name: str) -> int:
    """Requests that a figure is the mean of."""
    return int(np.isfinite(comparison.contenders[0].per_user(name)).sum())


def history_table(comparison: Comparison) -> str:
    """NDCG by length of history, with the number of requests of each group."""
    metric = f"ndcg@{comparison.rules.at[0]}"
    groups = [(name, HISTORIES[name]) for name in history_groups(comparison)]
    asked = [f"{_requests(comparison, f'{metric}/{name}'):,}" for name, _ in groups]
    return group_table(comparison, metric, groups, [["requests", *asked]])


def split_table(comparison: Comparison) -> str:
    """What was asked on each split."""
    counts = {
        "requests": "n_requests",
        "targets": "n_targets",
        "people known": "n_users",
        "items": "n_items",
        "events learnt from": "n_events",
        "cold items": "cold_items",
        "requests without history": "cold_users",
    }
    rows: list[Row] = [
        [
            str(split["name"]),
            *(number(f"{split[key]:,}") for key in counts.values()),
            Cell(str(split["fingerprint"]), look="code"),
        ]
        for split in comparison.splits
    ]
    return html_table(["split", *counts, "fingerprint"], rows)


def options_table(one: Contender) -> str:
    """Options of a contender, a column for each split."""
    chosen = [part.options or {} for part in one.parts]
    names = dict.fromkeys(name for options in chosen for name in options)
    rows: list[Row] = [
        [name, *(number(_plain(each.get(name))) for each in chosen)] for name in names
    ]
    return html_table(["option", *(part.runs[0].split for part in one.parts)], rows)


def mapping_table(values: dict[str, Any]) -> str:
    """Names and values, such as a card or the versions."""
    return html_table(["", ""], [[name, _plain(value)] for name, value in values.items()])


def _plain(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def long_table(comparison: Comparison) -> pl.DataFrame:
    """Every figure of every contender: contender, figure, value, low, high (null if unknown)."""
    rows = []
    for one in comparison.contenders:
        known = comparison.intervals[one.name]
        for name, value in one.figures.items():
            bounds = (known[name].low, known[name].high) if name in known else (None, None)
            rows.append((one.name, name, value, *bounds))
    schema: dict[str, pl.DataType] = {"contender": pl.String(), "figure": pl.String()}
    schema |= dict.fromkeys(("value", "low", "high"), pl.Float64())
    return pl.DataFrame(rows, schema, orient="row")
