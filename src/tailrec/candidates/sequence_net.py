"""The transformer over events in PyTorch, for training; `transformer` runs what it learnt."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tailrec.candidates.transformer import EPSILON, N_CLASSES
from tailrec.dataset import Features
from tailrec.items import Array, Float32Array, Int32Array


class Shape(NamedTuple):
    """Sizes of a network.

    Attributes:
        width: W, of all vectors.
        blocks: how many.
        heads: of attention, in each.
        dropout: share of numbers left out of a step.
    """

    width: int
    blocks: int
    heads: int
    dropout: float


class Wanted(NamedTuple):
    """Items whose vectors are asked for.

    Attributes:
        ids: int64 [N], catalogue numbers.
        kept: float32 [N], what the part that is an item's own counts now, besides its share.
        terms: int64 [T], the items' words, one item after the other.
        first: int64 [N], where each item's words begin.
        counts: float32 [T], what each word counts in its item.
    """

    ids: torch.Tensor
    kept: torch.Tensor
    terms: torch.Tensor
    first: torch.Tensor
    counts: torch.Tensor


class Block(nn.Module):
    """Attention and two layers, each behind a norm and beside a path that leads past it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.before = nn.LayerNorm(width, eps=EPSILON)
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.bias = nn.Parameter(torch.zeros(N_CLASSES, shape.heads))
        self.join = nn.Linear(width, width, bias=False)
        self.between = nn.LayerNorm(width, eps=EPSILON)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self._shape = shape

    def forward(self, x: torch.Tensor, between: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """[B, L, W] of [B, L, W]; see `transformer.contextual`."""
        heads, dropout = self._shape.heads, self._shape.dropout
        n, length, width = x.shape
        parts = self.attend(self.before(x)).view(n, length, 3, heads, width // heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        bias = self.bias[between].permute(0, 3, 1, 2).masked_fill(~seen[:, None], -torch.inf)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=dropout if self.training else 0.0
        )
        joined = self.join(mixed.transpose(1, 2).reshape(n, length, width))
        x = x + functional.dropout(joined, dropout, self.training)
        inner = self.narrow(functional.silu(self.wide(self.between(x))))
        return x + functional.dropout(inner, dropout, self.training)


class Net(nn.Module):
    """Vectors of items, and of people's pasts in the same space.

    Attributes:
        map: [D, W], of the language model's vectors.
        words: [V, W], of each word.
        own: [I, W], of each item, apart from its texts.
        blocks: of the transformer.
        last: norm of what comes out of them.
        dense: float32 [I, D], a buffer that is not saved.
        share: float32 [I], what `own` counts, a buffer that is not saved.
    """

    dense: torch.Tensor
    share: torch.Tensor

    def __init__(self, shape: Shape, features: Features, share: Float32Array) -> None:
        """Random projections of texts, which leave alike what is alike, and nothing of its own.

        Args:
            shape: sizes.
            features: of I items.
            share: float32 [I], what an item's own part counts.
        """
        super().__init__()
        width, scale = shape.width, shape.width**-0.5
        self.map = nn.Parameter(torch.randn(features.dense.shape[1], width) * scale)
        self.words = nn.Parameter(torch.randn(features.words.shape[1], width) * scale)
        self.own = nn.Parameter(torch.zeros(len(features), width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.last = nn.LayerNorm(width, eps=EPSILON)
        self.register_buffer("dense", _tensor(features.dense), persistent=False)
        self.register_buffer("share", _tensor(share), persistent=False)
        self._dropout = shape.dropout

    def go_on(self, parts: Mapping[str, Array], placed: Int32Array) -> None:
        """Take what an earlier network learnt.

        Args:
            parts: its parameters.
            placed: int32 [I], the number that each item had for it, or -1.
        """
        own, known = parts["own"], (placed >= 0) & (placed < len(parts["own"]))
        mine = np.zeros((len(placed), own.shape[1]), np.float32)
        mine[known] = own[placed[known]]
        # Copied: what lies in an artifact may not be written to.
        state = {name: _tensor(parts[name].copy()) for name in self.state_dict()}
        self.load_state_dict({**state, "own": _tensor(mine)})

    def items(self, wanted: Wanted) -> torch.Tensor:
        """[N, W], vectors of items."""
        said = functional.embedding_bag(
            wanted.terms,
            self.words,
            wanted.first,
            mode="sum",
            per_sample_weights=wanted.counts,
        )
        known = (self.share[wanted.ids] * wanted.kept)[:, None] * self.own[wanted.ids]
        return self.dense[wanted.ids] @ self.map + said + known

    def forward(
        self, vectors: torch.Tensor, between: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        """[B, L, W], a person's vector after each event.

        Args:
            vectors: [B, L, W], of the events' items.
            between: int64 [B, L, L]; see `transformer.classes`.
            seen: bool [B, L, L].
        """
        x = functional.dropout(vectors, self._dropout, self.training)
        for block in self.blocks:
            x = block(x, between, seen)
        out: torch.Tensor = self.last(x)
        return out


def _tensor(values: Array) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values, np.float32))
