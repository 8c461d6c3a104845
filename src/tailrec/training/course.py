"""One loop that trains everything: steps, schedule, checks, checkpoints, an early end.

What is trained, and on what, is a `Task`. The batch of a step and every number drawn in it depend
on the seed and the step alone, so a run that was stopped anywhere goes on as if it had not been.
"""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.random import Generator

from tailrec.artifact import under
from tailrec.errors import ArtifactError, RecipeError
from tailrec.features.text import Progress
from tailrec.training.adversarial import Adversary
from tailrec.training.devices import Devices
from tailrec.training.interrupts import held_back
from tailrec.training.models import recomputed
from tailrec.training.recipes import Course
from tailrec.training.run_folder import RunFolder
from tailrec.training.tracking import Tracker
from tailrec.training.updates import Updates, make_optimiser


class Task(Protocol):
    """What is trained, and on what.

    Attributes:
        module: parameters that require a gradient are trained.
        watched: the figure that says which state is best; higher is better.
    """

    module: torch.nn.Module
    watched: str

    def batch(self, number: int, rng: Generator) -> Any:
        """What `loss` takes; it depends on the batch's number and `rng` alone.

        Several devices take batches of different numbers. Tensors go to the module's device here
        or in `loss`.
        """
        ...

    def loss(self, batch: Any) -> torch.Tensor:
        """A scalar, with a gradient; the module is in training mode, on its device."""
        ...

    def figures(self) -> dict[str, float]:
        """Measured on held-out data; the module is in evaluation mode. Empty: nothing is.

        Among several processes only the main one measures.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """A task that has something to do after every step, the same in all processes."""

    def after_step(self, step: int) -> None:
        """Parameters are changed, and their gradients still there; what it keeps is in buffers.

        Args:
            step: steps made.
        """
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
    and errors leave a checkpoint of the last whole step. Among several processes, begun by
    `torchrun`, only the main one writes to the run's folder and is heard.

    Args:
        task: its module is changed in place.
        course: how.
        run: where checkpoints and the curve are kept.
        tracker: told every step's loss and rate and every figure.
        progress: called after each step: what is done (with the loss), steps made, all steps.

    Raises:
        ArtifactError: the checkpoint is damaged, of another recipe, or of another number of
            processes; or another process trains this run.
        RecipeError: an option asks for what this machine or module has not, or the loss is no
            number any more.
    """
    devices = Devices(course.device)
    loop = _Loop(task, course, run, devices, tracker if devices.main else None)
    generators = [devices.device] if devices.device.type == "cuda" else []
    # Whoever calls keeps their own random numbers.
    with (
        run.alone() if devices.main else nullcontext(),
        torch.random.fork_rng(devices=generators),
        recomputed(task.module, wanted=course.checkpointing),
    ):
        return loop.run(progress if devices.main else None)


