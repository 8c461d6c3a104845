"""One table of a TOML file changed in place: comments, order and all other tables stay."""

import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tomli_w

from tailrec.errors import RecipeError
from tailrec.files import whole_file

_OPTION: Final = re.compile(r"(?P<head>\s*(?P<name>[\w-]+)\s*=\s*)[^#\r\n]*?(?P<tail>\s*(#.*)?)$")
"""A line `name = value  # remark`; strings that hold a # are not told apart, and then refused."""


def replace_table(path: Path, table: str, options: Mapping[str, Any]) -> None:
    """Write options into a table of a TOML file, in one step.

    Lines of options that stay as they are, or are no options, are not touched. Options the table
    has and `options` lacks are removed; new ones come after the last. A table the file lacks is
    added at its end.

    Args:
        path: the file; a link is followed.
        table: name of a table; points part the levels, as in `features.text`.
        options: all of the table afterwards; numbers, strings and booleans.

    Raises:
        RecipeError: the table is written in a form that cannot be changed line by line; the
            file is as it was.
    """
    target = path.resolve()
    text = target.read_bytes().decode("utf-8")
    changed = with_table(text, table, options)
    if changed == text:
        return
    before = _parsed(text)
    if before is None or _parsed(changed) != _with_options(before, table, options):
        raise RecipeError(
            f"{path}: the options of [{table}] cannot be changed line by line; write them one a "
            f"line below a line [{table}], or put these there: {dict(options)}"
        )
    with whole_file(target) as beside:
        beside.write_bytes(changed.encode("utf-8"))
        shutil.copymode(target, beside)


def with_table(text: str, table: str, options: Mapping[str, Any]) -> str:
    """A TOML text with one table's options changed; not checked, see `replace_table`."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    start = next((n for n, line in enumerate(lines) if _is_head(line, table)), None)
    if start is None:
        gap = ([end] if text.endswith("\n") else [end, end]) if text else []
        added = [_line(name, value) + end for name, value in options.items()]
        return "".join([*lines, *gap, f"[{table}]{end}", *added])
    after = (n for n, line in enumerate(lines) if n > start and line.lstrip().startswith("["))
    stop = next(after, len(lines))
    if not lines[stop - 1].endswith("\n"):
        lines[stop - 1] += end
    return "".join(
        [*lines[: start + 1], *_edited(lines[start + 1 : stop], options, end), *lines[stop:]]
    )


def _with_options(
    whole: Mapping[str, Any], table: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Parsed TOML in which one table holds these options, and the tables within it."""
    first, _, rest = table.partition(".")
    own = whole.get(first, {})
    inner = {name: value for name, value in own.items() if isinstance(value, dict)}
    changed = _with_options(own, rest, options) if rest else inner | dict(options)
    return {**whole, first: changed}


def _is_head(line: str, table: str) -> bool:
    return re.fullmatch(rf"\s*\[\s*{re.escape(table)}\s*\]\s*(#.*)?", line.rstrip()) is not None


def _edited(lines: list[str], options: Mapping[str, Any], end: str) -> list[str]:
    """The lines of a table with its options changed, and the new ones after the last of them."""
    missing = dict(options)
    done: list[str] = []
    last = 0
    for line in lines:
        found = _OPTION.fullmatch(line.rstrip("\r\n"))
        if found is None:
            done.append(line)
            continue
        name = found["name"]
        if name not in options:
            if isinstance((_parsed(line) or {}).get(name), dict):
                done.append(line)  # a table within, though on one line
            continue
        missing.pop(name, None)
        value = options[name]
        same = _parsed(line) == {name: value}
        new = found["head"] + _line(name, value).partition(" = ")[2] + found["tail"] + end
        done.append(line if same else new)
        last = len(done)
    added = [_line(name, value) + end for name, value in missing.items()]
    return [*done[:last], *added, *done[last:]]


def _line(name: str, value: Any) -> str:
    return tomli_w.dumps({name: value}).rstrip("\n")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
