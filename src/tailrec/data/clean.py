"""Runs the cleaning rules over a table, in order, and counts what they do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from tailrec.data import amounts, rules, texts
from tailrec.data.bots import bots
from tailrec.data.cancellations import cancellations
from tailrec.data.cleaning import Cleaning, CleaningReport, RuleName, RuleReport
from tailrec.data.coerce import BAD
from tailrec.data.jsonlines import ROW
from tailrec.data.rules import Verdict

RULE = "rule"
REASON = "reason"
_CHANGED = "_changed"
_N_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """A cleaning rule and where it applies.

    Attributes:
        apply: frame and options to a verdict.
        tables: the tables it is for.
        whole: it compares rows, and so needs the whole file at once.
    """

    apply: Callable[[pl.DataFrame, Cleaning], Verdict]
    tables: tuple[str, ...]
    whole: bool = False


_EVENTS = ("events",)
RULES: Final[dict[RuleName, Rule]] = {
    "duplicates": Rule(rules.duplicates, ("events", "items", "users", "aliases")),
    "types": Rule(rules.types, _EVENTS),
    "times": Rule(rules.times, ("events", "items", "users")),
    "items": Rule(rules.items, ("events", "items")),
    "products": Rule(rules.products, ("events", "items")),
    "text": Rule(texts.text, ("events", "items")),
    "prices": Rule(amounts.prices, ("events", "items")),
    "titles": Rule(texts.titles, ("events", "items"), whole=True),
    "users": Rule(rules.users, ("events", "users", "aliases")),
    "cancellations": Rule(cancellations, _EVENTS, whole=True),
    "quantities": Rule(amounts.quantities, _EVENTS, whole=True),
    "bots": Rule(bots, _EVENTS, whole=True),
    "keys": Rule(rules.keys, ("events", "items", "users")),
}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What cleaning made of a frame.

    Attributes:
        kept: rows that passed, with the columns they came with.
        rejected: the others, as they were when rejected, with `RULE` and `REASON`.
        report: the counts.
    """

    kept: pl.DataFrame
    rejected: pl.DataFrame
    report: CleaningReport


def clean(table: str, frame: pl.DataFrame, options: Cleaning, *, whole: bool = True) -> Cleaned:
    """Apply the rules of a recipe to rows of one table.

    Args:
        table: a key of `columns.TABLES`.
        frame: columns of the table, as `Layout.apply` gives them, with `ROW` and `SOURCE`.
        options: which rules, and how strict.
        whole: the frame is all there is; rules that compare rows are left out otherwise.

    Returns:
        Kept and rejected rows, in their order, and a report whose counts add up.
    """
    kept = frame.with_columns(pl.lit(value=False).alias(_CHANGED))
    rejected: list[pl.DataFrame] = []
    reports: list[RuleReport] = []
    for name in options.rules:
        rule = RULES[name]
        if table not in rule.tables or (rule.whole and not whole):
            continue
        before = kept
        after, reason = rule.apply(kept.drop(_CHANGED), options)
        out = _constant(False, len(after)) if reason is None else reason.is_not_null()
        changes = _changes(before, after, ~out)
        changed = _any_of(changes, len(after))
        examples = _refusals(after, reason) + _edits(before, after, changes)
        reports.append(
            RuleReport(name, int(out.sum()), int(changed.sum()), tuple(examples[:_N_EXAMPLES]))
        )
        if reason is not None and out.any():
            why = after.with_columns(pl.lit(name).alias(RULE), reason.alias(REASON))
            rejected.append(why.filter(out).drop(_CHANGED, strict=False))
        kept = after.with_columns((before[_CHANGED] | changed).alias(_CHANGED)).filter(~out)
    n_changed = int(kept[_CHANGED].sum())
    report = CleaningReport(table, len(frame), len(kept), n_changed, tuple(reports))
    none = frame.head(0).with_columns(pl.lit("").alias(RULE), pl.lit("").alias(REASON))
    return Cleaned(
        kept.drop(_CHANGED), pl.concat([none, *rejected], how="diagonal_relaxed"), report
    )


def _constant(value: bool, n: int) -> pl.Series:
    return pl.Series([value], dtype=pl.Boolean).new_from_index(0, n)


def _changes(before: pl.DataFrame, after: pl.DataFrame, stays: pl.Series) -> dict[str, pl.Series]:
    """Per column the rows that stay with another value; a dropped complaint is an emptied cell."""
    names = [name for name in after.columns if name in before.columns]
    pairs = {name: before[name].ne_missing(after[name]) & stays for name in names}
    settled = [name for name in before.columns if name.startswith(BAD) and name not in names]
    pairs |= {name: before[name].is_not_null() & stays for name in settled}
    return {name: differs for name, differs in pairs.items() if differs.any()}


def _any_of(changes: dict[str, pl.Series], n: int) -> pl.Series:
    if not changes:
        return _constant(False, n)
    return pl.DataFrame(changes).select(pl.any_horizontal(pl.all())).to_series()


def _refusals(after: pl.DataFrame, reason: pl.Series | None) -> list[str]:
    """Three refused rows in words, with different reasons if there are some."""
    if reason is None or reason.null_count() == len(reason):
        return []
    why = after.select(ROW, reason.alias(REASON)).drop_nulls(REASON)
    varied = why.unique(REASON, keep="first", maintain_order=True).head(_N_EXAMPLES)
    shown = pl.concat([varied, why.join(varied, on=ROW, how="anti").head(_N_EXAMPLES)])
    return [f"row {row}: {text}" for row, text in shown.head(_N_EXAMPLES).iter_rows()]


def _edits(before: pl.DataFrame, after: pl.DataFrame, changes: dict[str, pl.Series]) -> list[str]:
    """Three changed cells in words."""
    found = []
    for name, differs in changes.items():
        places = differs.arg_true().head(_N_EXAMPLES)
        old, new = before[places], after[places]
        now = new[name].to_list() if name in after.columns else [None] * len(places)
        column = name.removeprefix(BAD)
        found += [
            f"row {row}: {column} {a!r} → {b!r}"
            for row, a, b in zip(old[ROW], old[name].to_list(), now, strict=True)
        ]
    return found[:_N_EXAMPLES]
