"""From raw files to the tables of a shop: read, name, clean, and only then write."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from tailrec import columns as c
from tailrec.data.clean import RULE, Cleaned, clean
from tailrec.data.cleaning import Cleaning, CleaningReport
from tailrec.data.identity import by_kind, canonical, moves, resolve
from tailrec.data.mapping import QUANTITY, Layout
from tailrec.data.plaintext import UTF8
from tailrec.data.presets import Preset, preset_of
from tailrec.data.read import Query, read_batches, source_of
from tailrec.data.rejected import RejectedRows
from tailrec.data.rows import conform, with_event_ids
from tailrec.data.rules import SOURCE
from tailrec.data.store import Store
from tailrec.errors import DataError

WHOLE_ROWS = 2_000_000
"""Events files of more rows are cleaned in parts, in constant memory."""

Progress = Callable[[str, int], None]
"""Called with 'read' or 'write' and the rows done so far."""

_STATED = "_stated"


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest did, or in a dry run would do.

    Attributes:
        reports: table → what became of the rows of its files.
        new_rows: table → rows the store did not have; in a dry run, rows offered to it.
        dry_run: nothing was written.
    """

    reports: Mapping[str, CleaningReport]
    new_rows: Mapping[str, int]
    dry_run: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        reports = {table: report.to_dict() for table, report in self.reports.items()}
        return {"reports": reports, "new_rows": dict(self.new_rows), "dry_run": self.dry_run}


def ingest(
    store: Store,
    table: str,
    sources: Sequence[str | Path | Query],
    *,
    mapping: Mapping[str, str] | None = None,
    fill: Mapping[str, str] | None = None,
    preset: str | None = None,
    cleaning: Cleaning | None = None,
    dry_run: bool = False,
    rejected: Path | None = None,
    progress: Progress | None = None,
    encoding: str = UTF8,
    whole_rows: int = WHOLE_ROWS,
) -> IngestResult:
    """Fill a shop's tables from files or queries; the same input twice adds nothing.

    All input is read, named and typed before the first row is written, so an error in it changes
    nothing. Each table is then written in one transaction (each part of a large events file in
    one).

    Args:
        store: the shop's store.
        table: the table the sources are for; a preset may know better from a file's name, and
            may make further tables of one file.
        sources: files, folders (with a preset), or queries; cleaned together.
        mapping: our column → theirs, as `parse_pairs` reads it; see `Layout`.
        fill: our column → constant, for columns the files lack.
        preset: a key of `presets.PRESETS`.
        cleaning: options; those that differ from their defaults go before the preset's.
        dry_run: report only; nothing is written.
        rejected: file (.csv or .parquet) for the rows refused.
        progress: called as the work goes on.
        encoding: of text files.
        whole_rows: events files with more rows are cleaned in parts, without the rules that
            compare rows, unless they hold quantities or titles, which need those rules.

    Raises:
        DataError: a source is missing, empty, damaged or in another encoding, or aliases clash.
        SchemaError: a column is missing or of the wrong type.
        StoreError: the store cannot be written.
    """
    tell = progress or _silent
    known = None if preset is None else preset_of(preset)
    options = cleaning or Cleaning()
    options = options if known is None else options.over(known.cleaning)
    jobs = _jobs(table, sources, known, options, encoding)
    jobs = [job.with_columns_of(mapping or {}, fill or {}) for job in jobs]
    loaded = [(job, job.load(whole_rows, tell)) for job in jobs]
    aliases = store.read("aliases")
    outputs: list[_Output] = []
    with RejectedRows(None if dry_run else rejected) as refused:
        for job, frame in loaded:
            if frame is not None:
                outputs.append(_output(job, frame, aliases))
                refused.add(job.table, outputs[-1].cleaned.rejected, job.names)
        _check_aliases(aliases, outputs)
        new_rows = _write(store, outputs, tell, dry_run=dry_run)
        reports = {output.table: output.report for output in outputs}
        for job, frame in loaded:
            if frame is None:
                target = None if dry_run else store
                report, n_new = _stream(job, target, aliases, refused, tell)
                reports[job.table], new_rows[job.table] = report, n_new
    return IngestResult(reports, new_rows, dry_run)


