"""A table of a shop, out to a file."""

from pathlib import Path

from tailrec.data.store import Store
from tailrec.errors import DataError
from tailrec.files import whole_file

FORMATS = (".parquet", ".csv", ".jsonl")


def export_table(store: Store, table: str, path: Path) -> int:
    """Write a table to a file, whole or not at all.

    Args:
        store: of the shop.
        table: a name in `columns.TABLES`.
        path: ends in one of `FORMATS`; replaced if it exists.

    Returns:
        Rows written.

    Raises:
        DataError: the ending is none of them, or the folder does not exist.
        SchemaError: there is no such table.
    """
    if path.suffix not in FORMATS:
        raise DataError(f"{path} must end in one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is no folder; make it, or name another file")
    frame = store.read(table)
    with whole_file(path) as beside:
        if path.suffix == ".parquet":
            frame.write_parquet(beside)
        elif path.suffix == ".csv":
            frame.write_csv(beside)
        else:
            frame.write_ndjson(beside)
    return len(frame)
