"""The k best of each row, as compiled kernels: a row is a heap, its worst item on top."""

import threading

import numpy as np
from scipy import sparse

from tailrec.items import Array, BoolArray, Float32Array, Int32Array
from tailrec.kernels import compiled, kernel_view

_WORKSPACES = 4
"""Sizes of which a thread keeps arrays: one a shop, and one more while a new model comes."""


def csr_view(matrix: sparse.csr_array) -> tuple[Array, Array, Array]:
    """Bounds, columns and float32 values of a sparse matrix, as kernels take them."""
    return (
        kernel_view(matrix.indptr, np.int64),
        kernel_view(matrix.indices, np.int32),
        kernel_view(matrix.data, np.float32),
    )


def csr_over(
    data: Array, indices: Array, indptr: Array, shape: tuple[int, int]
) -> sparse.csr_array:
    """A sparse matrix that holds just these arrays, without a copy.

    scipy's constructor copies every array that is a small part of a larger one, which the
    arrays of a memory-mapped model all are. Rows must be in order, as saved.
    """
    matrix = sparse.csr_array(shape, dtype=data.dtype)
    matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
    return matrix


class _Workspaces(threading.local):
    """Of one thread, by size."""

    def __init__(self) -> None:
        self.by_size: dict[int, tuple[Array, Array, Array]] = {}


_workspaces = _Workspaces()


def running_sums(n_items: int) -> tuple[Float32Array, BoolArray, Int32Array]:
    """Sums, marks and a list of a catalogue's size, for a kernel that clears what it used.

    One request touches a few hundred items: to make and clear such arrays for each takes longer
    than the request. A thread keeps its own.
    """
    kept = _workspaces.by_size
    if n_items not in kept:
        if len(kept) == _WORKSPACES:
            del kept[next(iter(kept))]
        zero = np.zeros(n_items, np.float32)
        kept[n_items] = (zero, np.zeros(n_items, np.bool_), np.empty(n_items, np.int32))
    return kept[n_items]


@compiled
def _worse(scores: Float32Array, ids: Int32Array, a: int, b: int) -> bool:
    if scores[a] != scores[b]:
        return bool(scores[a] < scores[b])
    return bool(ids[a] > ids[b])


@compiled
def _swap(scores: Float32Array, ids: Int32Array, a: int, b: int) -> None:
    scores[a], scores[b] = scores[b], scores[a]
    ids[a], ids[b] = ids[b], ids[a]


@compiled
def _sink(scores: Float32Array, ids: Int32Array, size: int) -> None:
    here = 0
    while True:
        child = 2 * here + 1
        if child >= size:
            return
        if child + 1 < size and _worse(scores, ids, child + 1, child):
            child += 1
        if not _worse(scores, ids, child, here):
            return
        _swap(scores, ids, here, child)
        here = child


