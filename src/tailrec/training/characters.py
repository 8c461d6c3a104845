"""An encoder for any language, from the shop's own texts: letters, pieces of words, a small BERT.

It knows nothing at first. `pretrain` teaches it the texts, and training on behaviour goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import torch
from pydantic import Field, model_validator
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tailrec.features.original import quiet
from tailrec.recipe import Recipe
from tailrec.training.encoder_files import save_encoder
from tailrec.training.letters import SPECIAL, learn_tokenizer

_LEAST_ENTRIES: Final = 128
"""Making the int8 form takes an example with ids up to 116."""


class Characters(Recipe):
    """A small encoder and how its words are cut.

    Attributes:
        kind: says which encoder this is.
        vocabulary: most tokens: letters of scripts without blanks, and pieces of other words.
        rarest: times that a letter or a piece must stand in the texts.
        layers: of the transformer.
        width: of a token's vector, and of a text's.
        heads: of attention; they share the width.
        max_length: tokens that the encoder can read.
        dropout: share of activations left out while training.
        seed: of the weights.
    """

    kind: Literal["characters"] = "characters"
    vocabulary: int = Field(default=8000, ge=_LEAST_ENTRIES)
    rarest: int = Field(default=2, ge=1)
    layers: int = Field(default=4, ge=1)
    width: int = Field(default=256, ge=8)
    heads: int = Field(default=4, ge=1)
    max_length: int = Field(default=128, ge=32)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _heads_share_width(self) -> "Characters":
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads cannot share a width of {self.width}")
        return self

    def build(self, texts: Sequence[str], folder: Path) -> None:
        """Cut a vocabulary from texts and write an encoder with drawn weights.

        Args:
            texts: those it will be trained on; held-out ones would tell it their rare letters.
            folder: gets a sentence-transformers model.

        Raises:
            DataError: nothing in the texts occurs often enough.
            ArtifactError: `folder` holds something else than an encoder.
        """
        tokenizer = learn_tokenizer(texts, vocabulary=self.vocabulary, rarest=self.rarest)
        whole: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer,
            model_max_length=self.max_length,
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
            **SPECIAL,
        )
        with TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(self.seed)
            BertModel(self._config(len(whole))).save_pretrained(scratch)
            whole.save_pretrained(scratch)
            transformer = Transformer(scratch, max_seq_length=self.max_length)
            modules: list[Any] = [transformer, Pooling(self.width, "mean"), Normalize()]
            model = SentenceTransformer(modules=modules, device="cpu")
            card = {"kind": self.kind, "recipe": self.model_dump(mode="json"), "tokens": len(whole)}
            save_encoder(model, folder, card)

    def _config(self, n_entries: int) -> BertConfig:
        return BertConfig(
            vocab_size=max(n_entries, _LEAST_ENTRIES),
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.width,
            max_position_embeddings=self.max_length,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            pad_token_id=0,
        )
