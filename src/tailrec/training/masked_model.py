"""An encoder with a head that says hidden words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any, Final

import torch
from sentence_transformers import SentenceTransformer
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.utils import logging

from tailrec.errors import RecipeError
from tailrec.features.original import quiet
from tailrec.features.weights import find_model
from tailrec.items import Int64Array
from tailrec.training.models import transformer_of

_ANY: Final = 0.01
"""Chance of any token at all: those that the texts lack must be possible, too."""


class MaskedModel(torch.nn.Module):
    """A sentence-transformers model whose transformer also says what stood in hidden places.

    Attributes:
        encoder: the model; its pooling and what follows stay as they are.
        whole: the transformer with its head, as transformers has it.
        new_head: whether the head has still to be learnt: most encoders are published without.
    """

    def __init__(self, encoder: SentenceTransformer, folder: Path) -> None:
        """Put a head on a model's transformer.

        Args:
            encoder: begins with a transformer, which becomes part of this module.
            folder: where the model was loaded from; the head is taken from there if it has one.

        Raises:
            RecipeError: no head for hidden words is known for this kind of model.
        """
        super().__init__()
        self.encoder = encoder
        first: Any = encoder[0]
        transformer = first.auto_model
        self.whole, self.new_head = _with_head(transformer, folder)
        self._hidden: torch.Tensor | None = None
        self._picked: torch.Tensor | None = None
        self.whole.base_model.register_forward_hook(self._pick)

    def start_head(self, counts: Int64Array) -> None:
        """Let a new head begin with what can be known, instead of with noise.

        It says tokens as often as the texts have them, and rather those whose embeddings are near
        to what the encoder gives, as the head's square layers pass it on. On titles the packaged
        encoder began with a perplexity of 990 so, and was at 230 after 60 steps; with a drawn head
        at 1,300 and 380.

        Args:
            counts: int64 [V], in the texts to learn from.
        """
        says: Any = self.whole.get_output_embeddings()  # type: ignore[no-untyped-call]
        share = torch.as_tensor(counts, dtype=torch.float64) / int(counts.sum())
        inside = set(self.whole.base_model.modules()) | {says}
        with torch.no_grad():
            for module in set(self.whole.modules()) - inside:
                if (
                    isinstance(module, torch.nn.Linear)
                    and module.in_features == module.out_features
                ):
                    torch.nn.init.eye_(module.weight)
            if says.bias is not None:
                says.bias.copy_(((1 - _ANY) * share + _ANY / len(share)).log())

    def said(
        self, seen: torch.Tensor, mask: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model says stood in hidden places.

        Args:
            seen: int64 [B, L] tokens.
            mask: bool [B, L], no padding.
            hidden: bool [B, L], H of them true.

        Returns:
            [H, V] logits; and [B, D], vectors of what was seen.
        """
        self._picked = hidden
        try:
            logits = self.whole(input_ids=seen, attention_mask=mask.long()).logits[0]
            assert self._hidden is not None
            return logits, self._pooled(self._hidden, seen, mask)
        finally:
            self._hidden = self._picked = None

    def vectors(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[B, D], vectors of texts as the encoder gives them."""
        hidden = self.whole.base_model(input_ids=ids, attention_mask=mask.long())[0]
        return self._pooled(hidden, ids, mask)

    def _pooled(self, hidden: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        state: dict[str, Any] = {
            "input_ids": ids,
            "token_embeddings": hidden,
            "attention_mask": mask.long(),
        }
        for module in list(self.encoder)[1:]:
            state = module(state)
        vectors: torch.Tensor = state["sentence_embedding"]
        return vectors

    def _pick(self, _module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        """Give the head hidden places only: it takes each alone, and the vocabulary is wide."""
        if self._picked is not None:
            self._hidden = output["last_hidden_state"]
            output["last_hidden_state"] = self._hidden[self._picked].unsqueeze(0)
        return output


def find_base(model: str, home: Path | None = None) -> Path:
    """Folder of what pre-training may begin with.

    Args:
        model: as `features.weights.find_model` takes it, or a folder of a plain transformers
            model, whose token vectors are then averaged.
        home: where a folder that is not absolute is looked for: the shop; None: here.

    Raises:
        RecipeError: there is no such folder or name, or it cannot be fetched.
    """
    folder = (home or Path()) / model
    if (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        return folder
    return find_model(model, home)


def load_encoder(folder: Path, device: str = "cpu") -> SentenceTransformer:
    """The sentence-transformers model in a folder."""
    # Parts that the files lack, such as a pooler that no vector needs, are drawn the same way.
    with torch.random.fork_rng(devices=[]), quiet(), _no_reports():
        torch.manual_seed(0)
        if (folder / "modules.json").is_file():
            return transformer_of(folder, device=device)
        return SentenceTransformer(str(folder), device=device).float()


def missed(logits: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of hidden tokens, in nats.

    Args:
        logits: [H, V].
        said: int64 [H], the tokens that stood there.
    """
    return cross_entropy(logits.float(), said)


def _with_head(transformer: PreTrainedModel, folder: Path) -> tuple[PreTrainedModel, bool]:
    """A model for hidden words around a transformer; whether its head is new."""
    inside = folder / _first_path(folder)
    try:
        # A new head is drawn, the same each time.
        with torch.random.fork_rng(devices=[]), quiet(), _no_reports():
            torch.manual_seed(0)
            model, told = AutoModelForMaskedLM.from_pretrained(
                str(inside), output_loading_info=True, dtype=torch.float32
            )
    except ValueError as error:
        raise RecipeError(
            f"encoder {folder.name!r} is of a kind ({transformer.config.model_type}) that has no "
            "head for hidden words; take another model"
        ) from error
    base = model.base_model_prefix + "."
    new = any(not name.startswith(base) for name in told["missing_keys"])
    setattr(model, model.base_model_prefix, transformer)
    model.tie_weights()
    return model, new


def _first_path(folder: Path) -> str:
    """Where in a model's folder its transformer is."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return ""
    return str(json.loads(modules.read_text("utf-8"))[0]["path"])


@contextmanager
def _no_reports() -> Iterator[None]:
    """No report of weights that the folder lacks or has besides: both are expected here."""
    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
