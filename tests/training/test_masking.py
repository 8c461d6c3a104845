"""Words are hidden whole, as many as asked for, in the three ways of the original."""

import numpy as np
import pytest
from numpy.random import default_rng

from tailrec.training.masking import FIRST, LATER, LETTER, OUTSIDE, Masking, word_numbers

MASK = 4
FILLERS = np.arange(100, 200)


def masking(share: float = 0.15, run: int = 1) -> Masking:
    return Masking(share, run, MASK, FILLERS)


def texts(n: int, *, words: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """n texts of equal words of equal length, with an end on each side; every token differs."""
    inside = np.tile([FIRST, *[LATER] * (tokens - 1)], words)
    parts = np.tile(np.r_[OUTSIDE, inside, OUTSIDE], (n, 1)).astype(np.int8)
    ids = np.arange(1000, 1000 + parts.size).reshape(parts.shape)
    return ids, parts


def test_words_are_numbered_within_their_text() -> None:
    parts = np.array(
        [
            [OUTSIDE, FIRST, LATER, FIRST, OUTSIDE, FIRST, OUTSIDE],
            [LATER, LETTER, LATER, LETTER, FIRST, OUTSIDE, OUTSIDE],
        ],
        np.int8,
    )
    told = [[-1, 0, 0, 1, -1, 2, -1], [-1, 0, 0, 1, 2, -1, -1]]
    assert word_numbers(parts).tolist() == told


def test_runs_join_neighbouring_letters_only() -> None:
    parts = np.array(
        [[OUTSIDE, LETTER, LETTER, LATER, LETTER, FIRST, LETTER, OUTSIDE, LETTER, LETTER]], np.int8
    )
    assert word_numbers(parts, 2, 1).tolist() == [[-1, 0, 0, 0, 1, 2, 3, -1, 4, 4]]
    assert word_numbers(parts, 2, 0).tolist() == [[-1, 0, 1, 1, 1, 2, 3, -1, 4, 5]]
    assert word_numbers(parts, 9, 0).tolist() == [[-1, 0, 0, 0, 0, 1, 2, -1, 3, 3]]


def test_words_go_whole_and_what_is_outside_stays() -> None:
    ids, parts = texts(200, words=8, tokens=3)
    seen, hidden = masking(0.3).apply(ids, parts, default_rng(0))
    by_word = hidden[:, 1:-1].reshape(200, 8, 3)
    assert (by_word.all(axis=2) == by_word.any(axis=2)).all()
    assert 0 < by_word.mean() < 1
    masked = (seen == MASK)[:, 1:-1].reshape(200, 8, 3)
    assert (masked.all(axis=2) == masked.any(axis=2)).all()
    assert not hidden[parts == OUTSIDE].any()
    assert (seen[~hidden] == ids[~hidden]).all()


def test_shares_are_those_of_the_original() -> None:
    ids, parts = texts(2000, words=40, tokens=1)
    seen, hidden = masking(0.15).apply(ids, parts, default_rng(1))
    n_hidden = hidden.sum()
    n_masked = (seen[hidden] == MASK).sum()
    n_left = (seen[hidden] == ids[hidden]).sum()
    n_other = np.isin(seen[hidden], FILLERS).sum()
    assert n_masked + n_left + n_other == n_hidden
    # 12,000 draws: four standard deviations are below 0.014.
    assert n_hidden / (2000 * 40) == pytest.approx(0.15, abs=0.006)
    assert n_masked / n_hidden == pytest.approx(0.8, abs=0.015)
    assert n_left / n_hidden == pytest.approx(0.1, abs=0.012)


def test_every_text_with_words_has_one_hidden() -> None:
    ids, parts = texts(50, words=2, tokens=2)
    parts[:5] = OUTSIDE
    _, hidden = masking(0.001).apply(ids, parts, default_rng(2))
    assert (hidden[5:].sum(axis=1) == 2).all()
    assert not hidden[:5].any()


def test_the_generator_alone_decides() -> None:
    ids, parts = texts(20, words=10, tokens=2)
    first, again, other = (masking().apply(ids, parts, default_rng(seed)) for seed in (3, 3, 4))
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[1] != other[1]).any()
