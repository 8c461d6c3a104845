"""Fine-tuning that tells little of any one person: differential privacy, a person at a time.

Every step draws each person with the same small chance, and of a person drawn one pair: what they
had, and what they had next. The gradient of that pair is cut to a greatest length, gradients are
summed, and noise is added that hides any one of them. An accountant adds up what all steps may
have told: with another person more or less, no finished encoder becomes more likely by a factor
above e^epsilon, but with probability delta.

What is protected: the trained parameters, that is, the encoder or the map that is saved, and
whatever is computed from it. Negatives are drawn from the catalogue alone, so people do not meet
in a loss. Nothing that looks at behaviour is used besides: no measurement on held-out people, no
early end, no loss in the curve.

What is not: texts of the catalogue and the encoder that training begins with count as public, and
so do how many people there are. Checkpoints hold the secret that noise is drawn from, so a run's
folder is as private as the events; what leaves it is `encoder/`. Its digest of the data names the
folder. Models fitted on the encoder's vectors learn from behaviour anew, without protection. The
noise is drawn by NumPy's generator from 128 bits of the system's; it is not made to withstand
somebody who studies the rounding of floating numbers.

Source:
    Abadi et al. 2016, "Deep learning with differential privacy", arXiv:1607.00133; Mironov et al.
    2019, "Renyi differential privacy of the sampled Gaussian mechanism", arXiv:1908.10530.
"""

import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from opacus import GradSampleModule
from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from torch.nn.functional import cross_entropy, normalize

from tailrec.dataset import Dataset
from tailrec.errors import DataError, RecipeError
from tailrec.items import Array, Int64Array
from tailrec.training.embedders import Embedder, MapEmbedder
from tailrec.training.pairs import People
from tailrec.training.recipes import Objective, Privacy

_WORDS: Final = 4
"""Of 32 bits, in the secret."""
_TEXTS: Final = 64
"""Texts that go through an encoder at once; those of a person never part."""
_PEOPLE: Final = 64
"""People whose gradients of a map are held at once."""


class _Batch(NamedTuple):
    items: Int64Array  # [N, H + 1 + K]: the past, the next item, negatives
    weight: Array  # float32 [N, H]
    rng: Generator


