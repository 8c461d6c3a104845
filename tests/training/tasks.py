"""Tasks so small that what training does to them can be worked out."""

from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator
from torch import nn
from transformers import BertForMaskedLM, PreTrainedTokenizerFast

from tailrec.features.original import quiet

WORDS = ["red", "blue", "wool", "silk", "hat", "scarf", "warm", "light", "for", "winter", "summer"]
TEXTS = tuple(
    f"{colour} {stuff} {thing} {when}"
    for colour in ("red", "blue")
    for stuff, when in (("wool", "warm for winter"), ("silk", "light for summer"))
    for thing in ("hat", "scarf")
)


class Line:
    """A small net follows y = 3x - 1; the loss is a mean over points, times a number."""

    watched = "fit"

    def __init__(
        self, *, dropout: float = 0.0, norm: bool = False, size: int = 8, times: float = 1.0
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            ends = nn.Linear(1, 4), nn.Linear(4, 1)
        middle = [nn.BatchNorm1d(4)] if norm else []
        self.module = nn.Sequential(ends[0], *middle, nn.Tanh(), nn.Dropout(dropout), ends[1])
        self._size, self._times = size, times

    def batch(self, number: int, rng: Generator) -> torch.Tensor:
        assert number >= 0
        return torch.from_numpy(rng.uniform(-1, 1, (self._size, 1))).float()

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return self._times * nn.functional.mse_loss(self.module(batch), 3 * batch - 1)

    def figures(self) -> dict[str, float]:
        x = torch.linspace(-1, 1, 21)[:, None]
        found = self.module(x).detach()
        return {"fit": -float(nn.functional.mse_loss(found, 3 * x - 1))}


class Masked:
    """BERT guesses hidden words of a few titles."""

    watched = "right"

    def __init__(self, folder: Path) -> None:
        with quiet():
            self.module: Any = BertForMaskedLM.from_pretrained(folder)
        self._tokens = PreTrainedTokenizerFast.from_pretrained(folder)(
            list(TEXTS), padding=True, return_tensors="pt"
        )

    def batch(self, number: int, rng: Generator) -> dict[str, torch.Tensor]:
        assert number >= 0
        rows = torch.from_numpy(rng.integers(0, len(TEXTS), 4))
        return self._hidden(rows, int(rng.integers(1, 6)))

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = self.module(**batch).loss
        return loss

    def figures(self) -> dict[str, float]:
        batch = self._hidden(torch.arange(len(TEXTS)), 2)
        found = self.module(**batch).logits.argmax(-1)
        asked = batch["labels"] >= 0
        return {"right": float((found == batch["labels"])[asked].float().mean())}

    def _hidden(self, rows: torch.Tensor, place: int) -> dict[str, torch.Tensor]:
        ids = self._tokens["input_ids"][rows].clone()
        labels = torch.full_like(ids, -100)
        labels[:, place] = ids[:, place]
        ids[:, place] = 4
        return {
            "input_ids": ids,
            "attention_mask": self._tokens["attention_mask"][rows],
            "labels": labels,
        }


def values(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all a module keeps."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether both hold the same, to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
