"""A run that was killed, interrupted or failed goes on as if nothing had happened."""

import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from time import sleep

import pytest
import torch
from safetensors.torch import load_file
from tests.training.apart import MARK, PARAMETERS, begin, wait
from tests.training.tasks import WORDS, Line, Masked, same, values
from tests.training.tiny import tiny_language_model
from torch.optim.optimizer import register_optimizer_step_post_hook

from tailrec.errors import ArtifactError
from tailrec.training.course import Course, Outcome, train
from tailrec.training.run_folder import RunFolder

COURSE = Course(
    steps=24, rate=0.03, accumulate=2, check_every=4, keep_every=5, device="cpu", optimiser="adamw"
)


class Stopped(Exception):  # noqa: N818
    """Whoever trains was stopped."""


def stop_after(step: int) -> Callable[[str, int, int], None]:
    def progress(_: str, done: int, __: int) -> None:
        if done == step:
            raise Stopped

    return progress


def whole(folder: Path, course: Course, task: Line | Masked) -> tuple[Outcome, object, object]:
    """What a run gives that nobody disturbs: how it ended, its curve, its parameters."""
    run = RunFolder(folder, MARK)
    outcome = train(task, course, run)
    return outcome, run.curve(), values(task.module)


def assert_like_unbroken(folder: Path, course: Course, task: Line, expected: Path) -> None:
    """A run goes on to the end, and is as the run in another folder."""
    outcome, curve, parameters = whole(folder, course, task)
    fresh = Line(dropout=0.2, norm=True)
    unbroken, straight, known = whole(expected, course, fresh)
    assert curve == straight
    assert same(parameters, known)  # type: ignore[arg-type]
    assert (outcome.step, outcome.best, outcome.best_step) == (
        unbroken.step,
        unbroken.best,
        unbroken.best_step,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "sgd", "schedule": "cosine", "clip": None},
        {"precision": "bf16", "accumulate": 1},
        {"patience": 2, "rate": 0.2},
    ],
)
def test_stopped_after_some_steps(changes: dict[str, object], tmp_path: Path) -> None:
    """Between two checkpoints, at one, and at a measurement."""
    stopped_after((1, 3, 5, 8), changes, tmp_path)


@pytest.mark.slow
def test_stopped_after_any_step(tmp_path: Path) -> None:
    stopped_after(range(1, COURSE.steps), {}, tmp_path)


def stopped_after(steps: Iterable[int], changes: dict[str, object], tmp_path: Path) -> None:
    course = COURSE.model_copy(update=changes)
    straight = whole(tmp_path / "straight", course, Line(dropout=0.2, norm=True))
    for step in steps:
        folder = tmp_path / str(step)
        with pytest.raises(Stopped):
            train(
                Line(dropout=0.2, norm=True),
                course,
                RunFolder(folder, MARK),
                progress=stop_after(step),
            )
        outcome, curve, parameters = whole(folder, course, Line(dropout=0.2, norm=True))
        assert curve == straight[1]
        assert same(parameters, straight[2])  # type: ignore[arg-type]
        assert outcome.best == straight[0].best
    assert ("patience" in changes) == (straight[0].step < course.steps)


def test_the_scale_of_small_gradients_is_kept(tmp_path: Path) -> None:
    """Losses so large that the first scales overflow: steps are skipped until one fits."""
    course = COURSE.model_copy(update={"precision": "fp16"})
    straight = whole(tmp_path / "straight", course, Line(times=3000))
    kept = RunFolder(tmp_path / "straight", MARK).read_checkpoint()
    assert kept is not None
    assert kept[1]["scaler"]["scale"] < 2**16
    for step in (1, 3, 9):
        run = RunFolder(tmp_path / str(step), MARK)
        with pytest.raises(Stopped):
            train(Line(times=3000), course, run, progress=stop_after(step))
        _, curve, parameters = whole(run.folder, course, Line(times=3000))
        assert curve == straight[1]
        assert same(parameters, straight[2])  # type: ignore[arg-type]


