from pathlib import Path

import pytest

from tailrec.files import sync, whole_file


def test_the_file_is_there_once_the_block_is_done(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old", "utf-8")
    with whole_file(path) as beside:
        beside.write_text("new", "utf-8")
        assert path.read_text("utf-8") == "old"
    assert path.read_text("utf-8") == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["figures.json"]


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old", "utf-8")
    with pytest.raises(UnicodeEncodeError), whole_file(path) as beside:
        beside.write_text("half \ud800", "utf-8")
    assert path.read_text("utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["figures.json"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "figures.json"):
        pass
    assert not list(tmp_path.iterdir())


def test_files_and_folders_can_be_synced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a", "utf-8")
    sync(tmp_path / "a")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "b")