class _Loop:
    """A run under way: the state that a checkpoint holds, and how a step changes it."""

    def __init__(
        self,
        task: Task,
        course: Course,
        run: RunFolder,
        devices: Devices,
        tracker: Tracker | None,
    ) -> None:
        self._task, self._course, self._run = task, course, run
        self._devices, self._tracker = devices, tracker
        module = task.module.to(devices.device)
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self._trained:
            raise RecipeError("nothing is trained: no parameter of the module wants a gradient")
        saved = module.state_dict().keys()
        self._buffers = {n: b for n, b in module.named_buffers() if n in saved}
        self._adversary = Adversary(module, course.adversarial) if course.adversarial else None
        optimiser = make_optimiser(
            self._trained,
            course.optimiser,
            momentum=course.momentum,
            weight_decay=course.weight_decay,
        )
        self._updates = Updates(
            self._trained,
            devices,
            optimiser=optimiser,
            precision=course.precision,
            clip=course.clip,
        )
        self._step = self._best_step = self._worse = self._n_lines = 0
        self._checked: int | None = None
        self._kept: tuple[int, int | None] | None = None
        self._seconds = 0.0
        self._best: dict[str, float] = {}

    def run(self, progress: Progress | None) -> Outcome:
        """Train to the end."""
        self._resume()
        started, before = monotonic(), self._seconds
        try:
            while (ended := self._measured()) is None:
                if self._step % self._course.keep_every == 0:
                    self._keep()
                loss = self._one_step()
                self._seconds = before + monotonic() - started
                if progress is not None:
                    progress(f"training, loss {loss:.3f}", self._step, self._course.steps)
        except BaseException:
            self._keep()
            raise
        self._keep()
        self._take_best()
        return Outcome(self._step, self._best, self._best_step, self._seconds, ended)

    def _measured(self) -> str | None:
        """Measure where that is due; why the run is over, or None while it is not."""
        ended = self._ended()
        if self._checked != self._step and (ended or self._step % self._course.check_every == 0):
            self._check()
            ended = ended or self._ended()
        return ended

    def _ended(self) -> str | None:
        if self._step >= self._course.steps:
            return "steps"
        minutes, patience = self._course.minutes, self._course.patience
        # Every process has a clock of its own; they must end together.
        if minutes is not None and self._devices.told(self._seconds) >= 60 * minutes:
            return "minutes"
        return "patience" if patience is not None and self._worse >= patience else None

    def _one_step(self) -> float:
        """One step of the optimiser; the mean loss of its batches."""
        course = self._course
        self._task.module.train()
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        try:
            parts = [self._backward(part) for part in range(course.accumulate)]
            loss = self._sound(self._updates.average(torch.stack(parts).sum()))
        except BaseException:
            self._updates.forget()
            _copy(self._buffers, buffers)
            raise
        # Ctrl-C waits here: parameters, count and curve change together.
        with held_back():
            rate = course.rate * course.share(self._step)
            after = self._task.after_step if isinstance(self._task, Counting) else None
            self._updates.step(rate, after and partial(after, self._step + 1))
            self._step += 1
            self._noted({"loss": loss, "rate": rate})
        return loss

    def _sound(self, loss: float) -> float:
        """The loss, which must be a number: nothing is learnt from any other."""
        if not math.isfinite(loss):
            raise RecipeError(
                f"the loss of step {self._step + 1} is {loss}; begin anew with a lower `rate`, "
                "or another `precision`"
            )
        return loss

    def _backward(self, part: int) -> torch.Tensor:
        """Add the gradient of one of a step's batches; its share of the loss."""
        course, devices = self._course, self._devices
        number = (self._step * course.accumulate + part) * devices.n + devices.rank
        batch = self._task.batch(number, np.random.default_rng([course.seed, number]))

        def loss() -> torch.Tensor:
            # Dropout depends on the batch alone, so that a run can go on anywhere.
            torch.manual_seed(_drawn(course.seed, number))
            with self._updates.mixed():
                return self._task.loss(batch) / course.accumulate

        if self._adversary is not None:
            return self._adversary.backward(loss, self._updates.backward)
        own = loss()
        self._updates.backward(own)
        return own.detach()

    def _check(self) -> None:
        """Measure on held-out data, and keep the state where it is the best."""
        self._task.module.eval()
        figures: dict[str, float] = {}
        if self._devices.main:
            with torch.no_grad():
                figures = self._task.figures()
        figures = self._devices.told(figures)
        with held_back():
            self._checked = self._step
            if figures:
                self._judge(figures)
                self._noted(figures)

    def _judge(self, figures: dict[str, float]) -> None:
        watched = self._task.watched
        if self._best and not figures[watched] > self._best[watched]:
            self._worse += 1
            return
        if math.isnan(figures[watched]):
            raise RecipeError(f"`{watched}` of the first state is no number; hold out more data")
        self._best, self._best_step, self._worse = figures, self._step, 0
        if self._devices.main:
            self._run.write_best({**self._trained, **self._buffers}, self._step)

    def _take_best(self) -> None:
        """Bring the module to its best state."""
        if self._best:
            self._devices.same(())  # what the main process wrote is there
            best = self._run.read_best()
            _copy(self._trained, best)
            _copy(self._buffers, best)
        self._task.module.eval()

    def _resume(self) -> None:
        """Take up the run's checkpoint where there is one."""
        kept = self._run.read_checkpoint()
        if kept is not None:
            self._take(*kept)
        if self._devices.main:
            if kept is None:
                self._run.begin()
            else:
                self._run.cut_curve(self._n_lines)
        self._devices.same([*self._trained.values(), *self._buffers.values()])

    def _take(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        if facts["processes"] != self._devices.n:
            raise ArtifactError(
                f"the run in {self._run.folder} was trained by {facts['processes']} processes, and "
                f"this is {self._devices.n}; go on with as many, or name another run"
            )
        values = under(tensors, "module.")
        own = {**self._trained, **self._buffers}
        if {n: v.shape for n, v in values.items()} != {n: v.shape for n, v in own.items()}:
            raise ArtifactError(
                f"the checkpoint in {self._run.folder} is of a module with other parameters; "
                "name another run"
            )
        _copy(own, values)
        self._updates.take(under(tensors, "optimiser."), facts["scaler"])
        self._step, self._checked, self._worse = facts["step"], facts["checked"], facts["worse"]
        self._best, self._best_step = facts["best"], facts["best_step"]
        self._seconds, self._n_lines = facts["seconds"], facts["lines"]
        self._kept = self._step, self._checked

    def _keep(self) -> None:
        """Write a checkpoint, if something happened since the last."""
        if not self._devices.main or self._kept == (self._step, self._checked):
            return
        state, scaler = self._updates.state()
        tensors = {f"module.{n}": v for n, v in {**self._trained, **self._buffers}.items()}
        tensors |= {f"optimiser.{name}": value for name, value in state.items()}
        facts = {
            "step": self._step,
            "checked": self._checked,
            "worse": self._worse,
            "best": self._best,
            "best_step": self._best_step,
            "seconds": self._seconds,
            "lines": self._n_lines,
            "scaler": scaler,
            "processes": self._devices.n,
        }
        self._run.write_checkpoint(tensors, facts)
        self._kept = self._step, self._checked

    def _noted(self, figures: Mapping[str, float]) -> None:
        if self._devices.main:
            self._run.add_to_curve(self._step, figures)
            self._n_lines += 1
        # Last, as it may raise: a search ends a run so.
        if self._tracker is not None:
            self._tracker.tell(self._step, figures)


def _copy(into: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(values[name])


def _drawn(seed: int, number: int) -> int:
    """A seed of PyTorch's for one batch."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
