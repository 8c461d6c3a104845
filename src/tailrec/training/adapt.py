"""Which parameters are trained: all, some layers, or small ones put beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from sentence_transformers import SentenceTransformer

from tailrec.features.original import quiet
from tailrec.recipe import Recipe

Kind = Literal["map", "full", "lora"]


class Adapt(Recipe):
    """Which parameters are trained.

    Attributes:
        kind: `map`, a linear map of the encoder's vectors, which two cores learn in minutes;
            `full`; `lora`, low-rank matrices beside the attention's.
        layers: of `full`, only so many of the last layers are trained; None: all, and the word
            embeddings.
        rank: of the matrices of `lora`.
        scale: what their product is multiplied with, times `rank`.
        dropout: of their input.
    """

    kind: Kind = "map"
    layers: int | None = Field(default=None, ge=1)
    rank: int = Field(default=16, ge=1)
    scale: float = Field(default=2.0, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)


@dataclass(frozen=True)
class Adapted:
    """An encoder made ready to be trained.

    Attributes:
        module: its parameters that require a gradient are trained.
        finish: the encoder afterwards, nothing left beside it; call it once.
    """

    module: torch.nn.Module
    finish: Callable[[], SentenceTransformer]


def adapted(model: SentenceTransformer, options: Adapt) -> Adapted:
    """Make an encoder ready.

    Args:
        model: changed in place.
        options: any kind but `map`, which does not change the encoder.
    """
    transformer: Any = model[0]
    if options.kind == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=options.rank,
            lora_alpha=round(options.scale * options.rank),
            lora_dropout=options.dropout,
            target_modules="all-linear",
            exclude_modules=["pooler.dense"],
        )
        with quiet():
            wrapped = get_peft_model(transformer.auto_model, config)
        transformer.auto_model = wrapped

        def merged() -> SentenceTransformer:
            transformer.auto_model = wrapped.merge_and_unload()
            return model

        return Adapted(model, merged)
    if options.layers is not None:
        own = transformer.auto_model
        for parameter in own.parameters():
            parameter.requires_grad_(False)
        for layer in own.encoder.layer[-options.layers :]:
            for parameter in layer.parameters():
                parameter.requires_grad_(True)
    return Adapted(model, lambda: model)
