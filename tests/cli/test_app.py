import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from tailrec import __version__
from tailrec.cli import app

Run = Callable[..., Result]
COMMANDS = [command.callback for command in app.registered_commands if command.callback]
SLOW_TO_LOAD = ("torch", "transformers", "matplotlib", "sklearn", "implicit", "optuna")


def test_help_names_every_command_and_what_it_does(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    words = " ".join(result.stdout.replace("│", " ").split())
    for command in COMMANDS:
        summary = " ".join((command.__doc__ or "").split())
        assert f"{command.__name__} {summary}" in words
    assert run().exit_code == 2  # no command is bad input, and shows the same
    assert run("--version").stdout == f"tailrec {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_option_says_what_it_is(run: Run, command: Callable[..., None]) -> None:
    result = run(command.__name__, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    # A line of an option or argument has at least a word of help behind name and type.
    for line in result.stdout.splitlines():
        if line.startswith("│ ") and line[2:].split()[0].startswith("-"):
            assert line.rstrip("│ ").endswith((".", ")", "]")) or len(line.split()) > 4, line


def test_an_unknown_command_is_bad_input(run: Run) -> None:
    result = run("recomend")
    assert result.exit_code == 2
    assert "recommend" in result.stderr


def test_packages_that_are_slow_to_load_wait_until_they_are_needed() -> None:
    listing = f"import sys, tailrec.cli; print([n for n in {SLOW_TO_LOAD!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
