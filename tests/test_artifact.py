"""Artifacts: whole or not there, exact, mapped."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec import artifact
from tailrec.errors import ArtifactError

ARRAYS = {
    "small": np.array([1, -2, 3], np.int8),
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bounds": np.array([0, 5, 9], np.int64),
    "empty": np.zeros((0, 7), np.float32),
}


def saved(folder: Path) -> Path:
    model = folder / "v1"
    artifact.save_artifact(artifact.Artifact("[a]\n", ARRAYS, {"ndcg": 0.5}), model)
    return model


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    loaded = artifact.load_artifact(saved(tmp_path))
    assert loaded.recipe == "[a]\n"
    assert loaded.card["ndcg"] == 0.5
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(loaded.arrays[name], values)
        assert loaded.arrays[name].dtype == values.dtype


def test_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    matrix = artifact.load_artifact(saved(tmp_path)).arrays["matrix"]
    assert not matrix.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


@pytest.mark.parametrize("name", [artifact.RECIPE, artifact.ARRAYS, artifact.CARD])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    model = saved(tmp_path)
    (model / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        artifact.load_artifact(model)


@pytest.mark.parametrize("length", [0, 5, 40, -3])
def test_a_cut_file_is_refused(tmp_path: Path, length: int) -> None:
    model = saved(tmp_path)
    whole = (model / artifact.ARRAYS).read_bytes()
    (model / artifact.ARRAYS).write_bytes(whole[:length])
    with pytest.raises(ArtifactError, match="no complete model"):
        artifact.load_artifact(model)


def test_a_flipped_bit_is_found_by_reading_all(tmp_path: Path) -> None:
    model = saved(tmp_path)
    artifact.verify_artifact(model)
    whole = bytearray((model / artifact.ARRAYS).read_bytes())
    whole[-1] ^= 1
    (model / artifact.ARRAYS).write_bytes(whole)
    artifact.load_artifact(model)
    with pytest.raises(ArtifactError, match=r"arrays\.safetensors is damaged"):
        artifact.verify_artifact(model)


def test_what_the_living_write_is_not_cleared(tmp_path: Path) -> None:
    model = saved(tmp_path)
    mine, dead = tmp_path / f".v2.{os.getpid()}", tmp_path / ".v2.999999999"
    for folder in (mine, dead):
        folder.mkdir()
    (tmp_path / ".current.999999999").write_text("v1")
    artifact.clear_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == [mine, model]


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    bad = artifact.Artifact("", {}, {"card": object()})
    with pytest.raises(TypeError):
        artifact.save_artifact(bad, tmp_path / "v1")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_never_overwritten(tmp_path: Path) -> None:
    model = saved(tmp_path)
    with pytest.raises(ArtifactError, match="never overwritten"):
        artifact.save_artifact(artifact.Artifact("", {}, {}), model)


def test_current_names_the_last_set(tmp_path: Path) -> None:
    assert artifact.get_current(tmp_path) is None
    artifact.set_current(tmp_path, "v1")
    artifact.set_current(tmp_path, "v2")
    assert artifact.get_current(tmp_path) == "v2"


@given(st.lists(st.text()))
def test_strings_come_back(values: list[str]) -> None:
    values = [value.encode(errors="ignore").decode() for value in values]
    assert artifact.unpack_strings(*artifact.pack_strings(values)).tolist() == values
