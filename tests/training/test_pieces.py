"""Texts become tokens that know their words, in pieces and batches."""

import numpy as np
import pytest
from numpy.random import default_rng
from tests.training.tiny import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tailrec.errors import DataError, RecipeError
from tailrec.training.masking import FIRST, LATER, LETTER, OUTSIDE
from tailrec.training.pieces import Pieces, Plan

WORDS = ("red", "lip", "手", "机")
SIGN = {OUTSIDE: ".", FIRST: "F", LATER: "l", LETTER: "L"}


def signs(pieces: Pieces) -> list[str]:
    """The parts of each piece, a letter a token."""
    bounds = zip(pieces.ptr[:-1], pieces.ptr[1:], strict=True)
    return ["".join(SIGN[part] for part in pieces.parts[a:b].tolist()) for a, b in bounds]


def byte_level(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer over bytes, as RoBERTa and its kin have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=260,
        special_tokens=["<pad>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", mask_token="<mask>"
    )


def sentence_piece(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that marks blanks, as XLM-R and its kin have."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=40,
        special_tokens=["<pad>", "<unk>", "<mask>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", mask_token="<mask>"
    )


def test_pieces_of_words_are_told_and_unknown_words_are_outside() -> None:
    pieces = Pieces.read(["red lipo 手机红"], tiny_tokenizer(WORDS), 16)
    # [CLS] red lip ##o 手 机 [UNK] [SEP]
    assert signs(pieces) == [".FFlLL.."]


def test_bytes_of_one_letter_belong_together() -> None:
    pieces = Pieces.read(["ab 手机"], byte_level(["ab"]), 16)
    # Each Chinese letter has three bytes, the blank before them is a token too.
    (told,) = signs(pieces)
    assert told.endswith("LllLll")
    assert told.startswith("F")


def test_letters_of_a_sentence_without_blanks_are_words() -> None:
    texts = ["手机很好", "手机不好", "red lip"]
    tokenizer = sentence_piece(texts * 5)
    (told,) = signs(Pieces.read(["手机很"], tokenizer, 16))
    assert told.count("L") >= 1
    assert told.strip(".L") in ("", "F")


def test_long_texts_make_several_pieces_and_nothing_is_lost() -> None:
    tokenizer = tiny_tokenizer(WORDS)
    pieces = Pieces.read(["red " * 10, "lip"], tokenizer, 6)
    assert np.diff(pieces.ptr).tolist() == [6, 6, 4, 3]
    red = tokenizer.convert_tokens_to_ids("red")
    assert (pieces.ids == red).sum() == 10


def test_texts_of_unknown_words_are_left_out() -> None:
    tokenizer = tiny_tokenizer(WORDS)
    assert len(Pieces.read(["好好", "red"], tokenizer, 8)) == 1
    with pytest.raises(DataError, match="knows no word of these 2 texts"):
        Pieces.read(["好好", "很"], tokenizer, 8)


def test_padding_is_outside_of_words() -> None:
    pieces = Pieces.read(["red", "lip red lip"], tiny_tokenizer(WORDS), 8)
    ids, parts = pieces.padded(np.array([1, 0]), pad=0)
    assert ids.shape == (2, 5)
    assert ids[1].tolist()[3:] == [0, 0]
    assert parts[1].tolist() == [OUTSIDE, FIRST, OUTSIDE, OUTSIDE, OUTSIDE]
    assert pieces.take(np.array([1])).ids.tolist() == ids[0].tolist()


def uneven() -> Pieces:
    """90 pieces of 3 to 12 tokens."""
    lengths = default_rng(0).integers(3, 13, 90)
    ptr = np.concatenate([[0], np.cumsum(lengths)])
    return Pieces(ptr, np.zeros(ptr[-1], np.int32), np.full(ptr[-1], FIRST, np.int8))


def test_a_round_has_every_piece_once_in_batches_that_fit() -> None:
    pieces = uneven()
    plan = Plan(pieces, 60, seed=5)
    lengths = np.diff(pieces.ptr)
    for turn in range(2):
        batches = [plan.rows(turn * plan.n_batches + n) for n in range(plan.n_batches)]
        assert sorted(np.concatenate(batches).tolist()) == list(range(90))
        for rows in batches:
            assert lengths[rows].max() * len(rows) <= 60
    # Grouped by length, little is padding.
    padded = sum(lengths[rows].max() * len(rows) for rows in plan.in_order())
    assert padded < 1.15 * lengths.sum()


def test_a_batch_depends_on_number_and_seed_alone() -> None:
    pieces = uneven()
    plan, again = Plan(pieces, 60, seed=5), Plan(pieces, 60, seed=5)
    forwards = [plan.rows(number).tolist() for number in range(40)]
    assert [again.rows(number).tolist() for number in reversed(range(40))] == forwards[::-1]
    first, second = forwards[: plan.n_batches], forwards[plan.n_batches : 2 * plan.n_batches]
    assert first != second
    assert [Plan(pieces, 60, seed=6).rows(number).tolist() for number in range(40)] != forwards


def test_a_piece_larger_than_a_batch_stands_alone() -> None:
    plan = Plan(uneven(), 1, seed=0)
    assert plan.n_batches == 90


def test_slow_tokenizers_are_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(RecipeError, match="Slow does not tell where words begin"):
        Pieces.read(["red"], Slow(), 8)  # type: ignore[arg-type]
