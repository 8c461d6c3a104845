"""From cases that were answered or not to a small network; apart, as it loads PyTorch."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import nn
from torch.nn import functional

from tailrec.items import Array, BoolArray, Float32Array, Float64Array
from tailrec.ranking.layers import Layers, Scale
from tailrec.training.course import train
from tailrec.training.recipes import Course
from tailrec.training.run_folder import RunFolder


class Cases(NamedTuple):
    """What is known of cases, and what came of them.

    Attributes:
        known: float32 [N, F]; NaN where something is not known.
        answered: bool [N].
        looked: float64 [N], chance that each was looked at.
    """

    known: Float32Array
    answered: BoolArray
    looked: Float64Array

    def tensors(self, scale: Scale, rows: Array | slice) -> tuple[torch.Tensor, ...]:
        """Some of them, as a network reads them."""
        columns = (scale(self.known[rows]), self.answered[rows], self.looked[rows])
        return tuple(torch.as_tensor(column.astype(np.float32)) for column in columns)


class Net(nn.Module):
    """Layers over numbers as `scale` reads them; it begins by telling nothing apart."""

    def __init__(self, scale: Scale, hidden: tuple[int, ...], dropout: float, start: float) -> None:
        super().__init__()
        self.scale, self.start = scale, start
        widths = (2 * len(scale.mean), *hidden, 1)
        linear = [nn.Linear(*pair) for pair in pairwise(widths)]
        nn.init.zeros_(linear[-1].weight)
        nn.init.zeros_(linear[-1].bias)
        self.linear = nn.ModuleList(linear)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N], log-odds of cases [N, 2F]."""
        for number, layer in enumerate(self.linear):
            x = layer(self.dropout(functional.silu(x)) if number else x)
        return self.start + x[:, 0]

    def layers(self) -> Layers:
        """The same for serving, without `start`."""
        arrays = [
            {name: values.detach().cpu().numpy() for name, values in one.named_parameters()}
            for one in self.linear
        ]
        weights = tuple(own["weight"].T.copy() for own in arrays)
        return Layers(self.scale, weights, tuple(own["bias"] for own in arrays))


class Answers:
    """Which cases are answered.

    Attributes:
        module: the network.
        watched: the figure that says which state is best.
    """

    watched = "likelihood"

    def __init__(self, own: Cases, other: Cases, net: "Net", size: int) -> None:
        self.module: nn.Module = net
        self._own, self._other, self._net = own, other, net
        self._size = min(size, len(own.answered))

    def batch(self, number: int, rng: Generator) -> Any:
        """Cases, each as likely as any other."""
        del number
        rows = rng.choice(len(self._own.answered), self._size, replace=False)
        return self._own.tensors(self._net.scale, rows)

    def loss(self, batch: Any) -> torch.Tensor:
        """Minus the mean log-likelihood: the case is looked at, and answered by who looks."""
        device = self._net.linear[0].weight.device
        known, answered, looked = (part.to(device) for part in batch)
        odds = self._net(known)
        # log(1 - looked · σ(odds)), of which nothing is lost where that is near 1.
        both = torch.log(looked) + functional.logsigmoid(odds)
        neither = torch.log1p(-both.exp().clamp(max=1 - 1e-6))
        loss: torch.Tensor = -(answered * both + (1 - answered) * neither).mean()
        return loss

    def figures(self) -> dict[str, float]:
        """Of the cases that are held out."""
        every = self._other.tensors(self._net.scale, slice(None))
        return {self.watched: -float(self.loss(every))}


def trained(
    own: Cases,
    other: Cases,
    start: float,
    sizes: tuple[tuple[int, ...], float, int],
    course: Course,
) -> Layers:
    """A network that tells cases from each other.

    Args:
        own: learnt from.
        other: say which state is the best.
        start: log-odds that the network's stand beside.
        sizes: widths of hidden layers, share left out of a step, cases of a step.
        course: how it is trained.
    """
    hidden, dropout, size = sizes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(course.seed)
        net = Net(Scale.of(own.known), hidden, dropout, start)
    with TemporaryDirectory() as folder:
        train(Answers(own, other, net, size), course, RunFolder(Path(folder), "answers"))
    return net.layers()
