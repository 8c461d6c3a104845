"""What a sequence model learns from: pasts and what came next, drawn batch by batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch.nn.functional import cross_entropy

from tailrec.candidates.sequence_net import Net, Wanted
from tailrec.candidates.transformer import classes
from tailrec.dataset import DAY_US, Dataset, Features
from tailrec.items import Array, Float32Array, Float64Array, Int32Array, Int64Array, ragged_rows

WATCHED = "ndcg@10"
"""Figure that says which state is best: of people's last steps, held out."""
_RENEWED = 200
"""Batches after which baskets taken apart are put into another order."""
_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Where lengths of pasts are parted, so that little of a batch is padding."""


@dataclass(frozen=True)
class Pasts:
    """Histories, read as what came before each last step and what came later.

    Attributes:
        data: histories.
        length: most events that are read at once.
    """

    data: Dataset
    length: int

    def draw(self, n_events: int, rng: Generator) -> Int64Array:
        """Events of people with pasts of about one length, in their order.

        Args:
            n_events: of the batch, padding counted.
            rng: draws.

        Returns:
            int64 [B, L], -1 pads at the end; something came later than each of them.
        """
        users = self._alike[rng.choice(len(self._shares), p=self._shares)]
        size = min(max(n_events // int(self._read[users].max()), 1), len(users))
        users = users[rng.choice(len(users), size, replace=False, shuffle=False)]
        # Of a long past, any part.
        spare = self._n_past[users] - self._read[users]
        start = self.data.ptr[users] + (rng.random(len(users)) * (spare + 1)).astype(np.int64)
        events = start[:, None] + np.arange(int(self._read[users].max()))
        return np.where(events < (start + self._read[users])[:, None], events, -1)

    def later(self, events: Int64Array, ahead: float, rng: Generator) -> Int64Array:
        """int64 [N], an event of a later step for each event, of the next one most often.

        Args:
            events: int64 [N].
            ahead: chance of going on by one more step, again and again.
            rng: draws.
        """
        further = rng.geometric(1 - ahead, len(events))
        target = np.minimum(self._number[events] + further, self._last[self.data.user[events]])
        start, stop = self._begins[target], self._begins[target + 1]
        drawn: Int64Array = start + ((stop - start) * rng.random(len(events))).astype(np.int64)
        return drawn

    @cached_property
    def _begins(self) -> Int64Array:
        """int64 [G + 1], first event of every step of everybody."""
        return np.append(np.flatnonzero(self.data.begins), self.data.n_events)

    @cached_property
    def _number(self) -> Int32Array:
        """int32 [E], number of each event's step among everybody's."""
        sizes = np.diff(self._begins)
        return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

    @cached_property
    def _last(self) -> Int64Array:
        """int64 [U], the number of everybody's last step; whatever for people without events."""
        people = self.data.user[self._begins[:-1]]
        n_steps = np.bincount(people, minlength=self.data.n_users)
        last: Int64Array = np.cumsum(n_steps) - 1
        return last

    @cached_property
    def _n_past(self) -> Int64Array:
        """int64 [U], events before a person's last step."""
        some = np.diff(self.data.ptr) > 0
        past = self._begins[np.maximum(self._last, 0)] - self.data.ptr[:-1]
        return np.where(some, past, 0)

    @cached_property
    def _read(self) -> Int64Array:
        return np.minimum(self._n_past, self.length)

    @cached_property
    def _alike(self) -> list[Int64Array]:
        """People by how many events there are to read; those with none are in no class."""
        kind = np.searchsorted(_LENGTHS, self._read)
        some = self._read > 0
        found = [np.flatnonzero((kind == one) & some) for one in range(len(_LENGTHS) + 1)]
        return [users for users in found if len(users)]

    @cached_property
    def _shares(self) -> Float64Array:
        """float64, what each of these classes has of all there is to read."""
        sizes = np.array([self._read[users].sum() for users in self._alike], np.float64)
        shares: Float64Array = sizes / sizes.sum()
        return shares

    def apart(self, rng: Generator) -> "Pasts":
        """The same with every event a step of its own, those of a step in an order drawn."""
        data = self.data
        order = np.lexsort((rng.random(data.n_events), data.step, data.user))
        step = np.arange(data.n_events) - np.repeat(data.ptr[:-1], np.diff(data.ptr))
        columns = {
            name: getattr(data, name)[order] for name in ("item", "time", "weight", "type", "value")
        }
        return Pasts(replace(data, step=step.astype(np.int32), **columns), self.length)

    def __bool__(self) -> bool:
        """Whether anything came later than anything."""
        return bool(self._alike)


class Batch(NamedTuple):
    """Pasts and what came next.

    Attributes:
        wanted: items that stand in the batch, rising.
        place: int64 [B, L], places of the events' items among them.
        between: int64 [B, L, L]; see `transformer.classes`.
        seen: bool [B, L, L].
        at: int64 [N], real events, by their place in B × L.
        target: int64 [N], places of what came next.
        weight: float32 [N], what the targets' types count.
        other: int64 [K], places of what is told apart from.
        lean: float32 [N + K], added to logits of targets and others.
    """

    wanted: Wanted
    place: torch.Tensor
    between: torch.Tensor
    seen: torch.Tensor
    at: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    other: torch.Tensor
    lean: torch.Tensor


