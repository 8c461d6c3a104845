"""The main job with the tables in PostgreSQL, named by the environment."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tailrec.cli import app
from tailrec.shop import Shop


def test_from_files_to_slates(
    raw_files: Path, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    monkeypatch.setenv("TAILREC_STORE_URL", postgres_url)
    folder = tmp_path / "shop"
    run("init", folder)
    assert not (folder / "store.db").exists()
    (folder / "tailrec.toml").write_text("[features]\nencode = false\n", "utf-8")
    for file in sorted(raw_files.iterdir(), reverse=True):
        run("ingest", file.stem, file, "--shop", folder)
    run("fit", "--shop", folder)
    slates = run("recommend", "--shop", folder, "--user", "U000005", "-k", 5)
    assert "ok" in run("doctor", "--shop", folder)
    monkeypatch.delenv("TAILREC_STORE_URL")
    # The same answer as with the tables in a file.
    Shop.create(tmp_path / "twin").close()
    (tmp_path / "twin" / "tailrec.toml").write_text("[features]\nencode = false\n", "utf-8")
    for file in sorted(raw_files.iterdir(), reverse=True):
        run("ingest", file.stem, file, "--shop", tmp_path / "twin")
    run("fit", "--shop", tmp_path / "twin")
    twin = run("recommend", "--shop", tmp_path / "twin", "--user", "U000005", "-k", 5)
    assert slates.splitlines()[1:] == twin.splitlines()[1:]
