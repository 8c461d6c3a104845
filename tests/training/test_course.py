"""How a step changes parameters, when a run ends, and what it ends with."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.random import Generator
from safetensors.torch import load_file
from tests.training.apart import MARK, PARAMETERS, begin_together, wait
from tests.training.tasks import WORDS, Line, Masked, same, values
from tests.training.tiny import tiny_language_model
from torch import nn

from tailrec.errors import ArtifactError, RecipeError
from tailrec.training.course import Course, train
from tailrec.training.run_folder import RunFolder

COURSE = Course(steps=12, rate=0.03, check_every=4, keep_every=100, device="cpu")
ROOT = Path(__file__).parents[2]


class Push:
    """The loss is a sum of parameters times a slope, so that the gradient is known."""

    watched = "none"

    def __init__(self, slope: float) -> None:
        self.module = nn.Linear(2, 3)
        self._slope = slope
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.fill_(1.0)

    def batch(self, number: int, rng: Generator) -> Any:
        return number, rng

    def loss(self, batch: Any) -> torch.Tensor:
        assert batch is not None
        return self._slope * sum(p.sum() for p in self.module.parameters())  # type: ignore[return-value]

    def figures(self) -> dict[str, float]:
        return {}


def trained(task: Any, folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    train(task, COURSE.model_copy(update=changes), RunFolder(folder, MARK))
    return values(task.module)


def test_the_rate_rises_and_falls() -> None:
    course = Course(steps=10, warmup=0.2)
    assert [course.share(step) for step in range(10)] == pytest.approx(
        [1 / 3, 2 / 3, *(1 - done / 8 for done in range(8))]
    )
    cosine = [(1 + math.cos(math.pi * done / 8)) / 2 for done in range(8)]
    course = Course(steps=10, warmup=0.2, schedule="cosine")
    assert [course.share(step) for step in range(2, 10)] == pytest.approx(cosine)
    course = Course(steps=10, warmup=0, schedule="constant")
    assert {course.share(step) for step in range(10)} == {1.0}


def test_the_curve_tells_loss_and_rate_of_each_step(tmp_path: Path) -> None:
    trained(Line(), tmp_path)
    curve = RunFolder(tmp_path, MARK).curve()
    steps = [line for line in curve if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["rate"] for line in steps] == [0.03 * COURSE.share(step) for step in range(12)]
    assert [line["step"] for line in curve if "fit" in line] == [0, 4, 8, 12]


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_line_is_learnt(optimiser: str, precision: str, tmp_path: Path) -> None:
    task = Line()
    course = COURSE.model_copy(
        update={"steps": 150, "optimiser": optimiser, "precision": precision, "check_every": 50}
    )
    outcome = train(task, course, RunFolder(tmp_path, MARK))
    assert RunFolder(tmp_path, MARK).curve()[0]["fit"] < -3  # at the beginning
    assert outcome.best["fit"] > -0.1
    assert task.figures() == pytest.approx(outcome.best, abs=1e-6)


def test_only_matrices_decay(tmp_path: Path) -> None:
    """Without a gradient, decay is all that AdamW does: a share of rate times decay a step."""
    kept = trained(
        Push(0.0), tmp_path, steps=3, warmup=0, schedule="constant", rate=0.1, weight_decay=0.5
    )
    assert kept["weight"] == pytest.approx(torch.full((3, 2), 0.95**3))
    assert torch.equal(kept["bias"], torch.ones(3))


def test_no_step_is_longer_than_the_clipped_gradient(tmp_path: Path) -> None:
    plain = {"steps": 1, "warmup": 0, "optimiser": "sgd", "rate": 1.0, "weight_decay": 0.0}
    # Nine parameters with a gradient of 100 each: its length is 300.
    clipped = trained(Push(100.0), tmp_path / "clipped", clip=0.6, **plain)
    moved = torch.cat([1 - value.flatten() for value in clipped.values()])
    assert moved == pytest.approx(torch.full((9,), 0.2), abs=1e-4)
    free = trained(Push(100.0), tmp_path / "free", clip=None, **plain)
    assert torch.equal(free["bias"], torch.full((3,), -99.0))


def test_batches_of_a_step_add_up_to_one(tmp_path: Path) -> None:
    class Halves(Line):
        """The same points, in two batches or in one."""

        def __init__(self, parts: int) -> None:
            super().__init__()
            self._parts = parts

        def batch(self, number: int, rng: Generator) -> torch.Tensor:
            assert rng is not None
            points = torch.linspace(-1, 1, 24).reshape(12, 2, 1)
            step, part = divmod(number, self._parts)
            return points[step] if self._parts == 1 else points[step][part : part + 1]

    whole = trained(Halves(1), tmp_path / "whole")
    halves = trained(Halves(2), tmp_path / "halves", accumulate=2)
    for name, value in whole.items():
        assert torch.allclose(halves[name], value, atol=1e-6), name


def test_recomputed_activations_change_nothing_but_memory(tmp_path: Path) -> None:
    model = tiny_language_model(WORDS, tmp_path / "model")
    n_calls = 0

    def count(*_: Any) -> None:
        nonlocal n_calls
        n_calls += 1

    def counted(task: Masked) -> Masked:
        task.module.bert.encoder.layer[0].attention.register_forward_pre_hook(count)
        return task

    short = {"steps": 4, "check_every": 100}
    plain = trained(counted(Masked(model)), tmp_path / "plain", **short)
    n_plain, n_calls = n_calls, 0
    again = Masked(model)
    recomputed = trained(counted(again), tmp_path / "again", checkpointing=True, **short)
    assert same(plain, recomputed)
    assert n_calls == n_plain + 4
    # Turned on for the run alone.
    assert not any(
        getattr(part, "gradient_checkpointing", False) for part in again.module.modules()
    )
    with pytest.raises(RecipeError, match="`checkpointing` needs a transformers model"):
        trained(Line(), tmp_path / "line", checkpointing=True)


def test_a_run_ends_early(tmp_path: Path) -> None:
    course = COURSE.model_copy(update={"steps": 500, "check_every": 10})
    # So fast that it soon gets no better.
    fast = course.model_copy(update={"rate": 1.0, "patience": 3, "clip": None})
    outcome = train(Line(), fast, RunFolder(tmp_path / "patience", MARK))
    assert outcome.ended == "patience"
    assert outcome.step == outcome.best_step + 30 < 500
    task = Line()
    hasty = course.model_copy(update={"minutes": 0.05 / 60, "check_every": 1000})
    outcome = train(task, hasty, RunFolder(tmp_path / "minutes", MARK))
    assert outcome.ended == "minutes"
    assert 0 < outcome.step < 500
    assert outcome.seconds >= 0.05
    # The last state was measured, though none was due.
    measured = [n["step"] for n in RunFolder(tmp_path / "minutes", MARK).curve() if "fit" in n]
    assert measured == [0, outcome.step]


def test_the_best_state_is_kept(tmp_path: Path) -> None:
    class Worsening(Line):
        """What is watched falls from the second measurement on."""

        def figures(self) -> dict[str, float]:
            self.kept = getattr(self, "kept", [])
            self.kept.append(values(self.module))
            return {"fit": [1.0, 2.0, 1.5, 1.0][len(self.kept) - 1]}

    task = Worsening()
    outcome = train(task, COURSE, RunFolder(tmp_path, MARK))
    assert (outcome.best, outcome.best_step) == ({"fit": 2.0}, 4)
    assert same(values(task.module), task.kept[1])
    assert same(RunFolder(tmp_path, MARK).read_best(), task.kept[1])
    assert not same(task.kept[1], task.kept[3])
    assert not task.module.training


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    class Diverging(Line):
        def batch(self, number: int, rng: Generator) -> torch.Tensor:
            return super().batch(number, rng) * (math.inf if number == 6 else 1)

    with pytest.raises(
        RecipeError, match=r"the loss of step 7 is (nan|inf); begin anew with a low"
    ):
        train(Diverging(), COURSE, RunFolder(tmp_path, MARK))
    kept = RunFolder(tmp_path, MARK).read_checkpoint()
    assert kept is not None
    assert kept[1]["step"] == 6
    assert all(value.isfinite().all() for value in kept[0].values())


def test_devices_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="device 'abacus' is none of PyTorch's"):
        trained(Line(), tmp_path, device="abacus")
    with pytest.raises(RecipeError, match=r"device '(cuda:99|xpu)' is not there: this machine has"):
        trained(Line(), tmp_path, device="cuda:99" if torch.cuda.is_available() else "xpu")


def test_something_must_be_trained(tmp_path: Path) -> None:
    task = Line()
    task.module.requires_grad_(False)
    with pytest.raises(RecipeError, match="nothing is trained"):
        trained(task, tmp_path)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    task = Line()
    task.module[0].requires_grad_(False)
    before, after = values(task.module), trained(task, tmp_path)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["3.weight"], after["3.weight"])
    assert sorted(RunFolder(tmp_path, MARK).read_best()) == ["3.bias", "3.weight"]


def test_the_caller_keeps_their_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    trained(Line(dropout=0.5), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_seeds_decide(tmp_path: Path) -> None:
    one, again = (trained(Line(dropout=0.2), tmp_path / name, seed=3) for name in ("a", "b"))
    assert same(one, again)
    assert not same(one, trained(Line(dropout=0.2), tmp_path / "c", seed=4))


def test_progress_shows_the_loss(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run = RunFolder(tmp_path, MARK)
    train(Line(), COURSE, run, progress=lambda *step: told.append(step))
    losses = [line["loss"] for line in run.curve() if "loss" in line]
    assert told == [(f"training, loss {loss:.3f}", n + 1, 12) for n, loss in enumerate(losses)]


@pytest.mark.parametrize("changes", [{}, {"optimiser": "sgd", "precision": "bf16"}])
def test_two_processes_are_one_with_twice_the_batches(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    course = COURSE.model_copy(update={**changes, "keep_every": 5})
    run = RunFolder(tmp_path / "run", MARK)
    assert wait(begin_together(2, run.folder, course, dropout=0.2)) == [0, 0]
    alone = Line(dropout=0.2)
    once = RunFolder(tmp_path / "alone" / "run", MARK)
    outcome = train(alone, course.model_copy(update={"accumulate": 2}), once)
    for rank in range(2):
        assert same(load_file(tmp_path / f"{rank}-{PARAMETERS}"), values(alone.module))
    # One of them wrote, once each line.
    assert [n["step"] for n in run.curve()] == [n["step"] for n in once.curve()]
    for line, other in zip(run.curve(), once.curve(), strict=True):
        assert line == pytest.approx(other, rel=1e-6)
    assert run.kept_step() == outcome.step
    with pytest.raises(ArtifactError, match="was trained by 2 processes, and this is 1"):
        train(Line(dropout=0.2), course, run)


@pytest.mark.slow
def test_two_processes_of_the_launcher(tmp_path: Path) -> None:
    """As a user begins them; killed together in the middle, they go on."""
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from safetensors.torch import save_file\n"
        "from tailrec.training.course import Course, train\n"
        "from tailrec.training.devices import is_main\n"
        "from tailrec.training.run_folder import RunFolder\n"
        "from tests.training.tasks import Line, values\n"
        "torch.set_num_threads(1)\n"
        "folder, stop = Path(sys.argv[1]), int(sys.argv[2])\n"
        "task = Line(dropout=0.2)\n"
        "def progress(_, step, __):\n"
        "    if step == stop:\n"
        "        raise SystemExit(3)\n"
        "course = Course.load(folder / 'recipe.toml')\n"
        "train(task, course, RunFolder(folder, 'line'), progress=progress)\n"
        "if is_main():\n"
        "    save_file(values(task.module), folder / 'parameters.safetensors')\n"
    )
    run = RunFolder(tmp_path / "run", MARK)
    script = tmp_path / "script.py"
    script.write_text(code)
    course = COURSE.model_copy(update={"steps": 40, "keep_every": 7})
    run.write_recipe(course)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--standalone", str(script), str(run.folder)]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    stopped = subprocess.run([*launch, "17"], cwd=ROOT, env=own, capture_output=True, check=False)
    assert stopped.returncode != 0
    kept = run.kept_step()
    assert kept is not None
    assert 14 <= kept < 40
    subprocess.run([*launch, "0"], cwd=ROOT, env=own, capture_output=True, check=True)
    alone = Line(dropout=0.2)
    once = RunFolder(tmp_path / "alone", MARK)
    train(alone, course.model_copy(update={"accumulate": 2}), once)
    assert same(load_file(run.folder / "parameters.safetensors"), values(alone.module))
