"""Who was had with whom, and in what order: the behavioural matrices of `linear`, sparse.

For a user whose history has the steps 0..S-1 (a basket or an instant is one step) and every
cut between two steps, one row of P holds what came before the cut, weighted γ^(steps back),
and the same row of F what came after it, weighted φ^(steps ahead). Summed over all cuts of a
user the products have closed forms. With Δ steps from i to j, j at step s':

    (PᵀP)_ij = γ^Δ · (1 - γ^(2(S - 1 - s'))) / (1 - γ²)    (PᵀF)_ij = (γ^Δ - φ^Δ) / (γ - φ)

and Δ · γ^(Δ - 1) for the latter where φ = γ,
so no row of P or F is ever formed, and pairs more than `window` steps apart, whose weight has
decayed to almost nothing, need not be visited. A step of several events is one more row of both P
and F, weighted `basket`: each of its items is to be told from the others, as order cannot say.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tailrec.dataset import Dataset
from tailrec.items import PADDING, Array, Float32Array, Float64Array, Int32Array, Int64Array
from tailrec.kernels import compiled, kernel_view, over_rows

Arrays = tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Gram:
    """Co-behaviour of items; both matrices share one symmetric sparsity pattern.

    Attributes:
        indptr: int64 [I + 1].
        indices: int32 [nnz], rising within a row.
        together: float32 [nnz], row i, column j: (PᵀP)_ij.
        leads: float32 [nnz], row j, column i: (PᵀF)_ij, how much i was followed by j.
        diagonal: float32 [I], (PᵀP)_ii.
    """

    indptr: Int64Array
    indices: Int32Array
    together: Float32Array
    leads: Float32Array
    diagonal: Float32Array

    def among(self, chosen: Array) -> "Gram":
        """The co-behaviour of some items with each other, numbered from 0.

        Args:
            chosen: [N] catalogue numbers, rising.
        """
        lengths = np.diff(self.indptr)[chosen]
        start = np.concatenate([[0], np.cumsum(lengths)])
        at = np.repeat(self.indptr[chosen] - start[:-1], lengths) + np.arange(start[-1])
        number = np.full(len(self.diagonal), PADDING, np.int32)
        number[chosen] = np.arange(len(chosen))
        indices = number[self.indices[at]]
        kept = indices != PADDING
        upto = np.concatenate([[0], np.cumsum(kept)])
        return Gram(
            upto[start].astype(np.int64),
            indices[kept],
            self.together[at][kept],
            self.leads[at][kept],
            self.diagonal[chosen],
        )

    def grown(self, n_new: int) -> "Gram":
        """The same co-behaviour with items appended that have none."""
        indptr = np.concatenate([self.indptr, np.full(n_new, self.indptr[-1])])
        diagonal = np.concatenate([self.diagonal, np.zeros(n_new, np.float32)])
        return replace(self, indptr=indptr, diagonal=diagonal)

    def arrays(self) -> dict[str, Array]:
        """Plain arrays for an artifact."""
        return {name: getattr(self, name) for name in self.__slots__}


class Bonds(NamedTuple):
    """What a pair of events of one user counts, by the steps between them.

    Attributes:
        decay: γ of P, what a step back leaves, in (0, 1].
        ahead: φ of F, what a step ahead leaves, in (0, 1]; small: only the next step counts.
        reverse: share of a pair that counts in `leads` against the order of time.
        basket: what a pair within one step counts in both, where order says nothing.
    """

    decay: float
    ahead: float
    reverse: float
    basket: float


def gram(data: Dataset, weight: Float32Array, *, window: int, bonds: Bonds) -> Gram:
    """Both co-behaviour matrices of a dataset.

    Args:
        data: histories, ordered within users.
        weight: float32 [E], what each event counts.
        window: pairs further apart than this many steps are left out.
        bonds: what a pair counts.

    Returns:
        The matrices in row-compressed form.

    Cost:
        Time: pairs of events of one user within the window. Memory: pairs of items that occur.
    """
    by_item = np.argsort(data.item, kind="stable")
    item_ptr = np.concatenate([[0], np.cumsum(data.item_counts)]).astype(np.int64)
    history = _history(data, weight)
    tables = _tables(int(history[-1].max(initial=0)) + 1, window, bonds)
    counts = np.zeros(data.n_items, np.int64)
    occurrences = (item_ptr, by_item)
    over_rows(
        data.n_items,
        lambda rows: _count((rows.start, rows.stop), occurrences, history, tables, counts),
    )
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = np.empty(indptr[-1], np.int32)
    together = np.empty(indptr[-1], np.float32)
    leads = np.empty(indptr[-1], np.float32)
    diagonal = np.zeros(data.n_items, np.float32)
    out = (indptr, indices, together, leads, diagonal)
    over_rows(
        data.n_items,
        lambda rows: _fill((rows.start, rows.stop), occurrences, history, tables, out),
    )
    return Gram(*out)


def norms(data: Dataset, weight: Float32Array, *, window: int, bonds: Bonds) -> Float64Array:
    """How much each user adds to the matrices of `gram`, both together.

    Args:
        data: histories, ordered within users.
        weight: float32 [E], what each event counts.
        window: as of `gram`.
        bonds: as of `gram`.

    Returns:
        float64 [U], Frobenius norm of the user's part of (PᵀP, PᵀF). It grows with the square
        of the user's weights.

    Cost:
        That of `gram`.
    """
    pair = data.user.astype(np.int64) * data.n_items + data.item
    by_pair = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[by_pair], prepend=-1))
    bounds = np.append(starts, data.n_events)
    first = np.searchsorted(data.user[by_pair[starts]], np.arange(data.n_users + 1))
    history = _history(data, weight)
    tables = _tables(int(history[-1].max(initial=0)) + 1, window, bonds)
    squares = np.zeros(data.n_users)
    pairs = (first, bounds, by_pair)
    over_rows(
        data.n_users,
        lambda rows: _squares((rows.start, rows.stop), pairs, history, tables, squares),
    )
    return np.asarray(np.sqrt(squares))


def _history(data: Dataset, weight: Float32Array) -> Arrays:
    """Events as kernels take them, and the last step of each user."""
    end = np.zeros(data.n_users, np.int32)
    some = np.diff(data.ptr) > 0
    end[some] = data.step[data.ptr[1:][some] - 1]
    ptr, user = kernel_view(data.ptr, np.int64), kernel_view(data.user, np.int32)
    item, step = kernel_view(data.item, np.int32), kernel_view(data.step, np.int32)
    return ptr, user, item, step, kernel_view(weight, np.float32), end


def _tables(n_steps: int, window: int, bonds: Bonds) -> Arrays:
    """What a pair counts by its gap in steps (from -window), and by the number of cuts after it."""
    gap = np.arange(window + 1)
    back, ahead = bonds.decay, bonds.ahead
    if abs(back - ahead) < 1e-6:
        lead = gap * back ** np.maximum(gap - 1.0, 0)
    else:
        lead = (back**gap - ahead**gap) / (back - ahead)
    leads = np.concatenate([bonds.reverse * lead[:0:-1], [bonds.basket], lead[1:]])
    fade = bonds.decay**gap
    cuts = np.concatenate([[0.0], np.cumsum(bonds.decay ** (2.0 * np.arange(n_steps)))])
    return leads.astype(np.float32), fade.astype(np.float32), cuts.astype(np.float32)


@compiled
def _visit(events: Array, history: Arrays, tables: Arrays, work: Array, touched: Array) -> int:
    """Add one item's pairs to `work` [I, 3]: together, leads, a mark. Returns how many columns."""
    ptr, user, item, step, weight, end = history
    leads, fade, cuts = tables
    window = len(fade) - 1
    n_touched = 0
    for event in events:
        u = user[event]
        first, last = ptr[u], ptr[u + 1]
        shared = (event > first and step[event - 1] == step[event]) or (
            event + 1 < last and step[event + 1] == step[event]
        )
        start = event
        while start > first and step[event] - step[start - 1] <= window:
            start -= 1
        stop = event + 1
        while stop < last and step[stop] - step[event] <= window:
            stop += 1
        for other in range(start, stop):
            column = item[other]
            if work[column, 2] == 0:
                work[column, 2] = 1
                touched[n_touched] = column
                n_touched += 1
            gap = step[event] - step[other]
            both = weight[event] * weight[other]
            left = end[u] - max(step[event], step[other])
            work[column, 0] += both * fade[abs(gap)] * cuts[left]
            if gap == 0 and shared:
                work[column, 0] += both * leads[window]
            work[column, 1] += both * leads[window + gap]
    return n_touched


