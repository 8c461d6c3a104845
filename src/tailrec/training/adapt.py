"""Which parameters are trained: all, some layers, or small ones put beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from sentence_transformers import SentenceTransformer

from tailrec.features.adapted import layers_of, learnt_beside, put_beside
from tailrec.features.original import quiet
from tailrec.training.ranks import Ranks, ranked
from tailrec.training.recipes import Adapt

_TARGETS: Final[dict[str, Any]] = {
    "target_modules": "all-linear",
    "exclude_modules": ["pooler.dense"],
}


@dataclass(frozen=True)
class Adapted:
    """An encoder made ready to be trained.

    Attributes:
        module: its parameters that require a gradient are trained.
        finish: the encoder afterwards, nothing left beside it that can be merged; call it once.
        ranks: what takes ranks away while it is trained, for `adalora`.
    """

    module: torch.nn.Module
    finish: Callable[[], SentenceTransformer]
    ranks: Ranks | None = None


def adapted(model: SentenceTransformer, options: Adapt, *, steps: int) -> Adapted:
    """Make an encoder ready.

    Args:
        model: changed in place.
        options: any kind but `map` and `tokens`, which do not change the encoder.
        steps: that training will take.

    Raises:
        RecipeError: the encoder is not built so that it can be adapted in this way, or there are
            too few steps for it.
    """
    if options.kind != "full":
        model.requires_grad_(False)
    if options.kind == "lora":
        return _with_lora(model, options)
    if options.kind == "adalora":
        unwrap, ranks = ranked(
            model[0].model,
            rank=options.rank,
            scale=options.scale,
            dropout=options.dropout,
            steps=steps,
            targets=_TARGETS,
        )
        return Adapted(model, lambda: _plain(model, unwrap), ranks)
    if options.kind == "full":
        _train_layers(model, options.layers)
        return Adapted(model, lambda: model)
    if options.kind == "prefix":
        put_beside(model[0], "prefix", size=options.length)
    else:
        put_beside(model[0], "adapter", size=options.width)
    for _, parameter in learnt_beside(model):
        parameter.requires_grad_(True)
    return Adapted(model, lambda: model)


def n_trained(module: torch.nn.Module) -> int:
    """How many parameters of a module are trained."""
    return sum(value.numel() for value in module.parameters() if value.requires_grad)


def _with_lora(model: SentenceTransformer, options: Adapt) -> Adapted:
    from peft import LoraConfig, get_peft_model

    alpha: Any = options.scale * options.rank  # said to be whole, but only ever multiplied with
    transformer: Any = model[0]
    config = LoraConfig(
        r=options.rank,
        lora_alpha=alpha,
        lora_dropout=options.dropout,
        **_TARGETS,
    )
    with quiet():
        # The matrices are put into the transformer itself; what is returned is a handle.
        wrapped = get_peft_model(transformer.model, config)
    return Adapted(model, lambda: _plain(model, wrapped.merge_and_unload))


def _plain(model: SentenceTransformer, unwrap: Callable[[], Any]) -> SentenceTransformer:
    """The encoder with what stood beside its weights merged into them."""
    model[0].model = unwrap()
    return model


def _train_layers(model: SentenceTransformer, n_layers: int | None) -> None:
    transformer: Any = model[0].model
    if n_layers is not None:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for layer in layers_of(transformer)[-n_layers:]:
            layer.requires_grad_(True)
    # Vectors are pooled from tokens; the pooler of the language model has no part in them.
    pooler = getattr(transformer, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)
