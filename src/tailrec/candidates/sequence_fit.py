"""From histories to the parameters of a sequence model; apart, as it loads PyTorch."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator

from tailrec.candidates.sequence_lessons import Drawing, NextItem, Pasts, wanted_of
from tailrec.candidates.sequence_net import Net, Shape, Wanted
from tailrec.dataset import Dataset, Features
from tailrec.hits import find_hits, ndcg
from tailrec.items import Array, Int32Array, Int64Array, ItemsBatch, QueryBatch
from tailrec.training.course import train
from tailrec.training.recipes import Course
from tailrec.training.run_folder import RunFolder

_AT = 10
_PIECE = 8192
"""Items whose vectors are made at once."""

LEAST = 50
"""People held out that say which state is the better one; fewer choose at random."""

Parts = dict[str, Array]
Propose = Callable[[Parts, QueryBatch, int], ItemsBatch]
"""Slates of requests by what was learnt so far."""


class Held(NamedTuple):
    """People's last steps, held out.

    Attributes:
        known: the other events.
        queries: of these people, from what is known.
        ptr: int64 [H + 1], bounds of the targets.
        target: int32 [T], items of the last steps.
    """

    known: Dataset
    queries: QueryBatch
    ptr: Int64Array
    target: Int32Array

    @classmethod
    def of(cls, data: Dataset, most: int, rng: Generator) -> "Held":
        """The last steps of some people who have at least three, a tenth of these at most.

        Of nobody where that would be fewer than `LEAST`.
        """
        n_steps = np.bincount(data.user[data.begins], minlength=data.n_users)
        several = np.flatnonzero(n_steps > 2)
        size = min(most, len(several) // 10)
        size = size if size >= LEAST else 0
        users = np.sort(rng.choice(several, size, replace=False)).astype(np.int32)
        held, last = np.zeros((2, data.n_users), np.int64)
        held[users] = 1
        last[users] = data.step[data.ptr[users + 1] - 1]
        asked = (held[data.user] == 1) & (data.step == last[data.user])
        known = data.keep(~asked)
        sizes = np.bincount(data.user[asked], minlength=data.n_users)[users]
        ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(known, known.queries(users), ptr, data.item[asked])


def learnt(
    net: Net,
    data: Dataset,
    features: Features,
    drawing: Drawing,
    course: Course,
    *,
    length: int,
    held_out: int,
    propose: Propose,
    rng: Generator,
) -> Parts:
    """Train a network, and take what serving needs.

    Args:
        net: changed in place.
        data: histories.
        features: of every item.
        drawing: how batches are drawn.
        course: how it is trained; its seed is drawn.
        length: most events that are read.
        held_out: people whose last step says which state is best.
        propose: answers requests.
        rng: draws.
    """
    held = Held.of(data, held_out, rng)

    def judge() -> dict[str, float]:
        if not len(held.queries):
            return {}
        slates = propose(parts_of(net, features), held.queries, _AT)
        hits = find_hits(slates.ids, held.ptr, held.target)
        return {NextItem.watched: float(ndcg(hits, np.diff(held.ptr), _AT).mean())}

    pasts = Pasts(held.known, length)
    several = bool((np.diff(held.known.ptr) > 1).any())
    if pasts or (drawing.within > 0 and several):
        task = NextItem(net, pasts, features, drawing, judge)
        with TemporaryDirectory() as folder:
            train(task, course, RunFolder(Path(folder), "sequence"))
    return parts_of(net, features)


def network(shape: Shape, features: Features, counts: Array, own: float, seed: int) -> Net:
    """A network that knows texts, by random projections, and nothing else.

    Args:
        shape: sizes.
        features: of I items.
        counts: [I], events of each.
        own: events with which an item's own part counts one half.
        seed: of what is drawn.
    """
    events = counts.astype(np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(shape, features, events / (events + np.float32(own)))


def parts_of(net: Net, features: Features) -> Parts:
    """What serving needs, and a fit that goes on, as plain arrays."""
    vectors, device = [], net.share.device
    with torch.no_grad():
        for start in range(0, len(features), _PIECE):
            items = np.arange(start, min(start + _PIECE, len(features)))
            wanted = wanted_of(items, features, np.ones(len(items), np.float32))
            vectors.append(net.items(Wanted(*(part.to(device) for part in wanted))).cpu())
    state = {name: value.cpu().numpy() for name, value in net.state_dict().items()}
    return {**state, "items": torch.cat(vectors).numpy()}
