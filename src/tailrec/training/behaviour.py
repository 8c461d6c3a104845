"""What behaviour teaches an encoder: items that the same people had come to lie near."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator

from tailrec.dataset import Dataset
from tailrec.items import Array, Float32Array, Int64Array
from tailrec.training.embedders import Embedder
from tailrec.training.objectives import autoencoder, info_nce
from tailrec.training.pairs import Affinity, Pairs, People
from tailrec.training.recipes import Objective
from tailrec.training.replay import Replay, Source

Judge = Callable[[Float32Array], Mapping[str, float]]
"""Figures of the vectors [N, D] of the items that are judged."""

WATCHED = "tail recall@20"
"""Held-out figure by which states and attempts are compared."""

LEAST_SHARE = 1e-6
"""Of all targets drawn; keeps the logarithm finite for items that are never a target."""


@dataclass(frozen=True)
class Lessons:
    """What behaviour has to teach.

    Attributes:
        data: histories.
        affinity: of their items.
        alike: int32 [I, H], items of alike texts, no partners, -1 where there are none; for hard
            negatives.
        replay: pairs of earlier periods, for a run that goes on from an earlier one.
    """

    data: Dataset
    affinity: Affinity
    alike: Array
    replay: Replay | None = None

    def partners(self, rows: Array, columns: Array) -> Array:
        """bool [R, C], which of some items are partners of which others, now or before."""
        found = self.affinity.partners(rows, columns)
        if self.replay is not None:
            found |= self.replay.earlier.partners(rows, columns)
        return found


class _Batch(NamedTuple):
    prepared: Any
    anchor: torch.Tensor  # [N, H], places in the batch's items
    weight: torch.Tensor  # [N, H]
    target: torch.Tensor  # [M], places in the batch's items
    hidden: torch.Tensor  # [N, M] bool
    offset: torch.Tensor  # [M]


class Contrastive:
    """Pairs against all other targets of the batch.

    Attributes:
        module: what is trained.
        watched: the figure that says which state is best.
    """

    watched = WATCHED

    def __init__(
        self,
        embedder: Embedder,
        lessons: Lessons,
        options: Objective,
        *,
        size: int,
        judged: "Judged",
    ) -> None:
        self.module = embedder.module
        self._embedder, self._lessons, self._options = embedder, lessons, options
        self._size, self._judged = size, judged
        people = People(lessons.data, options.decay)
        own: Source = lessons.affinity if options.pairs == "items" else people
        self._pairs = own if lessons.replay is None else lessons.replay.beside(own)
        self._share = _target_shares(lessons, options)

    def batch(self, number: int, rng: Generator) -> _Batch:
        """Pairs, the items in them, and which targets are no negatives."""
        del number
        pairs = self._pairs.draw(self._size, rng)
        target = self._with_hard(pairs, rng)
        items, place = np.unique(np.append(pairs.anchor, target), return_inverse=True)
        place = place - (items[0] < 0)
        items = items[items >= 0]
        anchor = np.maximum(place[: pairs.anchor.size].reshape(pairs.anchor.shape), 0)
        offset = self._options.popularity * np.log(self._share[target])
        return _Batch(
            self._embedder.prepare(items, rng),
            torch.as_tensor(anchor),
            torch.as_tensor(pairs.weight),
            torch.as_tensor(place[pairs.anchor.size :]),
            torch.as_tensor(self._hidden(pairs, target)),
            torch.as_tensor(offset, dtype=torch.float32),
        )

    def loss(self, batch: _Batch) -> torch.Tensor:
        """The mean over the batch's pairs."""
        return self.losses(batch).mean()

    def losses(self, batch: _Batch) -> torch.Tensor:
        """[N], of each pair."""
        vectors = self._embedder.embed(batch.prepared)
        device = vectors.device
        past = vectors[batch.anchor.to(device)]  # [N, H, D]
        anchors = (past * batch.weight.to(device)[..., None]).sum(dim=1)
        return info_nce(
            torch.nn.functional.normalize(anchors, dim=1),
            vectors[batch.target.to(device)],
            temperature=self._options.temperature,
            hidden=batch.hidden.to(device),
            offset=batch.offset.to(device),
        )

    def figures(self) -> dict[str, float]:
        """Of held-out items."""
        return self._judged.figures(self._embedder)

    def _with_hard(self, pairs: Pairs, rng: Generator) -> Array:
        """int32 [M], the targets and hard negatives behind them."""
        if self._options.hard == 0:
            return pairs.target
        near = self._lessons.alike[pairs.anchor[:, 0]]
        drawn = rng.integers(near.shape[1], size=(len(near), self._options.hard))
        hard = np.take_along_axis(near, drawn, axis=1).ravel()
        return np.append(pairs.target, hard[hard >= 0]).astype(np.int32)

    def _hidden(self, pairs: Pairs, target: Array) -> Array:
        """bool [N, M]: what an anchor has, is, or belongs to, besides its own target."""
        first = pairs.anchor[:, 0]
        hidden = self._lessons.partners(first, target)
        hidden |= (pairs.anchor[:, :, None] == target).any(axis=1)
        hidden |= pairs.target[:, None] == target
        own = np.arange(len(first))
        hidden[own, own] = False
        return hidden


