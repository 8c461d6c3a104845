"""A learnt vector a token, added to what an encoder says of a text.

A linear map of an encoder's vectors cannot tell words apart that the encoder finds alike, however
differently people treat them. A vector a token can, at the cost of a sparse sum.
"""

from pathlib import Path
from typing import Any, Final, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer.modules import Module

from tailrec.errors import RecipeError
from tailrec.items import Int64Array

FILE: Final = "tokens.safetensors"


class TokenSum(Module):
    """v + Σ_t table[t] / √n over the n tokens of a text, those without a vector counted, too.

    Attributes:
        table: float32 [U + 1, D]; the first row is zero, and is that of all other tokens.
        place: int64 [V], the row of each token of the encoder.
    """

    table: torch.Tensor
    place: torch.Tensor

    def __init__(self, table: torch.Tensor, place: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.register_buffer("table", table)
        self.register_buffer("place", place)

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Adds to `sentence_embedding` [B, D], of `input_ids` and `attention_mask` [B, L]."""
        del options
        mask = features["attention_mask"].to(self.table.dtype)
        rows = self.table[self.place[features["input_ids"]]] * mask[..., None]
        scale = mask.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
        more = rows.sum(dim=1) / scale
        return features | {"sentence_embedding": features["sentence_embedding"] + more}

    def keep(self, tokens: Int64Array) -> None:
        """Number tokens anew, in place.

        Args:
            tokens: int64 [V'], the former number of each token.
        """
        self.place = self.place[torch.as_tensor(tokens)]

    def get_embedding_dimension(self) -> int:
        """Length of a vector."""
        return int(self.table.shape[1])

    def save(self, output_path: str, *args: Any, **options: Any) -> None:
        """Write the table."""
        del args, options
        tensors = {"table": self.table.contiguous(), "place": self.place.contiguous()}
        save_file(tensors, Path(output_path) / FILE)

    @classmethod
    def load(  # type: ignore[override]
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read it.

        Raises:
            RecipeError: it is not there, or damaged.
        """
        del options
        path = Path(model_name_or_path) / subfolder / FILE
        try:
            tensors = load_file(path)
            table, place = tensors["table"], tensors["place"]
            whole = table.ndim == 2 and 0 <= int(place.min()) <= int(place.max()) < len(table)
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise RecipeError(f"{path} does not hold the vectors of tokens: {error}") from error
        if not whole:
            raise RecipeError(f"{path} names tokens whose vectors it does not hold")
        return cls(table, place)


NAME: Final = f"{TokenSum.__module__}.{TokenSum.__qualname__}"
