"""From a lesson to what attention adds; apart, as it loads PyTorch."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import nn
from torch.nn import functional

from tailrec.items import PADDING, Array, Float32Array, Int64Array
from tailrec.ranking.blend import BlendModel
from tailrec.ranking.lesson import Lesson
from tailrec.training.course import train
from tailrec.training.recipes import Course
from tailrec.training.run_folder import RunFolder

_GENTLY: Final = 3e-3
"""What a step moves numbers of matrices, against single numbers: they are many, answers are few."""
_HELD: Final = 10
"""One of so many requests says which state is the best."""
_FAR: Final = -1e9
"""A logit of what is not there."""


class Sizes(NamedTuple):
    """Sizes of what is learnt; see `attention.Attention`."""

    width: int
    length: int
    requests: int


class Batch(NamedTuple):
    """Requests and their pools.

    Attributes:
        meaning: float32 [N, D], of the items that stand in the batch.
        item: int64 [B, P], places of a pool's items among them.
        past: int64 [B, L], likewise of past items.
        real: bool [B, L], which are there.
        faded: float32 [B, L, 3], logarithms of the event's weight, of steps and of days.
        said: float32 [B, P, L], R_ij.
        kind: int64 [B, P], class of each item.
        history: int64 [B], class of each history.
        base: float32 [B, P], what stands beside; far below at padding.
        counts: float32 [B, P], what an item counts as a right answer.
    """

    meaning: torch.Tensor
    item: torch.Tensor
    past: torch.Tensor
    real: torch.Tensor
    faded: torch.Tensor
    said: torch.Tensor
    kind: torch.Tensor
    history: torch.Tensor
    base: torch.Tensor
    counts: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(part.to(device) for part in self))


class Net(nn.Module):
    """The mixture of `attention`, for training; parameters are named as there."""

    def __init__(self, meanings: Float32Array, width: int, classes: tuple[int, int]) -> None:
        super().__init__()
        centre, axes = _axes(meanings, width)
        n = axes.shape[1]
        self.register_buffer("centre", torch.as_tensor(centre))
        self.register_buffer("axes", torch.as_tensor(axes))
        self.register_buffer("spread", torch.ones(3))
        self.moved = nn.ParameterDict(
            {
                "turn": nn.Parameter(torch.zeros(axes.shape)),
                "like": nn.Parameter(torch.zeros(n, n)),
                "taste": nn.Parameter(torch.zeros(n, n)),
            }
        )
        self.close = nn.Parameter(torch.full((1,), 4.0))
        self.fade = nn.Parameter(torch.full((2, 2), 0.3))
        self.alpha, self.beta, self.offset = (nn.Parameter(torch.zeros(classes)) for _ in range(3))
        self.scale = nn.Parameter(torch.full(classes, -2.0))

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.close.device

    def matrices(self) -> dict[str, torch.Tensor]:
        """`turn`, `like` and `taste`: where they start, and how far they were moved."""
        axes: torch.Tensor = self.get_buffer("axes")
        same = torch.eye(axes.shape[1], device=axes.device)
        start = {"turn": axes, "like": same, "taste": same}
        return {name: start[name] + _GENTLY * moved for name, moved in self.moved.items()}

    def terms(self, batch: Batch) -> torch.Tensor:
        """[B, P, 3]: taste, what is attended to, behaviour, before they are divided."""
        matrices = self.matrices()
        some = batch.meaning.any(dim=1, keepdim=True)
        turned = (batch.meaning - self.get_buffer("centre")) @ matrices["turn"] * some
        vectors = functional.normalize(turned, dim=-1)
        item, had = vectors[batch.item], vectors[batch.past] * batch.real[..., None]
        faded = batch.faded[..., :1] - batch.faded[..., 1:] @ self.fade.T
        faded = faded.masked_fill(~batch.real[..., None], _FAR)
        close = item @ (had @ matrices["like"]).transpose(1, 2)
        shares = (self.close * close + faded[:, None, :, 0]).softmax(dim=-1)
        taste = (faded[..., 1].softmax(dim=-1)[:, None] @ had)[:, 0] @ matrices["taste"]
        near = (shares * (item @ had.transpose(1, 2))).sum(dim=-1)
        said = (shares * batch.said).sum(dim=-1)
        return torch.stack([(item * taste[:, None]).sum(dim=-1), near, said], dim=-1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """[B, P], logits of a pool's items."""
        taste, near, said = (self.terms(batch) / self.get_buffer("spread")).unbind(dim=-1)
        of = batch.kind, batch.history[:, None]
        alpha, beta = self.alpha[of].sigmoid(), self.beta[of].sigmoid()
        mixed = alpha * ((1 - beta) * taste + beta * near) + (1 - alpha) * said
        added: torch.Tensor = self.scale[of].exp() * mixed + self.offset[of]
        return batch.base + added


