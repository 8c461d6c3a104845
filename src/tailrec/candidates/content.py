"""Nearest neighbours in text: items described like those a person had."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator
from pydantic import Field

from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.kernel import TextKernel
from tailrec.candidates.nearest import nearest_to_each_other
from tailrec.candidates.select import padded_to_csr
from tailrec.dataset import Dataset, Features
from tailrec.items import Array
from tailrec.recipe import Recipe


@dataclass(frozen=True)
class ContentModel(ItemToItem):
    """The nearest texts of each item, by how alike they are."""


class Content(Recipe):
    """Options of text neighbours.

    Attributes:
        words: a, what likeness of words counts.
        meaning: b, what likeness of language-model vectors counts.
        neighbours: how many of the nearest texts each item keeps.
        decay: factor a past item loses with each step back.
    """

    kind: Literal["content"] = "content"
    words: float = Field(default=1.0, gt=0.0)
    meaning: float = Field(default=0.5, gt=0.0)
    neighbours: int = Field(default=200, ge=1)
    decay: float = Field(default=0.7, gt=0.0, le=1.0)

    def restore(self, arrays: Mapping[str, Array]) -> ContentModel:
        """The model that gave these arrays."""
        return ContentModel.from_arrays(arrays)

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> ContentModel:
        """Find each item's nearest texts.

        Args:
            data: not used; an item is proposed whether it has events or not.
            features: the items' words and vectors.
            rng: not used.

        Returns:
            The fitted model.

        Cost:
            As `nearest_to_each_other`; no I × I matrix is ever held.
        """
        del data, rng
        kernel = TextKernel.untaught(features, self.words, self.meaning)
        ids, alike = nearest_to_each_other(kernel.vectors(features), self.neighbours)
        return ContentModel(padded_to_csr(ids, alike, len(ids)), self.decay)