@dataclass(frozen=True)
class _Job:
    """The files of one table and how to read them."""

    sources: tuple[Path | Query, ...]
    layout: Layout
    options: Cleaning
    encoding: str
    preset: Preset | None

    @property
    def table(self) -> str:
        return self.layout.table

    @property
    def names(self) -> list[str]:
        return [str(source) for source in self.sources]

    def with_columns_of(self, mapping: Mapping[str, str], fill: Mapping[str, str]) -> "_Job":
        layout = self.layout
        return replace(
            self,
            layout=replace(
                layout,
                mapping={**layout.mapping, **mapping},
                fill={**layout.fill, **fill},
                most_unreadable=self.options.most_unreadable,
            ).timed(self.options.time_format),
        )

    def batches(self, tell: Progress) -> Iterator[pl.DataFrame]:
        """Rows with our columns and types, some at a time."""
        prepare = self.preset.prepare.get(self.table) if self.preset else None
        done = 0
        for place, source in enumerate(self.sources):
            header = None
            if self.preset is not None and isinstance(source, Path):
                header = self.preset.header_of(source)
            layout: Layout | None = None
            for raw in read_batches(source, encoding=self.encoding, names=header):
                prepared = raw if prepare is None else prepare(raw)
                layout = layout or self.layout.learn(prepared, str(source))
                frame = layout.apply(prepared, str(source))
                done += len(frame)
                tell("read", done)
                yield _valued(frame.with_columns(pl.lit(place, pl.Int32).alias(SOURCE)))

    def load(self, whole_rows: int, tell: Progress) -> pl.DataFrame | None:
        """All rows, or None where they are checked but too many to keep."""
        parts: list[pl.DataFrame] = []
        n_rows, keep = 0, True
        for part in self.batches(tell):
            n_rows += len(part)
            keep = keep and (n_rows <= whole_rows or not self._may_stream(part))
            parts = [*parts, part] if keep else []
        return pl.concat(parts, how="diagonal_relaxed") if keep else None

    def _may_stream(self, part: pl.DataFrame) -> bool:
        derived = self.preset is not None and self.preset.derive is not None
        compared = {QUANTITY, c.TITLE} & set(part.columns)
        return self.table == "events" and not derived and not compared


@dataclass(frozen=True)
class _Output:
    """A cleaned file and the rows it has for each table."""

    table: str
    cleaned: Cleaned
    report: CleaningReport
    rows: dict[str, pl.DataFrame] = field(default_factory=dict)


def _jobs(
    table: str,
    sources: Sequence[str | Path | Query],
    preset: Preset | None,
    options: Cleaning,
    encoding: str,
) -> list[_Job]:
    """Sources by the table they are for; aliases, users and items before events."""
    if not sources:
        raise DataError("no file was given; name at least one")
    by_table: dict[str, list[Path | Query]] = {name: [] for name in ("users", "items", "events")}
    for given in map(source_of, sources):
        inside = _files(given, preset)
        for source in inside:
            found = preset.table_of(source) if preset and isinstance(source, Path) else None
            by_table.setdefault(found or table, []).append(source)
    layouts = preset.layouts if preset else {}
    lacking = [name for name, files in by_table.items() if files and preset and name not in layouts]
    if lacking:
        raise DataError(f"the preset has no {lacking[0]}; it knows {', '.join(layouts)}")
    return [
        _Job(tuple(files), layouts.get(name) or Layout(name), options, encoding, preset)
        for name, files in by_table.items()
        if files
    ]


def _files(source: Path | Query, preset: Preset | None) -> list[Path | Query]:
    if preset is None or isinstance(source, Query) or not source.is_dir():
        return [source]
    known: list[Path | Query] = [p for p in sorted(source.iterdir()) if preset.table_of(p)]
    if not known:
        raise DataError(f"{source}: holds no file the preset knows; name the files")
    return known


