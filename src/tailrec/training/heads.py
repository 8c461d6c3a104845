"""Heads that say plain facts of an item from its vector, taught together with the objective.

A head pulls what it is asked into the vectors: its category, what people thought of it, how often
it is bought. The heads themselves are thrown away; the run's best state keeps them.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from tailrec import columns as c
from tailrec.dataset import Dataset
from tailrec.errors import DataError
from tailrec.items import Array, Float32Array, Int64Array
from tailrec.training.course import Counting, Task
from tailrec.training.embedders import Embedder
from tailrec.training.recipes import Heads

HELD_OUT: Final = 0.1
"""Share of the items with a label that no head is taught with."""
MOST_MEASURED: Final = 1000
SIGHTS: Final = 10.0
"""Times an item must be seen for its own share of purchases to count as much as that of all."""
_NAMES: Final = ("category", "rating", "purchase")
_LEAST: Final = 20
"""Items with a label that a head needs."""


@dataclass(frozen=True)
class Labels:
    """What one head should say.

    Attributes:
        values: [I]; numbers of classes, or float32.
        n_classes: 0: the values are numbers.
        taught: int64 [T], items it is taught with.
        held_out: int64 [H], other items it is measured on.
    """

    values: Array
    n_classes: int
    taught: Int64Array
    held_out: Int64Array

    @classmethod
    def of(cls, name: str, data: Dataset, *, level: int, seed: int) -> "Labels":
        """Labels of one kind.

        Args:
            name: `category`, `rating` or `purchase`.
            data: items without a label do not count.
            level: of the category.
            seed: draws what is held out.

        Raises:
            DataError: too few items have a label.
        """
        if name == "category":
            values, known = categories(data, level)
        else:
            values, known = ratings(data) if name == "rating" else purchases(data)
        some = np.flatnonzero(known)
        n_classes = int(values.max(initial=-1)) + 1 if name == "category" else 0
        if len(some) < _LEAST or (name == "category" and n_classes < 2):
            raise DataError(
                f"{len(some)} items have a {name} to learn, and {_LEAST} of two kinds at least are "
                f"needed; leave the head `{name}` out"
            )
        mixed = np.random.default_rng([seed, _NAMES.index(name)]).permutation(some)
        n_held_out = max(round(HELD_OUT * len(some)), 1)
        return cls(values, n_classes, np.sort(mixed[n_held_out:]), np.sort(mixed[:n_held_out]))


class _Batch(NamedTuple):
    own: Any
    asked: dict[str, tuple[Any, torch.Tensor]]


class WithHeads:
    """A task whose vectors are also asked for plain facts.

    Attributes:
        module: what the task trains, and the heads.
        watched: the task's own.
    """

    def __init__(
        self, task: Task, embedder: Embedder, data: Dataset, heads: Heads, seed: int
    ) -> None:
        self.watched = task.watched
        self._task, self._embedder = task, embedder
        self._weights, self._size = heads.weights(), heads.batch
        self._labels = {
            name: Labels.of(name, data, level=heads.level, seed=seed) for name in self._weights
        }
        width = embedder.encode(np.zeros(1, np.int64)).shape[1]
        # Vectors of unit length are small a dimension; a head would learn slowly from them.
        self._scale = width**0.5
        self._heads = torch.nn.ModuleDict(
            {n: torch.nn.Linear(width, labels.n_classes or 1) for n, labels in self._labels.items()}
        )
        for head in self._heads.parameters():
            torch.nn.init.zeros_(head)
        self.module: torch.nn.Module = torch.nn.ModuleDict(
            {"encoder": task.module, "heads": self._heads}
        )

    def batch(self, number: int, rng: Generator) -> _Batch:
        """The task's own, and items for every head."""
        own = self._task.batch(number, rng)
        asked = {}
        for name, labels in self._labels.items():
            items = rng.choice(labels.taught, min(self._size, len(labels.taught)), replace=False)
            values = torch.as_tensor(labels.values[items])
            asked[name] = self._embedder.prepare(items, rng), values
        return _Batch(own, asked)

    def loss(self, batch: _Batch) -> torch.Tensor:
        """The task's own, and those of the heads by their weights."""
        loss = self._task.loss(batch.own)
        for name, (prepared, values) in batch.asked.items():
            said = self._said(name, self._embedder.embed(prepared))
            loss = loss + self._weights[name] * _miss(name, said, values.to(said.device))
        return loss

    def figures(self) -> dict[str, float]:
        """The task's own, and how well each head says what it was not taught."""
        figures = self._task.figures()
        for name, labels in self._labels.items():
            items = labels.held_out[:: max(len(labels.held_out) // MOST_MEASURED, 1)]
            vectors = torch.as_tensor(self._embedder.encode(items))
            device = next(self._heads.parameters()).device
            said = self._said(name, vectors.to(device)).float().cpu().numpy()
            known = labels.values[items]
            if labels.n_classes:
                figures["category accuracy"] = float((said.argmax(axis=1) == known).mean())
            else:
                numbers = 1 / (1 + np.exp(-said[:, 0])) if name == "purchase" else said[:, 0]
                figures[f"{name} R2"] = explained(numbers, known)
        return figures

    def after_step(self, step: int) -> None:
        """The task's own."""
        if isinstance(self._task, Counting):
            self._task.after_step(step)

    def _said(self, name: str, vectors: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self._heads[name](vectors * self._scale)
        return said


def categories(data: Dataset, level: int) -> tuple[Array, Array]:
    """int64 [I], number of each item's category down to a level; bool [I], whether it has one.

    Args:
        data: its catalogue is read.
        level: 1 for the broadest; an item whose own is broader has none.
    """
    table = data.catalog.table
    if c.CATEGORY not in table.columns:
        return np.full(len(table), -1), np.zeros(len(table), np.bool_)
    paths = [text.split(c.CATEGORY_SEPARATOR) for text in table[c.CATEGORY].fill_null("")]
    deep = [len(path) >= level and bool(path[level - 1].strip()) for path in paths]
    names = [c.CATEGORY_SEPARATOR.join(path[:level]) for path in paths]
    known = np.array(deep, np.bool_)
    number = {
        name: n for n, name in enumerate(sorted({n for n, d in zip(names, deep, strict=True) if d}))
    }
    return np.array(
        [number.get(name, -1) if d else -1 for name, d in zip(names, deep, strict=True)]
    ), known


def ratings(data: Dataset) -> tuple[Float32Array, Array]:
    """float32 [I], mean rating of each item, in standard deviations of all; bool [I], rated."""
    rated = (data.type == c.EVENT_TYPES.index("rating")) & np.isfinite(data.value)
    count = np.bincount(data.item[rated], minlength=data.n_items)
    total = np.bincount(data.item[rated], data.value[rated], data.n_items)
    known = count > 0
    means = np.divide(total, count, out=np.zeros(data.n_items), where=known)
    if known.any():
        spread = float(means[known].std())
        means = (means - means[known].mean()) / (spread or 1.0)
    return means.astype(np.float32), known


def purchases(data: Dataset) -> tuple[Float32Array, Array]:
    """float32 [I] in 0..1, how likely an item is bought when seen; bool [I], whether it was seen.

    Few sights say little: a share is drawn to that of all items, as if each had been seen `SIGHTS`
    times more.
    """
    of = {
        name: np.bincount(data.item[data.type == c.EVENT_TYPES.index(name)], minlength=data.n_items)
        for name in ("impression", "view", "purchase")
    }
    seen = of["impression"] + of["view"]
    if not seen.any():
        counts = data.item_counts
        known = counts > 0
        order = np.sort(counts[known])
        below = np.searchsorted(order, counts) + np.searchsorted(order, counts, side="right")
        return (below / max(2 * len(order), 1)).astype(np.float32), known
    seen = np.maximum(seen, of["purchase"])  # what was bought had been seen
    whole = of["purchase"].sum() / seen.sum()
    share = (of["purchase"] + SIGHTS * whole) / (seen + SIGHTS)
    return share.astype(np.float32), seen > 0


def explained(said: Array, known: Array) -> float:
    """R2: 1 where all is said exactly, 0 for saying the mean of what is known."""
    spread = float(np.square(known - known.mean()).sum())
    return 1 - float(np.square(said - known).sum()) / spread if spread > 0 else 0.0


def _miss(name: str, said: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    if name == "category":
        return cross_entropy(said, values)
    if name == "rating":
        return mse_loss(said[:, 0], values)
    return binary_cross_entropy_with_logits(said[:, 0], values)