@compiled
def _squares(
    users: tuple[int, int], pairs: Arrays, history: Arrays, tables: Arrays, squares: Array
) -> None:
    """Squared norm of each of the users' parts, from the events of each of their items."""
    first, bounds, by_pair = pairs
    item = history[2]
    n_items = item.max() + 1 if len(item) else 0
    work = np.zeros((n_items, 3), np.float32)
    touched = np.empty(n_items, np.int32)
    for user in range(users[0], users[1]):
        for pair in range(first[user], first[user + 1]):
            events = by_pair[bounds[pair] : bounds[pair + 1]]
            n_touched = _visit(events, history, tables, work, touched)
            row = item[events[0]]
            for column in touched[:n_touched]:
                squares[user] += np.float64(work[column, 0]) ** 2
                if column != row:
                    squares[user] += np.float64(work[column, 1]) ** 2
                work[column] = 0


@compiled
def _count(
    rows: tuple[int, int], occurrences: Arrays, history: Arrays, tables: Arrays, counts: Array
) -> None:
    """How many columns each of the rows has."""
    item_ptr, by_item = occurrences
    n_items = len(counts)
    work = np.zeros((n_items, 3), np.float32)
    touched = np.empty(n_items, np.int32)
    for row in range(rows[0], rows[1]):
        events = by_item[item_ptr[row] : item_ptr[row + 1]]
        counts[row] = _visit(events, history, tables, work, touched)
        for column in touched[: counts[row]]:
            work[column] = 0


@compiled
def _fill(
    rows: tuple[int, int], occurrences: Arrays, history: Arrays, tables: Arrays, out: Arrays
) -> None:
    """Columns and values of the rows, into the arrays of a `Gram`."""
    item_ptr, by_item = occurrences
    indptr, indices, together, leads, diagonal = out
    work = np.zeros((len(diagonal), 3), np.float32)
    touched = np.empty(len(diagonal), np.int32)
    for row in range(rows[0], rows[1]):
        events = by_item[item_ptr[row] : item_ptr[row + 1]]
        n_touched = _visit(events, history, tables, work, touched)
        at = indptr[row]
        for column in np.sort(touched[:n_touched]):
            indices[at] = column
            together[at] = work[column, 0]
            leads[at] = work[column, 1]
            if column == row:
                # An item does not lead to itself: T has no diagonal.
                diagonal[row], leads[at] = work[column, 0], 0
            work[column] = 0
            at += 1