def test_a_language_model_goes_on(tmp_path: Path) -> None:
    model = tiny_language_model(WORDS, tmp_path / "model")
    course = COURSE.model_copy(
        update={"steps": 10, "rate": 1e-3, "adversarial": 0.5, "checkpointing": True}
    )
    straight = whole(tmp_path / "straight", course, Masked(model))
    run = RunFolder(tmp_path / "run", MARK)
    for step in (3, 7):
        with pytest.raises(Stopped):
            train(Masked(model), course, run, progress=stop_after(step))
    _, curve, parameters = whole(run.folder, course, Masked(model))
    assert curve == straight[1]
    assert same(parameters, straight[2])  # type: ignore[arg-type]


class Fragile(Line):
    """Fails in the middle of a step, or of a measurement, once."""

    def __init__(self, place: str, at: int) -> None:
        super().__init__(dropout=0.2, norm=True)
        self._place, self._left = place, at

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        loss = super().loss(batch)
        self._count("loss")
        return loss

    def figures(self) -> dict[str, float]:
        figures = super().figures()
        self._count("figures")
        return figures

    def _count(self, place: str) -> None:
        self._left -= place == self._place
        if self._left < 0:
            raise Stopped


@pytest.mark.parametrize(("place", "at"), [("loss", 0), ("loss", 7), ("loss", 20), ("figures", 3)])
def test_a_fault_inside_a_step_leaves_the_last_whole_one(
    place: str, at: int, tmp_path: Path
) -> None:
    """Running means of a norm layer have moved when the second batch of a step fails."""
    run = RunFolder(tmp_path / "run", MARK)
    with pytest.raises(Stopped):
        train(Fragile(place, at), COURSE, run)
    assert run.kept_step() == (at // 2 if place == "loss" else 4 * at)
    assert_like_unbroken(run.folder, COURSE, Line(dropout=0.2, norm=True), tmp_path / "straight")


def killed_at(folder: Path, places: list[int], expected: Path) -> int:
    """Kill a run at its n-th file operation, for each n; how many of them came to pass."""
    straight = whole(expected, COURSE, Line(dropout=0.2, norm=True))
    n_killed = 0
    for place in places:
        own = folder / str(place) / "run"
        own.mkdir(parents=True)
        (code,) = wait([begin(own, COURSE, die_at=place, dropout=0.2, norm=True)])
        n_killed += code == -signal.SIGKILL
        outcome, curve, parameters = whole(own, COURSE, Line(dropout=0.2, norm=True))
        assert curve == straight[1], place
        assert same(parameters, straight[2]), place  # type: ignore[arg-type]
        assert outcome.best_step == straight[0].best_step
        leftovers = [path.name for path in own.iterdir() if path.name.startswith(".")]
        assert leftovers == []
    return n_killed


def test_killed_where_files_are_written(tmp_path: Path) -> None:
    places = random.Random(5).sample(range(5, 75), 4)
    assert killed_at(tmp_path, places, tmp_path / "straight") == len(places)


@pytest.mark.slow
def test_killed_at_every_file_operation(tmp_path: Path) -> None:
    n_places = 130
    n_killed = killed_at(tmp_path, list(range(n_places)), tmp_path / "straight")
    assert 70 < n_killed < n_places  # the last ones lie behind the run's end


def test_killed_again_and_again_at_any_time(tmp_path: Path) -> None:
    course = COURSE.model_copy(update={"steps": 150, "keep_every": 10, "check_every": 30})
    run = RunFolder(tmp_path / "run", MARK)
    drawn = random.Random(2)
    codes = []
    for _ in range(40):
        before = len(run.curve())
        process = begin(run.folder, course, dropout=0.2, norm=True)
        while process.exitcode is None and len(run.curve()) < before + 20:
            sleep(0.002)
        sleep(drawn.uniform(0, 0.05))
        process.kill()
        codes += wait([process])
        if codes[-1] == 0:
            break
    assert codes[-1] == 0
    assert codes.count(-signal.SIGKILL) >= 3
    _, curve, parameters = whole(tmp_path / "straight", course, Line(dropout=0.2, norm=True))
    assert run.curve() == curve
    assert same(load_file(tmp_path / f"0-{PARAMETERS}"), parameters)  # type: ignore[arg-type]


def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path) -> None:
    course = COURSE.model_copy(update={"steps": 400, "keep_every": 10**6, "check_every": 10**6})
    run = RunFolder(tmp_path / "run", MARK)
    process = begin(run.folder, course, dropout=0.2)
    while len(run.curve()) < 30:
        sleep(0.002)
    assert run.kept_step() == 0  # of the beginning
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert wait([process]) == [1]  # KeyboardInterrupt
    step = run.kept_step()
    assert step is not None
    assert step >= 29
    assert [line["step"] for line in run.curve() if "loss" in line] == list(range(1, step + 1))
    again = RunFolder(tmp_path / "again", MARK)
    outcome = train(Line(dropout=0.2), course, again)
    assert train(Line(dropout=0.2), course, run).best == outcome.best
    assert run.curve() == again.curve()


