"""The command line: each command parses, calls the library once, and prints."""

from tailrec.cli.app import app
from tailrec.cli.ask import explain, recommend, search
from tailrec.cli.backup import backup, restore
from tailrec.cli.care import demo, doctor
from tailrec.cli.fill import erase, export, ingest, init
from tailrec.cli.frontier import frontier
from tailrec.cli.learn import fit, tail
from tailrec.cli.measure import compare, evaluate
from tailrec.cli.output import guarded
from tailrec.cli.serve import create, keys, list_keys, revoke, serve
from tailrec.cli.stream import consume
from tailrec.cli.train import distil, finetune, pretrain, train
from tailrec.cli.train import search as search_training
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
    frontier,
    recommend,
    search,
    explain,
    serve,
    consume,
    export,
    erase,
    backup,
    restore,
    doctor,
):
    app.command()(guarded(command))
for name, key_command in (("create", create), ("list", list_keys), ("revoke", revoke)):
    keys.command(name)(guarded(key_command))
app.add_typer(keys, name="keys")
for name, train_command in (
    ("pretrain", pretrain),
    ("finetune", finetune),
    ("distil", distil),
    ("search", search_training),
):
    train.command(name)(guarded(train_command))
app.add_typer(train, name="train")


def main() -> None:
    """Entry point of `tailrec`."""
    app(prog_name="tailrec")
