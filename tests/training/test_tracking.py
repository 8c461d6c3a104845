"""Curves that others show: TensorBoard, Weights & Biases, a picture."""

import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.training.apart import MARK
from tests.training.tasks import Line
from tests.training.test_resume import Stopped, stop_after

from tailrec.errors import DataError, MissingExtra
from tailrec.training.course import Course, train
from tailrec.training.curves import draw_curve, write_curve
from tailrec.training.run_folder import RunFolder
from tailrec.training.tracking import Several, TensorBoard, WeightsAndBiases

COURSE = Course(steps=12, rate=0.03, check_every=4, keep_every=5, device="cpu")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "first $try$", MARK)


def shown(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_shows_each_step_once(run: RunFolder) -> None:
    """A run that is killed has told more than its checkpoint knows; that is told again."""
    with TensorBoard.of(run) as board:
        train(Line(), COURSE.model_copy(update={"steps": 5}), run, tracker=board)
        for step in (6, 7):
            board.tell(step, {"loss": -1.0})  # what a killed process told after its checkpoint
    with TensorBoard.of(run) as board:
        train(Line(), COURSE, run, tracker=board)
    losses = [(n["step"], n["loss"]) for n in run.curve() if "loss" in n]
    found = shown(run.folder / "tensorboard", "loss")
    assert [step for step, _ in found] == list(range(1, 13))
    assert [value for _, value in found] == pytest.approx([value for _, value in losses])
    fits = [n["fit"] for n in run.curve() if "fit" in n]
    assert [value for _, value in shown(run.folder / "tensorboard", "fit")] == pytest.approx(fits)


def test_weights_and_biases_keeps_one_run(run: RunFolder) -> None:
    pytest.importorskip("wandb")
    ids = set()
    for stop in (7, None):
        options = COURSE.model_dump()
        with WeightsAndBiases(run, project="tail", mode="offline", options=options) as tracker:
            ids.add((run.folder / "wandb" / "id").read_text())
            if stop is None:
                train(Line(), COURSE, run, tracker=tracker)
            else:
                with pytest.raises(Stopped):
                    train(Line(), COURSE, run, tracker=tracker, progress=stop_after(stop))
    (own,) = ids
    files = sorted((run.folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert {file.name for file in files} == {f"run-{own}.wandb"}
    # Written by a process of its own, which may still be at it.
    until = monotonic() + 20
    while not all(map(is_told, files)) and monotonic() < until:
        sleep(0.05)
    assert all(map(is_told, files))


def is_told(file: Path) -> bool:
    content = file.read_bytes()
    return all(name in content for name in (b"weight_decay", b"fit", b"loss", b"step"))


def test_without_the_package_the_extra_is_named(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match=r"install tailrec\[tracking\]"):
        WeightsAndBiases(run, project="tail")


def test_several_trackers_are_told_alike() -> None:
    class Heard:
        def __init__(self) -> None:
            self.told: list[object] = []

        def tell(self, step: int, figures: object) -> None:
            self.told.append((step, figures))

    one, other = Heard(), Heard()
    Several(one, other).tell(3, {"loss": 0.5})
    assert one.told == other.told == [(3, {"loss": 0.5})]


def test_a_curve_is_drawn(run: RunFolder) -> None:
    with pytest.raises(DataError, match="has made no step"):
        write_curve(run, "fit")
    train(Line(), COURSE, run)
    picture = write_curve(run, "fit")
    assert picture.name == "curve.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    loss, held_out = draw_curve(run.curve(), "fit", "name").axes
    mean = loss.lines[1]
    assert list(mean.get_xdata()) == list(range(1, 13))
    assert list(mean.get_ydata()) == pytest.approx([n["loss"] for n in run.curve() if "loss" in n])
    best = held_out.lines[-1]
    fits = {n["step"]: n["fit"] for n in run.curve() if "fit" in n}
    assert (best.get_xdata()[0], best.get_ydata()[0]) == max(fits.items(), key=lambda one: one[1])
    only_loss = draw_curve([n for n in run.curve() if "loss" in n], "fit", "name")
    assert len(only_loss.axes) == 1