class Drawing(NamedTuple):
    """How batches are drawn; see `sequence.Sequential`."""

    events: int
    negatives: int
    ahead: float
    within: float
    left_out: float
    adjust: float


class NextItem:
    """What came next, told apart from other items.

    Attributes:
        module: the network.
        watched: the figure that says which state is best.
    """

    watched = WATCHED

    def __init__(
        self,
        net: Net,
        pasts: Pasts,
        features: Features,
        drawing: Drawing,
        judge: Callable[[], Mapping[str, float]],
    ) -> None:
        self.module: torch.nn.Module = net
        self._net, self._pasts, self._features = net, pasts, features
        self._drawing, self._judge = drawing, judge
        self._baskets = not bool(pasts.data.begins.all())
        self._apart: tuple[int, Pasts] = (-1, pasts)
        counts = pasts.data.item_counts
        self._prior = np.log((1 + counts) / (len(counts) + counts.sum()))
        # Items without events are others, too: what is never told apart is proposed to everybody.
        self._share = 0.5 / len(counts) + 0.5 * counts / counts.sum()
        self._upto = np.cumsum(self._share)

    def batch(self, number: int, rng: Generator) -> Batch:
        """About as many events as asked for."""
        drawing = self._drawing
        pasts = self._in_turn(number, rng)
        data, events = pasts.data, pasts.draw(drawing.events, rng)
        at = np.flatnonzero(events.ravel() >= 0)
        later = pasts.later(events.ravel()[at], drawing.ahead, rng)
        other, how_often = self._others(rng)
        target = data.item[later]
        named = np.concatenate([data.item[events.ravel()], target, other])
        items, place = np.unique(named, return_inverse=True)
        past, of_target, of_other = np.split(place, [events.size, events.size + len(target)])
        lean = drawing.adjust * self._prior[np.append(target, other)]
        lean -= np.append(np.zeros(len(target)), how_often)
        step = np.where(events >= 0, data.step[events], -1)
        between, seen = classes(step, (data.time[events] / DAY_US).astype(np.float32))
        kept = (rng.random(len(items)) >= drawing.left_out) / (1 - drawing.left_out)
        return Batch(
            wanted_of(items, self._features, kept.astype(np.float32)),
            torch.as_tensor(past.reshape(events.shape)),
            torch.as_tensor(between.astype(np.int64)),
            torch.as_tensor(seen),
            torch.as_tensor(at),
            torch.as_tensor(of_target),
            torch.as_tensor(data.weight[later]),
            torch.as_tensor(of_other),
            torch.as_tensor(lean, dtype=torch.float32),
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean over the batch's events, by what their targets count."""
        net = self._net
        device = net.share.device
        wanted, *rest = batch
        vectors = net.items(Wanted(*(part.to(device) for part in wanted)))
        place, between, seen, at, target, weight, other, lean = (p.to(device) for p in rest)
        past = net(vectors[place], between, seen).flatten(0, 1)[at]
        right = (past * vectors[target]).sum(dim=1) + lean[: len(target)]
        wrong = past @ vectors[other].T + lean[len(target) :]
        wrong = wrong.masked_fill(target[:, None] == other, -torch.inf)
        logits = torch.cat([right[:, None], wrong], dim=1)
        first = torch.zeros(len(target), dtype=torch.int64, device=device)
        each = cross_entropy(logits.float(), first, reduction="none")
        return (each * weight).sum() / weight.sum()

    def _in_turn(self, number: int, rng: Generator) -> Pasts:
        """Histories for a batch: as they are, or with baskets taken apart."""
        # Where nobody comes back, baskets are all there is to learn from.
        if self._pasts and (not self._baskets or rng.random() >= self._drawing.within):
            return self._pasts
        order = number // _RENEWED
        if self._apart[0] != order:
            self._apart = order, self._pasts.apart(np.random.default_rng(order))
        return self._apart[1]

    def figures(self) -> dict[str, float]:
        """Of held-out people."""
        return dict(self._judge())

    def _others(self, rng: Generator) -> tuple[Array, Array]:
        """Items [K] that targets are told apart from, and the log of how often each is drawn."""
        n_items, size = len(self._share), self._drawing.negatives
        if size >= n_items:
            return np.arange(n_items), np.zeros(n_items)
        drawn = np.searchsorted(self._upto, rng.random(size) * self._upto[-1], side="right")
        drawn = np.minimum(drawn, n_items - 1)
        return drawn, np.log(size * self._share[drawn])


def wanted_of(items: Array, features: Features, kept: Float32Array) -> Wanted:
    """What a network has to know of some items [N] to say their vectors."""
    words = features.words
    bounds, own = ragged_rows(words.indptr.astype(np.int64), items)
    return Wanted(
        torch.as_tensor(items.astype(np.int64)),
        torch.as_tensor(kept),
        torch.as_tensor(words.indices[own].astype(np.int64)),
        torch.as_tensor(bounds[:-1].astype(np.int64)),
        torch.as_tensor(words.data[own].astype(np.float32)),
    )
