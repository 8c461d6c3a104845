import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tailrec.artifact import get_current
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
        assert shop.engine().recipe.source.model_dump() == told["source"]
    again = ask("fit", "--shop", words_alone)
    # Without a budget the options are the recipe's again.
    assert "validation" not in again


@pytest.mark.parametrize("split", ["time", "leave-one-out", "cold"])
def test_evaluate_gives_figures_for_every_split(
    run: Run, ask: Asks, words_alone: Path, split: str, tmp_path: Path
) -> None:
    words = ("evaluate", "--shop", words_alone, "--split", split, "--windows", 2, "--at", "5,10")
    words += ("--with", "popular,ease", "--report", tmp_path / "report")
    told = ask(*words)
    assert told["split"] == split
    assert [one["name"] for one in told["sources"]] == ["linear", "popular", "ease"]
    for one in told["sources"]:
        assert len(one["splits"]) == (2 if split == "time" else 1)
        for name in ("recall@5", "ndcg@10", "coverage@10", "gini@10"):
            assert 0 <= one["figures"][name] <= 1
        if split != "cold":
            assert 0 <= one["figures"]["recall@10/pareto"] <= 1
    written = json.loads((tmp_path / "report" / "comparison.json").read_text("utf-8"))
    assert [one["figures"] for one in written] == [one["figures"] for one in told["sources"]]
    if split == "cold":
        # Behaviour alone knows nothing of items that nobody had.
        linear, popular, ease = (one["figures"]["recall@10/cold"] for one in told["sources"])
        assert linear > popular == ease == 0
    if split == "leave-one-out":
        table = run(*words).stdout
        for one in told["sources"]:
            start = f"│ {one['name']} "
            line = next(row for row in table.splitlines() if row.startswith(start))
            assert f"{one['figures']['ndcg@5']:.4f}" in line
        assert "linear / popular" in table


def test_made_up_times_are_refused(run: Run, tmp_path: Path) -> None:
    rows = [f"u{u},i{(u + s) % 6},play,2024-01-0{1 + s}" for u in range(30) for s in range(4)]
    (tmp_path / "plays.csv").write_text("\n".join(["user_id,item_id,type,timestamp", *rows]))
    folder = tmp_path / "shop"
    assert run("init", folder).exit_code == 0
    (folder / "tailrec.toml").write_text("[features]\nencode = false\n", "utf-8")
    result = run("ingest", "events", tmp_path / "plays.csv", "--shop", folder)
    assert result.exit_code == 0, result.stderr
    result = run("evaluate", "--shop", folder, "--split", "time")
    assert result.exit_code == 2
    assert "use --split leave-one-out" in result.stderr
    assert run("evaluate", "--shop", folder, "--split", "leave-one-out").exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "--split", "random"), "must be time, leave-one-out or cold"),
        (("evaluate", "--with", "magic"), "source 'magic' is not known"),
        (("evaluate", "--at", "ten"), "'ten' are no slate lengths"),
        (("evaluate", "--at", "0"), "'0' are no slate lengths"),
        (("evaluate", "--days", "0"), "must be above 0"),
        (("evaluate", "--days", "5000"), "more data, or fewer or shorter windows"),
        (("evaluate", "--budget", "soon"), "'soon' is no time"),
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
