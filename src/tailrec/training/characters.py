"""An encoder for any language, from the shop's own texts: letters, pieces of words, a small BERT.

It knows nothing at first. `pretrain` teaches it the texts, and training on behaviour goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tailrec.features.original import quiet
from tailrec.training.encoder_files import save_encoder
from tailrec.training.letters import SPECIAL, learn_tokenizer
from tailrec.training.recipes import LEAST_ENTRIES, Characters


def build_encoder(recipe: Characters, texts: Sequence[str], folder: Path) -> None:
    """Cut a vocabulary from texts and write an encoder with drawn weights.

    Args:
        recipe: how large.
        texts: those it will be trained on; held-out ones would tell it their rare letters.
        folder: gets a sentence-transformers model.

    Raises:
        DataError: nothing in the texts occurs often enough.
        ArtifactError: `folder` holds something else than an encoder.
    """
    tokenizer = learn_tokenizer(texts, vocabulary=recipe.vocabulary, rarest=recipe.rarest)
    whole: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=recipe.max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )
    with TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(recipe.seed)
        BertModel(_config(recipe, len(whole))).save_pretrained(scratch)
        whole.save_pretrained(scratch)
        transformer = Transformer(scratch, max_seq_length=recipe.max_length)
        modules: list[Any] = [transformer, Pooling(recipe.width, "mean"), Normalize()]
        model = SentenceTransformer(modules=modules, device="cpu")
        card = {"kind": recipe.kind, "recipe": recipe.model_dump(mode="json"), "tokens": len(whole)}
        save_encoder(model, folder, card)


def _config(recipe: Characters, n_entries: int) -> BertConfig:
    return BertConfig(
        vocab_size=max(n_entries, LEAST_ENTRIES),
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=4 * recipe.width,
        max_position_embeddings=recipe.max_length,
        hidden_dropout_prob=recipe.dropout,
        attention_probs_dropout_prob=recipe.dropout,
        pad_token_id=0,
    )
