"""Items that arrive after the fit: solved into `linear` from their words alone, one at a time.

A new item j has no behaviour, so its column is A⁻¹K_:j over the items S nearest to it in text,
and its row, what j in a history says for others, follows from the same solution: with b the
column, the row of A⁻¹ that j would get is x_j (1, -b), x_j = 1 / (A_jj - K_jS b), and
B_jS = x_j (τ K_jS - bᵀ T_SS).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from tailrec.candidates.basis import Basis
from tailrec.candidates.heap import csr_over
from tailrec.candidates.local import kernel_block, kernel_row, system, workspace
from tailrec.candidates.nearest import nearest
from tailrec.candidates.vectors import Vectors
from tailrec.items import PADDING, Array, Float32Array, Int32Array
from tailrec.kernels import compiled, over_rows

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


@dataclass(frozen=True)
class Arrivals:
    """What [N] items that came after the fit say for the I fitted ones, and these for them.

    Attributes:
        n_fitted: I.
        near: int32 [N, m], the fitted items each was solved over; padded.
        columns: float32 [N, m, 2], what those say for it, by behaviour and by text for τ = 1.
        rows: float32 [N, m, 2], what it says for those.
    """

    n_fitted: int
    near: Int32Array
    columns: Float32Array
    rows: Float32Array

    @classmethod
    def none(cls, n_fitted: int) -> Self:
        """Nothing came yet."""
        parts = np.zeros((0, NEIGHBOURS, 2), np.float32)
        return cls(n_fitted, np.zeros((0, NEIGHBOURS), np.int32), parts, parts)

    def __len__(self) -> int:
        return len(self.near)

    def and_then(self, basis: Basis, text: Vectors, ridge: float) -> "Arrivals":
        """These and further items, each solved over the fitted items nearest to it.

        Args:
            basis: of the fitted items.
            text: kernel vectors of the further ones.
            ridge: λ.
        """
        near, _ = nearest(text, basis.text, NEIGHBOURS)
        # Only the rows that matter: the whole basis stays in the file it is mapped from.
        around, place = np.unique(near[near != PADDING], return_inverse=True)
        own = np.full(near.shape, PADDING, np.int32)
        own[near != PADDING] = place
        small = basis.among(around).grown(text, ridge)
        parts = np.zeros((2, *near.shape, 2), np.float32)
        behaviour, vectors = small.behaviour_view(), small.text.view()
        with threadpool_limits(1):
            over_rows(
                len(near),
                lambda some: _solve_arrivals(
                    (some.start, some.stop), own, behaviour, vectors, parts
                ),
            )
        return Arrivals(
            self.n_fitted,
            np.concatenate([self.near, near]),
            np.concatenate([self.columns, parts[0]]),
            np.concatenate([self.rows, parts[1]]),
        )

    def matrix(self, share: float) -> tuple[sparse.csr_array, Float32Array]:
        """What they add to the matrix of the fitted items.

        Args:
            share: τ.

        Returns:
            float32 CSR [I + N, I + N], and the text part of each of its entries.
        """
        n_items = self.n_fitted + len(self)
        real = self.near != PADDING
        new = np.repeat(np.arange(self.n_fitted, n_items, dtype=np.int32), real.sum(axis=1))
        row, column = np.concatenate([[self.near[real], new], [new, self.near[real]]], axis=1)
        parts = np.concatenate([self.columns[real], self.rows[real]])
        order = np.argsort(row, kind="stable")
        text = parts[order, 1] * np.float32(share)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_items))])
        both = parts[order, 0] + text
        return csr_over(both, column[order], bounds, (n_items, n_items)), text