def _valued(frame: pl.DataFrame) -> pl.DataFrame:
    """Events with a value where it can be worked out, and that value once more, as stated."""
    if c.TIMESTAMP not in frame.columns:
        return frame
    factors = [name for name in (QUANTITY, c.PRICE) if name in frame.columns]
    if c.VALUE not in frame.columns:
        product = [pl.col(name) for name in factors] or [pl.lit(None, pl.Float64)]
        value = product[0] if len(product) == 1 else product[0] * product[1]
        frame = frame.with_columns(value.alias(c.VALUE))
    return frame.with_columns(pl.col(c.VALUE).alias(_STATED))


def _output(job: _Job, frame: pl.DataFrame, aliases: pl.DataFrame) -> _Output:
    cleaned = clean(job.table, frame, job.options)
    rows = {job.table: _storable(job.table, cleaned.kept, aliases)}
    notes = []
    if job.preset is not None and job.preset.derive is not None:
        for table, derived in job.preset.derive(cleaned).items():
            rows[table] = _storable(table, derived, aliases)
            notes.append(f"{len(derived):,} {table} were made from these {job.table}")
        n_nameless = cleaned.rejected.filter(pl.col(RULE) == "users").height
        notes.append(f"{n_nameless:,} rows without a user told titles and prices all the same")
    return _Output(job.table, cleaned, cleaned.report.noting(notes), rows)


def _storable(table: str, kept: pl.DataFrame, aliases: pl.DataFrame) -> pl.DataFrame:
    """Rows as the store takes them, under canonical ids.

    An event's id is made of what the file says, before quantities are capped or cancelled and
    ids are merged: a longer file that holds the same line does not add it again.
    """
    own = kept.select(name for name in c.TABLES[table] if name in kept.columns)
    if table != "events":
        return conform(table, canonical(own, aliases) if table != "aliases" else own)
    stated = own.with_columns(kept[_STATED].alias(c.VALUE))
    return canonical(with_event_ids(stated).with_columns(kept[c.VALUE]), aliases)


def _check_aliases(aliases: pl.DataFrame, outputs: Sequence[_Output]) -> None:
    for output in outputs:
        new = output.rows.get("aliases")
        if new is not None:
            both = pl.concat([aliases, new]).unique(c.KEYS["aliases"], keep="last")
            for part in (*by_kind(new), *by_kind(both)):
                resolve(part)


def _write(
    store: Store, outputs: Sequence[_Output], tell: Progress, *, dry_run: bool
) -> dict[str, int]:
    """Write every table; in a dry run only count the rows."""
    new_rows: dict[str, int] = {}
    done = 0
    for table in ("aliases", "users", "items", "events"):
        frames = [output.rows[table] for output in outputs if table in output.rows]
        for frame in frames:
            n_new = len(frame) if dry_run else store.write(table, frame)
            new_rows[table] = new_rows.get(table, 0) + n_new
            done += len(frame)
            tell("write", done)
    if "aliases" in new_rows and not dry_run:
        people, products = by_kind(store.read("aliases"))
        store.rewrite_users(moves(people))
        store.rewrite_items(moves(products))
    return new_rows


def _stream(
    job: _Job,
    store: Store | None,
    aliases: pl.DataFrame,
    refused: RejectedRows,
    tell: Progress,
) -> tuple[CleaningReport, int]:
    """Clean and write a large events file part by part; without a store only count."""
    report: CleaningReport | None = None
    n_new = 0
    for part in job.batches(tell):
        cleaned = clean(job.table, part, job.options, whole=False)
        refused.add(job.table, cleaned.rejected, job.names)
        if store is None:
            n_new += len(cleaned.kept)
        else:
            n_new += store.write(job.table, _storable(job.table, cleaned.kept, aliases))
        report = cleaned.report if report is None else report.plus(cleaned.report)
        tell("write", report.kept)
    if report is None:
        raise DataError(f"{', '.join(job.names)}: holds no rows")
    # Of the rules that compare rows, the others had nothing to do: see `_may_stream`.
    note = "bots did not run: it compares rows, and the file was read in parts"
    return report.noting([note] if "bots" in job.options.rules else []), n_new


def _silent(_stage: str, _rows: int) -> None:
    """Progress nobody watches."""
