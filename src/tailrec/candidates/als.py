"""iALS: latent factors by alternating least squares, through `implicit`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field
from scipy import sparse
from threadpoolctl import threadpool_limits

from tailrec.candidates.heap import csr_view
from tailrec.candidates.select import blank, history_weights, row_blocks, top_k
from tailrec.dataset import Dataset, Features
from tailrec.items import Array, Float32Array, ItemsBatch, QueryBatch
from tailrec.kernels import compiled, kernel_view, over_rows
from tailrec.recipe import Recipe


@dataclass(frozen=True)
class AlsModel:
    """Factors of items; a person's factors are solved for when asked, from the history given.

    Attributes:
        factors: float32 [I, F]; zero for items without events.
        gram: float32 [F, F], factorsᵀ·factors + regularization·I.
        alpha: what an event adds to the confidence of 1.
        decay: factor a past item loses with each step back.
    """

    factors: Float32Array
    gram: Float32Array
    alpha: float
    decay: float

    def candidates(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """The k best items a request; an empty history gives an empty row.

        Known and new people are treated alike: only the history of the request counts.

        Args:
            queries: B requests.
            k: width of the result, at least 1.

        Returns:
            [B, k], best first, scores above 0.
        """
        weights = history_weights(queries, len(self.factors), decay=self.decay).matrix()
        people = self._people(weights)  # [B, F]
        ids, best = blank(len(queries), k)
        for rows in row_blocks(len(queries), len(self.factors)):
            scores = people[rows] @ self.factors.T  # [block, I]
            part = top_k(scores, queries.rows(rows.start, rows.stop), k)
            ids[rows], best[rows] = part.ids, part.scores
        return ItemsBatch(ids, best)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, as plain arrays for an artifact."""
        options = np.array([self.alpha, self.decay], np.float64)
        return {"factors": self.factors, "gram": self.gram, "options": options}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The model that gave these arrays; they may be read-only and are not copied."""
        alpha, decay = (float(option) for option in arrays["options"])
        return cls(arrays["factors"], arrays["gram"], alpha, decay)

    def _people(self, weights: sparse.csr_array) -> Float32Array:
        """Float32 [B, F]: the least-squares factors (YᵀCY + λI)⁻¹ YᵀCp of each history."""
        bounds, past, weight = csr_view(weights)
        extra = kernel_view(weight * self.alpha, np.float32)
        factors, gram = kernel_view(self.factors, np.float32), kernel_view(self.gram, np.float32)
        people = np.zeros((weights.shape[0], factors.shape[1]), np.float32)

        def work(rows: slice) -> None:
            history = (bounds[rows.start : rows.stop + 1], past, extra)
            _fold_in(history, factors, gram, people[rows])

        over_rows(len(people), work)
        return people


class Als(Recipe):
    """Options of alternating least squares.

    Attributes:
        factors: how many latent factors.
        regularization: λ on both sides' factors.
        alpha: what an event adds to the confidence of 1.
        iterations: passes over users and items.
        decay: factor a past item loses with each step back when serving; 1 is the classic.
    """

    kind: Literal["als"] = "als"
    factors: int = Field(default=128, ge=1)
    regularization: float = Field(default=1.0, gt=0.0)
    alpha: float = Field(default=10.0, gt=0.0)
    iterations: int = Field(default=15, ge=1)
    decay: float = Field(default=1.0, gt=0.0, le=1.0)

    def restore(self, arrays: Mapping[str, Array]) -> AlsModel:
        """The model that gave these arrays."""
        return AlsModel.from_arrays(arrays)

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> AlsModel:
        """Learn factors of items.

        Args:
            data: histories; repeats raise the confidence.
            features: not used.
            rng: starts the factors.

        Returns:
            The fitted model.

        Source:
            Hu, Koren and Volinsky 2008, doi:10.1109/ICDM.2008.22.
        """
        from implicit.cpu.als import AlternatingLeastSquares  # slow to load

        del features
        confidence = data.matrix() * np.float32(self.alpha)
        confidence.data += 1.0
        # Rows are solved one by one, so threads do not change the outcome; BLAS with threads of
        # its own would slow them down tenfold, which implicit warns about.
        with threadpool_limits(1, "blas"):
            solver = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                iterations=self.iterations,
                random_state=int(rng.integers(2**31)),
            )
            solver.fit(sparse.csr_matrix(confidence), show_progress=False)
        factors = solver.item_factors  # [I, F]; implicit leaves zeros where an item has no events
        gram = factors.T @ factors + self.regularization * np.eye(self.factors, dtype=np.float32)
        return AlsModel(factors, gram, self.alpha, self.decay)


# LAPACK is not called for these small systems: with threads of its own it takes 25 times as long
# at 128 factors, and the number of its threads is one setting for the whole process.
@compiled
def _fold_in(
    history: tuple[Array, Array, Array],
    factors: Float32Array,
    gram: Float32Array,
    out: Float32Array,
) -> None:
    """Fill `out` [B, F], given as zeros, from histories (bounds, items, confidence - 1)."""
    bounds, past, extra = history
    for row in range(len(out)):
        if bounds[row] == bounds[row + 1]:
            continue
        left = gram.copy()
        for event in range(bounds[row], bounds[row + 1]):
            y = factors[past[event]]
            for f in range(len(y)):
                out[row, f] += (np.float32(1.0) + extra[event]) * y[f]
                _add_multiple(left[f, f:], y[f:], extra[event] * y[f])
        _solve(left, out[row])


@compiled
def _add_multiple(to: Float32Array, values: Float32Array, factor: float) -> None:
    for i in range(len(to)):
        to[i] += factor * values[i]


@compiled
def _solve(left: Float32Array, right: Float32Array) -> None:
    """Turn `right` into left⁻¹·right by Cholesky's UᵀU; only the upper triangle of left is used."""
    n = len(right)
    for j in range(n):
        root = np.sqrt(left[j, j])
        for i in range(j, n):
            left[j, i] /= root
        for i in range(j + 1, n):
            _add_multiple(left[i, i:], left[j, i:], -left[j, i])
    for j in range(n):
        right[j] /= left[j, j]
        _add_multiple(right[j + 1 :], left[j, j + 1 :], -right[j])
    for j in range(n - 1, -1, -1):
        for i in range(j + 1, n):
            right[j] -= left[j, i] * right[i]
        right[j] /= left[j, j]
