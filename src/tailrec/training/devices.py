"""Where a run is trained: the device of this process, and the processes that share the work.

Several devices are several processes, begun by `torchrun`. Each takes batches of its own;
gradients are averaged before a step, so parameters are the same everywhere.
"""

import atexit
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate import PartialState
from torch import distributed

from tailrec.errors import RecipeError


class Devices:
    """This process among those that train together.

    Attributes:
        device: of this process.
        n: processes.
        rank: of this one, from 0.
    """

    def __init__(self, wanted: str) -> None:
        """Join the others.

        Args:
            wanted: `auto`, or a device of PyTorch's such as `cpu`, `cuda` and `cuda:1`.

        Raises:
            RecipeError: this machine has no such device, or several processes were told one.
        """
        device = _found(wanted)
        state: Any = PartialState(cpu=device.type == "cpu")
        self.n, self.rank = int(state.num_processes), int(state.process_index)
        self.device = device
        if self.n > 1:
            if ":" in wanted or state.device.type != device.type:
                raise RecipeError(
                    f"{self.n} processes on {state.device.type} share the work, and `device` is "
                    f"{wanted!r}; say 'auto' or {state.device.type!r}"
                )
            self.device = state.device
            atexit.register(state.destroy_process_group)

    @property
    def main(self) -> bool:
        """Whether this process writes files, tracks and measures; one does."""
        return self.rank == 0

    def same(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give every process the main one's values, in place, and wait for all."""
        if self.n > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)
            distributed.barrier()

    def told(self, value: Any) -> Any:
        """The main process's value; of others the argument does not matter."""
        if self.n == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, 0, device=self.device)
        return box[0]

    def average(self, parameters: Sequence[torch.nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """Average gradients in place, by one exchange; a missing one counts 0.

        Args:
            parameters: where no process has a gradient, none is made.
            loss: a scalar of this process.

        Returns:
            The mean loss.
        """
        if self.n == 1:
            return loss
        has = [float(parameter.grad is not None) for parameter in parameters]
        head = torch.cat([loss.reshape(1).float(), torch.tensor(has, device=self.device)])
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([head, *(grad.detach().reshape(-1).float() for grad in grads)])
        distributed.all_reduce(flat)
        somewhere = flat[1 : len(head)].tolist()
        flat /= self.n
        at = len(head)
        for parameter, grad, n_having in zip(parameters, grads, somewhere, strict=True):
            if n_having:
                parameter.grad = grad
                grad.copy_(flat[at : at + grad.numel()].view_as(grad))
            at += grad.numel()
        return flat[0]


def is_main() -> bool:
    """Whether this process is the one that writes files; alone it is.

    Processes know of each other once `Devices` was made, as training does.
    """
    return not distributed.is_initialized() or distributed.get_rank() == 0


def _found(wanted: str) -> torch.device:
    """The device meant.

    Raises:
        RecipeError: this machine has no such device.
    """
    there = torch.accelerator.current_accelerator(check_available=True)
    best = "cpu" if there is None else there.type
    if wanted == "auto":
        return torch.device(best)
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise RecipeError(
            f"device {wanted!r} is none of PyTorch's; say 'auto', 'cpu' or 'cuda'"
        ) from error
    if device.type == "cpu":
        return torch.device("cpu")
    n = torch.accelerator.device_count()
    if device.type != best or (device.index or 0) >= n:
        has = "the CPU only" if best == "cpu" else f"{n} of type {best!r}"
        raise RecipeError(f"device {wanted!r} is not there: this machine has {has}; say 'auto'")
    return device
