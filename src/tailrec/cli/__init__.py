"""The command line: each command parses, calls the library once, and prints."""

from tailrec.cli.app import app
from tailrec.cli.ask import explain, recommend, search
from tailrec.cli.care import demo, doctor
from tailrec.cli.fill import erase, export, ingest, init
from tailrec.cli.learn import fit, tail
from tailrec.cli.measure import compare, evaluate
from tailrec.cli.output import guarded
from tailrec.cli.tune import tune

for command in (
    init,
    demo,
    ingest,
    tail,
    fit,
    tune,
    evaluate,
    compare,
    recommend,
    search,
    explain,
    export,
    erase,
    doctor,
):
    app.command()(guarded(command))


def main() -> None:
    """Entry point of `tailrec`."""
    app(prog_name="tailrec")
