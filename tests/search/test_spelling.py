import pytest
from numpy.testing import assert_allclose
from tests.search.small import found, index_of, put

from tailrec.search.index import SearchIndex, SearchRecipe
from tailrec.search.spelling import Spelling


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lipstik", "lipstick"),
        ("lpistick", "lipstick"),
        ("lipsticck", "lipstick"),
        ("libstick", "lipstick"),
        ("cermaic", "ceramic"),
        ("garten", "garden"),
    ],
)
def test_misspelt_words_find_what_was_meant(index: SearchIndex, typed: str, meant: str) -> None:
    reading = index.read(typed)
    assert reading.corrected == {typed: meant}
    assert reading.text == meant
    right, wrong = found(index, meant), found(index, typed)
    assert wrong.items.ids.tolist() == right.items.ids.tolist()
    assert wrong.corrected == {typed: meant}


def test_known_words_are_never_corrected() -> None:
    index = index_of(["nose strips", *["rose oil"] * 50])
    result = found(index, "nose")
    assert result.items.ids.tolist() == [0]
    assert not result.corrected


@pytest.mark.parametrize("typed", ["mog", "500mm", "lip5tick", "x" * 40])
def test_short_words_and_numbers_are_left_as_they_are(index: SearchIndex, typed: str) -> None:
    index = index_of(["mug 500ml lipstick", "x" * 39])
    assert not index.read(typed).corrected
    assert not len(found(index, typed).items)


def test_two_edits_only_in_long_words() -> None:
    index = index_of(["lipstick mugs"])
    assert index.read("lipztikk").corrected == {"lipztikk": "lipstick"}
    assert not index.read("magz").corrected


def test_an_edit_is_nearer_than_two() -> None:
    index = index_of([*["lipstick"] * 9, "lapstits"])
    assert index.read("lapstitz").corrected == {"lapstitz": "lapstits"}


def test_of_equally_near_words_the_frequent_one_is_meant() -> None:
    index = index_of(["hose", "nose", "nose"])
    assert index.read("tose").corrected == {"tose": "nose"}


def test_the_other_words_decide_what_a_word_means() -> None:
    index = index_of(["garden hose", *["nose strips"] * 5])
    assert index.read("garden rose").corrected == {"rose": "hose"}
    assert found(index, "garden rose").items.ids[0] == 0


def test_a_rare_neighbour_does_not_win_by_being_rare() -> None:
    """Alternatives of one word all count as the least rare of them, the first a bit more."""
    index = index_of(["lose", *["rose"] * 20])
    scores = found(index, "kose", k=21).items.scores
    assert_allclose(scores[[0, 19, 20]] / scores[0], [1, 1, 0.98], rtol=1e-5)


def test_an_unfinished_last_word() -> None:
    index = index_of(["wall clock", "clockwork orange", "wall paint"])
    assert set(found(index, "clo").items.ids) == {0, 1}
    assert found(index, "wall clo").items.ids[0] == 0
    assert 1 not in found(index, "clo wall").items.ids


def test_one_word_read_as_two_and_two_as_one() -> None:
    index = index_of(["lip stick", "lip balm", "stick", "hairspray"])
    assert index.read("lipstick").corrected == {"lipstick": "lip stick"}
    assert found(index, "lipstick").items.ids[0] == 0
    assert found(index, "hair spray").items.ids.tolist() == [3]


def test_a_word_is_not_parted_where_no_item_has_both_parts() -> None:
    index = index_of(["time flies", "two pieces", "piece"])
    assert not index.read("timepiece").corrected


def test_an_encoder_reads_compound_words_as_typed() -> None:
    index = index_of(["wall clock radio"])
    assert index.read("Wallclock radio!").text == "Wallclock radio!"
    assert index.read("wallclock radjo").text == "wallclock radio"


def test_words_that_came_later_are_read_too(index: SearchIndex) -> None:
    later = put(index, {8: "zanzibar mug"}, 9)
    assert not index.read("zanzibra").corrected
    assert later.read("zanzibra").corrected == {"zanzibra": "zanzibar"}
    assert found(later, "zanzibra").items.ids.tolist() == [8]
    assert found(later, "zanz").items.ids.tolist() == [8]


def test_a_word_that_left_with_its_item_corrects_nothing(index: SearchIndex) -> None:
    twice = put(put(index, {8: "zanzibar mug"}, 9), {8: "mug"}, 9)
    assert not twice.read("zanzibra").corrected


def test_other_scripts_are_spelt_too() -> None:
    index = index_of(["красный чайник", "فنجان قهوة", "찻주전자세트", "हिन्दीपुस्तक"])
    for typed, item in (("чайнк", 0), ("فنحان", 1), ("찻주전가세트", 2), ("हिन्दीपुसतक", 3)):
        assert found(index, typed).items.ids.tolist() == [item], typed


def test_only_the_first_unknown_words_are_looked_for(index: SearchIndex) -> None:
    typed = [f"gard{letter}n" for letter in "abcdfghij"]
    assert list(index.read(" ".join(typed)).corrected) == typed[:6]


def test_spelling_can_be_off() -> None:
    recipe = SearchRecipe(spelling=Spelling(one=0))
    index = index_of(["lipstick"], recipe)
    assert not len(found(index, "lipztick").items)
