"""ItemKNN: items bought by the same people, by cosine."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field
from scipy import sparse

from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.select import pair_strengths, row_blocks, strongest
from tailrec.dataset import Dataset, Features
from tailrec.recipe import Recipe


@dataclass(frozen=True)
class NeighboursModel(ItemToItem):
    """The nearest neighbours of each item, with their similarity."""


class Neighbours(Recipe):
    """Options of ItemKNN.

    Attributes:
        neighbours: how many of the most similar items each item keeps.
        shrinkage: added to the product of norms; damps similarities resting on few people.
        decay: factor a past item loses with each step back; 1 is the classic.
    """

    kind: Literal["neighbours"] = "neighbours"
    neighbours: int = Field(default=200, ge=1)
    shrinkage: float = Field(default=0.0, ge=0.0)
    decay: float = Field(default=1.0, gt=0.0, le=1.0)

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> NeighboursModel:  # noqa: ARG002
        """Count who bought what together.

        Args:
            data: histories.
            features: not used.
            rng: not used; there is no chance in it.

        Returns:
            The fitted model.

        Source:
            Deshpande and Karypis 2004, doi:10.1145/963770.963776.
        """
        users = pair_strengths(data)  # [U, I]
        items = users.T.tocsr()  # [I, U]
        norms = np.sqrt(np.asarray((users**2).sum(axis=0)))  # [I]
        blocks = [
            self._similar(items[rows] @ users, norms[rows], norms, rows.start)
            for rows in row_blocks(data.n_items, data.n_items)
        ]
        return NeighboursModel(sparse.csr_array(sparse.vstack(blocks, format="csr")), self.decay)
