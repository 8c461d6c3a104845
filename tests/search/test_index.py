from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from tests.search.small import TITLES, catalog_of, found, index_of, put

from tailrec import columns as c
from tailrec.artifact import Artifact, load_artifact, save_artifact
from tailrec.errors import DataError
from tailrec.search.index import MOST_WORDS, Found, SearchIndex, SearchRecipe
from tailrec.shop import Shop

EQUAL = SearchRecipe(reach=0)
"""Everything that fits at all is found."""


def test_the_item_with_all_the_words_comes_first(index: SearchIndex) -> None:
    result = found(index, "red mug")
    assert result.items.ids[0] == 0
    assert 4 not in result.items.ids
    assert all(a >= b for a, b in pairwise(result.items.scores))
    assert set(result.items.ids) == set(result.matches)


@pytest.mark.parametrize("words", ["hose", "HOSE!", "Hose garden"])
def test_an_item_is_found_by_its_unique_word(index: SearchIndex, words: str) -> None:
    assert found(index, words).items.ids[0] == 2


@pytest.mark.parametrize(
    ("words", "item"),
    [
        ("红茶", 0),
        ("茶杯", 1),
        ("чайник", 2),
        ("ЧАЙНИКИ", 2),
        ("قهوة", 3),
        ("رجال", 4),
        ("รองเท้า", 5),
        ("πανι", 6),
        ("שלום", 7),
        ("찻잔", 8),
        ("ティー", 9),
    ],
)
def test_every_script_is_found(words: str, item: int) -> None:
    index = index_of(
        [
            "中国红茶礼盒",
            "陶瓷茶杯套装",
            "Красный чайник",
            "فنجان قَهْوَة",
            "حذاء رجال",
            "รองเท้าวิ่ง",
            "Πανί",
            "שָׁלוֹם",
            "하얀 찻잔",
            "ティーカップ",
        ]
    )
    assert found(index, words).items.ids[0] == item


def test_pairs_of_letters_part_what_letters_mix() -> None:
    """Both hold the same letters; the second holds the word."""
    index = index_of(["红花杯茶", "花红茶杯"])
    assert found(index, "红茶").items.ids.tolist() == [1, 0]


def test_other_fields_find_too() -> None:
    index = index_of(["mug", "mug", "mug"], brand=["Acme", None, "n/a"], category=["A > Pots"] * 3)
    assert found(index, "acme").items.ids.tolist() == [0]
    assert len(found(index, "pots").items) == 3
    assert not len(found(index, "n").items)


def test_what_is_not_allowed_is_never_returned(index: SearchIndex) -> None:
    allowed = np.ones(8, bool)
    allowed[[2, 6]] = False
    result = found(index, "garden hose", allowed=allowed)
    assert result.items.ids.tolist() == result.matches.tolist() == [3]
    assert found(index, "red lipstick", allowed=allowed).items.ids[0] == 5
    assert not len(found(index, "garden", allowed=np.zeros(8, bool)).items)


def test_no_word_is_corrected_to_one_that_only_hidden_items_have(index: SearchIndex) -> None:
    allowed = np.ones(8, bool)
    allowed[1] = False
    assert index.read("bowls").corrected == {"bowls": "bowl"}
    assert index.read("bowls", allowed=allowed).corrected == {}


def test_k_is_the_most_and_matches_are_all() -> None:
    index = index_of(["mug"] * 30)
    result = found(index, "mug", k=7)
    assert result.items.ids.tolist() == list(range(7))
    assert result.matches.tolist() == list(range(30))


def test_much_less_relevant_items_are_not_found() -> None:
    index = index_of(["rare mug", *["plain mug"] * 50])
    assert found(index, "rare mug").items.ids.tolist() == [0]
    everything = index_of(["rare mug", *["plain mug"] * 50], EQUAL)
    assert len(found(everything, "rare mug").matches) == 51


def test_words_nobody_uses_find_nothing(index: SearchIndex) -> None:
    assert not len(found(index, "xylophonequartz").items)
    assert not len(found(index, "?!").items)


