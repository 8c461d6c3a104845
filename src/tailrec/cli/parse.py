"""Words of the command line, as values."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from tailrec.errors import DataError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """`60s`, `10m`, `1h` or a plain number of seconds.

    Raises:
        DataError: it is none of them.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match:
        raise DataError(f"{text!r} is no time; write 60s, 10m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def instant(text: str | None) -> datetime | None:
    """An ISO 8601 instant; UTC where it names no zone.

    Raises:
        DataError: it is none.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{text!r} is no time; write 2011-09-01 or 2011-09-01T12:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def numbers(text: str) -> list[int]:
    """`10,20` as numbers above 0, rising.

    Raises:
        DataError: something else was given.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"0*[1-9][0-9]*", part) for part in parts):
        raise DataError(f"{text!r} are no slate lengths; write 10,20")
    return sorted({int(part) for part in parts})


def names(text: str) -> list[str]:
    """`ease,als` as names; nothing where the text is empty."""
    return [name for part in text.split(",") if (name := part.strip())]


def pairs(words: Iterable[str]) -> dict[str, str]:
    """`name=value` words as a mapping.

    Raises:
        DataError: a word has no name or no value, or a name stands twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name.strip() or not value.strip() or name.strip() in found:
            raise DataError(f"{word!r} is no name=FILE, or names a second file for one name")
        found[name.strip()] = value.strip()
    return found
