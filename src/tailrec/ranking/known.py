"""What a ranker knows of items beside what sources propose: events, and who speaks for whom."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tailrec.items import Array, Float32Array, Int32Array, Int64Array
from tailrec.kernels import compiled, kernel_view, over_rows

Rows = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of items.

    Attributes:
        counts: int64 [I], events of each that the sources have learnt from.
        said: float32 CSR [J, J]; entry (j, i) is what behaviour says for i to somebody with j. J is
            at most I: of items from J on, behaviour says nothing.
    """

    counts: Int64Array
    said: sparse.csr_array

    @classmethod
    def of(cls, counts: Int64Array, said: sparse.csr_array | None = None) -> "Known":
        """What is known; without `said`, of events alone."""
        nothing = sparse.csr_array(np.zeros((0, 0), np.float32))
        return cls(counts, nothing if said is None else said)

    def said_for(self, ids: Int32Array, past: Int32Array) -> Float32Array:
        """float32 [B, P, L], what each past item says for each item of a pool.

        Args:
            ids: int32 [B, P], pools; -1 pads.
            past: int32 [B, L], past items; -1 pads.

        Cost:
            Time: entries of the past items' rows, whatever P is.
        """
        found = np.zeros((*ids.shape, past.shape[1]), np.float32)
        said = self.said
        matrix = (
            kernel_view(said.indptr, np.int64),
            kernel_view(said.indices),
            kernel_view(said.data, np.float32),
        )
        pools, pasts = kernel_view(ids, np.int32), kernel_view(past, np.int32)
        over_rows(
            len(ids), lambda rows: _look_up((rows.start, rows.stop), matrix, pools, pasts, found)
        )
        return found


@compiled
def _look_up(
    rows: Rows,
    matrix: tuple[Array, Array, Array],
    pools: Array,
    pasts: Array,
    found: Array,
) -> None:
    indptr, indices, data = matrix
    n_known = len(indptr) - 1
    place = np.full(n_known, -1, np.int32)
    for row in range(rows[0], rows[1]):
        for column in range(pools.shape[1]):
            item = pools[row, column]
            if 0 <= item < n_known:
                place[item] = column
        for at in range(pasts.shape[1]):
            had = pasts[row, at]
            if had < 0 or had >= n_known:
                continue
            for entry in range(indptr[had], indptr[had + 1]):
                column = place[indices[entry]]
                if column >= 0:
                    found[row, column, at] = data[entry]
        for column in range(pools.shape[1]):
            item = pools[row, column]
            if 0 <= item < n_known:
                place[item] = -1
