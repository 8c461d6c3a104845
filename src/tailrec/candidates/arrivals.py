"""Items that arrive after the fit: solved into `linear` from their words alone, one at a time.

A new item j has no behaviour, so its column is A⁻¹K_:j over the items S nearest to it in text,
and its row, what j in a history says for others, follows from the same solution: with b the
column, the row of A⁻¹ that j would get is x_j (1, -b), x_j = 1 / (A_jj - K_jS b), and
B_jS = x_j (τ K_jS - bᵀ T_SS).
"""

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from tailrec.candidates.basis import Basis
from tailrec.candidates.heap import compiled, over_rows
from tailrec.candidates.local import kernel_block, kernel_row, system, workspace
from tailrec.candidates.nearest import nearest
from tailrec.items import PADDING, Array, Float32Array, Int32Array

Arrays = tuple[Array, ...]

NEIGHBOURS = 100
"""Items a new one is solved over."""


@compiled
def _leads_among(chosen: Array, behaviour: Arrays, mark: Array) -> Array:
    """T_SS of behaviour: entry (a, b) is how much item a was followed by item b."""
    indptr, indices, _, leads, _ = behaviour
    block = np.zeros((len(chosen), len(chosen)), np.float32)
    for a in range(len(chosen)):
        mark[chosen[a]] = a
    for b in range(len(chosen)):
        for at in range(indptr[chosen[b]], indptr[chosen[b] + 1]):
            if mark[indices[at]] >= 0:
                block[mark[indices[at]], b] = leads[at]
    for i in chosen:
        mark[i] = -1
    return block


@compiled
def _solve_arrivals(
    items: tuple[int, int], near: Array, behaviour: Arrays, text: Arrays, out: Array
) -> None:
    """Columns and rows of new items, by behaviour and by text for τ = 1: `out` [2, J, m, 2]."""
    columns, rows = out[0], out[1]
    ridge = behaviour[-1]
    space = workspace(len(ridge), text)
    scratch, mark, _, _, kernel = space
    first_new = len(ridge) - len(near)
    for j in range(items[0], items[1]):
        chosen = near[j][near[j] >= 0]
        m = len(chosen)
        if m == 0:
            continue
        kernel_row(first_new + j, chosen, text, scratch, kernel)
        like = kernel[:m].copy()
        column = np.linalg.solve(system(chosen, behaviour, text, space), like)
        own = 1 / (ridge[first_new + j] - np.dot(like, column))
        among = kernel_block(chosen, text, scratch)
        for a in range(m):
            among[a, a] = 0
        columns[j, :m, 1] = column
        rows[j, :m, 0] = -own * np.dot(column, _leads_among(chosen, behaviour, mark))
        rows[j, :m, 1] = own * (like - np.dot(column, among))


def append_items(
    matrix: sparse.csr_array, by_text: Float32Array, basis: Basis, share: float
) -> tuple[sparse.csr_array, Float32Array]:
    """Rows and columns of new items, beside those of the items there are.

    Args:
        matrix: float32 CSR [I, I], B.
        by_text: float32 [nnz], the text part of each of its entries.
        basis: of I + N items, the new ones last.
        share: τ.

    Returns:
        The same for I + N items.
    """
    n_old = matrix.shape[0]
    old, new = basis.text.rows(slice(None, n_old)), basis.text.rows(slice(n_old, None))
    near, _ = nearest(new, old, NEIGHBOURS)
    parts = np.zeros((2, *near.shape, 2), np.float32)  # columns, rows; by behaviour, by text
    behaviour, text = basis.behaviour_view(), basis.text.view()
    with threadpool_limits(1):
        over_rows(
            len(near),
            lambda some: _solve_arrivals((some.start, some.stop), near, behaviour, text, parts),
        )
    parts[..., 1] *= share
    return _joined((matrix, by_text), near, parts[0], parts[1])


def _joined(
    known: tuple[sparse.csr_array, Float32Array],
    near: Int32Array,
    columns: Float32Array,
    rows: Float32Array,
) -> tuple[sparse.csr_array, Float32Array]:
    """Old entries, new columns on the right, new rows below."""
    matrix, by_text = known
    n_old, n_new = matrix.shape[0], len(near)
    real = near != PADDING
    new = np.repeat(np.arange(n_old, n_old + n_new, dtype=np.int32), real.sum(axis=1))
    old = near[real]
    row = np.concatenate([matrix.tocoo().coords[0], old, new])
    column = np.concatenate([matrix.indices, new, old])
    text = np.concatenate([by_text, columns[real][:, 1], rows[real][:, 1]])
    both = np.concatenate([matrix.data, columns[real].sum(axis=1), rows[real].sum(axis=1)])
    order = np.argsort(row, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_old + n_new))])
    shape = (n_old + n_new, n_old + n_new)
    grown = sparse.csr_array((both[order], column[order], bounds), shape=shape)
    return grown, text[order]
