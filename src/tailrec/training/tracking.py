"""Where a run can be watched: TensorBoard, and Weights & Biases when asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

from torch.utils.tensorboard import SummaryWriter


class Tracker(Protocol):
    """Told how a run goes."""

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after a step."""
        ...


class TensorBoard:
    """Curves in a folder that `tensorboard --logdir` shows. Close it, or use it in a `with`."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step)

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after a step."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()
