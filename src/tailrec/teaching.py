"""What behaviour has to teach an encoder, and who judges it while it learns."""

import numpy as np
from numpy.random import Generator
from scipy import sparse

from tailrec.candidates.ease import Ease
from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.linear import Linear, LinearModel
from tailrec.data.histories import Repeats
from tailrec.data.split import Split, cold_items
from tailrec.dataset import Dataset, Features
from tailrec.items import Array, Float32Array, Int64Array
from tailrec.tail.segments import is_tail
from tailrec.training.behaviour import Judged, Lessons
from tailrec.training.pairs import Affinity

HELD_OUT = 0.05
"""Share of the items that are withheld from training, to judge by."""
MOST_JUDGED = 4000
"""Items whose vectors are made at each measurement."""
MOST_REQUESTS = 2000
EASE_LIMIT = 15_000
"""Items up to which the dense teacher is taken: it is somewhat better, and cubic in the items."""
AT = 20
POWER = 3


def lessons_of(data: Dataset, features: Features, *, hard: bool, rng: Generator) -> Lessons:
    """What a shop's behaviour has to teach an encoder.

    Who belongs to whom is what a linear model of behaviour alone says: it explains away what is
    bought by everybody, where counts of pairs would teach popularity.

    Args:
        data: histories, repeats settled.
        features: of the catalogue; its vectors tell which texts are alike.
        hard: whether hard negatives are wanted.
        rng: of the teacher's fit.
    """
    affinity = Affinity.of(_strengths(data, features, rng))
    alike = _alike(features.dense, affinity) if hard else np.zeros((len(features), 0), np.int32)
    return Lessons(data, affinity, alike)


def judged_on(inner: Split, whole: Dataset, rng: Generator) -> Judged:
    """What judges an encoder while it is trained: text neighbours find withheld items.

    Requests rank a sample of the catalogue that holds every withheld item; the figure is for
    comparing states of one run, and is no measurement of a model.

    Args:
        inner: a split that withholds items.
        whole: what it was cut from; says which of them belong to the tail.
        rng: draws the sample.
    """
    some = inner
    if len(inner) > MOST_REQUESTS:
        some = inner.take(np.sort(rng.choice(len(inner), MOST_REQUESTS, replace=False)))
    wanted = np.unique(np.append(some.target, np.flatnonzero(inner.withheld)))
    others = rng.permutation(np.setdiff1d(np.unique(some.queries.item), wanted))
    room = max(MOST_JUDGED - len(wanted), 0)
    items = np.sort(np.append(wanted, others[:room])).astype(np.int64)
    tail = is_tail(whole.item_counts, "pareto")

    def judge(vectors: Float32Array) -> dict[str, float]:
        found = _found(vectors, items, some)
        rare = tail[some.target[some.target_ptr[:-1]]]
        # In a very small shop none of the items withheld may be of the tail.
        return {
            f"tail recall@{AT}": float(found[rare].mean() if rare.any() else found.mean()),
            f"cold recall@{AT}": float(found.mean()),
        }

    return Judged(items, judge)


def held_out(whole: Dataset, repeats: Repeats, rng: Generator) -> Split:
    """A split that withholds a few items, to judge an encoder by what it makes of them.

    Args:
        whole: whole histories.
        repeats: which event stands for several of one user and item.
        rng: draws the items.

    Raises:
        DataError: there is too little behaviour.
    """
    return cold_items(whole, HELD_OUT, rng, repeats=repeats)


def _found(vectors: Float32Array, items: Int64Array, asked: Split) -> Array:
    """bool [B], whether the target is among the `AT` items nearest to the person's past."""
    place = np.full(asked.train.n_items, -1)
    place[items] = np.arange(len(items))
    queries = asked.queries
    own = place[queries.item]
    row = np.repeat(np.arange(len(asked)), np.diff(queries.ptr))
    weight = np.where(own >= 0, 0.7 ** np.minimum(queries.age, 50), 0)
    shape = (len(asked), len(items))
    past = sparse.coo_array((weight, (row, np.maximum(own, 0))), shape=shape).tocsr()
    scores = past @ np.maximum(vectors @ vectors.T, 0) ** POWER
    scores[row[own >= 0], own[own >= 0]] = -1
    target = place[asked.target[asked.target_ptr[:-1]]]
    reached = scores[np.arange(len(asked)), target]
    better = (scores > reached[:, None]).sum(axis=1)
    return np.asarray((better < AT) & (reached > 0))


def _strengths(data: Dataset, features: Features, rng: Generator) -> sparse.csr_array:
    """[I, I], what behaviour alone says of pairs."""
    source = Linear(words=0, meaning=0) if data.n_items > EASE_LIMIT else Ease()
    model: LinearModel | ItemToItem = source.fit(data, features, rng=rng)
    return model.matrix


def _alike(dense: Float32Array, affinity: Affinity, *, most: int = 16) -> Array:
    """int32 [I, at most `most`], the nearest by text that are no partners, -1 for none."""
    rows, most = [], min(most, len(dense) - 1)
    for start in range(0, len(dense), 1024):
        block = np.arange(start, min(start + 1024, len(dense)))
        likeness = dense[block] @ dense.T
        likeness[np.arange(len(block)), block] = -1
        likeness[affinity.partners(block, np.arange(len(dense)))] = -1
        near = np.argpartition(-likeness, most, axis=1)[:, :most]
        found = np.take_along_axis(likeness, near, axis=1) > 0
        rows.append(np.where(found, near, -1).astype(np.int32))
    return np.concatenate(rows)
