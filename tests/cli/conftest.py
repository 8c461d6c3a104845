"""The command line, called in this process."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tailrec.cli import app

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command line and gives what it printed and how it ended."""

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], prog_name="tailrec")

    return run


@pytest.fixture(scope="session")
def ask(run: Run) -> Callable[..., Any]:
    """Runs a command that must succeed, with --json, and gives what that says."""

    def ask(*words: object) -> Any:
        result = run(*words, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))

    return ask
