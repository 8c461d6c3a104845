"""EASE: the linear item model without words or order, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field
from scipy import sparse
from scipy.linalg import lapack

from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.select import pair_strengths, row_blocks, strongest
from tailrec.dataset import Dataset, Features
from tailrec.errors import RecipeError
from tailrec.items import Array, Float32Array
from tailrec.recipe import Recipe


@dataclass(frozen=True)
class EaseModel(ItemToItem):
    """The strongest weights of each item's row of EASE."""


class Ease(Recipe):
    """Options of EASE.

    Attributes:
        regularization: λ, added to the diagonal of the Gram matrix.
        decay: factor a past item loses with each step back when serving; 1 is the classic.
        keep: entries each item keeps, the largest by magnitude. As many as there are items keep
            the model exact; 300 gave the same figures on 12,000 items in a fortieth of the space.
        most_items: largest catalogue it takes on: fitting needs 4 · I² bytes, I³ steps.
    """

    kind: Literal["ease"] = "ease"
    regularization: float = Field(default=50.0, gt=0.0)
    decay: float = Field(default=1.0, gt=0.0, le=1.0)
    keep: int = Field(default=300, ge=1)
    most_items: int = Field(default=40_000, ge=1)

    def restore(self, arrays: Mapping[str, Array]) -> EaseModel:
        """The model that gave these arrays."""
        return EaseModel.from_arrays(arrays)

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> EaseModel:
        """Solve for the weights.

        Args:
            data: histories; of repeats the strongest event counts.
            features: not used.
            rng: not used.

        Returns:
            The fitted model.

        Raises:
            RecipeError: the catalogue is larger than `most_items`, or λ is too small for
                single precision.

        Cost:
            One dense matrix of I × I float32, and I³ multiplications.

        Source:
            Steck 2019, doi:10.1145/3308558.3313710.
        """
        del features, rng
        if data.n_items > self.most_items:
            gib = 4 * data.n_items**2 / 2**30
            raise RecipeError(
                f"ease on {data.n_items} items needs a dense matrix of {gib:.0f} GiB; its option "
                f"most_items allows {self.most_items}: use kind 'linear', or raise most_items"
            )
        precision = _precision(pair_strengths(data), self.regularization)  # [I, I]
        diagonal = precision.diagonal().copy()
        blocks = []
        for rows in row_blocks(*precision.shape):
            weights = precision[rows] / -diagonal  # [R, I]
            weights[np.arange(len(weights)), np.arange(rows.start, rows.stop)] = 0.0
            blocks.append(strongest(weights, self.keep))
        return EaseModel(sparse.vstack(blocks, format="csr"), self.decay)


def _precision(users: sparse.csr_array, regularization: float) -> Float32Array:
    """(XᵀX + λI)⁻¹ as float32 [I, I], in the memory of XᵀX itself."""
    gram = (users.T @ users).toarray(order="F")
    np.fill_diagonal(gram, gram.diagonal() + np.float32(regularization))
    lower, failed = lapack.spotrf(gram, lower=True, clean=False, overwrite_a=True)
    if failed:
        raise RecipeError(
            f"ease cannot solve with regularization {regularization} in single precision; raise it"
        )
    inverse, _ = lapack.spotri(lower, lower=True, overwrite_c=True)
    # LAPACK fills one triangle. As C rows that is the upper one; mirror it block by block.
    symmetric: Float32Array = inverse.T
    for rows in row_blocks(*symmetric.shape):
        symmetric[rows, : rows.start] = symmetric[: rows.start, rows].T
        corner = np.triu(symmetric[rows, rows])
        symmetric[rows, rows] = corner + np.triu(corner, 1).T
    return symmetric
