"""The model that neighbours, EASE and content share: what each item says for each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from tailrec.candidates.heap import csr_over
from tailrec.candidates.select import history_weights, sparse_candidates
from tailrec.items import Array, ItemsBatch, QueryBatch


@dataclass(frozen=True)
class ItemToItem:
    """Scores are the sum, over a person's history, of the rows of a sparse item matrix.

    Attributes:
        matrix: float32 [I, I]; entry (i, j) is what having i says for j.
        decay: factor a past item loses with each step back.
    """

    matrix: sparse.csr_array
    decay: float

    def candidates(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """The k best items a request; an empty history gives an empty row.

        Args:
            queries: B requests.
            k: width of the result.

        Returns:
            [B, k], best first, scores above 0.
        """
        weights = history_weights(queries, self.matrix.shape[0], decay=self.decay)
        return sparse_candidates(weights, self.matrix, queries, k)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        return {
            "indptr": self.matrix.indptr,
            "indices": self.matrix.indices,
            "data": self.matrix.data,
            "decay": np.array([self.decay], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The model that gave these arrays; they may be read-only and are not copied."""
        n_items = len(arrays["indptr"]) - 1
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        matrix = csr_over(*parts, (n_items, n_items))
        return cls(matrix, float(arrays["decay"][0]))