def test_ctrl_c_waits_for_what_changes_together(tmp_path: Path) -> None:
    """It comes when parameters have changed and the step is not counted yet."""
    n_updates = 0

    def interrupt(*_: object) -> None:
        nonlocal n_updates
        n_updates += 1
        if n_updates == 7:
            signal.raise_signal(signal.SIGINT)

    run = RunFolder(tmp_path / "run", MARK)
    hook = register_optimizer_step_post_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(Line(dropout=0.2, norm=True), COURSE, run)
    hook.remove()
    assert run.kept_step() == 7
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_like_unbroken(run.folder, COURSE, Line(dropout=0.2, norm=True), tmp_path / "straight")


def test_two_processes_train_alike(tmp_path: Path) -> None:
    folders = [tmp_path / name / "run" for name in ("one", "other")]
    processes = []
    for folder in folders:
        folder.mkdir(parents=True)
        processes.append(begin(folder, COURSE, dropout=0.2, norm=True))
    assert wait(processes) == [0, 0]
    one, other = (load_file(folder.parent / f"0-{PARAMETERS}") for folder in folders)
    assert same(one, other)
    _, curve, parameters = whole(tmp_path / "here", COURSE, Line(dropout=0.2, norm=True))
    assert same(one, parameters)  # type: ignore[arg-type]
    assert [RunFolder(folder, MARK).curve() for folder in folders] == [curve, curve]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = whole(tmp_path, COURSE, Line())
    told: list[str] = []
    task = Line()
    again = train(task, COURSE, RunFolder(tmp_path, MARK), progress=lambda *_: told.append("step"))
    assert told == []
    assert again == first[0]
    assert same(values(task.module), first[2])  # type: ignore[arg-type]


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    whole(tmp_path, COURSE, Line())
    with pytest.raises(ArtifactError, match="of another recipe or of other data; name another run"):
        train(Line(), COURSE, RunFolder(tmp_path, "other"))
    with pytest.raises(ArtifactError, match="of a module with other parameters"):
        train(Line(norm=True), COURSE, RunFolder(tmp_path, MARK))


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "best.safetensors"])
def test_damage_is_seen(name: str, tmp_path: Path) -> None:
    whole(tmp_path, COURSE, Line())
    path = tmp_path / name
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-3] ^= 1
    for bad in (good[:-1], good[: len(good) // 2], b"", b"x" * 100, bytes(flipped)):
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match=rf"{name} is damaged .* delete .* to begin anew"):
            train(Line(), COURSE, RunFolder(tmp_path, MARK))
    path.unlink()
    if name.startswith("best"):
        with pytest.raises(ArtifactError, match=r"best\.safetensors is damaged"):
            train(Line(), COURSE, RunFolder(tmp_path, MARK))
