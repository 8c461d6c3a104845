"""Going on from an encoder that learnt earlier periods, without forgetting them.

Three means, each with a weight of its own: pairs of earlier periods among the new ones, parameters
that earlier periods need held near where they were, and vectors of earlier items held near where
they lay. All add to the loss of the fine-tuning that they go with.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator

from tailrec.errors import RecipeError
from tailrec.items import Float32Array, Int64Array
from tailrec.training.behaviour import Contrastive, Judged, Lessons
from tailrec.training.consolidation import Consolidation
from tailrec.training.continual import Continue
from tailrec.training.course import Task
from tailrec.training.embedders import Embedder
from tailrec.training.memory import Memory
from tailrec.training.pairs import Affinity
from tailrec.training.recipes import Objective
from tailrec.training.replay import Replay
from tailrec.training.run_folder import RunFolder


@dataclass(frozen=True)
class Start:
    """Where a run begins that goes on from an earlier one.

    Attributes:
        embedder: as the earlier encoder is.
        vectors: float32 [I, D], what that encoder makes of the items.
        memory: what its run kept.
        run: files of the new run.
        seed: of what is drawn to begin with.
    """

    embedder: Embedder
    vectors: Float32Array
    memory: Memory
    run: RunFolder
    seed: int


def continued(
    options: Continue,
    start: Start,
    lessons: Lessons,
    objective: Objective,
    size: int,
    *,
    make: Callable[[Lessons], Task],
) -> Task:
    """A task that learns a new period and keeps earlier ones.

    Args:
        options: by which means.
        start: where it begins; its parameters are still those of the earlier encoder.
        lessons: of the new period.
        objective: of the fine-tuning.
        size: pairs of a batch.
        make: the fine-tuning's own task, of lessons that may hold earlier pairs as well.

    Raises:
        RecipeError: pairs are to be replayed to an objective that takes none.
        DataError: the catalogue has none of the earlier pairs.
        ArtifactError: files of the run are damaged.
    """
    if options.replay and objective.kind == "autoencoder":
        raise RecipeError(
            f"replay is {options.replay}, and the autoencoder takes histories, not pairs; set "
            "replay to 0 and say consolidate or remember, or take the contrastive objective"
        )
    earlier = start.memory.affinity(lessons.data.catalog)
    own = lessons
    if options.replay:
        own = replace(lessons, replay=Replay(earlier, options.replay))
    consolidation = remembrance = None
    if options.consolidate:
        before = _earlier_task(start, earlier, lessons, objective, size)
        consolidation = Consolidation.of(before, start.run, seed=start.seed)
    if options.remember:
        remembrance = Remembrance(start.embedder, start.vectors, _items(earlier), size)
    return Continued(make(own), options, consolidation, remembrance)


class Continued:
    """A task, and what it costs to forget.

    Attributes:
        module: what is trained.
        watched: the task's own: which state is best is a matter of the new period.
    """

    def __init__(
        self,
        task: Task,
        options: Continue,
        consolidation: Consolidation | None,
        remembrance: "Remembrance | None",
    ) -> None:
        self.module, self.watched = task.module, task.watched
        self._task, self._options = task, options
        self._consolidation, self._remembrance = consolidation, remembrance

    def batch(self, number: int, rng: Generator) -> tuple[Any, Any]:
        """The task's batch, and earlier items."""
        own = self._task.batch(number, rng)
        return own, None if self._remembrance is None else self._remembrance.batch(rng)

    def loss(self, batch: tuple[Any, Any]) -> torch.Tensor:
        """The task's loss, and each part by its weight."""
        own, remembered = batch
        loss = self._task.loss(own)
        if self._consolidation is not None:
            loss = loss + self._options.consolidate * self._consolidation.loss()
        if self._remembrance is not None:
            loss = loss + self._options.remember * self._remembrance.loss(remembered)
        return loss

    def figures(self) -> dict[str, float]:
        """The task's own."""
        return self._task.figures()


class Remembrance:
    """Earlier items keep the vectors that the older encoder gave them."""

    def __init__(
        self, embedder: Embedder, vectors: Float32Array, items: Int64Array, size: int
    ) -> None:
        """Remember.

        Args:
            embedder: what is trained.
            vectors: float32 [I, D], of unit length, as the older encoder gave them.
            items: int64 [N], the earlier items; those of zero vectors are left out.
            size: items of a batch.
        """
        self._embedder, self._vectors = embedder, vectors
        self._items = items[vectors[items].any(axis=1)]
        self._size = min(size, len(self._items))

    def batch(self, rng: Generator) -> tuple[Any, torch.Tensor]:
        """Some of the items, and their old vectors."""
        some = rng.choice(self._items, self._size, replace=False)
        return self._embedder.prepare(some, rng), torch.as_tensor(self._vectors[some])

    def loss(self, batch: tuple[Any, torch.Tensor]) -> torch.Tensor:
        """One minus the mean cosine."""
        prepared, old = batch
        vectors = self._embedder.embed(prepared)
        return 1 - (vectors * old.to(vectors.device)).sum(dim=1).mean()


def _items(affinity: Affinity) -> Int64Array:
    """Items with partners, and these."""
    return np.union1d(affinity.warm, affinity.matrix.indices).astype(np.int64)


def _earlier_task(
    start: Start, earlier: Affinity, lessons: Lessons, objective: Objective, size: int
) -> Contrastive:
    """What the earlier periods' pairs teach; nothing is measured."""
    pairs = objective.model_copy(update={"kind": "contrastive", "pairs": "items", "hard": 0})
    none = Judged(np.zeros(0, np.int64), lambda _: {})
    nothing_alike = np.zeros((len(start.vectors), 0), np.int32)
    taught = Lessons(lessons.data, earlier, nothing_alike)
    return Contrastive(start.embedder, taught, pairs, size=size, judged=none)
