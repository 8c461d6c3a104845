"""AdaLoRA: low-rank matrices whose ranks go where the loss needs them.

Every matrix begins with half as much rank again as it will have on average. While training goes
on, what the loss is least sensitive to is taken away over all matrices together. How sensitive it
is, smoothed over steps, is kept in buffers, so that a checkpoint holds it.

Source:
    Zhang et al. 2023, "Adaptive budget allocation for parameter-efficient fine-tuning",
    arXiv:2303.10512.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from numpy.random import Generator

from tailrec.errors import RecipeError
from tailrec.features.original import quiet
from tailrec.training.course import Counting, Task

_NAME: Final = "default"
_LEAST_STEPS: Final = 10
_ORTHOGONAL: Final = 0.5
"""Weight of the penalty that keeps the vectors of a matrix apart, as published."""


class Ranks:
    """Takes ranks away, after each step of the optimiser."""

    def __init__(self, wrapped: Any) -> None:
        """Begin.

        Args:
            wrapped: a transformer with AdaLoRA's matrices, as peft makes it.
        """
        self._tuner = wrapped.base_model
        self._model: torch.nn.Module = self._tuner.model
        self._allocator = self._tuner.rankallocator
        named = dict(self._model.named_parameters())
        self._trained = {n: p for n, p in named.items() if "lora_" in n and p.requires_grad}
        self._values = {n: p for n, p in self._trained.items() if f"lora_E.{_NAME}" in n}
        for name, parameter in self._trained.items():
            for kind in ("mean", "spread"):
                self._register(name, kind, torch.zeros_like(parameter))
        for name, parameter in self._values.items():
            self._register(name, "kept", torch.ones_like(parameter, dtype=torch.bool))

    def penalty(self) -> torch.Tensor:
        """A scalar: how far the vectors of the matrices are from standing apart."""
        vectors = [(n, p) for n, p in self._trained.items() if n not in self._values]
        far = [_dependence(p if "lora_A" in n else p.T) for n, p in vectors]
        return _ORTHOGONAL * torch.stack(far).mean()

    def after_step(self, step: int) -> None:
        """Take away what the schedule asks for; gradients are still those of the step.

        Args:
            step: steps made.
        """
        if any(parameter.grad is None for parameter in self._trained.values()):
            return
        allocator = self._allocator
        allocator.ipt = dict.fromkeys(self._trained)
        allocator.exp_avg_ipt = {name: self._buffer(name, "mean") for name in self._trained}
        allocator.exp_avg_unc = {name: self._buffer(name, "spread") for name in self._trained}
        kept = {name: self._buffer(name, "kept") for name in self._values}
        config = self._tuner.peft_config[_NAME]
        config.rank_pattern = {name: mask.view(-1).tolist() for name, mask in kept.items()}
        self._tuner.update_and_allocate(step)
        with torch.no_grad():
            # Once the last ranks are taken away, peft has forgotten how sensitive the loss was.
            for name in allocator.exp_avg_ipt:
                self._buffer(name, "mean").copy_(allocator.exp_avg_ipt[name])
                self._buffer(name, "spread").copy_(allocator.exp_avg_unc[name])
            for name, mask in kept.items():
                own = torch.tensor(config.rank_pattern[name], device=mask.device)
                mask.copy_(own.view_as(mask))

    def left(self) -> int:
        """Ranks that are left, over all matrices."""
        return sum(int(self._buffer(name, "kept").sum()) for name in self._values)

    def _register(self, name: str, kind: str, values: torch.Tensor) -> None:
        parent, key = _place(self._model, name)
        parent.register_buffer(f"{key}_{kind}", values)

    def _buffer(self, name: str, kind: str) -> torch.Tensor:
        parent, key = _place(self._model, name)
        return parent.get_buffer(f"{key}_{kind}")


class WithRanks:
    """A task whose encoder loses ranks while it learns.

    Attributes:
        module: what is trained.
        watched: the task's own.
    """

    def __init__(self, task: Task, ranks: Ranks) -> None:
        self.module, self.watched = task.module, task.watched
        self._task, self._ranks = task, ranks

    def batch(self, number: int, rng: Generator) -> Any:
        """The task's own."""
        return self._task.batch(number, rng)

    def loss(self, batch: Any) -> torch.Tensor:
        """The task's own, and the penalty."""
        return self._task.loss(batch) + self._ranks.penalty()

    def figures(self) -> dict[str, float]:
        """The task's own, and the ranks that are left."""
        figures = self._task.figures()
        return figures and figures | {"ranks": float(self._ranks.left())}

    def after_step(self, step: int) -> None:
        """Take ranks away."""
        self._ranks.after_step(step)
        if isinstance(self._task, Counting):
            self._task.after_step(step)


def ranked(
    transformer: Any,
    *,
    rank: int,
    scale: float,
    dropout: float,
    steps: int,
    targets: Mapping[str, Any],
) -> tuple[Callable[[], Any], Ranks]:
    """Put AdaLoRA's matrices into a transformer.

    Args:
        transformer: changed in place.
        rank: what matrices have on average in the end.
        scale: what their product is multiplied with.
        dropout: of their input.
        steps: that training will take: a tenth before ranks are taken away, three tenths after.
        targets: which linear layers, as peft names them.

    Returns:
        What merges the matrices into the weights and gives the plain transformer, and the ranks.

    Raises:
        RecipeError: there are too few steps.
    """
    if steps < _LEAST_STEPS:
        raise RecipeError(f"'adalora' needs {_LEAST_STEPS} steps at least, not {steps}")
    from peft import AdaLoraConfig, get_peft_model

    first = rank + max(rank // 2, 1)
    alpha: Any = scale * first  # peft divides by the first rank; said to be whole, but need not
    config = AdaLoraConfig(
        init_r=first,
        target_r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        tinit=steps // 10,
        tfinal=3 * steps // 10,
        deltaT=max(steps // 100, 1),
        total_step=steps,
        **targets,
    )
    with quiet():
        wrapped = get_peft_model(transformer, config)
    ranks = Ranks(wrapped)
    return wrapped.merge_and_unload, ranks


def _place(model: torch.nn.Module, name: str) -> tuple[torch.nn.Module, str]:
    """Where buffers of a parameter stand: the layer it belongs to, and its name as one word."""
    # Matrices stand in lists that hold parameters alone, within the layer.
    layer, kind, adapter = name.rsplit(".", 2)
    return model.get_submodule(layer), f"{kind}_{adapter}"


def _dependence(rows: torch.Tensor) -> torch.Tensor:
    """How far the rows of a matrix are from being of unit length and at right angles."""
    own = rows @ rows.T
    far: torch.Tensor = torch.linalg.matrix_norm(own - torch.eye(len(own), device=own.device))
    return far
