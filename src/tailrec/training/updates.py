"""From gradients to a step: mixed precision, clipping, the optimiser, and the state of them all."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal

import torch

from tailrec.artifact import under
from tailrec.training.devices import Devices

_TYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Updates:
    """The optimiser of a run and what stands around it."""

    def __init__(
        self,
        trained: Mapping[str, torch.nn.Parameter],
        devices: Devices,
        *,
        optimiser: torch.optim.Optimizer,
        precision: Literal["fp32", "bf16", "fp16"],
        clip: float | None,
    ) -> None:
        self._trained, self._devices, self._clip = trained, devices, clip
        self._optimiser = optimiser
        self._type = _TYPES.get(precision)
        # Gradients of 16-bit floats with 5 bits of exponent vanish unless they are scaled up.
        self._scaler = torch.amp.GradScaler(devices.device.type, enabled=precision == "fp16")

    def mixed(self) -> AbstractContextManager[Any]:
        """Within it, the loss is computed in mixed precision where the run asks for it."""
        if self._type is None:
            return nullcontext()
        return torch.autocast(self._devices.device.type, self._type)

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradient."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def average(self, loss: torch.Tensor) -> float:
        """Average gradients and the loss over all processes; the mean loss."""
        return float(self._devices.average(list(self._trained.values()), loss.detach()))

    def step(self, rate: float, after: Callable[[], None] | None = None) -> None:
        """Change the parameters by their gradients, and forget those.

        Args:
            rate: of this step.
            after: called while the gradients are still there.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        if any(parameter.grad is not None for parameter in self._trained.values()):
            self._scaler.unscale_(self._optimiser)
            if self._clip is not None:
                torch.nn.utils.clip_grad_norm_(self._trained.values(), self._clip)
            self._scaler.step(self._optimiser)
            self._scaler.update()
        if after is not None:
            after()
        self.forget()

    def forget(self) -> None:
        """Drop all gradients."""
        self._optimiser.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        """What a checkpoint holds: the optimiser's tensors by parameter, the scaler's numbers."""
        tensors = {}
        for name, parameter in self._trained.items():
            for key, value in self._optimiser.state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"{name}.{key}"] = torch.as_tensor(value)
        return tensors, self._scaler.state_dict()

    def take(self, tensors: Mapping[str, torch.Tensor], scaler: dict[str, float]) -> None:
        """Go on from a state that `state` gave."""
        names = {parameter: name for name, parameter in self._trained.items()}
        whole = self._optimiser.state_dict()
        ordered = [one for group in self._optimiser.param_groups for one in group["params"]]
        own = {place: under(tensors, f"{names[one]}.") for place, one in enumerate(ordered)}
        whole["state"] = {place: values for place, values in own.items() if values}
        # PyTorch's own loading knows which of them live on the device and which on the CPU.
        self._optimiser.load_state_dict(whole)
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(scaler)


def make_optimiser(
    trained: Mapping[str, torch.nn.Parameter],
    kind: Literal["adamw", "sgd"],
    *,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """An optimiser whose rate is set at each step; what has one dimension is not decayed."""
    matrices = [p for p in trained.values() if p.ndim > 1]
    rest = [p for p in trained.values() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=momentum)
    return torch.optim.AdamW(groups, lr=0.0)
