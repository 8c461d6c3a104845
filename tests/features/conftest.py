"""A tiny encoder, made on the spot."""

import string
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, BertTokenizerFast

from tailrec.features.original import quiet


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: two layers, random weights, no closing normalisation."""
    plain, whole = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("tiny")
    letters = string.ascii_lowercase + string.digits
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    vocabulary += ["##" + letter for letter in letters]
    (plain / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    torch.manual_seed(1)
    with quiet():
        BertModel(config).save_pretrained(plain)
        BertTokenizerFast(str(plain / "vocab.txt")).save_pretrained(plain)
        SentenceTransformer(str(plain), device="cpu").save(str(whole))
    return whole
