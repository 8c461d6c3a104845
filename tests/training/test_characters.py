"""An encoder for any script, from texts alone."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tailrec.errors import DataError, RecipeError
from tailrec.features.text import TextEncoder
from tailrec.features.weights import fingerprint, read_card
from tailrec.training.characters import build_encoder
from tailrec.training.letters import learn_tokenizer
from tailrec.training.recipes import Characters

TEXTS = [
    "手机很好用 red lipstick",
    "手机不好 Red lipsticks",
    "ครีมกันแดด ครีม",
    "很好 red",
    "hôtel hôtel",
]
SMALL = Characters(vocabulary=200, layers=2, width=32, heads=2)


def test_letters_without_blanks_are_cut_and_other_words_are_not() -> None:
    tokenizer = learn_tokenizer(TEXTS, vocabulary=200, rarest=1)
    assert tokenizer.encode("手机red好").tokens == ["[CLS]", "手", "机", "red", "好", "[SEP]"]
    assert tokenizer.encode("RED hôtel").tokens == ["[CLS]", "red", "hôtel", "[SEP]"]
    # A Thai vowel is a mark of its own, and stays.
    assert tokenizer.encode("ครีม").tokens[1:-1] == ["ค", "ร", "ี", "ม"]
    ids = tokenizer.encode("red lipstick").ids
    assert tokenizer.decode(ids[1:-1]) == "red lipstick"


def test_rare_letters_are_unknown() -> None:
    tokenizer = learn_tokenizer(TEXTS, vocabulary=200, rarest=2)
    assert tokenizer.encode("手用").tokens == ["[CLS]", "手", "[UNK]", "[SEP]"]


def test_forms_of_a_letter_are_one() -> None:
    tokenizer = learn_tokenizer(TEXTS, vocabulary=200, rarest=1)
    assert tokenizer.encode("ＲＥＤ").tokens[1:-1] == ["red"]


def test_the_vocabulary_is_as_large_as_asked_at_most() -> None:
    texts = [f"word{a}{b} thing{b}{a}" for a in "abcdefgh" for b in "ijklmnop"]
    assert learn_tokenizer(texts, vocabulary=130, rarest=1).get_vocab_size() <= 130


def test_nothing_to_learn_from_is_told() -> None:
    with pytest.raises(DataError, match="no letter stands 2 times in these 1 texts"):
        learn_tokenizer(["ab"], vocabulary=200, rarest=2)


def vectors(folder: Path, form: Literal["fp32", "int8"]) -> np.ndarray:
    loaded = TextEncoder(model=str(folder), form=form).prepare()
    return loaded.encode_texts(["手机很好", "red lipstick"])


def test_it_is_an_encoder_like_any_other(tmp_path: Path) -> None:
    build_encoder(SMALL, TEXTS, tmp_path / "encoder")
    assert read_card(tmp_path / "encoder")["recipe"]["width"] == 32
    made = vectors(tmp_path / "encoder", "fp32")
    assert made.shape == (2, 32)
    assert np.linalg.norm(made, axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.slow
def test_it_has_an_int8_form(tmp_path: Path) -> None:
    build_encoder(SMALL, TEXTS, tmp_path / "encoder")
    exact, near = (vectors(tmp_path / "encoder", form) for form in ("fp32", "int8"))
    assert (exact * near).sum(axis=1).min() > 0.97


def test_texts_and_seed_decide(tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"seed": 1})
    for recipe, name in ((SMALL, "a"), (SMALL, "b"), (other, "c")):
        build_encoder(recipe, TEXTS, tmp_path / name)
    first, again, different = (fingerprint(tmp_path / name) for name in "abc")
    assert first == again != different


def test_heads_share_the_width() -> None:
    with pytest.raises(RecipeError, match="3 heads cannot share a width of 32"):
        Characters.parse({"width": 32, "heads": 3})
