import shutil
from pathlib import Path

import pytest

from tailrec.errors import RecipeError
from tailrec.features.weights import PACKAGED, find_model, fingerprint


def test_the_packaged_model_is_there() -> None:
    assert (find_model(PACKAGED) / "modules.json").is_file()


def test_a_folder_is_taken_as_it_is(tiny_model: Path) -> None:
    assert find_model(str(tiny_model)) == tiny_model


def test_a_folder_is_looked_for_in_the_shop(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_model, tmp_path / "shop" / "encoders" / "own")
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "shop" / "encoders" / "own"
    assert find_model("encoders/own", tmp_path / "shop") == found
    assert find_model("shop/encoders/own").resolve() == found
    assert find_model(str(tiny_model), tmp_path / "shop") == tiny_model
    assert find_model(PACKAGED, tmp_path / "shop") == find_model(PACKAGED)
    # The hub is not asked for what can only be a folder.
    with pytest.raises(RecipeError, match=r"'encoders/other' is not there: .*/shop/encoders/other"):
        find_model("encoders/other", tmp_path / "shop")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no modules\.json"):
        find_model(str(tmp_path))


def test_a_model_that_cannot_be_fetched_is_named() -> None:
    with pytest.raises(RecipeError, match=r"'nobody/nothing-here'.*needs no network"):
        find_model("nobody/nothing-here")
    with pytest.raises(RecipeError, match="'no such: name'"):
        find_model("no such: name")


def test_weights_and_settings_tell_models_apart(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    (copy / "README.md").write_text("other words about the same weights")
    assert fingerprint(copy) == fingerprint(tiny_model)
    marks = {fingerprint(copy)}
    for name in ("model.safetensors", "1_Pooling/config.json", "tokenizer.json"):
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(whole + b" ")
        marks.add(fingerprint(copy))
        (copy / name).write_bytes(whole)
    assert len(marks) == 4
