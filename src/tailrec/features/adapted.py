"""Encoders with small learnt parts between their own: bottleneck adapters, or prefixes.

Such parts cannot be merged into the weights, and neither can a vector a token (`token_sums`). They
stand in a file of their own beside the plain encoder's, and `modules.json` names a class of this
package, so that whatever does not know it refuses the folder instead of reading the plain encoder.
`opened` knows it: no code of a folder is ever run.

Source:
    Houlsby et al. 2019, "Parameter-efficient transfer learning for NLP", arXiv:1902.00751;
    Li & Liang 2021, "Prefix-tuning", arXiv:2101.00190; the gates that begin at zero are those of
    Zhang et al. 2023, "LLaMA-Adapter", arXiv:2303.16199.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Self, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from sentence_transformers.util import import_from_string
from torch import nn
from torch.nn.functional import gelu, softmax

from tailrec.errors import RecipeError
from tailrec.features import token_sums

Kind = Literal["adapter", "prefix"]
BESIDE: Final = "beside.safetensors"
"""The parts of an encoder, in the folder of its transformer."""


class Bottleneck(nn.Module):
    """A projection, and behind it two small ones around a bend, added to what it says.

    The second begins as zero, so that the encoder begins as it is.
    """

    kind: Kind = "adapter"

    @property
    def size(self) -> int:
        """Its width."""
        return self.down.out_features

    def __init__(self, own: nn.Linear, width: int) -> None:
        super().__init__()
        self.own = own
        self.down = nn.Linear(own.out_features, width)
        self.up = nn.Linear(width, own.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        said = self.own(hidden)
        more: torch.Tensor = said + self.up(gelu(self.down(said)))
        return more


class Prefixed(nn.Module):
    """A layer's attention, and beside it learnt keys and values that every token attends to.

    What they say is multiplied with a gate a head that begins at zero, so that the encoder begins
    as it is.
    """

    kind: Kind = "prefix"

    @property
    def size(self) -> int:
        """How many keys a head."""
        return int(self.key.shape[1])

    def __init__(self, own: Any, length: int) -> None:
        super().__init__()
        self.own = own
        shape = own.num_attention_heads, length, own.attention_head_size
        self.key = nn.Parameter(torch.randn(shape))
        self.value = nn.Parameter(torch.randn(shape))
        self.gate = nn.Parameter(torch.zeros(shape[0], 1, 1))

    def forward(self, hidden: torch.Tensor, *args: Any, **options: Any) -> tuple[Any, Any]:
        """[B, L, D] to [B, L, D], and the weights of the attention to the text."""
        said, weights = self.own(hidden, *args, **options)
        heads, _, size = self.key.shape
        query = self.own.query(hidden).unflatten(-1, (heads, size)).transpose(1, 2)
        share = softmax(query @ self.key.transpose(1, 2) * size**-0.5, dim=-1)  # [B, H, L, P]
        more = torch.tanh(self.gate) * (share @ self.value)
        return said + more.transpose(1, 2).flatten(2), weights


class AdaptedTransformer(Transformer):
    """A transformer with parts between its own, as sentence-transformers reads and writes it."""

    def save(self, output_path: str, *args: Any, **options: Any) -> None:
        """Write the plain transformer, and its parts beside it."""
        with _set_aside(self.model):
            super().save(output_path, *args, **options)
        kind = next(_parts(self.model)).kind
        tensors = {name: value.detach().contiguous() for name, value in learnt_beside(self.model)}
        save_file(tensors, Path(output_path) / BESIDE, metadata={"kind": kind})

    @classmethod
    def load(  # type: ignore[override]
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read both.

        Raises:
            RecipeError: the parts are not there, or not those of this transformer.
        """
        made = super().load(model_name_or_path, subfolder=subfolder, **options)
        path = Path(model_name_or_path) / subfolder / BESIDE
        try:
            with safe_open(path, framework="pt") as file:
                kind = cast(Kind, file.metadata()["kind"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            first = tensors["0.down.weight" if kind == "adapter" else "0.key"]
            put_beside(made, kind, size=first.shape[0 if kind == "adapter" else 1])
            own = dict(learnt_beside(made.model))
            with torch.no_grad():
                for name in own.keys() | tensors.keys():
                    own[name].copy_(tensors[name])
        except (OSError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise RecipeError(f"{path} does not hold the parts of this encoder: {error}") from error
        return made


NAME: Final = f"{AdaptedTransformer.__module__}.{AdaptedTransformer.__qualname__}"
_OWN: Final[dict[str, Any]] = {NAME: AdaptedTransformer, token_sums.NAME: token_sums.TokenSum}
"""Modules of this package that a folder may name."""


def put_beside(transformer: Any, kind: Kind, *, size: int) -> None:
    """Put new parts into every layer; those of the same kind and size stay where it has some.

    Args:
        transformer: first module of a sentence-transformers model; changed in place, and an
            `AdaptedTransformer` afterwards.
        kind: of the parts.
        size: width of the bottlenecks, or length of the prefixes.

    Raises:
        RecipeError: its layers are not built like BERT's, or have other parts already.
    """
    places = _places(transformer.model, kind)
    there = {(part.kind, part.size) for part in _parts(transformer.model)}
    if there == {(kind, size)}:
        return
    if there:
        told = " and ".join(f"{kind} of {size}" for kind, size in sorted(there))
        raise RecipeError(
            f"the encoder has parts beside its layers already ({told}); go on with the same, or "
            "begin with a plain one"
        )
    for parent, name in places:
        own = getattr(parent, name)
        part = Bottleneck(own, size) if kind == "adapter" else Prefixed(own, size)
        setattr(parent, name, part.to(next(own.parameters()).device))
    # The class has no state of its own: it only says how files are written and read.
    transformer.__class__ = AdaptedTransformer


def learnt_beside(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and values of all parts of a transformer, none of its own."""
    for number, part in enumerate(_parts(model)):
        for name, value in part.named_parameters():
            if not name.startswith("own."):
                yield f"{number}.{name}", value


def layers_of(model: Any) -> list[Any]:
    """The layers of a transformer, first to last.

    Raises:
        RecipeError: they are not where BERT's are.
    """
    try:
        return list(model.encoder.layer)
    except AttributeError as error:
        raise RecipeError(
            f"the layers of a {type(model).__name__} are not where BERT's are; "
            "adapt it by `map`, `lora`, or `full` without `layers`"
        ) from error


def opened(
    folder: Path, *, device: str | None, model_kwargs: dict[str, Any] | None = None
) -> SentenceTransformer:
    """A sentence-transformers model, with its parts where it has some.

    Args:
        folder: of the model.
        device: of PyTorch's; None: the best there is.
        model_kwargs: for the transformer.
    """
    listed = json.loads((folder / "modules.json").read_text("utf-8"))
    if not _OWN.keys() & {entry["type"] for entry in listed}:
        return SentenceTransformer(str(folder), device=device, model_kwargs=model_kwargs)
    modules = []
    for entry in listed:
        named: str = entry["type"]
        if named not in _OWN and not named.startswith("sentence_transformers."):
            raise RecipeError(f"{folder} names a module of unknown code, {named}; it is not run")
        kind: Any = _OWN.get(named) or import_from_string(named)
        modules.append(kind.load(str(folder), subfolder=entry["path"], model_kwargs=model_kwargs))
    told = json.loads((folder / "config_sentence_transformers.json").read_text("utf-8"))
    prompts, usual = told.get("prompts"), told.get("default_prompt_name")
    return SentenceTransformer(
        modules=modules, device=device, prompts=prompts, default_prompt_name=usual
    )


def _places(model: Any, kind: Kind) -> list[tuple[Any, str]]:
    """Where parts stand: what holds the module they are put around, and its name there."""
    layers = layers_of(model)
    try:
        if kind == "adapter":
            holders = [holder for one in layers for holder in (one.attention.output, one.output)]
            return [(holder, "dense") for holder in holders if holder.dense is not None]
        return [(layer.attention, "self") for layer in layers if layer.attention.self is not None]
    except AttributeError as error:
        raise RecipeError(
            f"the layers of a {type(model).__name__} are not built like BERT's; "
            "adapt it by `map`, `full` or `lora`"
        ) from error


def _parts(model: nn.Module) -> Iterator[Bottleneck | Prefixed]:
    return (part for part in model.modules() if isinstance(part, Bottleneck | Prefixed))


@contextmanager
def _set_aside(model: nn.Module) -> Iterator[None]:
    """Within it, the transformer is plain."""
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, Bottleneck | Prefixed)
    ]
    try:
        for parent, name, child in places:
            setattr(parent, name, child.own)
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