@pytest.mark.parametrize("words", ["", "  ", "\n\t"])
def test_no_words_are_an_error(index: SearchIndex, words: str) -> None:
    with pytest.raises(DataError, match="no words to search for"):
        index.read(words)


def test_a_mask_of_another_catalogue_is_an_error(index: SearchIndex) -> None:
    with pytest.raises(DataError, match="7 items are allowed or not, of 8"):
        index.read("mug", allowed=np.ones(7, bool))


def test_vectors_of_another_catalogue_are_an_error() -> None:
    with pytest.raises(DataError, match="3 vectors were given for 2 items"):
        SearchRecipe().fit(catalog_of(["a", "b"]), np.zeros((3, 4), np.float32))


def dialled(index: SearchIndex, **options: object) -> Found:
    """`mug` among five mugs that sold 0, 1, 10, 100 and 1,000 times."""
    return found(index, "mug", counts=np.array([0, 1, 10, 100, 1000]), **options)


def test_popularity_decides_between_equals_and_tail_turns_it_round() -> None:
    index = index_of(["mug"] * 5)
    assert dialled(index).items.ids.tolist() == [4, 3, 2, 1, 0]
    assert dialled(index, tail=1.0).items.ids.tolist() == [0, 1, 2, 3, 4]
    recipe = index.recipe
    level = recipe.popularity / (recipe.popularity + recipe.lean)
    scores = dialled(index, tail=level).items.scores
    assert_allclose(scores, scores[0], rtol=1e-5)


def test_a_tail_out_of_range_is_an_error(index: SearchIndex) -> None:
    with pytest.raises(ValueError, match=r"tail is 1.5; it must lie in 0..1"):
        found(index, "mug", tail=1.5)


def test_a_repeated_word_counts_once_and_parts_no_pair(index: SearchIndex) -> None:
    assert_array_equal(index.read("red red mug").fit, index.read("red mug").fit)
    chinese = index_of(["妈红妈茶", "妈妈红茶"])
    assert found(chinese, "妈妈").items.ids[0] == 1


def test_popularity_is_small_beside_words() -> None:
    index = index_of(["red mug", "mug"])
    result = found(index, "red mug", counts=np.array([0, 10**6]))
    assert result.items.ids[0] == 0


def test_what_the_person_likes_comes_first() -> None:
    index = index_of(["mug"] * 5)
    liking = np.array([0, 0.2, 0, 0.1, 0], np.float32)
    result = found(index, "mug", liking=liking)
    assert result.items.ids.tolist() == [1, 3, 0, 2, 4]
    assert result.items.columns["liking"][0] == pytest.approx(
        index.recipe.liking * result.items.columns["words"][0]
    )
    assert not len(found(index, "bowl", liking=liking).items)


