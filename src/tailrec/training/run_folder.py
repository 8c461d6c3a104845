"""A run is a folder: what was asked, how it went, where it goes on, what came out.

::

    recipe.toml              every option, defaults included
    card.json                what was learnt from, by which versions, how it ended
    curve.jsonl              a line a step and a line a measurement
    checkpoint.safetensors   the state after the last step kept: parameters and optimiser
    best.safetensors         the trained parameters of the best measured state
    tensorboard/             the curve, for TensorBoard
    encoder/                 what was trained, as a sentence-transformers model
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tailrec.errors import ArtifactError
from tailrec.files import whole_file

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

CURVE: Final = "curve.jsonl"
CHECKPOINT: Final = "checkpoint.safetensors"
BEST: Final = "best.safetensors"
ENCODER: Final = "encoder"


class RunFolder:
    """The files of one run.

    Attributes:
        folder: made where missing.
        mark: digest of the recipe and of all that is learnt from; a checkpoint of another mark is
            refused.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder = folder
        self.mark = mark
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def encoder(self) -> Path:
        """Folder of what was trained."""
        return self.folder / ENCODER

    def begin(self) -> None:
        """Start a curve of its own."""
        (self.folder / CURVE).write_text("", "utf-8")

    def add_to_curve(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one line to the curve."""
        with (self.folder / CURVE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")

    def curve(self) -> list[dict[str, float]]:
        """The lines of the curve."""
        return [json.loads(line) for line in (self.folder / CURVE).read_text("utf-8").splitlines()]

    def cut_curve(self, step: int) -> None:
        """Leave out what was written after a step: it will be written again."""
        kept = [line for line in self.curve() if line["step"] <= step]
        with whole_file(self.folder / CURVE) as beside:
            beside.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")

    def write_checkpoint(self, tensors: Mapping[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Keep a state, in place of the one before."""
        with whole_file(self.folder / CHECKPOINT) as beside:
            plain = {name: value.cpu().contiguous() for name, value in tensors.items()}
            told = json.dumps(facts)
            save_file(plain, beside, metadata={"facts": told, "mark": self.mark})

    def read_checkpoint(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The state that was kept; None where there is none.

        Raises:
            ArtifactError: it is damaged, or belongs to another recipe or other data.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata()
            tensors, facts = load_file(path), json.loads(told["facts"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            message = f"{path} is damaged ({error}); delete {self.folder} to begin anew"
            raise ArtifactError(message) from error
        if told["mark"] != self.mark:
            raise ArtifactError(
                f"{path} is of another recipe or of other data; name another run, or delete "
                f"{self.folder} to begin anew"
            )
        return tensors, facts

    def write_best(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep the parameters of the best state."""
        with whole_file(self.folder / BEST) as beside:
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, beside)

    def read_best(self) -> dict[str, torch.Tensor]:
        """The parameters of the best state."""
        return load_file(self.folder / BEST)