class Autoencoder:
    """Histories of people over some items, rebuilt from the items' vectors.

    Attributes:
        module: what is trained.
        watched: the figure that says which state is best.
    """

    watched = WATCHED

    def __init__(
        self, embedder: Embedder, lessons: Lessons, *, size: int, judged: "Judged"
    ) -> None:
        self.module = embedder.module
        self._embedder, self._judged, self._size = embedder, judged, size
        self._had = (lessons.data.matrix() > 0).astype(np.float32)
        self._by_item = self._had.tocsc()
        self._warm = np.flatnonzero(np.diff(self._by_item.indptr))

    def batch(self, number: int, rng: Generator) -> tuple[Any, torch.Tensor]:
        """People who had some items, and all items of theirs that fit."""
        del number
        # Begun from items, so that those of the tail are there as often as others.
        seeds = rng.choice(self._warm, min(self._size // 4 or 1, len(self._warm)), replace=False)
        start, stop = self._by_item.indptr[seeds], self._by_item.indptr[seeds + 1]
        place = start + (rng.random(len(seeds)) * (stop - start)).astype(np.int64)
        people = np.unique(self._by_item.indices[place])
        theirs = np.unique(self._had[people].indices)
        rest = np.setdiff1d(theirs, seeds)
        room = min(max(self._size - len(seeds), 0), len(rest))
        items = np.sort(np.append(seeds, rng.choice(rest, room, replace=False)))
        histories = self._had[people][:, items].toarray()
        several = histories.sum(axis=1) > 1
        histories = histories[several] if several.any() else histories
        return self._embedder.prepare(items, rng), torch.as_tensor(histories)

    def loss(self, batch: tuple[Any, torch.Tensor]) -> torch.Tensor:
        """The mean over the batch's people."""
        prepared, histories = batch
        vectors = self._embedder.embed(prepared)
        return autoencoder(vectors, histories.to(vectors.device))

    def figures(self) -> dict[str, float]:
        """Of held-out items."""
        return self._judged.figures(self._embedder)


@dataclass(frozen=True)
class Judged:
    """What is held out.

    Attributes:
        items: int64 [N], items whose vectors are judged; none: nothing is measured.
        judge: of these vectors.
    """

    items: Int64Array
    judge: Judge

    def figures(self, embedder: Embedder) -> dict[str, float]:
        """Figures of the embedder as it is."""
        return dict(self.judge(embedder.encode(self.items))) if len(self.items) else {}


def _target_shares(lessons: Lessons, options: Objective) -> Array:
    """float64 [I], how often each item is drawn as a target."""
    if options.pairs == "people":
        share = _to_one((lessons.data.item_counts > 0).astype(np.float64))
    else:
        share = _to_one(_drawn(lessons.affinity))
    if lessons.replay is not None:
        earlier = _to_one(_drawn(lessons.replay.earlier))
        share = (1 - lessons.replay.share) * share + lessons.replay.share * earlier
    shares: Array = np.maximum(share, LEAST_SHARE)
    return shares


def _drawn(affinity: Affinity) -> Array:
    """float64 [I], how often each item is drawn as a partner, every anchor once."""
    matrix = affinity.matrix
    rows = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.repeat(1 / np.maximum(rows, 1e-12), np.diff(matrix.indptr))
    return np.bincount(matrix.indices, matrix.data * scale, len(rows)).astype(np.float64)


def _to_one(share: Array) -> Array:
    shares: Array = share / max(float(share.sum()), 1e-12)
    return shares
