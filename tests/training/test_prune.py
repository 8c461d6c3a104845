import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tests.training.tiny import tiny_encoder, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AlbertConfig,
    AlbertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tailrec.errors import RecipeError
from tailrec.features.original import quiet
from tailrec.training.prune import even_layers, keep_layers, keep_tokens, least_harm_layers

WORDS = ["red", "blue", "mug", "hose", "garden", "kitchen", "lamp"]
TEXTS = ["red mug", "blue hose", "garden hose", "kitchen lamp", "a mug, red"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(WORDS, tmp_path_factory.mktemp("large"), layers=4)


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    with quiet():
        return SentenceTransformer(str(folder), device="cpu").eval()


def read(model: SentenceTransformer, texts: list[str] = TEXTS) -> np.ndarray:
    return np.asarray(model.encode(texts, show_progress_bar=False))


def test_even_layers_keep_both_ends() -> None:
    assert even_layers(6, 3) == [0, 2, 5]
    assert even_layers(12, 1) == [0]
    assert even_layers(4, 4) == [0, 1, 2, 3]
    with pytest.raises(RecipeError, match="5 layers are asked for; the model has 4"):
        even_layers(4, 5)


def test_a_layer_that_does_nothing_goes_first(model: SentenceTransformer) -> None:
    idle = model[0].auto_model.encoder.layer[2]
    before = copy.deepcopy(idle)
    with torch.no_grad():
        for part in (idle.attention.output, idle.output):
            part.dense.weight.zero_()
            part.dense.bias.zero_()
    whole = read(model)
    assert least_harm_layers(model, 3, lambda: read(model)) == [0, 1, 3]
    np.testing.assert_array_equal(read(model), whole)  # it came out as it went in
    keep_layers(model, [0, 1, 3])
    np.testing.assert_allclose(read(model), whole, atol=1e-3)
    assert before is not idle


def test_fewer_layers_survive_their_file(model: SentenceTransformer, tmp_path: Path) -> None:
    whole = read(model)
    keep_layers(model, [1, 3])
    short = read(model)
    assert np.abs(short - whole).max() > 1e-3
    model.save(str(tmp_path), create_model_card=False)
    again = SentenceTransformer(str(tmp_path), device="cpu")
    assert len(again[0].auto_model.encoder.layer) == 2
    np.testing.assert_allclose(read(again), short, atol=1e-6)


def test_layers_that_are_not_there_are_named(model: SentenceTransformer) -> None:
    for wrong in ([], [2, 1], [0, 4]):
        with pytest.raises(RecipeError, match="of 4; name some, rising, from 0"):
            keep_layers(model, wrong)


def test_texts_read_the_same_with_the_tokens_they_use(model: SentenceTransformer) -> None:
    whole, other = read(model), read(model, ["lamp in a garden"])
    n_before = len(model.tokenizer)
    keep_tokens(model, TEXTS)
    assert len(model.tokenizer) < n_before
    assert model.tokenizer.convert_tokens_to_ids("kitchen") == len(model.tokenizer) - 2
    np.testing.assert_array_equal(read(model), whole)
    # Letters stay, so that any text can be spelt.
    np.testing.assert_array_equal(read(model, ["lamp in a garden"]), other)


def test_spare_tokens_stay(model: SentenceTransformer) -> None:
    bare, spare = copy.deepcopy(model), model
    keep_tokens(bare, ["mug"])
    keep_tokens(spare, ["mug"], spare=2)
    assert len(spare.tokenizer) == len(bare.tokenizer) + 2
    known = spare.tokenizer.get_vocab()
    assert "red" in known
    assert "garden" not in known
    assert not any(token.startswith("[unused") for token in known)


def test_a_unigram_vocabulary_is_cut_too(tmp_path: Path) -> None:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*((token, 0.0) for token in special), ("▁", -3.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS] + [(letter, -9.0) for letter in "abcdeghmru"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=16,
    )
    config = XLMRobertaConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    with quiet():
        XLMRobertaModel(config).save_pretrained(tmp_path)
        fast.save_pretrained(tmp_path)
        model = SentenceTransformer(modules=[Transformer(str(tmp_path)), Pooling(16)]).eval()
    texts = ["red mug", "mug"]
    whole = read(model, texts)
    keep_tokens(model, texts)
    assert "▁garden" not in model.tokenizer.get_vocab()
    np.testing.assert_array_equal(read(model, texts), whole)


def test_what_cannot_be_cut_says_so(model: SentenceTransformer, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(WORDS)
    config = AlbertConfig(
        vocab_size=len(tokenizer),
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with quiet():
        AlbertModel(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        shared = SentenceTransformer(modules=[Transformer(str(tmp_path)), Pooling(16)])
    with pytest.raises(RecipeError, match="AlbertModel keeps its 3 layers in no list"):
        keep_layers(shared, [0])
    model[0].processor = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    with pytest.raises(RecipeError, match="a BPE tokenizer cannot lose tokens"):
        keep_tokens(model, TEXTS)
