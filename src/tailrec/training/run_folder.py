"""A run is a folder: what was asked, how it went, where it goes on, what came out.

::

    recipe.toml              every option, defaults included
    card.json                what was learnt from, by which versions, how it ended
    curve.jsonl              a line a step and a line a measurement
    curve.png                the same as a picture
    checkpoint.safetensors   the state after the last step kept: parameters and optimiser
    best.safetensors         the trained parameters of the best measured state
    best.next.safetensors    a better one, until the next checkpoint
    tensorboard/             the curve, for TensorBoard
    wandb/                   the curve, for Weights & Biases, where that was asked for
    encoder/                 what was trained, as a sentence-transformers model

A process may be killed at any moment. Files are whole or not there; what the curve holds beyond
the checkpoint is cut when the run goes on; and a better state takes the place of the best once a
checkpoint says so, so both speak of the same moment.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tailrec.artifact import CARD, RECIPE, clear_leftovers
from tailrec.errors import ArtifactError
from tailrec.files import plain, sync, whole_file
from tailrec.recipe import Recipe

CURVE: Final = "curve.jsonl"
PICTURE: Final = "curve.png"
CHECKPOINT: Final = "checkpoint.safetensors"
BEST: Final = "best.safetensors"
BETTER: Final = "best.next.safetensors"
TENSORBOARD: Final = "tensorboard"
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
        clear_leftovers(folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it, no other process trains this run.

        Raises:
            ArtifactError: another one does.
        """
        # The kernel lets go of it when a process dies.
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                flock(handle, LOCK_EX | LOCK_NB)
            except BlockingIOError as error:
                raise ArtifactError(
                    f"another process trains the run in {self.folder}; wait until it is done"
                ) from error
            yield
        finally:
            os.close(handle)

    @property
    def encoder(self) -> Path:
        """Folder of what was trained."""
        return self.folder / ENCODER

    def write_recipe(self, recipe: Recipe) -> None:
        """Keep every option."""
        with whole_file(self.folder / RECIPE) as beside:
            beside.write_text(recipe.toml(), "utf-8")

    def write_card(self, card: Mapping[str, Any]) -> None:
        """Keep plain values: what was learnt from, by which versions, how it ended."""
        with whole_file(self.folder / CARD) as beside:
            text = json.dumps(plain(card), indent=2, ensure_ascii=False)
            beside.write_text(text + "\n", "utf-8")

    def begin(self) -> None:
        """Start a curve of its own, with no best state."""
        for name in (BEST, BETTER):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / CURVE).write_text("", "utf-8")

    def add_to_curve(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one line to the curve; a figure that is no number is written as null."""
        with (self.folder / CURVE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **plain(figures)}) + "\n")

    def curve(self) -> list[dict[str, float]]:
        """The lines of the curve that were written whole; a null is read as NaN."""
        return [
            {name: math.nan if value is None else value for name, value in json.loads(line).items()}
            for line in self._curve_lines()
        ]

    def cut_curve(self, n_lines: int) -> None:
        """Leave out all but the first lines: what follows will be written again."""
        kept = self._curve_lines()[:n_lines]
        with whole_file(self.folder / CURVE) as beside:
            beside.write_text("".join(line + "\n" for line in kept), "utf-8")

    def _curve_lines(self) -> list[str]:
        path = self.folder / CURVE
        text = path.read_text("utf-8", errors="replace") if path.exists() else ""
        # What follows the last end of a line was cut off while it was written.
        return text[: text.rfind("\n") + 1].splitlines()

    def kept_step(self) -> int | None:
        """Steps made at the checkpoint; None where there is none.

        Raises:
            ArtifactError: as `read_checkpoint`.
        """
        path = self.folder / CHECKPOINT
        return int(self._facts(path)["step"]) if path.exists() else None

    def write_checkpoint(self, tensors: Mapping[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Keep a state, in place of the one before; a better state becomes the best.

        Args:
            tensors: by name.
            facts: plain values; `step` and `best_step` among them.
        """
        if (self.folder / CURVE).exists():
            # A checkpoint names lines of the curve, so they must outlast a power cut as it does.
            sync(self.folder / CURVE)
        self._write(CHECKPOINT, tensors, facts)
        self._settle(facts)

    def read_checkpoint(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The state that was kept; None where there is none.

        Raises:
            ArtifactError: it is damaged, or belongs to another recipe or other data.
        """
        if not (self.folder / CHECKPOINT).exists():
            return None
        return self._read(CHECKPOINT)

    def write_best(self, tensors: Mapping[str, torch.Tensor], step: int) -> None:
        """Keep the parameters of a state better than all before; the next checkpoint confirms it.

        Args:
            tensors: by name.
            step: steps made.
        """
        self._write(BETTER, tensors, {"step": step})

    def read_best(self) -> dict[str, torch.Tensor]:
        """The parameters of the best state that a checkpoint confirmed.

        Raises:
            ArtifactError: they are missing, damaged, or not those the checkpoint speaks of.
        """
        facts = self._facts(self.folder / CHECKPOINT)
        self._settle(facts)
        tensors, own = self._read(BEST)
        if own["step"] != facts["best_step"]:
            raise ArtifactError(
                f"{self.folder / BEST} is of step {own['step']}, and the checkpoint speaks of step "
                f"{facts['best_step']}; delete {self.folder} to begin anew"
            )
        return tensors

    def _settle(self, facts: Mapping[str, Any]) -> None:
        """Rename the better state that a checkpoint speaks of; it may have been kept from it."""
        better = self.folder / BETTER
        if better.exists() and self._facts(better)["step"] == facts["best_step"]:
            better.replace(self.folder / BEST)

    def _write(
        self, name: str, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        plain_ones = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        told = {"facts": json.dumps(facts), "mark": self.mark, "crc32": str(_crc32(plain_ones))}
        with whole_file(self.folder / name) as beside:
            save_file(plain_ones, beside, metadata=told)

    def _read(self, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        path = self.folder / name
        facts = self._facts(path)
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                told = file.metadata()["crc32"]
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise self._damaged(path, error) from error
        if told != str(_crc32(tensors)):
            raise self._damaged(path, "its content is not what was written")
        return tensors, facts

    def _facts(self, path: Path) -> dict[str, Any]:
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata()
            facts, mark = json.loads(told["facts"]), told["mark"]
            int(facts["step"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(path, error) from error
        if mark != self.mark:
            raise ArtifactError(
                f"{path} is of another recipe or of other data; name another run, or delete "
                f"{self.folder} to begin anew"
            )
        return facts if isinstance(facts, dict) else {}

    def _damaged(self, path: Path, why: object) -> ArtifactError:
        return ArtifactError(f"{path} is damaged ({why}); delete {self.folder} to begin anew")


def _crc32(tensors: Mapping[str, torch.Tensor]) -> int:
    """A checksum of names and values; the format itself has none."""
    sum_ = 0
    for name in sorted(tensors):
        sum_ = zlib.crc32(name.encode(), sum_)
        # Nothing cannot be viewed as bytes.
        if tensors[name].numel():
            sum_ = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, sum_)
    return sum_
