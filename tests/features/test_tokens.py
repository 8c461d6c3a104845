from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec.features.tokens import count_matrix, letter_runs, tokens, word_runs

LISTS = st.lists(st.text("ab ", max_size=12), min_size=1, max_size=5)


def words_of(text: str) -> list[str]:
    return tokens([text])["term"].to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Crème Brûlée, 2-Pack!", ["crème", "brûlée", "2", "pack"]),
        ("厨师帽 XL", ["厨", "师", "帽", "xl"]),
        ("Nike运动鞋42码", ["nike", "运", "动", "鞋", "42", "码"]),
        ("ＮＩＫＥ ﬁt", ["nike", "fit"]),  # wide letters and ligatures are the plain ones
        ("ラーメン", ["ラ", "ー", "メ", "ン"]),
        ("чёрный हिन्दी", ["чёрный", "हिन्दी"]),
        (" ... ", []),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


def test_rows_name_the_text() -> None:
    found = tokens(["b a", "", "a"])
    assert found.rows() == [(0, "b"), (0, "a"), (2, "a")]


@given(LISTS, st.integers(1, 3), st.integers(0, 2))
def test_word_runs_equal_a_plain_count(texts: list[str], fewest: int, more: int) -> None:
    expected: Counter[tuple[int, str]] = Counter()
    for row, text in enumerate(texts):
        words = text.split()
        for length in range(fewest, fewest + more + 1):
            for start in range(len(words) - length + 1):
                expected[row, " ".join(words[start : start + length])] += 1
    found = word_runs(tokens(texts), (fewest, fewest + more))
    assert {(row, term): n for row, term, n in found.rows()} == expected


@given(st.lists(st.text("ab", min_size=1, max_size=8), min_size=1, max_size=4), st.integers(1, 4))
def test_letter_runs_equal_a_plain_count(words: list[str], fewest: int) -> None:
    expected: Counter[tuple[int, str]] = Counter()
    for row, word in enumerate(words):
        marked = f" {word} "
        for length in range(fewest, fewest + 2):
            for start in range(len(marked) - length + 1):
                expected[row, marked[start : start + length]] += 1
    found = letter_runs(pl.Series(words), (fewest, fewest + 1))
    assert {(row, term): n for row, term, n in found.rows()} == expected


def test_the_end_of_a_very_long_word_is_not_looked_at() -> None:
    found = letter_runs(pl.Series(["a" * 40 + "b"]), (2, 2))
    assert dict(found.select("term", "count").rows()) == {" a": 1, "aa": 31, "a ": 1}


def test_matrix_has_a_column_a_term_and_leaves_out_others() -> None:
    counts = pl.DataFrame({"row": [2, 0, 0], "term": ["y", "x", "z"], "count": [3, 1, 5]})
    matrix = count_matrix(counts, pl.Series(["x", "y"]), 3)
    assert matrix.dtype == "float32"
    assert matrix.toarray().tolist() == [[1, 0], [0, 0], [0, 3]]
