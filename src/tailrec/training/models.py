"""The language models inside what is trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from transformers import PreTrainedModel

from tailrec.errors import RecipeError
from tailrec.features.adapted import opened


def language_models(module: torch.nn.Module) -> list[PreTrainedModel]:
    """The outermost transformers models in a module, itself included."""
    if isinstance(module, PreTrainedModel):
        return [module]
    return [model for child in module.children() for model in language_models(child)]


def transformer_of(folder: Path, *, device: str | None = "cpu") -> SentenceTransformer:
    """An encoder that is a transformer, so that its layers can be trained or left out.

    Its parameters are of 32 bits, however it was published: steps may be smaller than 16 tell.

    Args:
        folder: of the encoder.
        device: of PyTorch's; None: the best there is.

    Raises:
        RecipeError: it is another thing, such as a table of token vectors.
    """
    model = opened(folder, device=device)
    if not isinstance(model[0], Transformer):
        raise RecipeError(
            f"encoder {folder.name!r} begins with {type(model[0]).__name__}, which has no layers, "
            "and not with a transformer; begin with the encoder it was made of"
        )
    return model.float()


@contextmanager
def recomputed(module: torch.nn.Module, *, wanted: bool) -> Iterator[None]:
    """Within it, the layers' activations are computed twice instead of kept.

    Args:
        module: what is trained.
        wanted: if not, nothing changes.

    Raises:
        RecipeError: no model in the module can do so.
    """
    able = [m for m in language_models(module) if m.supports_gradient_checkpointing]
    if wanted and not able:
        raise RecipeError(
            "`checkpointing` needs a transformers model that can do so, and what is trained holds "
            "none; turn it off"
        )
    new = [model for model in able if wanted and not _recomputes(model)]
    for model in new:
        # The older form needs an input with a gradient, which frozen embeddings do not give.
        _named(model, "enable")({"use_reentrant": False})
    try:
        yield
    finally:
        for model in new:
            _named(model, "disable")()


def _recomputes(model: PreTrainedModel) -> bool:
    return any(getattr(part, "gradient_checkpointing", False) for part in model.modules())


def _named(model: PreTrainedModel, what: str) -> Any:
    """A method under its new name, or under that of older versions of transformers."""
    new = getattr(model, f"activation_checkpointing_{what}", None)
    return new or getattr(model, f"gradient_checkpointing_{what}")
