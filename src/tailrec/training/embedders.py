"""Items to vectors with a gradient: a whole encoder, or a linear map of vectors made before."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch.nn.functional import normalize

from tailrec.items import Array, Float32Array, ragged_rows

_CHUNK = 64
"""Texts encoded at once: those of like length, so that little is padding."""


class Embedder(Protocol):
    """What is trained, as items see it.

    Attributes:
        module: its parameters are trained.
    """

    module: torch.nn.Module

    def prepare(self, items: Array, rng: Generator) -> Any:
        """What `embed` takes, for some items [N]."""
        ...

    def embed(self, prepared: Any) -> torch.Tensor:
        """[N, D], unit length, with a gradient."""
        ...

    def encode(self, items: Array) -> Float32Array:
        """float32 [N, D], unit length, without a gradient; zero where an item has no text."""
        ...


class Vary(Protocol):
    """Says items' texts in other words."""

    @property
    def digest(self) -> str:
        """Of all that the words depend on besides what is drawn: 32 hexadecimal digits."""
        ...

    def __call__(self, items: Array, rng: Generator) -> list[str]:
        """Texts of some items [N], with the encoder's prefix."""
        ...


class TextEmbedder:
    """A whole encoder over the items' texts.

    Attributes:
        module: the encoder.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        model: SentenceTransformer,
        texts: Sequence[str],
        *,
        vary: Vary | None = None,
    ) -> None:
        self.module = module
        self._model = model
        self._texts = np.array(texts, dtype=object)
        self._vary = vary

    def prepare(self, items: Array, rng: Generator) -> list[tuple[Array, dict[str, Any]]]:
        """Tokens of the items' texts, varied where the recipe asks for it, in chunks."""
        if self._vary is not None:
            return self._chunks(self._vary(items, rng))
        return self._chunks(self._texts[items].tolist())

    def embed(self, prepared: list[tuple[Array, dict[str, Any]]]) -> torch.Tensor:
        """[N, D], unit length, with a gradient."""
        device = next(self.module.parameters()).device
        parts = []
        for _, tokens in prepared:
            there = {n: v.to(device) if hasattr(v, "to") else v for n, v in tokens.items()}
            parts.append(self._model(there)["sentence_embedding"])
        order = np.concatenate([rows for rows, _ in prepared])
        back = torch.as_tensor(np.argsort(order), device=device)
        return normalize(torch.cat(parts)[back], dim=1)

    def encode(self, items: Array) -> Float32Array:
        """float32 [N, D], unit length; zero where an item has no text."""
        texts: list[str] = self._texts[items].tolist()
        with torch.no_grad():
            vectors = self.embed(self._chunks(texts)).float().cpu().numpy()
        vectors[[not text.strip() for text in texts]] = 0
        return np.asarray(vectors, np.float32)

    def _chunks(self, texts: list[str]) -> list[tuple[Array, dict[str, Any]]]:
        lengths = np.array([len(text) for text in texts])
        order = np.argsort(-lengths, kind="stable")
        pieces = [order[start : start + _CHUNK] for start in range(0, len(order), _CHUNK)]
        return [(rows, dict(self._model.preprocess([texts[r] for r in rows]))) for rows in pieces]


