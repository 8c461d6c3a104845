"""Makes any text file plain (UTF-8, uncompressed, one-character separators) and finds flaws."""

import codecs
import csv
import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tailrec.errors import DataError, SchemaError

UTF8 = "utf-8"
SEPARATORS = (",", ";", "\t", "|")
UNIT = "\x1f"
"""Stands for '::', which is two characters, once a file is made plain."""

_BLOCK = 1 << 20
_WIDE = ("utf-16", "utf-32")


@contextmanager
def plain_text(path: Path, *, encoding: str = UTF8) -> Iterator[Path]:
    """A plain copy of a text file for as long as the block runs, or the file itself if it is plain.

    Args:
        path: the file; ``.gz`` is unpacked, '::' separators of ``.dat`` become one character.
        encoding: how the file is written; a byte-order mark is allowed.

    Raises:
        DataError: the file is damaged or not in that encoding.
    """
    codec = _codec(encoding)
    packed = path.suffix == ".gz"
    colons = path.name.removesuffix(".gz").endswith(".dat")
    if codec == UTF8 and not packed and not colons:
        for _ in _decoded(path, codec):
            pass
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tailrec-") as folder:
        copy = Path(folder) / "plain"
        with copy.open("w", encoding=UTF8, newline="") as out:
            for text in _decoded(path, codec):
                out.write(text.replace("::", UNIT) if colons else text)
        yield copy


def check_readable(path: Path) -> None:
    """Refuse a file that is missing, no file, or empty.

    Raises:
        DataError: says which of these it is.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file; check the name")
    if not path.is_file():
        raise DataError(f"{path}: is a folder; name the files in it")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; nothing was read")


def separator_of(header: str) -> str:
    """The character that separates the fields of a header line; a comma where there is none."""
    if UNIT in header:
        return UNIT
    bare = "".join(header.split('"')[::2])
    return max(SEPARATORS, key=bare.count)


def first_line(plain: Path) -> str:
    """The first line of a plain file, without its line break."""
    with plain.open(encoding="utf-8-sig", newline="") as lines:
        return lines.readline().rstrip("\r\n")


def header_of(plain: Path, separator: str, origin: str) -> list[str]:
    """Column names of a plain file; `origin` is its name in messages.

    Raises:
        SchemaError: a name stands twice.
    """
    fields = next(csv.reader([first_line(plain)], delimiter=separator), [])
    names = [name.strip() for name in fields]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SchemaError(f"{origin}, line 1: columns {repeated} stand twice; rename one of each")
    return names


def flaw(path: Path, separator: str, n_fields: int) -> str:
    """Where a CSV file breaks: the first line with too many fields, or an open quote."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        records = csv.reader(lines, delimiter=separator, strict=True)
        start = 1
        try:
            for record in records:
                if len(record) > n_fields:
                    return f"line {start}: {len(record)} fields where the header has {n_fields}"
                start = records.line_num + 1
        except csv.Error as error:
            return f"line {start}: {error}; is a quote left open?"
    return "it cannot be read as CSV"


def _codec(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise DataError(f"encoding {encoding!r} is unknown; try utf-8, latin-1 or cp1252") from None


def _decoded(path: Path, codec: str) -> Iterator[str]:
    """Text of a file in blocks of whole lines."""
    try:
        with _open(path) as raw:
            if codec.startswith(_WIDE):
                yield raw.read().decode(codec)
                return
            line = 1
            mark = codec == UTF8
            for block in iter(lambda: raw.readlines(_BLOCK), []):
                try:
                    text = b"".join(block).decode(codec)
                except UnicodeDecodeError:
                    raise DataError(_misfit(path, block, line, codec)) from None
                yield text.removeprefix("\ufeff") if mark else text
                line += len(block)
                mark = False
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not {codec}: {error.reason}") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    # gzip.open and open are one interface, but not one type.
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _misfit(path: Path, block: list[bytes], line: int, codec: str) -> str:
    """Names line, column and byte of the first text that is not in the encoding."""
    for number, raw in enumerate(block, start=line):
        try:
            raw.decode(codec)
        except UnicodeDecodeError as error:
            if line == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return f"{path}: is UTF-16, not {codec}; read it with --encoding utf-16"
            where = _column(path, raw[: error.start])
            return (
                f"{path}, line {number}{where}: byte 0x{raw[error.start]:02x} is not {codec}; "
                "the file is in another encoding or mixes several: try --encoding latin-1"
            )
    return f"{path}: is not {codec}"


def _column(path: Path, before: bytes) -> str:
    """', column ...' of a CSV field, from the bytes of its line before the flaw."""
    if ".json" in path.name or ".ndjson" in path.name:
        return ""
    with _open(path) as raw:
        header = raw.readline().decode("latin-1").removeprefix("ï»¿").rstrip("\r\n")
    separator = separator_of(header)
    names = next(csv.reader([header], delimiter=separator), [])
    fields = next(csv.reader([before.decode("latin-1")], delimiter=separator), [""])
    return f", column {names[len(fields) - 1]!r}" if 0 < len(fields) <= len(names) else ""
