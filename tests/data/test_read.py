"""Reading: every format gives the same table, every flaw one clear error that names its place."""

import gzip
import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest

from tailrec.data.jsonlines import ROW
from tailrec.data.read import Query, read_batches, read_table
from tailrec.errors import DataError, SchemaError

RECORDS = [
    {"user": "007", "item": "a,b", "n": "1"},
    {"user": "8", "item": 'say "hi"', "n": "2"},
    {"user": "9", "item": "Zoë ☕", "n": "3"},
]


def _written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def _csv(separator: str) -> str:
    lines = [separator.join(RECORDS[0])]
    for record in RECORDS:
        quoted = ('"' + value.replace('"', '""') + '"' for value in record.values())
        lines.append(separator.join(quoted))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_of_any_separator_is_text_with_its_lines(tmp_path: Path, separator: str) -> None:
    table = read_table(_written(tmp_path, "a.csv", _csv(separator)))
    assert table.drop(ROW).to_dicts() == RECORDS
    assert table[ROW].to_list() == [2, 3, 4]


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    sources = [
        _written(tmp_path, "mark.csv", _csv(","), "utf-8-sig"),
        _written(tmp_path, "a.jsonl", lines),
        _written(tmp_path, "literal.json", "".join(f"{record!r}\n" for record in RECORDS)),
    ]
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(_csv(",").encode()))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pl.DataFrame(RECORDS).write_parquet(tmp_path / "a.parquet")
    sources += [tmp_path / n for n in ("packed.csv.gz", "packed.jsonl.gz", "a.parquet")]
    for source in sources:
        assert read_table(source).drop(ROW).to_dicts() == RECORDS, source.name


def test_a_query_gives_its_rows_and_hides_the_password(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db") as database:
        database.execute("create table sale (user text, n integer)")
        database.executemany("insert into sale values (?, ?)", [("u", 1), ("v", 2)])
    database.close()
    url = f"sqlite:///{tmp_path / 'old.db'}"
    assert read_table(f"{url} SELECT user, n FROM sale ORDER BY n").rows() == [
        (1, "u", 1),
        (2, "v", 2),
    ]
    with pytest.raises(DataError, match="no such table: absent"):
        read_table(Query(url, "select * from absent"))
    with pytest.raises(DataError, match="needs a query"):
        read_table(f"{url} drop table sale")
    assert "secret" not in str(Query("postgresql://me:secret@host/db", "select 1"))


def test_rows_keep_their_lines_past_breaks_and_blanks(tmp_path: Path) -> None:
    text = 'a,b\n1,"x\ny\nz"\n\n2,w\n'
    table = read_table(_written(tmp_path, "a.csv", text))
    assert table.rows() == [(2, "1", "x\ny\nz"), (6, "2", "w")]


def test_batches_are_the_whole(tmp_path: Path) -> None:
    lines = "".join(f'{n},"{n}\n"\n' for n in range(1000))
    path = _written(tmp_path, "a.csv", "a,b\n" + lines)
    batches = list(read_batches(path, rows=64))
    assert len(batches) > 3
    assert pl.concat(batches).equals(read_table(path))
    assert pl.concat(batches)[ROW].to_list() == [2 + 2 * n for n in range(1000)]


def test_other_encodings_are_read_when_named(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", "name,price\ncrème,5£\n", "latin-1")
    assert read_table(path, encoding="latin-1").row(0) == (2, "crème", "5£")
    wide = _written(tmp_path, "b.csv", "name,price\ncrème,5£\n", "utf-16")
    assert read_table(wide, encoding="utf-16").row(0) == (2, "crème", "5£")


def test_a_file_of_two_encodings_is_refused_with_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_bytes("name,note\ncrème,ok\n".encode() + b'"a,b",5\xa3\n')
    with pytest.raises(DataError, match=r"mixed\.csv, line 3, column 'note': byte 0xa3") as error:
        read_table(path)
    assert "--encoding latin-1" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "there is no such file"),
        ("empty.csv", b"", "the file is empty"),
        ("header.csv", b"a,b\n", "holds no rows"),
        ("blank.csv", b"a,b\n\n\n", "holds no rows"),
        ("empty.jsonl", b"\n\n", "holds no rows"),
        ("wide.csv", b"a,b\n1,2\n1,2,3\n", "line 3: 3 fields where the header has 2"),
        ("open.csv", b'a,b\n1,2\n3,"4\n', "line 3: .*quote"),
        ("twice.csv", b"a,a\n1,2\n", r"columns \['a'\] stand twice"),
        ("bad.parquet", b"PAR1 nonsense", "cannot be read as Parquet"),
        ("bad.csv.gz", b"no gzip", "cannot be read"),
        ("cut.jsonl", b'{"a": 1}\n{"a": \n', "line 2: is no JSON"),
        ("list.jsonl", b"[1]\n", "line 1: holds '\\[1\\]'; expected an object"),
        ("wide.txt", "a,b\n1,2\n".encode("utf-16"), "--encoding utf-16"),
        ("a.xlsx", b"x", "the ending '.xlsx' is unknown"),
    ],
)
def test_flaws_are_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_table(path)
    assert name in str(error.value)


def test_a_header_named_twice_is_a_schema_error(tmp_path: Path) -> None:
    with pytest.raises(SchemaError):
        read_table(_written(tmp_path, "a.csv", "a,a\n1,2\n"))


def test_json_columns_of_several_kinds_lose_nothing(tmp_path: Path) -> None:
    lines = [
        {"price": 5, "also": ["x"], "deep": {"k": 1}, "flag": True, "n": 1},
        {"price": "$6", "also": None, "deep": [[1]], "flag": None, "n": 2.5},
    ]
    path = _written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    table = read_table(path)
    assert table["price"].to_list() == ["5", "$6"]
    assert table["also"].to_list() == [["x"], None]
    assert table["deep"].to_list() == ['{"k": 1}', "[[1]]"]
    assert table["flag"].to_list() == [True, None]
    assert table["n"].to_list() == [1.0, 2.5]


def test_literals_are_parsed_and_never_run(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.json", "{'a': __import__('os').getcwd()}\n")
    with pytest.raises(DataError, match="line 1: is no JSON"):
        read_table(path)