class TokensEmbedder:
    """A linear map of vectors that stay as they are, and a vector of each token added to it.

    Attributes:
        module: both; they begin as zero, so that training starts from the vectors as they are.
        used: int64 [U], the tokens that have vectors of their own, rising.
    """

    def __init__(
        self,
        vectors: Float32Array,
        model: SentenceTransformer,
        texts: Sequence[str],
        *,
        max_length: int | None,
        left_out: float,
    ) -> None:
        self._map = MapEmbedder(vectors)
        self._left_out = left_out
        # No more is read later on; what stands behind it would be learnt for nothing.
        longest = min((n for n in (max_length, model.max_seq_length) if n), default=None)
        read = model.tokenizer(list(texts), truncation=True, max_length=longest)
        ids = [np.asarray(one, np.int64) for one in read["input_ids"]]
        self._length = np.array([len(one) for one in ids])
        flat, row = np.concatenate(ids), np.repeat(np.arange(len(ids)), self._length)
        # Marks at the ends of every text say nothing.
        told = ~np.isin(flat, model.tokenizer.all_special_ids)
        self.used, token = np.unique(flat[told], return_inverse=True)
        self._token = token.astype(np.int64)
        self._first = np.searchsorted(row[told], np.arange(len(ids) + 1))
        table = torch.nn.EmbeddingBag(len(self.used), vectors.shape[1], mode="sum")
        torch.nn.init.zeros_(table.weight)
        self.module: torch.nn.Module = torch.nn.ModuleDict(
            {"map": self._map.module, "table": table}
        )

    def prepare(self, items: Array, rng: Generator) -> tuple[torch.Tensor, ...]:
        """The items' vectors, and their tokens, some left out."""
        return self._prepared(items, rng)

    def embed(self, prepared: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """[N, D], unit length, with a gradient."""
        vectors, tokens, first, share = prepared
        parts: Any = self.module
        device = parts["table"].weight.device
        mapped = parts["map"]({"sentence_embedding": vectors.to(device)})["sentence_embedding"]
        said = parts["table"](tokens.to(device), first.to(device), share.to(device))
        return normalize(mapped + said, dim=-1)

    def encode(self, items: Array) -> Float32Array:
        """float32 [N, D], unit length, no token left out; zero where an item has no text."""
        with torch.no_grad():
            vectors = self.embed(self._prepared(items, None)).float().cpu().numpy()
        return self._map.untold(vectors, items)

    def _prepared(self, items: Array, rng: Generator | None) -> tuple[torch.Tensor, ...]:
        bounds, place = ragged_rows(self._first, items)
        share = np.repeat(self._length[items] ** -0.5, np.diff(bounds))
        if rng is not None:
            share *= (rng.random(len(share)) >= self._left_out) / (1 - self._left_out)
        parts = (self._token[place], bounds[:-1], share.astype(np.float32))
        vectors = self._map.prepare(items, np.random.default_rng(0))
        return (vectors, *(torch.as_tensor(part) for part in parts))


class MapEmbedder:
    """A linear map, added to vectors that stay as they are: what two cores can learn in minutes.

    Attributes:
        module: the map; it begins as zero, so that training starts from the vectors as they are.
    """

    def __init__(self, vectors: Float32Array) -> None:
        width = vectors.shape[1]
        self.module: torch.nn.Module = Dense(
            width,
            width,
            bias=False,
            activation_function=torch.nn.Identity(),
            init_weight=torch.zeros(width, width),
            use_residual=True,
        )
        self._vectors = torch.as_tensor(vectors)
        self._told = np.any(vectors, axis=1)

    def prepare(self, items: Array, rng: Generator) -> torch.Tensor:
        """The items' vectors."""
        del rng
        return self._vectors[torch.as_tensor(np.asarray(items, np.int64))]

    def embed(self, prepared: torch.Tensor) -> torch.Tensor:
        """[N, D], unit length, with a gradient."""
        device = next(self.module.parameters()).device
        mapped = self.module({"sentence_embedding": prepared.to(device)})
        return normalize(mapped["sentence_embedding"], dim=-1)

    def encode(self, items: Array) -> Float32Array:
        """float32 [N, D], unit length; zero where an item has no text."""
        with torch.no_grad():
            prepared = self.prepare(items, np.random.default_rng(0))
            vectors = self.embed(prepared).float().cpu().numpy()
        return self.untold(vectors, items)

    def untold(self, vectors: Float32Array, items: Array) -> Float32Array:
        """The same, zero where an item has no text."""
        vectors[~self._told[items]] = 0
        return np.asarray(vectors, np.float32)