class Private:
    """People's past and their next item, each person's gradient cut and all of them hidden.

    Attributes:
        module: what is trained; steps made and the secret are its buffers.
        watched: epsilon, which grows: the last state is kept.
        noise: standard deviation of the noise, in greatest lengths of a gradient.
        share: chance of each person to be drawn for a step.
    """

    watched = "epsilon"

    def __init__(
        self,
        embedder: Embedder,
        data: Dataset,
        objective: Objective,
        options: Privacy,
        *,
        size: int,
        steps: int,
        seed: int,
    ) -> None:
        """Set up.

        Args:
            embedder: a map, or an encoder with low-rank matrices.
            data: histories.
            objective: its temperature and decay are taken.
            options: how little is told.
            size: people of a step, on average.
            steps: of the course.
            seed: of the course, for options that are `seeded`.

        Raises:
            DataError: nobody has a past and a next item.
            RecipeError: delta is too great for so many people, or epsilon too small for any noise.
        """
        self._embedder, self._data, self._options = embedder, data, options
        self._people, self._temperature = People(data, objective.decay), objective.temperature
        self._event, self._bounds = _later_events(data)
        n_people = len(self._bounds) - 1
        if n_people == 0:
            raise DataError("nobody has a past and a next item; there is nothing to learn")
        if options.delta * n_people >= 1:
            raise RecipeError(
                f"`delta` is {options.delta} and there are {n_people} people; take less than "
                f"{1 / n_people:.1g}, or one of them may be told whole"
            )
        self._expected = min(size, n_people)
        self.share = self._expected / n_people
        self.noise = noise_for(options, self.share, steps)
        self._kept = _Kept(embedder.module, np.array([seed]) if options.seeded else _secret())
        self.module: torch.nn.Module = self._kept
        # It hooks into the module, which is called as before.
        GradSampleModule(embedder.module, loss_reduction="sum", strict=True)
        self._trained = [p for p in embedder.module.parameters() if p.requires_grad]

    def card(self) -> dict[str, Any]:
        """What is worth knowing of the protection, as plain values."""
        steps = int(self._kept.steps)
        return {
            "epsilon": spent(self._options, self.noise, self.share, steps),
            "delta": self._options.delta,
            "clip": self._options.clip,
            "noise": self.noise,
            "share": self.share,
            "steps": steps,
            "accountant": "RDP",
            "seeded": self._options.seeded,
        }

    def batch(self, number: int, rng: Generator) -> _Batch:
        """People drawn each by chance, one pair of each, and negatives of their own.

        Raises:
            RecipeError: several batches make a step, or several processes share the work.
        """
        del rng  # whoever knows the recipe knows its numbers
        if number != int(self._kept.steps):
            raise RecipeError("private training takes one process, and one batch a step")
        own = np.random.default_rng([*self._kept.secret.tolist(), number])
        drawn = np.flatnonzero(own.random(len(self._bounds) - 1) < self.share)
        first, n_events = self._bounds[drawn], np.diff(self._bounds)[drawn]
        event = self._event[first + (n_events * own.random(len(drawn))).astype(np.int64)]
        pairs = self._people.ending(event)
        shape = len(pairs.target), self._options.negatives
        negatives = own.integers(self._data.n_items, size=shape)
        past = np.maximum(pairs.anchor, 0)
        items = np.concatenate([past, pairs.target[:, None], negatives], axis=1)
        return _Batch(items.astype(np.int64), pairs.weight, own)

    def loss(self, batch: _Batch) -> torch.Tensor:
        """Always 0, as the loss of people is theirs; its gradient is the hidden one of them all."""
        sums = self._sums(batch)
        noise = torch.Generator().manual_seed(int(batch.rng.integers(2**62)))
        loss = torch.zeros((), device=sums[0].device)
        for parameter, whole in zip(self._trained, sums, strict=True):
            hidden = torch.randn(whole.shape, generator=noise).to(whole)
            hidden = (whole + self.noise * self._options.clip * hidden) / self._expected
            loss = loss + ((parameter - parameter.detach()) * hidden).sum()
        return loss

    def figures(self) -> dict[str, float]:
        """Epsilon spent so far; nothing that is measured on behaviour."""
        return {"epsilon": self.card()["epsilon"]}

    def after_step(self, step: int) -> None:
        """Count it."""
        self._kept.steps.fill_(step)

    def cut(self, batch: _Batch) -> Iterator[list[torch.Tensor]]:
        """Gradients of people, each no longer than `clip`, some people at a time.

        Args:
            batch: the people.

        Yields:
            A tensor [P, ...] a trained parameter.
        """
        several = isinstance(self._embedder, MapEmbedder)
        n_people = _PEOPLE if several else _TEXTS // batch.items.shape[1]
        for start in range(0, len(batch.items), n_people):
            rows = slice(start, start + n_people)
            items = batch.items[rows]
            vectors, owner = self._vectors(items, batch.rng)
            loss = self._asked(vectors, torch.as_tensor(batch.weight[rows]))
            with _quiet():
                loss.backward()  # type: ignore[no-untyped-call]
            # What Opacus computes stands beside each gradient.
            rows_of = [vars(parameter)["grad_sample"] for parameter in self._trained]
            grads = [_of_people(grads, owner, len(items)) for grads in rows_of]
            for parameter in self._trained:
                parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]
            lengths = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)
            factor = (self._options.clip / lengths.clamp(min=1e-12)).clamp(max=1)
            yield [grad * factor.view(-1, *[1] * (grad.ndim - 1)) for grad in grads]

    def _sums(self, batch: _Batch) -> list[torch.Tensor]:
        """Sums over people, a tensor a trained parameter."""
        sums = [torch.zeros_like(parameter) for parameter in self._trained]
        for grads in self.cut(batch):
            for whole, grad in zip(sums, grads, strict=True):
                whole.add_(grad.sum(dim=0))
        return sums

    def _vectors(self, items: Int64Array, rng: Generator) -> tuple[torch.Tensor, Int64Array]:
        """[P, S, D] of people's items [P, S], and whose each of the module's rows is."""
        if isinstance(self._embedder, MapEmbedder):
            return self._embedder.embed(self._embedder.prepare(items, rng)), np.arange(len(items))
        prepared = self._embedder.prepare(items.ravel(), rng)
        ((order, _),) = prepared
        vectors = self._embedder.embed(prepared)
        return vectors.view(*items.shape, -1), order // items.shape[1]

    def _asked(self, vectors: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The sum over people of how badly the next item is told from negatives."""
        n_past = weight.shape[1]
        past = (vectors[:, :n_past] * weight.to(vectors.device)[..., None]).sum(dim=1)
        likeness = torch.einsum("nd,nsd->ns", normalize(past, dim=1), vectors[:, n_past:])
        right = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
        return cross_entropy(likeness / self._temperature, right, reduction="sum")


class _Kept(torch.nn.Module):
    """What is trained, and what a checkpoint keeps besides."""

    steps: torch.Tensor
    secret: torch.Tensor

    def __init__(self, learnt: torch.nn.Module, secret: Array) -> None:
        super().__init__()
        self.learnt = learnt
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("secret", torch.as_tensor(secret.astype(np.int64)))


@lru_cache(maxsize=256)
def noise_for(options: Privacy, share: float, steps: int) -> float:
    """How much noise it takes.

    Args:
        options: epsilon and delta.
        share: chance of each person to be drawn for a step.
        steps: to be made.

    Returns:
        Standard deviation of the noise, in greatest lengths of a gradient.

    Raises:
        RecipeError: no noise is enough.
    """
    try:
        with _quiet():
            noise = get_noise_multiplier(
                target_epsilon=options.epsilon,
                target_delta=options.delta,
                sample_rate=share,
                steps=steps,
                accountant="rdp",
                epsilon_tolerance=0.001 * options.epsilon,
            )
    except ValueError as error:
        raise RecipeError(
            f"no noise keeps {steps} steps within epsilon {options.epsilon} and delta "
            f"{options.delta}; raise one of them, or make fewer steps"
        ) from error
    return float(noise)


@lru_cache(maxsize=256)
def spent(options: Privacy, noise: float, share: float, steps: int) -> float:
    """Epsilon of some steps.

    Args:
        options: delta.
        noise: as `noise_for` gives it.
        share: chance of each person to be drawn for a step.
        steps: made.
    """
    if steps == 0:
        return 0.0
    accountant = RDPAccountant()
    accountant.history = [(noise, share, steps)]
    with _quiet():
        return float(accountant.get_epsilon(options.delta))


def _later_events(data: Dataset) -> tuple[Int64Array, Int64Array]:
    """Events with something earlier, by person; bounds of the people who have any."""
    step = data.step
    after = np.flatnonzero(step > step[data.ptr[data.user]])
    counts = np.bincount(data.user[after], minlength=data.n_users)
    bounds = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int64)
    return after, bounds


def _of_people(grads: Any, owner: Int64Array, n_people: int) -> torch.Tensor:
    """[P, ...], sums over the rows [R, ...] of each person."""
    whose = torch.as_tensor(owner, device=grads.device)
    return torch.zeros((n_people, *grads.shape[1:]), device=grads.device).index_add_(
        0, whose, grads
    )


def _secret() -> Int64Array:
    return np.array([secrets.randbits(32) for _ in range(_WORDS)], np.int64)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without two warnings that say nothing new here.

    The accountant tells that another order would bound epsilon a little closer; PyTorch, that
    Opacus listens to layers whose inputs are data.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
        yield
