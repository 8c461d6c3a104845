import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import typer

from tailrec.cli.output import guarded, print_json, print_table, shown
from tailrec.errors import ArtifactError, DataError, MissingExtra, RecipeError, StoreError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("bad\n  rows"), 2),
        (RecipeError("bad"), 2),
        (MissingExtra("bad"), 2),
        (StoreError("bad"), 1),
        (ArtifactError("bad"), 1),
        (OSError(28, "bad: no space left"), 1),
    ],
)
def test_errors_are_one_line_and_a_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        guarded(command)()
    assert ended.value.exit_code == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("tailrec: ")
    assert "bad" in told.err
    assert told.err.count("\n") == 1


def test_a_mistake_of_ours_is_not_hidden_and_a_closed_pipe_is_passed_on() -> None:
    for error in (ZeroDivisionError(), BrokenPipeError()):

        def command(raised: Exception = error) -> None:
            raise raised

        with pytest.raises(type(error)):
            guarded(command)()


def test_json_holds_what_json_knows(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "none": [float("nan"), float("inf"), None, 1.5],
        "when": datetime(2024, 5, 1, 12, tzinfo=UTC),
        "where": Path("a/b"),
        "pair": (1, True),
        "text": "Zoë",
        "numpy": [np.float64(2.5), np.int64(3), np.float32(0.5)],
    }
    print_json(value)
    text = capsys.readouterr().out
    assert "Zoë" in text
    assert json.loads(text) == {
        "none": [None, None, None, 1.5],
        "when": "2024-05-01T12:00:00+00:00",
        "where": "a/b",
        "pair": [1, True],
        "text": "Zoë",
        "numpy": [2.5, 3, 0.5],
    }


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (True, "true"),
        (0.12345, "0.1235"),
        (1234.56, "1,234.6"),
        (12345, "12,345"),
        ("word", "word"),
    ],
)
def test_cells_as_people_read_them(cell: object, text: str) -> None:
    assert shown(cell) == text


def test_a_table_has_head_rows_and_note(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("a title", ["name", "count"], [["a", 1], ["b", 2000]], note="a note")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].rstrip() == "a title"
    assert lines[-1].rstrip() == "a note"
    assert "│ a    │     1 │" in lines
    assert "│ b    │ 2,000 │" in lines
