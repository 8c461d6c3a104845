"""Translation there and back by any pair of sequence-to-sequence models; here tiny random ones."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.worlds import shop
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from tailrec.data.augment import Augment
from tailrec.errors import RecipeError
from tailrec.features.text import TextEncoder
from tailrec.training.recipes import Course, Finetune
from tailrec.training.reworded import reworded
from tailrec.training.translate import (
    Translator,
    back_translation,
    translated_once,
    translated_texts,
)

WORDS = ["</s>", "<unk>", "<pad>", "red", "mug", "tea", "pan", "steel", "lid", "blue"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two Marian models of random weights, over ten words."""
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp(f"marian{seed}")
        config = MarianConfig(
            vocab_size=len(WORDS),
            d_model=16,
            max_position_embeddings=160,
            pad_token_id=2,
            eos_token_id=0,
            decoder_start_token_id=2,
            forced_eos_token_id=0,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
        )
        model = MarianMTModel(config)
        model.generation_config.max_length = None
        model.save_pretrained(folder)
        tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, "<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 0)]
        )
        PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
        ).save_pretrained(folder)
        made.append(str(folder))
    return made[0], made[1]


def test_texts_are_translated_alone_or_in_company_alike(folders: tuple[str, str]) -> None:
    there = Translator(folders[0], longest=12)
    texts = ["red mug", "steel pan lid", "", "tea", "blue mug tea pan"]
    together = there.translate(texts)
    assert together == [there.translate([text])[0] for text in texts]
    assert together[2] == ""
    assert {word for text in together for word in text.split()} <= set(WORDS[3:])
    assert len(set(together)) > 1


def test_back_translation_is_one_model_after_the_other(folders: tuple[str, str]) -> None:
    texts = ["red mug", "tea"]
    both = back_translation(Augment(back_translation=folders), longest=12)
    assert both is not None
    there, back = (Translator(folder, longest=12) for folder in folders)
    assert both(texts) == back.translate(there.translate(texts))


def test_each_distinct_text_is_translated_once() -> None:
    asked: list[str] = []

    def translate(texts: Sequence[str]) -> list[str]:
        asked.extend(texts)
        return [text.upper() if text != "b" else "" for text in texts]

    assert translated_once(["c", "b", "c", "a"], translate) == ["C", "b", "C", "A"]
    assert sorted(asked) == ["a", "b", "c"]


def test_translations_are_kept_and_models_are_found_in_the_shop(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrec.training.translate.PIECE", 2)
    home, cache, told = tmp_path / "shop", tmp_path / "cache", list[tuple[int, int]]()
    for name, folder in zip(("there", "back"), folders, strict=True):
        shutil.copytree(folder, home / name)
    recipe = Augment(back_translation=("there", "back"))

    def translated(texts: list[str], cache: Path | None = cache) -> list[str]:
        told.clear()
        found = translated_texts(
            texts, recipe, cache=cache, home=home, progress=lambda _, a, b: told.append((a, b))
        )
        assert found is not None
        return found

    texts = ["red mug", "tea", " ", "steel pan lid", "tea"]
    first = translated(texts)
    assert told == [(2, 3), (3, 3)]
    both = back_translation(recipe, home=home)
    assert both is not None
    assert first == translated_once(texts, both)
    assert translated([*texts, "blue tea"])[:5] == first
    assert told == [(1, 1)]
    assert translated(texts, None) == first
    (kept,) = (cache / "translations").iterdir()
    kept.write_bytes(b"damaged")
    assert translated(texts) == first
    assert told == [(2, 3), (3, 3)]


def test_texts_are_learnt_from_as_they_come_back(folders: tuple[str, str]) -> None:
    catalog = shop([], ["red mug", "steel pan lid", "250 tea"]).catalog
    reader = TextEncoder(item_prefix="item: ")
    augment = Augment(back_translation=folders, translated=1.0)
    texts = reader.texts(catalog)
    translated = translated_texts(texts, augment)
    assert translated is not None
    assert translated != texts
    options = {"back_translation": folders, "translated": 1.0, "descriptions": 1}
    course = Course(device="cpu")
    for share in (1, 0):  # no wording is translated, nor what loses a number
        told = options | {"descriptions": 1 - share}
        recipe = Finetune.parse({"adapt": {"kind": "full"}, "augment": told, "course": course})
        vary = reworded(recipe, catalog, reader)
        assert vary is not None
        said = set(vary(np.repeat([0, 1, 2], 40), np.random.default_rng(0)))
        plain = {f"item: {text}" for text in (*translated[:2], texts[2])}
        wordings = {f"item: {text}" for text in vary.texts if text not in texts}
        assert said == (plain if share else plain | wordings)


def test_without_models_nothing_is_translated_and_one_line_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="tailrec"):
        assert back_translation(Augment()) is None
        assert translated_texts(["tea"], Augment()) is None
    assert [record.message.startswith("no text is translated") for record in caplog.records] == [
        True,
        True,
    ]


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be loaded"):
        back_translation(Augment(back_translation=(str(tmp_path), str(tmp_path))))
    with pytest.raises(RecipeError, match="translation model 'no/such' cannot be loaded"):
        translated_texts(["tea"], Augment(back_translation=("no/such", "no/such")), home=tmp_path)
