"""The command that says what the long tail costs."""

import re
from pathlib import Path
from typing import Annotated, cast

import typer

from tailrec.cli.app import HERE, JsonOption, ShopOption, open_shop
from tailrec.cli.output import print_json, print_table, progress_bar
from tailrec.cli.parse import names
from tailrec.errors import DataError
from tailrec.frontier import Asked, Frontier, Setting, write_setting, written_knob
from tailrec.frontier_answers import GRIDS
from tailrec.frontier_bench import COLD, KNOBS, NDCG, TAIL_EXPOSURE, Knob
from tailrec.frontier_report import write_frontier
from tailrec.frontier_words import (
    NAMES,
    figures_of,
    how_to_use,
    ratio_words,
    sentences,
    spelt,
    values_of,
    what_was_measured,
)
from tailrec.shop import Shop
from tailrec.shop_recipe import RECIPE

DEFAULTS = Asked()
COMPARED = (TAIL_EXPOSURE, NDCG, "recall@20", "ndcg@10/tail", "recall@20/tail", "ild@10")
"""Figures whose ratios are printed; a line has no room for more, and none for cold items."""


def frontier(
    *,
    shop: ShopOption = HERE,
    more: Annotated[
        str | None,
        typer.Option(
            help="What does so much more tail exposure cost? As 20% or 0.2.",
            show_default="20% where --at-most is not given either",
        ),
    ] = None,
    at_most: Annotated[
        str | None,
        typer.Option(
            help="What does losing at most this of NDCG@10 buy? As 1% or 0.01.",
            show_default="1% where --more is not given either",
        ),
    ] = None,
    knobs: Annotated[
        str | None,
        typer.Option(
            help=f"Knobs to turn, comma between: {', '.join(KNOBS)}.",
            show_default="all that can be turned",
        ),
    ] = None,
    requests: Annotated[
        int, typer.Option(help="Requests looked at, at most.", min=1)
    ] = DEFAULTS.n_requests,
    draws: Annotated[
        int, typer.Option(help="Bootstrap draws of an interval.", min=1)
    ] = DEFAULTS.draws,
    write: Annotated[
        str | None,
        typer.Option(
            help="tail or diversity: put what --at-most finds for it into [slate] of tailrec.toml."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a picture, a page and a table.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what more exposure of the tail costs in relevance, knob by knob, on validation."""
    knob = None if write is None else written_knob(write)
    asked = _asked(more, at_most, knobs, knob, (requests, draws))
    with open_shop(shop) as opened:
        with progress_bar() as tell:
            found = opened.frontier(asked, progress=tell)
        written = None if knob is None else _written(opened, found, knob)
    files = write_frontier(found, report) if report else []
    if as_json:
        print_json(found.to_dict() | {"written": written, "files": files})
        return
    _print(found)
    if knob is not None:
        typer.echo(_said(opened, knob, written))
    for path in files:
        typer.echo(path)


def _asked(
    more: str | None,
    at_most: str | None,
    knobs: str | None,
    written: Knob | None,
    sizes: tuple[int, int],
) -> Asked:
    """The questions as the words put them."""
    neither = more is None and at_most is None
    turned = None if knobs is None else cast("tuple[Knob, ...]", tuple(names(knobs)))
    if written is not None and turned is not None and written not in turned:
        raise DataError(f"--write {written} needs {written} among --knobs {knobs}")
    return Asked(
        more=DEFAULTS.more if neither else None if more is None else _share(more, "--more"),
        at_most=_share(at_most, "--at-most")
        if at_most is not None
        else DEFAULTS.at_most
        if neither or written is not None
        else None,
        knobs=turned,
        n_requests=sizes[0],
        draws=sizes[1],
    )


def _share(text: str, option: str) -> float:
    """`20%` or `0.2` as a share."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)", text.strip())
    if not found:
        raise DataError(f"{option} {text!r} is no share; write 20% or 0.2")
    return float(found[1]) / (100 if found[2] else 1)


def _written(shop: Shop, found: Frontier, knob: Knob) -> dict[str, float] | None:
    """The option that was written; None where the knob buys nothing."""
    answer = found.answer("at_most", knob)
    if answer is None or answer.setting is None:
        return None
    shop.recipe = write_setting(shop.folder / RECIPE, knob, answer.setting.value)
    return {knob: answer.setting.value}


def _said(shop: Shop, knob: Knob, written: dict[str, float] | None) -> str:
    """What was written, and what stands beside it that it was not measured with."""
    path = shop.folder / RECIPE
    if written is None:
        return f"{path} stays as it is: {knob} buys nothing at that cost"
    line = f"[slate] of {path} now has {knob} = {spelt(written[knob])}"
    other = {"tail": "diversity", "diversity": "tail"}[knob]
    beside = getattr(shop.recipe.slate, other)
    if beside:
        line += f"; it has {other} = {spelt(beside)}, too, and the two were not measured together"
    return line


def _shown(found: Frontier) -> list[Setting]:
    """The grids and the answers; what else was measured is in the files and the JSON."""
    answers = [answer.setting for answer in found.answers]
    return [
        setting
        for setting in found.settings
        if setting in answers
        or (setting.value in GRIDS[setting.knob] and setting.figures != found.base)
    ]


def _named(setting: Setting) -> str:
    return f"{setting.knob} {spelt(setting.value)}"


def _print(found: Frontier) -> None:
    typer.echo(what_was_measured(found))
    shown = [name for name in figures_of(found) if name != COLD]
    head = ["", *(NAMES[name] for name in shown)]
    settings = _shown(found)
    rows: list[list[object]] = [["plain", *(found.base[name] for name in shown)]]
    rows += [[_named(s), *values_of(s, shown)] for s in settings]
    print_table("figures", head, rows)
    compared = [name for name in COMPARED if name in found.base]
    ratios = [
        [_named(s), *(ratio_words(s.ratios.get(name)) for name in compared)] for s in settings
    ]
    head = ["", *(NAMES[name] for name in compared)]
    print_table("over plain slates, with 95 % intervals over people", head, ratios)
    use, by_hand = how_to_use(found)
    for line in [*sentences(found), *use, *by_hand.splitlines()]:
        typer.echo(line)
