"""Where a run can be watched: TensorBoard, and Weights & Biases when asked."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

from torch.utils.tensorboard import SummaryWriter

from tailrec.errors import MissingExtra
from tailrec.files import whole_file
from tailrec.training.run_folder import TENSORBOARD, RunFolder

WANDB: Final = "wandb"
_ID: Final = "id"
_STEP: Final = "step"


class Tracker(Protocol):
    """Told how a run goes."""

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after a step."""
        ...


class TensorBoard:
    """Curves in a folder that `tensorboard --logdir` shows. Close it, or use it in a `with`."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        """Begin a file of curves.

        Args:
            folder: of all files of the run.
            step: what earlier files hold from this step on is not shown.
        """
        self._writer = SummaryWriter(str(folder), purge_step=step)

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """In a run's folder, going on where its checkpoint does.

        Raises:
            ArtifactError: the checkpoint is damaged or of another recipe.
        """
        kept = run.kept_step()
        return cls(run.folder / TENSORBOARD, 0 if kept is None else kept + 1)

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after a step."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases; it is one run there too when it is continued here.

    Its id is kept in the run's folder. Curves are drawn over the run's own steps, so what is told
    twice, as it was told after the last checkpoint, is the same point. Use it in a `with`.
    """

    def __init__(
        self,
        run: RunFolder,
        *,
        project: str,
        mode: Literal["online", "offline"] = "online",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin the run, or go on with it.

        Args:
            run: its folder gives the name, and gets the files.
            project: of Weights & Biases.
            mode: `offline` writes files only; `wandb sync` sends them later.
            options: plain values shown beside the curves.

        Raises:
            MissingExtra: the package is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise MissingExtra(
                "tracking with Weights & Biases needs the package wandb; install tailrec[tracking]"
            ) from error
        folder = run.folder / WANDB
        folder.mkdir(exist_ok=True)
        self._run = wandb.init(
            project=project,
            name=run.folder.name,
            id=_kept_id(folder / _ID),
            resume="allow",
            mode=mode,
            dir=str(run.folder),
            config=dict(options or {}),
            # The curves and the options are sent, and nothing of the machine.
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )
        self._run.define_metric("*", step_metric=_STEP)

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after a step."""
        self._run.log({**figures, _STEP: step})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._run.finish(exit_code=0 if kind is None else 1)


class Several:
    """More than one tracker, told alike in the order given."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = trackers

    def tell(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures after a step."""
        for tracker in self._trackers:
            tracker.tell(step, figures)


def _kept_id(file: Path) -> str:
    """The run's id, made at its beginning."""
    if not file.exists():
        with whole_file(file) as beside:
            beside.write_text(uuid.uuid4().hex, "utf-8")
    return file.read_text("utf-8").strip()
