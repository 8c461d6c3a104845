import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec.artifact import pack_strings
from tailrec.features.tokens import COUNT, ROW, TERM
from tailrec.search.vocabulary import (
    ListedTerms,
    PackedTerms,
    Vocabulary,
    plain,
    term_counts,
    words_of,
)

some_terms = st.sets(st.text(min_size=1, max_size=6), max_size=30)


def both(terms: set[str]) -> list[Vocabulary]:
    """The terms in either kind of vocabulary."""
    packed = sorted(terms, key=str.encode)
    return [PackedTerms(*pack_strings(packed)), ListedTerms({t: at for at, t in enumerate(packed)})]


@given(some_terms, st.text(max_size=6))
def test_a_vocabulary_finds_exactly_its_terms(terms: set[str], other: str) -> None:
    for vocabulary in both(terms):
        assert [vocabulary.term(vocabulary.find(term)) for term in terms] == list(terms)
        assert (vocabulary.find(other) >= 0) == (other in terms)
        assert set(vocabulary.terms) == terms


@given(some_terms, st.text(min_size=1, max_size=2))
def test_terms_that_begin_so(terms: set[str], start: str) -> None:
    for vocabulary in both(terms):
        begun = [vocabulary.term(place) for place in vocabulary.beginning(start)]
        assert sorted(begun) == sorted(term for term in terms if term.startswith(start))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("Crème BRÛLÉE", ["creme", "brulee"]),
        ("ёлка Чайник", ["елка", "чаиник"]),
        ("قَهْوَة", ["قهوة"]),
        ("红茶杯", ["红", "茶", "杯"]),
        ("７UP ﬁne", ["7up", "fine"]),
        ("ガラス", ["ガ", "ラ", "ス"]),
        ("!?", []),
    ],
)
def test_words_of_several_scripts(typed: str, words: list[str]) -> None:
    assert words_of(typed) == words


def test_neighbouring_letters_are_terms_where_no_blanks_part_words() -> None:
    counts = term_counts(["红茶 cup", "t"])
    found = {(row, term): n for row, term, n in counts.select(ROW, TERM, COUNT).iter_rows()}
    assert found == {(0, "红"): 1, (0, "茶"): 1, (0, "红 茶"): 1, (0, "cup"): 1, (1, "t"): 1}


@given(st.text(string.ascii_lowercase + "äöéñßçжйё紅あกا ", max_size=20))
def test_what_is_plain_stays_so(text: str) -> None:
    once = plain([text])
    assert plain(once) == once


@given(st.text(st.characters(), max_size=30))
def test_any_text_has_words(text: str) -> None:
    """Halves of surrogate pairs, which JSON lets through, are left out."""
    assert all(word for word in words_of(text))
    assert words_of(text + "\ud800 mug")[-1].endswith("mug")