class Weighing:
    """What people turned to, told apart from the rest of its pool.

    Attributes:
        module: the network.
        watched: the figure that says which state is best.
    """

    watched = "ndcg@10"

    def __init__(self, sizes: Sizes, blend: BlendModel, lesson: Lesson, seed: int) -> None:
        n_classes = len(blend.recipe.items) + 1, len(blend.recipe.histories) + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._net = Net(lesson.meaning, sizes.width, n_classes)
        self.module: nn.Module = self._net
        self._sizes, self._blend, self._lesson = sizes, blend, lesson
        self._base = blend.values(lesson.queries, lesson.pools).astype(np.float32)
        self._base[lesson.pools.ids == PADDING] = _FAR
        answered = np.flatnonzero(lesson.right.any(axis=1))
        self._held = answered[::_HELD]
        self._own = np.setdiff1d(answered, self._held)
        with torch.no_grad():
            batch = self.batch_of(self._own[: 4 * sizes.requests])
            spread = self._net.terms(batch)[batch.base > _FAR / 2].std(dim=0)
            self._net.get_buffer("spread").copy_(torch.where(spread > 0, spread, 1))

    def batch(self, number: int, rng: Generator) -> Batch:
        """Requests, each as likely as any other."""
        del number
        size = min(self._sizes.requests, len(self._own))
        return self.batch_of(np.sort(rng.choice(self._own, size, replace=False)))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Minus the mean log-likelihood of the right answers."""
        chances = self._net(batch.to(self._net.device)).log_softmax(dim=-1)
        loss: torch.Tensor = -(batch.counts * chances).sum() / batch.counts.sum()
        return loss

    def figures(self) -> dict[str, float]:
        """Of requests that are held out."""
        asked = self._lesson.take(self._held)
        values: list[Array] = []
        for start in range(0, len(self._held), self._sizes.requests):
            batch = self.batch_of(self._held[start : start + self._sizes.requests])
            values.append(self._net(batch.to(self._net.device)).cpu().numpy())
        return {self.watched: asked.figures(np.concatenate(values)).means[0]}

    def batch_of(self, rows: Int64Array) -> Batch:
        """Some requests, by number."""
        lesson, blend = self._lesson, self._blend
        queries, ids = lesson.queries.take(rows), lesson.pools.ids[rows]
        recent = queries.latest(self._sizes.length, len(lesson.counts))
        own = recent.padded(np.arange(len(recent)))
        real = own >= 0
        past = np.where(real, recent.item[own], np.int32(PADDING))
        # Padding is the last item, which nothing comes of.
        here, place = np.unique(np.concatenate([ids, past], axis=1), return_inverse=True)
        place = place.reshape(len(rows), -1)
        aged = [np.log(recent.weight), np.log1p(recent.age), np.log1p(recent.days)]
        leaning = np.where(lesson.tail[ids], blend.lean, 1.0)
        columns: list[Array] = [
            lesson.meaning[here],
            place[:, : ids.shape[1]],
            place[:, ids.shape[1] :],
            real,
            np.stack(aged, axis=-1).astype(np.float32)[own],
            lesson.known.said_for(ids, past),
            blend.kind[ids].astype(np.int64),
            blend.recipe.history(queries),
            self._base[rows],
            (lesson.right[rows] * leaning).astype(np.float32),
        ]
        return Batch(*map(torch.as_tensor, columns))

    def learnt(self) -> dict[str, Array]:
        """Parameters as `attention.AttentionModel` takes them, without the items' vectors."""
        names = ("close", "fade", "alpha", "beta", "scale", "offset", "spread", "centre")
        state = self._net.state_dict()
        with torch.no_grad():
            found = {name: state[name] for name in names} | self._net.matrices()
        return {name: values.cpu().numpy() for name, values in found.items()}


def learnt(
    sizes: Sizes, blend: BlendModel, lesson: Lesson, course: Course, rng: Generator
) -> dict[str, Array]:
    """What attention adds to some weights: parameters, see `Weighing.learnt`.

    Args:
        sizes: of what is learnt.
        blend: weights it stands beside.
        lesson: with the pools' first places alone.
        course: how it is trained; its seed is drawn.
        rng: draws the seed.
    """
    seed = int(rng.integers(2**30)) + course.seed
    task = Weighing(sizes, blend, lesson, seed)
    with TemporaryDirectory() as folder:
        seeded = course.model_copy(update={"seed": seed})
        train(task, seeded, RunFolder(Path(folder), "attention"))
    return task.learnt()


def _axes(meanings: Float32Array, width: int) -> tuple[Float32Array, Float32Array]:
    """Centre [D] and the axes [D, W] along which meanings spread most, at most D of them."""
    told = np.asarray(meanings.any(axis=1))
    centre = meanings[told].mean(axis=0) if told.any() else np.zeros(meanings.shape[1])
    own = (meanings[told] - centre).astype(np.float64)
    _, axes = np.linalg.eigh(own.T @ own)
    # `eigh` puts the widest last.
    kept = axes[:, ::-1][:, :width]
    return centre.astype(np.float32), np.ascontiguousarray(kept, np.float32)
