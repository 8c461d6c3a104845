"""One loop that trains everything: steps, schedule, checks, checkpoints, an early end.

What is trained, and on what, is a `Task`. The batch of a step and every number drawn in it depend
on the seed and the step alone, so a run that was stopped anywhere goes on as if it had not been.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.random import Generator
from pydantic import Field

from tailrec.artifact import under
from tailrec.recipe import Recipe
from tailrec.training.run_folder import Progress, RunFolder
from tailrec.training.tracking import Tracker


class Course(Recipe):
    """How anything is trained.

    Attributes:
        steps: of the optimiser; the schedule spans them.
        minutes: the run ends early after so many, at the end of a step; None: after all steps.
        optimiser: `adamw`, or `sgd` with momentum.
        rate: highest learning rate.
        momentum: of `sgd`.
        weight_decay: of matrices; biases and norms have none.
        warmup: share of the steps in which the rate rises from 0.
        schedule: how it falls afterwards: `linear` or `cosine` to 0, or `constant`.
        clip: longest gradient; None: any.
        accumulate: batches of one step.
        precision: `fp32`, or mixed with `bf16` or `fp16`.
        checkpointing: activations are computed twice instead of kept, to save memory.
        check_every: steps between two measurements on held-out data.
        patience: measurements without a better one that end the run; None: all steps are made.
        keep_every: steps between two checkpoints.
        device: `auto`, or a device of PyTorch's.
        seed: of all that is drawn.
    """

    steps: int = Field(default=1000, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(default=5e-5, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.06, ge=0, le=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    clip: float | None = Field(default=1.0, gt=0)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpointing: bool = False
    check_every: int = Field(default=100, ge=1)
    patience: int | None = Field(default=None, ge=1)
    keep_every: int = Field(default=50, ge=1)
    device: str = "auto"
    seed: int = 0

    def share(self, step: int) -> float:
        """What a step's learning rate is of the highest, steps from 0."""
        rising = round(self.warmup * self.steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.schedule == "constant":
            return 1.0
        done = (step - rising) / max(self.steps - rising, 1)
        return 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2


class Task(Protocol):
    """What is trained, and on what.

    Attributes:
        module: parameters that require a gradient are trained.
        watched: the figure that says which state is best; higher is better.
    """

    module: torch.nn.Module
    watched: str

    def batch(self, number: int, rng: Generator) -> Any:
        """What `loss` takes; it depends on the batch's number and `rng` alone."""
        ...

    def loss(self, batch: Any) -> torch.Tensor:
        """A scalar, with a gradient; the module is in training mode, on its device."""
        ...

    def figures(self) -> dict[str, float]:
        """Measured on held-out data; the module is in evaluation mode. Empty: nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: steps made, those before a stop included.
        best: figures of the state that was kept; empty where nothing is measured.
        best_step: steps after which it was measured.
        seconds: of training, over all parts of a run that was continued.
        ended: `steps`, `minutes` or `patience`.
    """

    step: int
    best: Mapping[str, float]
    best_step: int
    seconds: float
    ended: str


def train(
    task: Task,
    course: Course,
    run: RunFolder,
    *,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train a task, going on from the run's checkpoint where it has one.

    The module ends in its best measured state, or in its last where nothing is measured. Ctrl-C
    and errors leave a checkpoint of the last whole step.

    Args:
        task: its module is changed in place.
        course: how.
        run: where checkpoints and the curve are kept.
        tracker: told every step's loss and rate and every figure.
        progress: called after each step: what is done (with the loss), steps made, all steps.

    Raises:
        ArtifactError: the checkpoint is damaged, or of another recipe.
    """
    loop = _Loop(task, course, run, tracker)
    if not loop.resume():
        loop.check()
    started, before = monotonic(), loop.seconds
    try:
        while (ended := loop.ended()) is None:
            loss = loop.one_step()
            loop.seconds = before + monotonic() - started
            if progress is not None:
                progress(f"training, loss {loss:.3f}", loop.step, course.steps)
    except BaseException:
        loop.keep()
        raise
    loop.keep()
    loop.take_best()
    return Outcome(loop.step, loop.best, loop.best_step, loop.seconds, ended)


class _Loop:
    """A run under way: the state that a checkpoint holds, and how a step changes it."""

    def __init__(self, task: Task, course: Course, run: RunFolder, tracker: Tracker | None) -> None:
        AcceleratorState._reset_state()
        self._course, self._task, self._run, self._tracker = course, task, run, tracker
        mixed = "no" if course.precision == "fp32" else course.precision
        self._accelerator = Accelerator(mixed_precision=mixed, cpu=course.device == "cpu")
        task.module.to(self._accelerator.device)
        self._trained = {n: p for n, p in task.module.named_parameters() if p.requires_grad}
        self._optimiser = self._accelerator.prepare(_optimiser(self._trained, course))
        self.step = self.best_step = self._worse = 0
        self.seconds = 0.0
        self.best: dict[str, float] = {}

    def resume(self) -> bool:
        """Take up the run's checkpoint; whether there is one."""
        kept = self._run.read_checkpoint()
        if kept is None:
            self._run.begin()
            return False
        tensors, facts = kept
        self.step, self.best_step, self._worse = (facts[n] for n in ("step", "best_step", "worse"))
        self.seconds, self.best = facts["seconds"], facts["best"]
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(tensors[f"module.{name}"])
        state = self._optimiser.state
        for name, parameter in self._trained.items():
            own = under(tensors, f"optimiser.{name}.")
            state[parameter] = {key: value.to(parameter.device) for key, value in own.items()}
        self._run.cut_curve(self.step)
        return True

    def keep(self) -> None:
        """Write a checkpoint."""
        tensors = {f"module.{n}": p.detach() for n, p in self._trained.items()}
        for name, parameter in self._trained.items():
            for key, value in self._optimiser.state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"optimiser.{name}.{key}"] = torch.as_tensor(value)
        facts = {"step": self.step, "best_step": self.best_step, "worse": self._worse}
        self._run.write_checkpoint(tensors, {**facts, "seconds": self.seconds, "best": self.best})

    def ended(self) -> str | None:
        """Why the run is over; None while it is not."""
        if self.step >= self._course.steps:
            return "steps"
        if self._course.minutes is not None and self.seconds >= 60 * self._course.minutes:
            return "minutes"
        patience = self._course.patience
        return "patience" if patience is not None and self._worse >= patience else None

    def one_step(self) -> float:
        """One step of the optimiser and what follows it; the mean loss."""
        course, accelerator = self._course, self._accelerator
        self._task.module.train()
        # Dropout depends on the step alone, so that a run can go on anywhere.
        torch.manual_seed(_drawn(course.seed, self.step))
        loss = 0.0
        for part in range(course.accumulate):
            number = self.step * course.accumulate + part
            batch = self._task.batch(number, np.random.default_rng([course.seed, number]))
            with accelerator.autocast():
                own = self._task.loss(batch) / course.accumulate
            accelerator.backward(own)
            loss += float(own.detach())
        if course.clip is not None:
            accelerator.clip_grad_norm_(self._trained.values(), course.clip)
        rate = course.rate * course.share(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.step += 1
        self._told({"loss": loss, "rate": rate})
        if self.step % course.check_every == 0 or self.step == course.steps:
            self.check()
        if self.step % course.keep_every == 0:
            self.keep()
        return loss

    def check(self) -> None:
        """Measure on held-out data, and keep the state where it is the best."""
        self._task.module.eval()
        with torch.no_grad():
            figures = self._task.figures()
        if not figures:
            return
        self._told(figures)
        watched = self._task.watched
        if not self.best or figures[watched] > self.best[watched]:
            self.best, self.best_step, self._worse = figures, self.step, 0
            self._run.write_best({n: p.detach() for n, p in self._trained.items()})
        else:
            self._worse += 1

    def take_best(self) -> None:
        """Bring the module to its best state."""
        best = self._run.read_best() if self.best else None
        if best is not None:
            with torch.no_grad():
                for name, parameter in self._trained.items():
                    parameter.copy_(best[name])
        self._task.module.eval()

    def _told(self, figures: Mapping[str, float]) -> None:
        self._run.add_to_curve(self.step, figures)
        if self._tracker is not None:
            self._tracker.tell(self.step, figures)


def _optimiser(trained: Mapping[str, torch.nn.Parameter], course: Course) -> torch.optim.Optimizer:
    """The optimiser; what has one dimension is not decayed."""
    decayed = [p for p in trained.values() if p.ndim > 1]
    rest = [p for p in trained.values() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": course.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if course.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=course.rate, momentum=course.momentum)
    return torch.optim.AdamW(groups, lr=course.rate)


def _drawn(seed: int, step: int) -> int:
    """A seed of PyTorch's for one step."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
