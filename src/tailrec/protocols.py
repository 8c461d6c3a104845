"""The interfaces between rooms. A part is anything with the right method."""

from typing import Protocol, TypeVar

from numpy.random import Generator

from tailrec.dataset import Catalog, Dataset, Features
from tailrec.items import Float32Array, Items, ItemsBatch, Query, QueryBatch

ModelT = TypeVar("ModelT", covariant=True)


class Fits(Protocol[ModelT]):
    """A recipe that can fit: it holds options only, the model holds what was learnt."""

    def fit(self, data: Dataset, features: Features, *, rng: Generator) -> ModelT:
        """Learn from the data; the same data and rng give the same model."""
        ...


class Source(Protocol):
    """Proposes items for requests."""

    def candidates(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """The k best items a request, best first, none of those it excludes."""
        ...


class Ranker(Protocol):
    """Scores proposed items."""

    def score(self, queries: QueryBatch, pools: ItemsBatch) -> ItemsBatch:
        """The same pools with new scores, best first."""
        ...


class Reranker(Protocol):
    """Arranges one person's slate."""

    def arrange(self, query: Query, pool: Items) -> Items:
        """Items of the pool, in the order they are shown."""
        ...


class Encoder(Protocol):
    """Turns the items' words (or pictures) into vectors."""

    dim: int

    def encode(self, catalog: Catalog) -> Float32Array:
        """float32 [I, dim], rows of unit length (zero where an item has no text)."""
        ...
