import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result

from tailrec.batch import recommended
from tailrec.shop import Shop
from tailrec.slates import Ask

Run = Callable[..., Result]
Asks = Callable[..., Any]


def test_recommend_prints_what_json_holds(run: Run, ask: Asks, fitted_folder: Path) -> None:
    words = ("recommend", "--shop", fitted_folder, "--user", "U000005", "-k", 4)
    rows = ask(*words)
    assert [list(row) for row in rows] == [["user_id", "rank", "item_id", "score", "title"]] * 4
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    table = run(*words).stdout
    for row in rows:
        line = next(line for line in table.splitlines() if row["item_id"] in line)
        assert f"{row['score']:.4f}" in line
        assert row["title"] in line


def test_recommend_takes_every_dial(ask: Asks, fitted: Shop) -> None:
    rows = ask(
        *("recommend", "--shop", fitted.folder, "--user", "U000005", "-k", 6, "--include-seen"),
        *("--tail", 0.3, "--diversity", 0.4, "--model", fitted.versions()[0]),
    )
    expected = recommended(fitted, user="U000005", ask=Ask(6, 0.3, 0.4, True))
    assert [row["item_id"] for row in rows] == expected["item_id"].to_list()


def test_recommend_to_a_file_holds_four_columns(
    run: Run, ask: Asks, fitted_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "slates.parquet"
    words = ("recommend", "--shop", fitted_folder, "--users", "all", "-k", 3, "--out", out)
    result = run(*words)
    assert result.stdout == f"150 slates written to {out}\n"
    slates = pl.read_parquet(out)
    assert slates.columns == ["user_id", "rank", "item_id", "score"]
    assert slates.group_by("user_id").len()["len"].unique().to_list() == [3]
    assert ask(*words) == {"slates": 150, "file": str(out)}


def test_k_beyond_the_catalogue_is_no_error(ask: Asks, fitted_folder: Path) -> None:
    words = ("recommend", "--shop", fitted_folder, "--user", "U000005", "-k")
    whole = ask(*words, 10**9)
    assert len(whole) <= 200
    assert whole == ask(*words, 200)


def test_search_and_explain(run: Run, ask: Asks, fitted_folder: Path) -> None:
    found = ask("search", "wall clock", "--shop", fitted_folder, "-k", 3)
    assert [row["rank"] for row in found] == [1, 2, 3]
    assert "wall clock" in found[0]["title"]
    assert found[0]["title"] in run("search", "wall clock", "--shop", fitted_folder).stdout
    (first,) = ask("recommend", "--shop", fitted_folder, "--user", "U000005", "-k", 1)
    why = ask("explain", "U000005", first["item_id"], "--shop", fitted_folder)
    assert why["rank"] == 1
    assert why["popularity"] == 0
    total = sum(part["behaviour"] + part["text"] for part in why["parts"])
    assert total == pytest.approx(why["score"], rel=1e-4)
    assert why["score"] == pytest.approx(first["score"], rel=1e-4)
    table = run("explain", "U000005", first["item_id"], "--shop", fitted_folder).stdout
    assert f"{first['item_id']} for U000005: rank 1, score {why['score']:.4f}" in table
    had = why["parts"][0]["item_id"]
    table = run("explain", "U000005", had, "--shop", fitted_folder).stdout
    assert f"{had} for U000005: not shown" in table
    assert "has it already" in table


def test_explain_tells_what_being_popular_gives(run: Run, ask: Asks, shop_folder: Path) -> None:
    recipe = "[source]\nkind = 'linear'\nprior = 10.0\n[features]\nencode = false\n"
    (shop_folder / "tailrec.toml").write_text(recipe, "utf-8")
    assert run("fit", "--shop", shop_folder).exit_code == 0
    (first,) = ask("recommend", "--shop", shop_folder, "--user", "U000005", "-k", 1)
    why = ask("explain", "U000005", first["item_id"], "--shop", shop_folder)
    total = sum(part["behaviour"] + part["text"] for part in why["parts"])
    assert total + why["popularity"] == pytest.approx(first["score"], rel=1e-4)
    assert why["popularity"] > abs(total)
    table = run("explain", "U000005", first["item_id"], "--shop", shop_folder).stdout
    assert f"score {why['score']:.4f}, of which {why['popularity']:.4f} for being popular" in table


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("recommend",), 2, "--user ID, or --users FILE"),
        (("recommend", "--user", "a", "--users", "all"), 2, "--user ID, or --users FILE"),
        (("recommend", "--users", "none.txt"), 2, "none.txt is no file"),
        (("recommend", "--user", "a", "--out", "a.xls"), 2, "must end in .parquet or .csv"),
        (("recommend", "--user", "a", "--model", "v9"), 1, "model 'v9' is not in"),
        (("recommend", "--user", "a", "--asof", "soon"), 2, "'soon' is no time"),
        (("recommend", "--user", "a", "--asof", "1999-01-01"), 2, "has no events"),
        (("explain", "nobody", "P000001"), 2, "'nobody' has no history"),
        (("explain", "U000005", "none"), 2, "'none' is not among the 200"),
        (("search", " "), 2, "no words to search for"),
        (("search", "mug", "--model", "v9"), 1, "model 'v9' is not in"),
    ],
)
def test_errors_are_one_line(
    run: Run, fitted_folder: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    result = run(*words, "--shop", fitted_folder)
    assert result.exit_code == code
    assert result.stdout == ""
    assert says in result.stderr
    assert result.stderr.startswith("tailrec: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--user", "a", "-k", "0"),
        ("--user", "a", "-k", "many"),
        ("--user", "a", "--tail", "1.5"),
        ("--user", "a", "--diversity", "-1"),
        ("--nonsense",),
    ],
)
def test_options_out_of_range_are_bad_input(
    run: Run, fitted_folder: Path, words: tuple[str, ...]
) -> None:
    result = run("recommend", "--shop", fitted_folder, *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words[-2 if len(words) > 1 else 0] in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("recommend", "--user", "a"),
        ("search", "mug"),
        ("explain", "a", "b"),
        ("fit",),
        ("tail",),
        ("evaluate",),
        ("erase", "a"),
        ("export", "items", "--out", "items.csv"),
        ("ingest", "items", "items.csv"),
    ],
)
def test_where_there_is_no_shop_every_command_says_so(
    run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = run(*words, "--shop", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == (
        f"tailrec: {tmp_path} is no shop (no tailrec.toml); run `tailrec init {tmp_path}`\n"
    )


def test_where_there_is_no_model(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    assert run("init", folder).exit_code == 0
    for words in (("recommend", "--user", "a"), ("search", "mug"), ("explain", "a", "b")):
        result = run(*words, "--shop", folder)
        assert result.exit_code == 1
        assert result.stderr == f"tailrec: {folder} has no model yet; run `tailrec fit`\n"


def test_a_damaged_model_is_one_line(run: Run, shop_folder: Path) -> None:
    (arrays,) = shop_folder.glob("models/2*/arrays.safetensors")
    arrays.write_bytes(arrays.read_bytes()[:1000])
    result = run("recommend", "--shop", shop_folder, "--user", "U000005")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"tailrec: {arrays.parent} is no complete model")
    assert result.stderr.count("\n") == 1


def test_what_was_asked_is_json_even_if_nothing_is_found(run: Run, shop_folder: Path) -> None:
    (shop_folder / "tailrec.toml").write_text("[features]\nencode = false\n", "utf-8")
    assert run("fit", "--shop", shop_folder).exit_code == 0
    result = run("search", "xylophonequartz", "--shop", shop_folder, "--json")
    assert json.loads(result.stdout) == []


def test_a_plan_of_exposure_says_what_it_met_and_what_it_cost(
    run: Run, ask: Asks, shop_folder: Path, tmp_path: Path
) -> None:
    with (shop_folder / "tailrec.toml").open("a", encoding="utf-8") as recipe:
        recipe.write(
            '[exposure]\ncost = 0.05\n[[exposure.goals]]\nname = "tail"\n'
            'tier = ["tail", "cold"]\nfloor = 0.6\n'
            '[[exposure.goals]]\nname = "all to one"\nitems = ["P000002"]\nfloor = 0.3\n'
        )
    out = tmp_path / "slates.csv"
    words = ("recommend", "--shop", shop_folder, "--users", "all", "-k", 10)
    refused = run(*words)
    assert refused.exit_code == 2
    assert "run `tailrec fit`" in refused.stderr
    run("fit", "--shop", shop_folder)
    told = ask(*words, "--out", out)["exposure"]
    assert told["n_goals"] == 2
    assert told["n_met"] == 2 - len(told["unmet"])
    assert 0.95 - 1e-6 <= told["kept"] <= told["bound"] + 1e-6 <= 1 + 1e-6
    assert "all to one" in [goal["goal"] for goal in told["unmet"]]
    for goal in told["unmet"]:
        assert goal["missing"] > 0
    printed = run(*words, "--out", out).stdout
    assert f"{told['n_met']} of 2 goals on exposure are met" in printed
    assert "all to one" in printed
    # One person's slate is steered by what was served, and no plan is told.
    assert "goals" not in run("recommend", "--shop", shop_folder, "--user", "U000005").stdout
