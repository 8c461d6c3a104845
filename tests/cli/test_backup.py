"""`tailrec backup` and `tailrec restore`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from tailrec.shop import Shop

Run = Callable[..., Result]
Asks = Callable[..., Any]


def test_there_and_back(run: Run, ask: Asks, shop_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "shop.tar"
    told = ask("backup", path, "--shop", shop_folder)
    assert (told["store"], len(told["models"])) == ("sqlite", 1)
    assert told["bytes"] == path.stat().st_size
    assert "models: 1" in run("backup", path, "--shop", shop_folder).stdout
    assert ask("restore", path, tmp_path / "again")["models"] == told["models"]
    with Shop.open(shop_folder) as shop, Shop.open(tmp_path / "again") as again:
        assert again.store.fingerprint() == shop.store.fingerprint()
    result = run("restore", path, tmp_path / "again")
    assert result.exit_code == 2
    assert "name another folder" in result.stderr


def test_a_recipe_that_names_a_store_is_pointed_out(
    run: Run, shop_folder: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{shop_folder / 'store.db'}"
    (shop_folder / "tailrec.toml").write_text(f'[store]\nurl = "{url}"\n', "utf-8")
    run("backup", tmp_path / "shop.tar", "--shop", shop_folder)
    result = run("restore", tmp_path / "shop.tar", tmp_path / "again")
    assert result.exit_code == 0
    assert "[store] url" in result.stdout


def test_a_store_elsewhere_is_not_in_it(run: Run, postgres_url: str, tmp_path: Path) -> None:
    Shop.create(tmp_path / "shop", store_url=postgres_url).close()
    recipe = f'[store]\nurl = "{postgres_url}"\n'
    (tmp_path / "shop" / "tailrec.toml").write_text(recipe, "utf-8")
    result = run("backup", tmp_path / "shop.tar", "--shop", tmp_path / "shop")
    assert "the store is in PostgreSQL and not in the file" in result.stdout
