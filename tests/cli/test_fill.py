import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result

from tailrec import columns as c
from tailrec.shop import Shop

Run = Callable[..., Result]
Asks = Callable[..., Any]

TRADES = """\
Customer,Code,When,Name
17,A1,2024-01-01,red mug
17,A2,2024-01-02,blue mug
18,A1,2024-01-03,red mug
,A2,2024-01-03,blue mug
"""
MAP = "user_id=Customer,item_id=Code,timestamp=When"


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """A new shop, and trades.csv beside it."""
    (tmp_path / "trades.csv").write_text(TRADES, "utf-8")
    result = run("init", tmp_path / "shop")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{tmp_path / 'shop'} is a shop now")
    return tmp_path / "shop"


def test_init_answers_in_json(ask: Asks, tmp_path: Path) -> None:
    assert ask("init", tmp_path / "new") == {"shop": str(tmp_path / "new")}


def test_a_file_with_other_names_is_ingested_once(
    run: Run, ask: Asks, folder: Path, tmp_path: Path
) -> None:
    words = ("ingest", "events", tmp_path / "trades.csv", "--shop", folder, "--map", MAP)
    words += ("--fill", "type=purchase")
    dry = ask(*words, "--dry-run")
    assert dry["dry_run"]
    assert dry["new_rows"] == {"events": 3}
    with Shop.open(folder) as shop:
        assert shop.store.count("events") == 0
    told = ask(*words)
    assert told["new_rows"] == {"events": 3}
    assert not told["dry_run"]
    rejected = pl.read_csv(folder / "reports" / "rejected-events.csv")
    assert rejected["row"].to_list() == [5]
    again = run(*words)
    assert "events: 4 rows, 3 kept, 1 refused" in again.stdout
    assert "new in the store: 0 events" in again.stdout


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_what_is_exported_can_be_ingested_again(
    ask: Asks, fitted: Shop, folder: Path, tmp_path: Path, ending: str
) -> None:
    for table in ("items", "users", "events"):
        out = tmp_path / f"{table}.{ending}"
        told = ask("export", table, "--shop", fitted.folder, "--out", out)
        assert told == {"table": table, "rows": fitted.store.count(table), "file": str(out)}
        assert ask("ingest", table, out, "--shop", folder)["new_rows"] == {table: told["rows"]}
    with Shop.open(folder) as copy:
        for table in ("items", "users", "events"):
            assert copy.store.read(table).equals(fitted.store.read(table))


def test_export_says_what_it_wrote(run: Run, fitted_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "items.csv"
    result = run("export", "items", "--shop", fitted_folder, "--out", out)
    assert result.stdout == f"200 items written to {out}\n"


def test_erase_says_what_is_gone(run: Run, ask: Asks, shop: Shop) -> None:
    n_events = len(shop.store.history("U000005", limit=10_000))
    told = ask("erase", "U000005", "--shop", shop.folder)
    assert told == {
        "user_id": "U000005",
        "erased": {"events": n_events, "users": 1, "aliases": 0, "slates": 0},
    }
    again = run("erase", "U000005", "--shop", shop.folder)
    assert again.stdout == "erased of U000005: 0 events, 0 users, 0 aliases, 0 slates\n"
    assert not shop.store.read("events").filter(pl.col(c.USER_ID) == "U000005").height


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ingest", "orders", "trades.csv"), "table is 'orders'; it must be one of events, items"),
        (("ingest", "events", "none.csv"), "none.csv"),
        (("ingest", "events", "trades.csv"), "user_id"),
        (("ingest", "events", "trades.csv", "--map", "user_id"), "user_id"),
        (("ingest", "events", "trades.csv", "--map", "nothing=Customer"), "nothing"),
        (("ingest", "events", "trades.csv", "--map", "user_id=Nobody"), "Nobody"),
        (("ingest", "events", "trades.csv", "--preset", "shopify"), "shopify"),
        (("ingest", "events", "empty.csv"), "empty.csv"),
        (("ingest", "events", "trades.csv", "--encoding", "klingon"), "klingon"),
        (("export", "orders", "--out", "x.csv"), "orders"),
        (("export", "items", "--out", "x.xls"), "must end in"),
        (("export", "items", "--out", "none/x.csv"), "is no folder"),
    ],
)
def test_bad_input_is_one_line(
    run: Run,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("empty.csv").write_text("")
    result = run(*words, "--shop", folder)
    assert result.exit_code == 2, result.stderr
    assert says in result.stderr
    assert result.stderr.startswith("tailrec: ")
    assert result.stderr.count("\n") == 1
    with Shop.open(folder) as shop:
        assert not shop.store.count("events")


def test_a_shop_is_not_made_twice(run: Run, folder: Path) -> None:
    result = run("init", folder)
    assert (result.exit_code, result.stderr) == (
        2,
        f"tailrec: {folder} is a shop already; name another folder\n",
    )


def test_a_bad_option_in_the_recipe_is_one_line(run: Run, folder: Path) -> None:
    (folder / "tailrec.toml").write_text("[source]\nkind = 'linear'\nridge = 'much'\n", "utf-8")
    result = run("fit", "--shop", folder)
    assert result.exit_code == 2
    assert "ridge" in result.stderr
    assert "'much'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_the_system_refuses_is_one_line_too(
    run: Run, fitted_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run("tail", "--shop", fitted_folder, "--report", tmp_path / "file" / "report")
    assert result.exit_code == 1
    assert result.stderr.startswith("tailrec: ")
    assert result.stderr.count("\n") == 1


def test_json_reports_hold_the_table(run: Run, ask: Asks, folder: Path, tmp_path: Path) -> None:
    words = ("ingest", "events", tmp_path / "trades.csv", "--shop", folder, "--map", MAP)
    words += ("--fill", "type=purchase", "--dry-run")
    told = json.dumps(ask(*words)["reports"]["events"])
    for line in run(*words).stdout.splitlines():
        if line.startswith("│"):
            assert line.split("│")[1].strip() in told or "all" in line
