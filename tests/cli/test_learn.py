from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tailrec.artifact import get_current
from tailrec.candidates.sequence import Sequential
from tailrec.shop import Shop

Run = Callable[..., Result]
Asks = Callable[..., Any]


@pytest.fixture
def words_alone(shop_folder: Path) -> Path:
    """A shop that needs no language model: quicker to fit."""
    (shop_folder / "tailrec.toml").write_text("[features]\nencode = false\n", "utf-8")
    return shop_folder


def test_tail_prints_tiers_and_valuable_items(
    run: Run, ask: Asks, fitted_folder: Path, tmp_path: Path
) -> None:
    told = ask("tail", "--shop", fitted_folder, "--valuable", 3, "--report", tmp_path / "report")
    assert len(told["valuable"]) == 3
    assert {row["definition"] for row in told["tiers"]} == {"pareto", "mass", "rare", "knee"}
    assert all(Path(file).is_file() for file in told["files"])
    table = run("tail", "--shop", fitted_folder, "--valuable", 3).stdout
    for row in told["valuable"]:
        assert row["item_id"] in table


def test_fit_serves_a_new_model(run: Run, ask: Asks, words_alone: Path) -> None:
    before = get_current(words_alone / "models")
    told = ask("fit", "--shop", words_alone, "--until", "2025-02-01")
    assert told["version"] == get_current(words_alone / "models") != before
    assert told["data"]["now"] == "2025-02-01T00:00:00+00:00"
    assert told["source"]["kind"] == "linear"
    table = run("fit", "--shop", words_alone).stdout
    assert "options as in the recipe" in table
    assert get_current(words_alone / "models") in table


def test_fit_with_a_budget_serves_the_choice(ask: Asks, words_alone: Path) -> None:
    told = ask("fit", "--shop", words_alone, "--budget", "2s")
    assert told["n_trials"] > 1
    with Shop.open(words_alone) as shop:
        assert shop.engine().recipe.source.model_dump(mode="json") == told["source"]
    # The recipe names no source, so the best measured one is taken, and what is not afforded said.
    assert "sequence left out" in told["afforded"][0] or "no time" in told["afforded"][0]
    assert told["afforded"][-1].startswith("served: linear")
    again = ask("fit", "--shop", words_alone)
    # Without a budget the options are the recipe's again.
    assert "validation" not in again
    assert again["source"]["kind"] == "linear"


def test_a_source_that_is_named_is_kept(ask: Asks, run: Run, words_alone: Path) -> None:
    path = words_alone / "tailrec.toml"
    path.write_text(path.read_text("utf-8") + '[source]\nkind = "linear"\n', "utf-8")
    told = ask("fit", "--shop", words_alone, "--budget", "1s")
    assert (told["source"]["kind"], told["afforded"]) == ("linear", [])
    assert "options chosen from" in run("fit", "--shop", words_alone, "--budget", "1s").stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fit", "--budget", "-1"), "'-1' is no time"),
        (("fit", "--until", "yesterday"), "'yesterday' is no time"),
        (("fit", "--until", "1999-01-01"), "no events that count as history"),
    ],
)
def test_bad_input_is_one_line(
    run: Run, fitted_folder: Path, words: tuple[str, ...], says: str
) -> None:
    result = run(*words, "--shop", fitted_folder)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_update_goes_on_from_the_model_that_is_served(
    run: Run, ask: Asks, words_alone: Path
) -> None:
    words = ("fit", "--shop", words_alone, "--update")
    refused = run(*words)
    assert refused.exit_code == 2
    assert "leave out --update" in refused.stderr
    path = words_alone / "tailrec.toml"
    course = "[source.course]\nsteps = 40\n"
    path.write_text(
        path.read_text("utf-8") + f'[source]\nkind = "sequence"\nwidth = 8\n{course}', "utf-8"
    )
    before = ask("fit", "--shop", words_alone)
    # The recipe may have changed since: the model's own counts.
    path.write_text("[features]\nencode = false\n", "utf-8")
    later = ask(*words)
    assert later["updated"] == before["version"]
    assert later["source"]["course"]["rate"] == Sequential().course.rate
    assert later["source"] == before["source"]
    assert later["version"] == get_current(words_alone / "models")
    assert "which it goes on from" in " ".join(run(*words).stdout.split())
    assert "keeps the model's options" in run(*words, "--budget", "1s").stderr
