"""ItemKNN: items that the same people have, by cosine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field
from scipy import sparse

from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.select import pair_strengths, strongest
from tailrec.dataset import Dataset, Features
from tailrec.items import Array
from tailrec.recipe import Recipe

_ROWS_PER_BLOCK = 2048
"""Items whose co-occurrences are held at once; the product stays sparse."""


@dataclass(frozen=True)
class ItemKnnModel(ItemToItem):
    """The nearest neighbours of each item, by how alike they are."""


class ItemKnn(Recipe):
    """Options of ItemKNN.

    Attributes:
        neighbours: how many of the most similar items each item keeps.
        shrinkage: added to the product of norms; damps similarities that rest on few people.
        decay: factor a past item loses with each step back; 1 is the classic.
    """

    kind: Literal["itemknn"] = "itemknn"
    neighbours: int = Field(default=1000, ge=1)
    shrinkage: float = Field(default=0.0, ge=0.0)
    decay: float = Field(default=1.0, gt=0.0, le=1.0)

    def restore(self, arrays: Mapping[str, Array]) -> ItemKnnModel:
        """The model that gave these arrays."""
        return ItemKnnModel.from_arrays(arrays)

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> ItemKnnModel:
        """Find each item's nearest neighbours among the items of its people.

        Args:
            data: histories.
            features: not used.
            rng: not used.

        Returns:
            The fitted model.

        Source:
            Deshpande and Karypis 2004, doi:10.1145/963770.963776.
        """
        del features, rng
        users = pair_strengths(data)  # [U, I]
        items = users.T.tocsr()  # [I, U]
        norms = np.sqrt((users.power(2)).sum(axis=0))  # [I]
        blocks = []
        for start in range(0, data.n_items, _ROWS_PER_BLOCK):
            together = (items[start : start + _ROWS_PER_BLOCK] @ users).tocoo()
            row, column = together.coords
            cosine = together.data / (norms[start + row] * norms[column] + self.shrinkage)
            cosine[start + row == column] = 0.0
            block = sparse.csr_array((cosine, (row, column)), shape=together.shape)
            blocks.append(strongest(block, self.neighbours))
        return ItemKnnModel(sparse.vstack(blocks, format="csr"), self.decay)