def test_parts_add_up_to_scores() -> None:
    dense = np.random.default_rng(3).standard_normal((8, 4)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    index = SearchRecipe().fit(catalog_of(TITLES), dense)
    counts = np.arange(8)
    result = index.search(
        index.read("red garden mug"),
        dense[0],
        k=8,
        counts=counts,
        tail=0.5,
        liking=counts[::-1].astype(np.float32),
    )
    parts = result.items.columns
    assert set(parts) == {"words", "meaning", "popularity", "liking"}
    assert_allclose(sum(parts.values()), result.items.scores, rtol=1e-6)
    assert parts["meaning"].any()
    assert parts["words"].any()


def test_meaning_counts_more_the_fewer_words_are_there() -> None:
    """Item 0 says the word, item 1 means it."""
    dense = np.eye(2, 3, dtype=np.float32)
    index = SearchRecipe(meaning=0.2).fit(catalog_of(["mug", "cup"]), dense)
    counts = np.zeros(2, np.int64)

    def asked(words: str) -> list[int]:
        result = index.search(index.read(words), dense[1], k=2, counts=counts)
        return result.items.ids.tolist()

    assert asked("mug") == [0, 1]
    assert asked("mug of something unsaid")[0] == 1
    assert asked("something") == [1]


def test_unlike_texts_have_no_meaning_in_common() -> None:
    dense = np.array([[1, 0], [0.1, 0.995]], np.float32)
    index = SearchRecipe(unlike=0.2).fit(catalog_of(["mug", "cup"]), dense)
    result = index.search(index.read("x"), dense[0], k=2, counts=np.zeros(2, np.int64))
    assert result.items.ids.tolist() == [0]


def test_only_the_first_words_of_a_long_request_are_read(index: SearchIndex) -> None:
    noise = " ".join(f"w{number}" for number in range(MOST_WORDS))
    assert found(index, f"mug {noise}").items.ids.tolist() == [0]
    assert not len(found(index, f"{noise} mug").items)


def test_loaded_from_a_file_it_answers_alike_without_copies(tmp_path: Path) -> None:
    titles = [f"{word} mug {number}" for number, word in enumerate(TITLES)]
    index = index_of(titles)
    folder = tmp_path / "model"
    save_artifact(Artifact("", index.arrays(), {}), folder)
    arrays = load_artifact(folder).arrays
    loaded = SearchIndex.from_arrays(index.recipe, arrays, index.dense)
    assert np.shares_memory(loaded.postings.weights, arrays["weights"])
    for words in ("red mug", "lipstik", "gar"):
        assert_array_equal(loaded.read(words).fit, index.read(words).fit)
    later = put(loaded, {8: "new kettle"}, 9)
    assert found(later, "kettle").items.ids.tolist() == [8]
    with pytest.raises(TypeError, match="only what was fitted is saved"):
        later.overlay.postings.arrays()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=12), max_size=6), st.text(st.characters(), min_size=1, max_size=40)
)
def test_any_text_can_be_stored_and_asked(titles: list[str], words: str) -> None:
    index = index_of([*titles, "mug"])
    if not words.strip():
        return
    for one in (index, put(index, {0: words.encode("utf-8", "ignore").decode()}, len(titles) + 1)):
        first, second = found(one, words), found(one, words)
        assert_array_equal(first.items.ids, second.items.ids)
        assert_array_equal(first.items.scores, second.items.scores)
        assert np.isfinite(first.items.scores).all()
        assert (one.read(words).fit <= 1).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_order_is_by_score_then_number(data: st.DataObject) -> None:
    names = st.sampled_from(["red", "mug", "bowl", "tea", "of"])
    titles = data.draw(st.lists(st.lists(names, max_size=4).map(" ".join), min_size=1, max_size=30))
    counts = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=len(titles), max_size=len(titles)))
    )
    k = data.draw(st.integers(1, 30))
    result = found(index_of(titles, EQUAL), "red mug", counts=counts, k=k)
    whole = found(index_of(titles, EQUAL), "red mug", counts=counts, k=len(titles))
    pairs = list(zip(-whole.items.scores, whole.items.ids, strict=True))
    assert pairs == sorted(pairs)
    assert_array_equal(result.items.ids, whole.items.ids[:k])
    having = [n for n, title in enumerate(titles) if {"red", "mug"} & set(title.split())]
    assert result.matches.tolist() == having


def test_meaning_finds_what_words_miss(fitted: Shop) -> None:
    """No title says timepiece; clocks are what it means."""
    engine = fitted.engine()
    items = fitted.store.read("items")
    titles = dict(items.select(c.ITEM_ID, c.TITLE).iter_rows())
    assert not any("timepiece" in title for title in titles.values())
    index = SearchRecipe().fit(
        catalog_of([titles[i] for i in engine.ids]), engine.features.features.dense
    )
    encoder = engine.features.encoder
    assert encoder is not None
    reading = index.read("timepiece")
    result = index.search(
        reading, encoder.encode_texts([reading.text])[0], k=5, counts=engine.counts
    )
    assert sum("clock" in titles[engine.ids[item]] for item in result.items.ids) >= 3
