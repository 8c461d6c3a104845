"""How commands print: tables for people, JSON for programs, errors in one line."""

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tailrec.errors import DataError, MissingExtra, RecipeError, TailrecError
from tailrec.files import plain

P = ParamSpec("P")
R = TypeVar("R")

BAD_INPUT, FAILURE = 2, 1


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """The command, with errors made on purpose in one line on stderr: exit 2 for bad input."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except TailrecError as error:
            typer.echo(f"tailrec: {' '.join(str(error).split())}", err=True)
            bad = isinstance(error, DataError | RecipeError | MissingExtra)
            raise typer.Exit(BAD_INPUT if bad else FAILURE) from error
        except BrokenPipeError:  # whoever read our output has enough; typer ends quietly
            raise
        except OSError as error:  # no room on the disk, no right to write
            typer.echo(f"tailrec: {error}", err=True)
            raise typer.Exit(FAILURE) from error

    return run


def print_json(value: Any) -> None:
    """One JSON document on stdout; numbers that are none are null, times ISO 8601."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[object]], *, note: str = ""
) -> None:
    """A table on stdout; numbers stand right."""
    table = Table(title=title, title_justify="left", caption=note or None, caption_justify="left")
    numeric = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    for name, right in zip(head, numeric, strict=True):
        table.add_column(name, justify="right" if right and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def shown(cell: object) -> str:
    """A cell as people read it: four digits behind the point, thousands apart."""
    if isinstance(cell, bool) or cell is None:
        return "" if cell is None else str(cell).lower()
    if isinstance(cell, float):
        return f"{cell:.4f}" if abs(cell) < 100 else f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a stage on stderr, where somebody watches: call it with stage, done, total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield tell
