"""A BERT of a thousandth the usual size, whose vocabulary is the test's own words.

Saved as a sentence-transformers folder it is read by whatever reads encoders.
"""

import shutil
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tailrec.features.original import quiet

SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LENGTH: Final = 16
"""Tokens of a text that the encoder reads."""

DIM: Final = 32
_POSITIONS: Final = 40
"""More than are read: making the int8 form takes an example of 17 tokens, with ids up to 116."""

_ENTRIES: Final = 128


def tiny_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer that knows words whole, and all others by their Latin letters."""
    letters = [*string.ascii_lowercase, *string.digits]
    entries = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    entries += [word for word in dict.fromkeys(words) if word not in set(entries)]
    entries += [f"[unused{number}]" for number in range(_ENTRIES - len(entries))]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **dict(zip(names, SPECIAL, strict=True)),
    )


def tiny_config(n_entries: int, *, layers: int = 2, dropout: float = 0.1) -> BertConfig:
    """Two layers of 32 dimensions and two heads."""
    return BertConfig(
        vocab_size=n_entries,
        hidden_size=DIM,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * DIM,
        max_position_embeddings=_POSITIONS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=0,
    )


def tiny_language_model(
    words: Iterable[str], folder: Path, *, seed: int = 0, layers: int = 2
) -> Path:
    """A plain transformers folder: BERT with its head for masked words, and its tokenizer."""
    return _written(BertForMaskedLM, words, folder, seed=seed, layers=layers)


def tiny_encoder(words: Iterable[str], folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """A sentence-transformers folder: a tiny BERT whose vectors are means over tokens.

    Args:
        words: known whole; every other word is read letter by letter.
        folder: gets the model; what was there is replaced.
        seed: of the weights; the same seed and words give the same files.
        layers: of the transformer.

    Returns:
        `folder`.
    """
    plain = _written(BertModel, words, folder / "plain", seed=seed, layers=layers)
    with quiet():
        transformer = Transformer(str(plain), max_seq_length=LENGTH)
        model = SentenceTransformer(modules=[transformer, Pooling(DIM, "mean")], device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)
    shutil.rmtree(plain)
    return folder


def _written(
    kind: type[PreTrainedModel], words: Iterable[str], folder: Path, *, seed: int, layers: int
) -> Path:
    tokenizer = tiny_tokenizer(words)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        model = kind(tiny_config(len(tokenizer), layers=layers))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
