"""Parameters that earlier periods need stay near where they were.

Source:
    Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks",
    doi:10.1073/pnas.1611835114.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tailrec.artifact import under
from tailrec.errors import ArtifactError
from tailrec.files import whole_file
from tailrec.training.behaviour import Contrastive
from tailrec.training.devices import is_main
from tailrec.training.run_folder import RunFolder

CONSOLIDATION: Final = "consolidation.safetensors"
"""File in the folder of a run: what its parameters were when it began, and how much each counts."""

N_BATCHES: Final = 32
"""Batches of the earlier task that tell how much each parameter counts."""


class Consolidation:
    """A penalty on how far parameters have moved, each by how much an earlier task needs it.

    Attributes:
        old: by name, where parameters were.
        fisher: by name, diagonal of the Fisher information of the earlier task's loss there.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        old: Mapping[str, torch.Tensor],
        fisher: Mapping[str, torch.Tensor],
    ) -> None:
        self.old, self.fisher = dict(old), dict(fisher)
        self._trained = trained(module)

    @classmethod
    def of(cls, earlier: Contrastive, run: RunFolder, *, seed: int) -> "Consolidation":
        """That of a run: as it was kept, or of the module as it is, and then kept.

        Args:
            earlier: what was learnt before; its module is where the run begins.
            run: gets the file.
            seed: of the batches.

        Raises:
            ArtifactError: the file is damaged, or of another run.
        """
        path = run.folder / CONSOLIDATION
        if path.is_file():
            return cls(earlier.module, *_read(run))
        old = {name: value.detach().clone() for name, value in trained(earlier.module).items()}
        fisher = fisher_diagonal(earlier, np.random.default_rng(seed).spawn(N_BATCHES))
        if is_main():
            kept = {f"old.{name}": value for name, value in old.items()}
            kept |= {f"fisher.{name}": value for name, value in fisher.items()}
            with whole_file(path) as beside:
                save_file(kept, beside, metadata={"mark": run.mark})
        return cls(earlier.module, old, fisher)

    def loss(self) -> torch.Tensor:
        """Half the squared way of each parameter, times its Fisher information, summed."""
        parts = []
        for name, parameter in self._trained.items():
            if self.old[name].device != parameter.device:  # the module was moved
                self.old[name] = self.old[name].to(parameter.device)
                self.fisher[name] = self.fisher[name].to(parameter.device)
            way = (parameter - self.old[name]).float().square()
            parts.append((self.fisher[name] * way).sum())
        return torch.stack(parts).sum() / 2


def trained(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Parameters that require a gradient, by name."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def fisher_diagonal(
    task: Contrastive, rngs: Sequence[np.random.Generator]
) -> dict[str, torch.Tensor]:
    """How much the loss of one pair tells of each parameter: its squared gradient, on average.

    Pairs of a batch are added with signs drawn at random. What different pairs say together then
    cancels on average, and one pass backwards gives the sum of the squares.

    Args:
        task: its module is left in evaluation mode, without gradients.
        rngs: of the batches.

    Returns:
        By name, float32, in the shape of the parameter; 0 or more.
    """
    module = task.module.eval()
    parameters = trained(module)
    total = {name: torch.zeros_like(value.detach()).float() for name, value in parameters.items()}
    n_pairs = 0
    for number, rng in enumerate(rngs):
        losses = task.losses(task.batch(number, rng))
        sign = torch.as_tensor(rng.choice([-1.0, 1.0], len(losses)), dtype=losses.dtype)
        signed = (losses * sign.to(losses.device)).sum()
        found = torch.autograd.grad(signed, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                total[name] += gradient.float().square()
        n_pairs += len(losses)
    return {name: value / n_pairs for name, value in total.items()}


def _read(run: RunFolder) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    path = run.folder / CONSOLIDATION
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            mark = file.metadata()["mark"]
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}); delete {run.folder} to begin anew"
        ) from error
    if mark != run.mark:
        raise ArtifactError(
            f"{path} is of another recipe or of other data; name another run, or delete "
            f"{run.folder} to begin anew"
        )
    return under(tensors, "old."), under(tensors, "fisher.")
