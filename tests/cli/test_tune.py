import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import polars as pl
import pytest
from click.testing import Result

from tailrec.shop import Shop

Run = Callable[..., Result]
Asks = Callable[..., Any]

RECIPE = """\
# Ours.
[features]
encode = false  # quicker
[source]
kind = "itemknn"
neighbours = 3  # too few
"""

TUNE = """
import signal
import sys

from tailrec.cli import main

# Whoever starts this in the background may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["tailrec", "tune", "--json", "--budget", "1h", "--write", "--shop", sys.argv[1]]
main()
"""


@pytest.fixture
def folder(shop_folder: Path) -> Path:
    """A shop whose recipe is bad enough to be bettered at once."""
    (shop_folder / "tailrec.toml").write_text(RECIPE, "utf-8")
    return shop_folder


def test_a_search_is_told_and_goes_on(run: Run, ask: Asks, folder: Path, tmp_path: Path) -> None:
    words = ("tune", "--shop", folder, "--report", tmp_path / "report")
    told = ask(*words, "--budget", "1s")
    assert told["n_new"] == told["n_trials"] > 4
    assert told["changed"]["neighbours"]["given"] == 3
    assert told["source"]["neighbours"] == told["changed"]["neighbours"]["chosen"] > 3
    figures = told["validation"]
    assert figures["chosen"]["ndcg@10"] > figures["given"]["ndcg@10"]
    assert (told["objective"], told["keep"], told["tail"]) == ("tail", 0.995, "pareto")
    assert not told["stopped"]
    assert not told["written"]
    assert (folder / "tailrec.toml").read_text("utf-8") == RECIPE
    picture, table = map(Path, told["files"])
    assert picture.read_bytes()[:4] == b"\x89PNG"
    rows = pl.read_csv(table)
    assert len(rows) == told["n_trials"]
    (chosen,) = rows.filter(pl.col("chosen"))["ndcg@10"].unique()
    assert chosen == figures["chosen"]["ndcg@10"]

    again = ask(*words, "--budget", "1s")
    assert again["study"] == told["study"]
    assert again["n_trials"] == told["n_trials"] + again["n_new"]
    fitted = ask("fit", "--shop", folder, "--budget", "1s")
    assert fitted["n_trials"] > again["n_trials"]
    now = ask(*words, "--budget", "0")
    assert (now["n_new"], now["n_trials"]) == (0, fitted["n_trials"])
    assert now["source"] == fitted["source"]
    shown = run(*words, "--budget", "0").stdout
    assert f"{now['n_trials']} trials, 0 new" in shown
    assert f"{now['validation']['chosen']['ndcg@10']:.4f}" in shown
    assert "--budget 0 --write puts the choice" in shown


def test_the_choice_is_written_and_all_else_stays(run: Run, ask: Asks, folder: Path) -> None:
    told = ask("tune", "--shop", folder, "--budget", "1s", "--write")
    assert told["written"]
    text = (folder / "tailrec.toml").read_text("utf-8")
    assert text.startswith("# Ours.\n[features]\nencode = false  # quicker\n[source]\n")
    assert f"neighbours = {told['source']['neighbours']}  # too few\n" in text
    with Shop.open(folder) as shop:
        assert shop.recipe.source.model_dump() == told["source"]
    shown = run("tune", "--shop", folder, "--budget", "0").stdout
    # The choice is among the trials, so nothing is measured again and nothing is better.
    assert "0 new" in shown
    assert "the options given are the best so far" in shown


def test_another_kind_and_another_objective(ask: Asks, folder: Path) -> None:
    words = ("tune", "--shop", folder, "--source", "content")
    tail = ask(*words, "--budget", "2s", "--keep", "0.5")
    assert tail["source"]["kind"] == "content"
    overall = ask(*words, "--budget", "0", "--objective", "overall", "--keep", "0.5", "--write")
    assert overall["study"] == tail["study"]
    assert overall["n_new"] == 0
    a, b = tail["validation"]["chosen"], overall["validation"]["chosen"]
    assert a["tail_ndcg@10"] >= b["tail_ndcg@10"]
    assert a["ndcg@10"] <= b["ndcg@10"]
    recipe = tomllib.loads((folder / "tailrec.toml").read_text("utf-8"))
    assert recipe["source"]["kind"] == "content"
    assert recipe["source"].get("neighbours", 200) == overall["source"]["neighbours"]
    assert recipe["features"] == {"encode": False}


def test_new_data_begin_a_new_study(ask: Asks, folder: Path) -> None:
    words = ("tune", "--shop", folder, "--budget", "0")
    before = ask(*words)
    assert ask(*words)["study"] == before["study"]
    with Shop.open(folder) as shop:
        shop.store.delete_user(shop.dataset().user_ids[0])
    after = ask(*words)
    assert after["study"] != before["study"]
    assert after["n_new"] == after["n_trials"] == before["n_trials"]
    assert len(list((folder / "tuning").glob("*.journal"))) == 2


def test_the_recipe_says_what_is_looked_for(ask: Asks, folder: Path) -> None:
    (folder / "tailrec.toml").write_text(f'objective = "overall"\nkeep = 0.9\n{RECIPE}', "utf-8")
    told = ask("tune", "--shop", folder, "--budget", "0")
    assert (told["objective"], told["keep"]) == ("overall", 0.9)


def test_ctrl_c_keeps_what_was_measured(ask: Asks, folder: Path) -> None:
    words = [sys.executable, "-c", TUNE, str(folder)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not any(p.stat().st_size > 4_000 for p in (folder / "tuning").glob("*.journal")):
            assert process.poll() is None
            sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate()
    assert process.returncode == 130, error
    assert '"stopped": true' in out
    assert '"written": false' in out
    assert "tailrec: stopped early; what was measured is kept" in error
    assert (folder / "tailrec.toml").read_text("utf-8") == RECIPE
    told = ask("tune", "--shop", folder, "--budget", "0")
    assert told["n_new"] == 0
    assert f'"n_trials": {told["n_trials"]}' in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--budget", "soon"), "'soon' is no time"),
        (("--source", "magic"), "source 'magic' is not known"),
    ],
)
def test_bad_input_is_one_line(run: Run, folder: Path, words: tuple[str, ...], says: str) -> None:
    result = run("tune", "--shop", folder, *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_recipe_that_cannot_be_changed_is_refused(run: Run, folder: Path) -> None:
    text = 'source = {kind = "itemknn", neighbours = 3}\n[features]\nencode = false\n'
    (folder / "tailrec.toml").write_text(text, "utf-8")
    result = run("tune", "--shop", folder, "--budget", "1s", "--write")
    assert result.exit_code == 2
    assert "cannot be changed line by line" in result.stderr
    assert (folder / "tailrec.toml").read_text("utf-8") == text
