"""The local solver of `linear`: one small system an item, over its nearest items.

Column j of the item-item model B solves A_SS b = T_Sj over the m items S nearest to j by
T_ij/√A_ii, with A = PᵀP + K + λI and T = PᵀF + τ·offdiag(K). The text kernel K is never formed:
its m×m blocks come from the vectors of the m items. Columns do not depend on each other, so
the work is linear in the number of items and runs on every core.

Kernels take a model as three tuples:

- `behaviour`: indptr, indices, together, leads of the `Gram`, and `ridge` [I], diag(A);
- `text`: indptr, indices, values of the words, and the dense vectors [I, D], where inner products
  of rows are the kernel's two parts;
- `space`: scratch [V] (zeros), mark [I] (-1), pool [I], lead [I], kernel [I].
"""

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from tailrec.candidates.basis import Basis
from tailrec.candidates.heap import csr_over
from tailrec.items import PADDING, Array, Float32Array, Int32Array
from tailrec.kernels import compiled, over_rows

Arrays = tuple[Array, ...]


def solve_local(
    basis: Basis, near: Int32Array, neighbours: int
) -> tuple[sparse.csr_array, Float32Array]:
    """B, one column an item, each over its own nearest items.

    Args:
        basis: behaviour and text.
        near: int32 [I, N], items nearest in text to each item, `PADDING` where there are fewer;
            they are considered beside those that co-occur.
        neighbours: m, items a column is solved over.

    Returns:
        The part of B by behaviour, A⁻¹PᵀF, as float32 CSR [I, I], and for each of its entries the
        part by text for τ = 1, A⁻¹offdiag(K).

    Cost:
        I · m³ / 3 multiplications, on all cores; I · m entries.
    """
    n_items = len(basis)
    rows = np.full((n_items, neighbours), PADDING, np.int32)
    values = np.zeros((n_items, neighbours, 2), np.float32)
    behaviour, text = basis.behaviour_view(), basis.text.view()
    # The systems are small: one thread each, many at once, is far faster than many threads each.
    with threadpool_limits(1):
        over_rows(
            n_items,
            lambda part: solve_columns(
                (part.start, part.stop), near, behaviour, text, (rows, values)
            ),
        )
    real = rows != PADDING
    columns = np.repeat(np.arange(n_items, dtype=np.int32), real.sum(axis=1))
    order = np.argsort(rows[real], kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(rows[real], minlength=n_items))])
    behaviour_part, text_part = np.ascontiguousarray(values[real][order].T)
    shape = (n_items, n_items)
    return csr_over(behaviour_part, columns[order], bounds, shape), text_part


@compiled
def cube(x: np.float32) -> np.float32:
    """max(x, 0)³: only close meanings count."""
    return x * x * x if x > 0 else np.float32(0)


@compiled
def kernel_row(j: int, others: Array, text: Arrays, scratch: Array, out: Array) -> None:
    """Text kernel of item j with each of `others`, into `out`."""
    ptr, index, value, dense = text
    for at in range(ptr[j], ptr[j + 1]):
        scratch[index[at]] = value[at]
    for n in range(len(others)):
        i = others[n]
        word = np.float32(0)
        for at in range(ptr[i], ptr[i + 1]):
            word += scratch[index[at]] * value[at]
        meaning = np.float32(0)
        for d in range(dense.shape[1]):
            meaning += dense[i, d] * dense[j, d]
        out[n] = word + cube(meaning)
    for at in range(ptr[j], ptr[j + 1]):
        scratch[index[at]] = 0


@compiled
def kernel_block(chosen: Array, text: Arrays, scratch: Array) -> Array:
    """Text kernel among the chosen items, [m, m]."""
    ptr, index, value, dense = text
    vectors = dense[chosen]
    block: Array = np.dot(vectors, vectors.T)
    for a in range(len(chosen)):
        i = chosen[a]
        for at in range(ptr[i], ptr[i + 1]):
            scratch[index[at]] = value[at]
        for b in range(a + 1):
            word = np.float32(0)
            for at in range(ptr[chosen[b]], ptr[chosen[b] + 1]):
                word += scratch[index[at]] * value[at]
            block[a, b] = word + cube(block[a, b])
            block[b, a] = block[a, b]
        for at in range(ptr[i], ptr[i + 1]):
            scratch[index[at]] = 0
    return block


@compiled
def workspace(n_items: int, text: Arrays) -> Arrays:
    """Scratch of one thread, as `space` above."""
    n_words = text[1].max() + 1 if len(text[1]) else 0
    return (
        np.zeros(n_words, np.float32),
        np.full(n_items, -1, np.int32),
        np.empty(n_items, np.int32),
        np.empty(n_items, np.float32),
        np.empty(n_items, np.float32),
    )


@compiled
def gather(j: int, near: Array, behaviour: Arrays, space: Arrays) -> int:
    """Items that may be neighbours of j, into `pool`, with (PᵀF)_ij in `lead`; returns how many."""
    indptr, indices, _, leads, _ = behaviour
    _, mark, pool, lead, _ = space
    size = 0
    for at in range(indptr[j], indptr[j + 1]):
        if indices[at] != j and leads[at] > 0:
            pool[size], lead[size] = indices[at], leads[at]
            mark[indices[at]] = 0
            size += 1
    for i in near:
        if i >= 0 and i != j and mark[i] < 0:
            pool[size], lead[size] = i, 0
            size += 1
    for i in pool[:size]:
        mark[i] = -1
    return size


@compiled
def system(chosen: Array, behaviour: Arrays, text: Arrays, space: Arrays) -> Array:
    """A_SS of the chosen items, float32 [m, m]."""
    indptr, indices, together, _, ridge = behaviour
    block = kernel_block(chosen, text, space[0])
    mark = space[1]
    for a in range(len(chosen)):
        mark[chosen[a]] = a
    for a in range(len(chosen)):
        for at in range(indptr[chosen[a]], indptr[chosen[a] + 1]):
            b = mark[indices[at]]
            if b >= 0:
                block[a, b] += together[at]
        block[a, a] = ridge[chosen[a]]
    for i in chosen:
        mark[i] = -1
    return block


@compiled
def solve_columns(
    columns: tuple[int, int], near: Array, behaviour: Arrays, text: Arrays, out: Arrays
) -> None:
    """Some columns of B, by behaviour and by text, into `out`: rows [I, m], values [I, m, 2]."""
    ridge = behaviour[-1]
    n_items = len(ridge)
    rows, values = out
    space = workspace(n_items, text)
    scratch, _, pool, lead, kernel = space
    for j in range(columns[0], columns[1]):
        size = gather(j, near[j], behaviour, space)
        if size == 0:
            continue
        kernel_row(j, pool[:size], text, scratch, kernel)
        closeness = (lead[:size] + kernel[:size]) / np.sqrt(ridge[pool[:size]])
        best = np.argsort(-closeness)[: rows.shape[1]]
        m = len(best)
        target = np.empty((m, 2), np.float32)
        for a in range(m):
            target[a, 0], target[a, 1] = lead[best[a]], kernel[best[a]]
        rows[j, :m] = pool[best]
        values[j, :m] = np.linalg.solve(system(pool[best], behaviour, text, space), target)
