from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tailrec.artifact import set_current

Run = Callable[..., Result]
Asks = Callable[..., Any]


def test_doctor_is_content_with_a_good_shop(run: Run, ask: Asks, fitted_folder: Path) -> None:
    told = ask("doctor", "--shop", fitted_folder)
    assert [one["part"] for one in told] == ["store", "data", "model", "encoder", "disk"]
    assert all(one["well"] for one in told)
    result = run("doctor", "--shop", fitted_folder)
    assert result.exit_code == 0
    assert "wrong" not in result.stdout


def test_doctor_ends_with_failure_where_something_is_wrong(run: Run, shop_folder: Path) -> None:
    set_current(shop_folder / "models", "gone")
    result = run("doctor", "--shop", shop_folder)
    assert result.exit_code == 1
    (line,) = [row for row in result.stdout.splitlines() if "wrong" in row]
    assert "model" in line
    result = run("doctor", "--shop", shop_folder / "nowhere", "--json")
    assert result.exit_code == 1
    assert "tailrec init" in result.stdout


def test_demo_runs_from_raw_files_to_reasons(
    run: Run, ask: Asks, tmp_path: Path, encoder_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.shop.Shop.cache", encoder_cache)
    folder = tmp_path / "shop"
    told = ask("demo", folder, "--users", 60, "--items", 80)
    contenders = told["comparison"]["contenders"]
    assert [one["name"] for one in contenders] == ["linear", "popular", "ease"]
    assert len(told["slate"]) == 8
    assert told["explanation"]["item_id"] == told["slate"][0]["item_id"]
    assert told["explanation"]["rank"] == 1
    assert (folder / "reports" / "evaluation" / "index.html").is_file()
    slate = ask("recommend", "--shop", folder, "--user", told["slate"][0]["user_id"], "-k", 8)
    assert slate == told["slate"]
    again = run("demo", folder)
    assert again.exit_code == 2
    assert again.stderr.startswith(f"tailrec: {folder} is a shop already")
