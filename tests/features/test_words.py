from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import RecipeError
from tailrec.features.words import Words, WordsModel

TITLES = [
    "red matte lipstick",
    "red glossy lipstick red",
    "matte foundation",
    "",
    "garden hose 30 m",
    "garden hoses",
    "!!!",
]


def catalog(titles: list[str]) -> Catalog:
    ids = [f"i{number}" for number in range(len(titles))]
    return Catalog(pl.DataFrame({c.ITEM_ID: ids, c.TITLE: titles}))


def dense_rows(vectors: object) -> np.ndarray:
    return vectors.toarray().astype(np.float64)  # type: ignore[attr-defined]


@pytest.mark.parametrize("sublinear", [True, False])
@pytest.mark.parametrize(
    ("runs", "min_items"), [((1, 1), 1), ((1, 2), 1), ((2, 3), 1), ((1, 1), 2), ((1, 2), 2)]
)
def test_equals_scikit_learn(runs: tuple[int, int], sublinear: bool, min_items: int) -> None:
    items = catalog(TITLES)
    recipe = Words(runs=runs, sublinear=sublinear, min_items=min_items)
    model = recipe.fit(items)
    peer = TfidfVectorizer(
        token_pattern=r"\w+", ngram_range=runs, sublinear_tf=sublinear, min_df=min_items
    )
    expected = peer.fit_transform(TITLES)
    assert model.vocabularies["words"].terms.to_list() == list(peer.get_feature_names_out())
    np.testing.assert_allclose(dense_rows(model.encode(items)), dense_rows(expected), atol=1e-6)


def test_letters_equal_scikit_learn() -> None:
    items = catalog(TITLES)
    model = Words(letter_share=1.0, letters=(2, 4)).fit(items)
    peer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    titles = [title.replace("!", "") for title in TITLES]
    expected = peer.fit_transform(titles)
    assert model.vocabularies["letters"].terms.to_list() == list(peer.get_feature_names_out())
    np.testing.assert_allclose(dense_rows(model.encode(items)), dense_rows(expected), atol=1e-6)


def test_likeness_is_the_mixture_of_both_kinds() -> None:
    items = catalog(TITLES)
    vectors = {
        share: dense_rows(Words(letter_share=share).fit(items).encode(items))
        for share in (0.0, 0.3, 1.0)
    }
    like = {share: rows @ rows.T for share, rows in vectors.items()}
    np.testing.assert_allclose(like[0.3], 0.7 * like[0.0] + 0.3 * like[1.0], atol=1e-6)
    assert like[0.0][4, 5] < like[0.3][4, 5] < like[1.0][4, 5]  # hose and hoses


@pytest.mark.parametrize("letter_share", [0.0, 0.5, 1.0])
def test_rows_are_unit_or_empty(letter_share: float) -> None:
    vectors = Words(letter_share=letter_share).fit(catalog(TITLES)).encode(catalog(TITLES))
    norms = np.linalg.norm(dense_rows(vectors), axis=1)
    np.testing.assert_allclose(norms, [1, 1, 1, 0, 1, 1, 0], atol=1e-6)
    assert vectors.dtype == np.float32
    assert vectors.indices.dtype == np.int32


def test_later_items_use_the_words_known() -> None:
    model = Words().fit(catalog(TITLES))
    fitted = dense_rows(model.encode(catalog(TITLES)))
    later = dense_rows(model.encode(catalog(["a red matte lipstick by unheardof", "unheardof"])))
    np.testing.assert_allclose(later[0], fitted[0], atol=1e-6)
    assert not later[1].any()


def test_the_most_frequent_terms_are_kept() -> None:
    model = Words(runs=(1, 1), max_terms=3).fit(catalog([*TITLES, "a hose"]))
    # Four terms stand in two items; of equals the first by name stay.
    assert model.vocabularies["words"].terms.to_list() == ["garden", "hose", "lipstick"]


def test_a_catalogue_without_words() -> None:
    model = Words(letter_share=0.5).fit(catalog(["", "?"]))
    assert model.dim == 0
    assert model.encode(catalog(["red", "", ""])).shape == (3, 0)


@pytest.mark.parametrize("letter_share", [0.0, 0.5, 1.0])
def test_arrays_bring_the_model_back(letter_share: float) -> None:
    recipe = Words(letter_share=letter_share)
    model = recipe.fit(catalog([*TITLES, "厨师帽"]))
    again = WordsModel.from_arrays(recipe, model.arrays())
    asked = catalog(["red 厨师 hose", "foundation"])
    np.testing.assert_array_equal(dense_rows(model.encode(asked)), dense_rows(again.encode(asked)))


@pytest.mark.parametrize("values", [{"runs": (0, 1)}, {"letters": (3, 2)}, {"letter_share": 1.1}])
def test_bad_options_are_named(values: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=next(iter(values))):
        Words.parse(values)


def marked_titles(folder: Path) -> tuple[list[str], list[set[str]]]:
    """Chinese titles, and the product types that people marked in each."""
    titles, types = [], []
    for name in ("train", "dev", "test"):
        for block in (folder / f"{name}.txt").read_text("utf-8").split("\n\n"):
            pairs = [line.split(" ") for line in block.splitlines() if line.strip()]
            letters = [pair for pair in pairs if len(pair) == 2]
            marks = "".join(
                {"B-HCCX": "|" + letter, "I-HCCX": letter}.get(mark, " ")
                for letter, mark in letters
            )
            titles.append("".join(letter for letter, _ in letters))
            types.append({part.split(" ")[0] for part in marks.split("|")[1:]})
    return titles, types


@pytest.mark.real
@pytest.mark.parametrize("runs", [(1, 1), (1, 2)])
def test_chinese_titles(real_data: Path, rng: np.random.Generator, runs: tuple[int, int]) -> None:
    titles, types = marked_titles(real_data / "zh_ecommerce_ner")
    items = catalog(titles)
    model = Words(runs=runs).fit(items)
    vectors = model.encode(items)
    asked = rng.choice(len(titles), 300, replace=False)
    # The same product by another seller: halves swapped, every fifth letter gone.
    halves = [(titles[row], len(titles[row]) // 2) for row in asked]
    swapped = [title[half:] + title[:half] for title, half in halves]
    other = ["".join(s for n, s in enumerate(title) if n % 5) for title in swapped]
    found = (model.encode_texts(other) @ vectors.T).toarray().argmax(axis=1)
    same = [titles[a] == titles[b] for a, b in zip(asked, found, strict=True)]
    assert np.mean(same) > 0.97
    # The nearest other title is of the same product type (by chance: 1 in 100).
    like = (vectors[asked] @ vectors.T).toarray()
    like[np.arange(len(asked)), asked] = -1
    nearest = like.argmax(axis=1)
    typed = [bool(types[a] & types[b]) for a, b in zip(asked, nearest, strict=True) if types[a]]
    assert np.mean(typed) > 0.75
