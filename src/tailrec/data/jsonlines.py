"""JSON Lines, and the Python-literal lines of older data sets, as columns."""

import ast
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from tailrec.errors import DataError

ROW = "_row"
"""Line of the file (the header of a CSV counts), or number of the record, from 1."""


def json_batches(path: Path, *, origin: str, rows: int) -> Iterator[pl.DataFrame]:
    """Records of a plain UTF-8 file with one object a line, some rows at a time.

    Args:
        path: the file.
        origin: its name in messages.
        rows: how many records a frame holds at most.

    Returns:
        Frames with a column `ROW`. A list of texts stays a list, other nested values become
        JSON text, a column of several types becomes text.

    Raises:
        DataError: a line is no object; names the line.
    """
    with path.open(encoding="utf-8-sig") as lines:
        numbered = ((n, line) for n, line in enumerate(lines, start=1) if line.strip())
        for chunk in iter(lambda: list(islice(numbered, rows)), []):
            records = [_record(line, number, origin) for number, line in chunk]
            names = dict.fromkeys(name for record in records for name in record)
            columns = [_series(name, [record.get(name) for record in records]) for name in names]
            numbers = pl.Series(ROW, [number for number, _ in chunk], pl.Int64)
            yield pl.DataFrame([numbers, *columns])


def _record(line: str, number: int, origin: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        record = _literal(line, f"{origin}, line {number}: is no JSON: {error.msg}")
    if not isinstance(record, dict):
        raise DataError(f"{origin}, line {number}: holds {line.strip()[:40]!r}; expected an object")
    return record


def _literal(line: str, message: str) -> object:
    """A Python literal, as in the Amazon metadata of 2014; never evaluated, only parsed."""
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise DataError(message) from None


def _series(name: str, values: Sequence[object]) -> pl.Series:
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds <= {bool} or kinds <= {str}:
        return pl.Series(name, values, pl.Boolean() if kinds == {bool} else pl.String())
    if kinds <= {int, float}:
        whole = kinds == {int} and _small(present)
        return pl.Series(name, values, pl.Int64() if whole else pl.Float64(), strict=False)
    if kinds == {list} and all(isinstance(part, str) for v in present for part in _parts(v)):
        return pl.Series(name, values, pl.List(pl.String))
    return pl.Series(name, [_text(value) for value in values], pl.String)


def _small(values: Sequence[object]) -> bool:
    return all(isinstance(value, int) and abs(value) < 2**63 for value in values)


def _parts(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