@compiled
def _offer(scores: Float32Array, ids: Int32Array, size: int, score: float, item: int) -> int:
    """Take the item into the heap if it belongs there; returns the heap's new size."""
    if size < len(ids):
        scores[size], ids[size] = score, item
        here = size
        while here > 0 and _worse(scores, ids, here, (here - 1) // 2):
            _swap(scores, ids, here, (here - 1) // 2)
            here = (here - 1) // 2
        return size + 1
    if score > scores[0] or (score == scores[0] and item < ids[0]):
        scores[0], ids[0] = score, item
        _sink(scores, ids, size)
    return size


@compiled
def _settle(scores: Float32Array, ids: Int32Array, size: int) -> None:
    """Turn the heap into a list, best first."""
    for end in range(size - 1, 0, -1):
        _swap(scores, ids, 0, end)
        _sink(scores, ids, end)


@compiled
def marked(n_items: int, hidden: Array) -> BoolArray:
    """What is never shown, bool [n_items]; items numbered beyond it came after the fit."""
    marks = np.zeros(n_items, np.bool_)
    n_told = min(n_items, len(hidden))
    marks[:n_told] = hidden[:n_told]
    return marks


@compiled
def _is_hidden(hidden: Array, item: int) -> bool:
    """Whether an item is hidden from all; items numbered beyond the mask came after the fit."""
    return bool(item < len(hidden) and hidden[item])


@compiled
def mark(marks: BoolArray, items: Array, hidden: Array, on: bool) -> None:
    """Exclude a row's items, or take that back; what is hidden from all stays so."""
    for item in items:
        if item < len(marks):
            marks[item] = on or _is_hidden(hidden, item)


@compiled
def best_of_dense(
    dense: Float32Array,
    exclude: tuple[Array, Array, Array],
    ids: Int32Array,
    best: Float32Array,
) -> None:
    """Fill `ids` and `best` [B, k] from dense [B, I], less the excluded (bounds, items, hidden)."""
    hidden = marked(dense.shape[1], exclude[2])
    for row in range(len(dense)):
        own = exclude[1][exclude[0][row] : exclude[0][row + 1]]
        mark(hidden, own, exclude[2], True)
        size, mine, scores, values = 0, ids[row], best[row], dense[row]
        for item in range(len(values)):
            if values[item] > 0.0 and not hidden[item]:
                size = _offer(scores, mine, size, values[item], item)
        _settle(scores, mine, size)
        mark(hidden, own, exclude[2], False)


@compiled
def _first_listed(
    final: tuple[Int32Array, Float32Array, Float32Array],
    known: BoolArray,
    hidden: Array,
    heap: tuple[Float32Array, Int32Array],
) -> int:
    """Fill an empty heap with items that have a prior, less those left out; returns its size."""
    listed, given, scale = final
    scores, ids = heap
    size = 0
    for item in listed:
        if size == len(ids):
            break
        if not known[item] and not _is_hidden(hidden, item):
            size = _offer(scores, ids, size, given[item] * scale[item], item)
    return size


@compiled
def _add_up(
    event: tuple[int, float],
    matrix: tuple[Array, Array, Array],
    sums: tuple[Float32Array, BoolArray, Int32Array],
    n_touched: int,
) -> int:
    """Add one past item's row, weighted, to the sums; returns how many items are touched now."""
    start, column, value = matrix
    total, known, touched = sums
    past, weight = event
    if past + 1 >= len(start):
        return n_touched
    for entry in range(start[past], start[past + 1]):
        item = column[entry]
        if not known[item]:
            known[item] = True
            touched[n_touched] = item
            n_touched += 1
        total[item] += weight * value[entry]
    return n_touched


@compiled
def best_of_product(
    requests: tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]],
    matrices: tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]],
    final: tuple[Int32Array, Float32Array, Float32Array],
    sums: tuple[Float32Array, BoolArray, Int32Array],
    out: tuple[Int32Array, Float32Array],
) -> None:
    """Fill ids and scores [B, k] from sparse [B, I] times the sum of two sparse matrices.

    The requests are their histories (bounds, items, weights) and what they leave out (bounds,
    items, hidden from all).

    The second matrix holds what items that came after the fit add; the first may have fewer
    rows than it. A user's products add up in one dense row; only the entries it touched are
    looked at and cleared again, so the cost goes with the entries and not with the catalogue:
    `sums` are `running_sums`, and are left cleared.

    What `final` does to each entry of a row with a history: its item's prior [I] is added, then
    it is multiplied by its item's scale [I]. Before these stands the list of the items with a
    prior, best final score first: of the items a row did not touch, its first k are enough.
    """
    (bound, past, weight), (left, excluded, hidden) = requests
    _, given, scale = final
    total, known, touched = sums
    for row in range(len(bound) - 1):
        own = excluded[left[row] : left[row + 1]]
        mark(known, own, hidden, True)
        n_touched = 0
        for at in range(bound[row], bound[row + 1]):
            event = (past[at], weight[at])
            n_touched = _add_up(event, matrices[0], sums, n_touched)
            n_touched = _add_up(event, matrices[1], sums, n_touched)
        size, mine, scores = 0, out[0][row], out[1][row]
        if bound[row] < bound[row + 1]:
            size = _first_listed(final, known, hidden, (scores, mine))
        for item in touched[:n_touched]:
            score = (total[item] + given[item]) * scale[item]
            if score > 0.0 and not _is_hidden(hidden, item):
                size = _offer(scores, mine, size, score, item)
            total[item] = 0.0
            known[item] = False
        _settle(scores, mine, size)
        for item in own:
            if item < len(known):
                total[item] = 0.0
                known[item] = False


@compiled
def best_of_sparse(
    bounds: Array, values: Float32Array, places: Int32Array, best: Float32Array
) -> None:
    """Fill `places` [R, k] with where, in `values`, the largest entries of sparse rows stand."""
    for row in range(len(bounds) - 1):
        size, mine, scores = 0, places[row], best[row]
        for entry in range(bounds[row], bounds[row + 1]):
            if values[entry] > 0.0:
                size = _offer(scores, mine, size, values[entry], entry)
        _settle(scores, mine, size)


@compiled
def best_of_row(values: Float32Array, ids: Int32Array, best: Float32Array) -> None:
    """Fill `ids` and `best` [k] from one dense row [I]; only values above 0."""
    size = 0
    for item in range(len(values)):
        if values[item] > 0.0:
            size = _offer(best, ids, size, values[item], item)
    _settle(best, ids, size)
