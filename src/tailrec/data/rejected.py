"""The file of rejected rows: each with where it came from and why it was refused."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from tailrec.data.clean import REASON, RULE
from tailrec.data.jsonlines import ROW
from tailrec.data.rules import SOURCE
from tailrec.errors import DataError


class RejectedRows:
    """Gathers rejected rows and puts them in place at once when the block ends without error.

    The columns are file, row, rule, reason, table, and the row's values under our names, so that
    a mended file can be ingested as it is.

    Args:
        path: a ``.csv`` or ``.parquet`` file; None gathers nothing.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and path.suffix not in (".csv", ".parquet"):
            raise DataError(f"{path}: rejected rows go to a .csv or a .parquet file")
        self._path = path
        self._parts: list[Path] = []

    def __enter__(self) -> Self:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(prefix=".rejected-", dir=self._path.parent)
        return self

    def add(self, table: str, rows: pl.DataFrame, sources: Sequence[str]) -> None:
        """Add rows as `clean` rejects them; `sources` names the files by their position."""
        if self._path is None or rows.is_empty():
            return
        file = pl.Series("file", sources, pl.String).gather(rows[SOURCE])
        values = rows.select(pl.exclude("^_.*$", RULE, REASON))
        part = rows.select(
            file, pl.col(ROW).alias("row"), RULE, REASON, pl.lit(table).alias("table")
        ).hstack(values)
        self._parts.append(Path(self._folder.name) / f"{len(self._parts)}.parquet")
        part.write_parquet(self._parts[-1])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._path is None:
            return
        if error is None:
            whole = Path(self._folder.name) / "whole"
            self._join(whole)
            whole.replace(self._path)
        self._folder.cleanup()

    def _join(self, whole: Path) -> None:
        names = ("file", "row", RULE, REASON, "table")
        none = pl.LazyFrame(schema={n: pl.Int64 if n == "row" else pl.String for n in names})
        rows = pl.concat([none, *map(pl.scan_parquet, self._parts)], how="diagonal_relaxed")
        if self._path is not None and self._path.suffix == ".csv":
            rows.sink_csv(whole)
        else:
            rows.sink_parquet(whole)
