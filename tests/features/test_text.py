from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sentence_transformers import SentenceTransformer

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.errors import RecipeError
from tailrec.features.text import TextEncoder

TITLES = ["red mug", "garden hose", "", "red mug", "a blue and white porcelain cup", "  "]


def catalog(titles: list[str], brands: list[str] | None = None) -> Catalog:
    ids = [f"i{number}" for number in range(len(titles))]
    columns = {c.ITEM_ID: ids, c.TITLE: titles} | ({c.BRAND: brands} if brands else {})
    return Catalog(pl.DataFrame(columns))


class Told(list[tuple[str, int, int]]):
    """Keeps what progress tells."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.append((stage, done, total))

    @property
    def n_encoded(self) -> int:
        return self[-1][1] if self else 0


@pytest.fixture
def recipe(tiny_model: Path) -> TextEncoder:
    return TextEncoder(model=str(tiny_model), form="fp32", max_length=16)


def test_equals_sentence_transformers(recipe: TextEncoder) -> None:
    vectors = recipe.prepare().encode(catalog(TITLES))
    model = SentenceTransformer(recipe.model, device="cpu")
    model.max_seq_length = recipe.max_length  # the porcelain cup is longer
    expected = model.encode(TITLES, normalize_embeddings=True, show_progress_bar=False)
    assert vectors.dtype == np.float32
    for row in (0, 1, 3, 4):
        np.testing.assert_allclose(vectors[row], expected[row], atol=1e-5)
    assert not vectors[[2, 5]].any()


def test_rows_are_unit_or_zero(recipe: TextEncoder) -> None:
    encoder = recipe.prepare()
    for vectors in (encoder.encode(catalog(TITLES)), encoder.encode_texts(TITLES)):
        norms = np.linalg.norm(vectors, axis=1)
        np.testing.assert_allclose(norms, [1, 1, 0, 1, 1, 0], atol=1e-6)
        assert vectors.shape == (6, encoder.dim)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)
    assert encoder.encode(catalog([""])).shape == (1, encoder.dim)


def test_a_second_fit_encodes_only_what_changed(recipe: TextEncoder, tmp_path: Path) -> None:
    first, second, third = Told(), Told(), Told()
    vectors = recipe.prepare(cache=tmp_path).encode(catalog(TITLES), progress=first)
    assert first.n_encoded == 3  # three different texts
    changed = [*TITLES[:4], "a white cup", "new"]
    again = recipe.prepare(cache=tmp_path).encode(catalog(changed), progress=second)
    assert second == [("encoding texts", 2, 2)]
    np.testing.assert_array_equal(again[:4], vectors[:4])
    assert again[4:].any(axis=1).all()
    recipe.prepare(cache=tmp_path).encode(catalog(changed[::-1]), progress=third)
    assert third == []


def test_options_that_change_vectors_share_no_cache(recipe: TextEncoder, tmp_path: Path) -> None:
    def encode(**options: object) -> tuple[np.ndarray, int]:
        told = Told()
        other = recipe.model_copy(update=options)
        vectors = other.prepare(cache=tmp_path).encode(
            catalog(["red mug and a spoon"]), progress=told
        )
        return vectors, told.n_encoded

    plain, n_plain = encode()
    shorter, n_shorter = encode(max_length=5)
    prefixed, n_prefixed = encode(item_prefix="item: ")
    assert (n_plain, n_shorter, n_prefixed) == (1, 1, 1)
    assert np.abs(plain - shorter).max() > 1e-3
    assert np.abs(plain - prefixed).max() > 1e-3
    assert encode(batch_tokens=7)[1] == 0


def test_a_damaged_cache_is_filled_again(recipe: TextEncoder, tmp_path: Path) -> None:
    expected = recipe.prepare(cache=tmp_path).encode(catalog(TITLES))
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    for n_encoded in (3, 0):
        told = Told()
        vectors = recipe.prepare(cache=tmp_path).encode(catalog(TITLES), progress=told)
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
        assert told.n_encoded == n_encoded


def test_fields_and_prefixes_are_read(recipe: TextEncoder) -> None:
    items = catalog(["red mug"], ["acme"])
    plain = recipe.prepare().encode_texts(["red mug acme", "red mug", "q red mug", "i red mug"])
    only_title = recipe.model_copy(update={"fields": ("title",)})
    asking = only_title.model_copy(update={"query_prefix": "q ", "item_prefix": "i "}).prepare()
    found = [
        recipe.prepare().encode(items),
        only_title.prepare().encode(items),
        asking.encode_texts(["red mug"]),
        asking.encode(items),
    ]
    np.testing.assert_allclose(np.concatenate(found), plain, atol=1e-5)


def test_a_template_takes_the_place_of_the_fields(recipe: TextEncoder, tmp_path: Path) -> None:
    items = catalog(["red mug", "hose", ""], ["acme", "", ""])
    told = Told()
    recipe.prepare(cache=tmp_path).encode(items)
    shaped = recipe.model_copy(update={"template": "{title}, made by {brand}"})
    vectors = shaped.prepare(cache=tmp_path).encode(items, progress=told)
    assert told.n_encoded == 1  # the hose reads as before
    expected = recipe.prepare().encode_texts(["red mug, made by acme", "hose", ""])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_order_and_batches_change_nothing(recipe: TextEncoder) -> None:
    titles = [f"{word} {number}" * (1 + number % 3) for word in ("a", "bb") for number in range(9)]
    items, other = catalog(titles), catalog(titles[::-1])
    vectors = recipe.prepare().encode(items)
    small = recipe.model_copy(update={"batch_tokens": 10}).prepare()
    np.testing.assert_allclose(small.encode(other)[::-1], vectors, atol=1e-5)


def test_the_packaged_model_knows_what_things_are(encoder_cache: Path) -> None:
    encoder = TextEncoder().prepare(cache=encoder_cache)
    items = ["stainless steel frying pan", "running shoes for men", "waterproof mascara"]
    asked = ["jogging sneakers", "eye makeup", "cookware"]
    like = encoder.encode_texts(asked) @ encoder.encode_texts(items).T
    assert like.argmax(axis=1).tolist() == [1, 2, 0]


def test_bad_options_are_named() -> None:
    with pytest.raises(RecipeError, match="runs on the CPU, not on 'cuda'"):
        TextEncoder.parse({"form": "int8", "device": "cuda"})
    with pytest.raises(RecipeError, match="names the field 'colour'; the text columns are title,"):
        TextEncoder.parse({"template": "{title} in {colour}"})
    with pytest.raises(RecipeError, match="max_length"):
        TextEncoder.parse({"max_length": 2})
