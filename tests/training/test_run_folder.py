"""What a run leaves on the disk."""

import json
import math
from pathlib import Path

import pytest
import torch
from tests.training.apart import MARK

from tailrec.errors import ArtifactError
from tailrec.training.course import Course
from tailrec.training.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run", MARK)


def test_a_curve_is_read_as_it_was_written(run: RunFolder) -> None:
    assert run.curve() == []
    run.begin()
    run.add_to_curve(1, {"loss": 0.1 + 0.2})
    run.add_to_curve(1, {"fit": math.nan, "recall@10": 0.5})
    first, second = run.curve()
    assert first == {"step": 1, "loss": 0.1 + 0.2}
    assert math.isnan(second.pop("fit"))
    assert second == {"step": 1, "recall@10": 0.5}
    # Every line is JSON, which knows no NaN.
    for line in (run.folder / "curve.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_torn_last_line_does_not_matter(run: RunFolder) -> None:
    run.begin()
    for step in range(4):
        run.add_to_curve(step, {"loss": float(step)})
    path = run.folder / "curve.jsonl"
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        assert [line["step"] for line in run.curve()] == [0, 1, 2]
    run.cut_curve(2)
    run.add_to_curve(9, {"loss": 9.0})
    assert [line["step"] for line in run.curve()] == [0, 1, 9]
    path.unlink()
    run.cut_curve(2)
    assert run.curve() == []


def test_a_checkpoint_is_read_as_it_was_written(run: RunFolder) -> None:
    assert run.read_checkpoint() is None
    assert run.kept_step() is None
    tensors = {
        "matrix": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
        "half": torch.ones(2, dtype=torch.bfloat16),
        "number": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0),
    }
    facts = {"step": 3, "best_step": 0, "best": {"fit": 0.1}, "checked": None}
    run.write_checkpoint(tensors, facts)
    kept = run.read_checkpoint()
    assert kept is not None
    assert kept[1] == facts
    assert run.kept_step() == 3
    for name, value in tensors.items():
        assert kept[0][name].dtype == value.dtype
        assert torch.equal(kept[0][name], value)


def test_a_better_state_waits_for_a_checkpoint(run: RunFolder) -> None:
    def checkpoint(step: int, best_step: int) -> None:
        run.write_checkpoint({}, {"step": step, "best_step": best_step})

    def best() -> float:
        return float(run.read_best()["p"])

    run.write_best({"p": torch.tensor(1.0)}, 1)
    checkpoint(2, 1)
    # Killed after a better state was written: the checkpoint does not know of it yet.
    run.write_best({"p": torch.tensor(5.0)}, 5)
    assert best() == 1.0
    # The run came back, and another state was the better one this time.
    run.write_best({"p": torch.tensor(4.0)}, 4)
    checkpoint(6, 4)
    assert best() == 4.0
    # Killed between the checkpoint and the renaming.
    run.write_best({"p": torch.tensor(8.0)}, 8)
    (run.folder / "best.next.safetensors").rename(run.folder / "aside")
    checkpoint(9, 8)
    (run.folder / "aside").rename(run.folder / "best.next.safetensors")
    assert best() == 8.0
    checkpoint(11, 10)
    with pytest.raises(ArtifactError, match="is of step 8, and the checkpoint speaks of step 10"):
        run.read_best()


def test_a_new_run_has_no_best_state_of_an_old_one(run: RunFolder) -> None:
    run.write_best({"p": torch.ones(1)}, 0)
    run.begin()
    run.write_checkpoint({}, {"step": 0, "best_step": 0})
    with pytest.raises(ArtifactError, match=r"best\.safetensors is damaged"):
        run.read_best()


def test_options_and_card_can_be_read(run: RunFolder) -> None:
    course = Course(rate=0.25, patience=None)
    run.write_recipe(course)
    assert Course.load(run.folder / "recipe.toml") == course
    run.write_card({"items": 3, "figure": math.nan})
    assert json.loads((run.folder / "card.json").read_text()) == {"items": 3, "figure": None}


def test_what_killed_processes_left_is_cleared(run: RunFolder) -> None:
    left = run.folder / ".checkpoint.safetensors.999999999"
    left.write_text("half")
    RunFolder(run.folder, MARK)
    assert not left.exists()


def test_a_run_is_trained_by_one_process(run: RunFolder) -> None:
    with run.alone():
        other = RunFolder(run.folder, MARK)
        with pytest.raises(ArtifactError, match="another process"), other.alone():
            pass
    with run.alone():
        pass
