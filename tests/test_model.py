"""A model goes to a folder and comes back the same, or says what is wrong with the folder."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import worlds

from tailrec import columns as c
from tailrec.artifact import ARRAYS, CARD, RECIPE, Artifact, load_artifact, save_artifact
from tailrec.assortment import Assortment
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import EngineRecipe
from tailrec.errors import ArtifactError
from tailrec.features.build import FeatureRecipe
from tailrec.model import TEXTS, Model, load_model, text_marks
from tailrec.search.index import SearchRecipe

AGAIN = np.array([1.5, np.inf, 0.0, 3.0], np.float32)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Four items of which one has a description too."""
    data = worlds.cold_twin()
    table = data.catalog.table.with_columns(pl.Series(c.DESCRIPTION, ["dried leaves", "", "", ""]))
    return replace(data, catalog=Catalog(table))


@pytest.fixture(scope="module")
def model(data: Dataset) -> Model:
    engine = EngineRecipe(features=FeatureRecipe(encode=False)).fit(data)
    return Model.of("v1", engine, data.catalog, SearchRecipe(), AGAIN, card={"seconds": 1.5})


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    save_artifact(model.artifact(), tmp_path / "v1")
    return tmp_path / "v1"


def loaded(folder: Path) -> Model:
    return load_model(folder, SearchRecipe(), None)


def test_it_comes_back_as_it_went(model: Model, folder: Path, data: Dataset) -> None:
    back = loaded(folder)
    assert (back.version, back.card["seconds"]) == ("v1", 1.5)
    np.testing.assert_array_equal(back.again_days, AGAIN)
    np.testing.assert_array_equal(back.texts, text_marks(data.catalog.table))
    assert back.engine.ids.tolist() == model.engine.ids.tolist()
    queries = back.engine.queries(data, include_seen=True)
    own, other = (m.engine.recommend(queries, 4) for m in (model, back))
    np.testing.assert_array_equal(own.ids, other.ids)
    np.testing.assert_array_equal(own.scores, other.scores)
    assert back.engine.explain(queries.rows(0, 1), "i3") is not None
    for words in ("green tea", "leaves", "kettel"):
        found = [
            m.index.search(m.index.read(words), None, k=4, counts=m.engine.counts).items
            for m in (model, back)
        ]
        assert len(found[0]) > 0
        np.testing.assert_array_equal(found[0].ids, found[1].ids)
        np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_it_comes_back_twice(folder: Path) -> None:
    """Saving what was loaded gives the same files: nothing is lost or rounded on the way."""
    again = folder.with_name("again")
    save_artifact(loaded(folder).artifact(), again)
    for name in (RECIPE, ARRAYS, CARD):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_what_arrived_after_the_fit_is_not_part_of_it(model: Model, folder: Path) -> None:
    new = pl.DataFrame({c.ITEM_ID: ["new"], c.TITLE: ["green kettle"]})
    stand = Assortment.of(model, new, "pareto")
    assert "new" in stand.engine.index
    grown = replace(model, engine=stand.engine, index=stand.index).artifact()
    saved = load_artifact(folder)
    assert grown.arrays.keys() == saved.arrays.keys()
    for name, values in grown.arrays.items():
        np.testing.assert_array_equal(values, saved.arrays[name], err_msg=name)


def test_its_arrays_stay_in_the_file(folder: Path) -> None:
    back = loaded(folder)
    for array in (back.again_days, back.texts, back.engine.counts, back.index.postings.weights):
        assert not array.flags.writeable
        assert not array.flags.owndata


def without(artifact: Artifact, *names: str) -> Artifact:
    kept = {name: values for name, values in artifact.arrays.items() if name not in names}
    return replace(artifact, arrays=kept)


def test_every_array_is_needed(model: Model, tmp_path: Path) -> None:
    """A file of another version, in which any one array has another name, is refused whole."""
    artifact = model.artifact()
    said = {}
    for place, name in enumerate(artifact.arrays):
        folder = tmp_path / f"v{place}"
        save_artifact(without(artifact, name), folder)
        try:
            loaded(folder)
        except ArtifactError as error:
            said[name] = str(error)
    assert said.keys() == artifact.arrays.keys()
    assert all(
        str(tmp_path) in text and "fit again with `tailrec fit`" in text for text in said.values()
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (RECIPE, None),
        (ARRAYS, None),
        (CARD, None),
        (RECIPE, b'[source]\nkind = "linear"\nno_such_option = 1\n'),
        (RECIPE, b'[source]\nkind = "als"\n'),
        (RECIPE, b"this is = not toml ["),
        (RECIPE, b"\xff\xfe"),
        (ARRAYS, b""),
        (ARRAYS, b"\0" * 64),
        (CARD, b"{"),
        (CARD, b"[]"),
    ],
)
def test_damage_is_told_with_its_cure(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="fit again with `tailrec fit`") as caught:
        loaded(folder)
    assert str(folder) in str(caught.value)


def test_an_array_more_than_is_known_is_told(model: Model, tmp_path: Path) -> None:
    artifact = model.artifact()
    more = {**artifact.arrays, "source.basis.gram.later": np.zeros(3)}
    save_artifact(replace(artifact, arrays=more), tmp_path / "v1")
    with pytest.raises(ArtifactError, match="does not fit this version"):
        loaded(tmp_path / "v1")


def test_a_file_cut_short_is_told(folder: Path) -> None:
    whole = (folder / ARRAYS).read_bytes()
    for share in (0.1, 0.5, 0.99):
        (folder / ARRAYS).write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ArtifactError, match="tailrec fit"):
            loaded(folder)


def test_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no complete model"):
        loaded(tmp_path / "nothing")


def test_a_model_moved_elsewhere_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    moved = shutil.move(folder, tmp_path / "v2")
    assert loaded(Path(moved)).version == "v2"
    assert json.loads((Path(moved) / CARD).read_text("utf-8"))["seconds"] == 1.5


# ---------------------------------------------------------------------------- marks of texts

ONE = {
    c.ITEM_ID: "a",
    c.TITLE: "green tea",
    c.BRAND: "Own",
    c.CATEGORY: "Tea > Green",
    c.ATTRIBUTES: '{"colour": "green"}',
    c.DESCRIPTION: "dried leaves",
    c.PRICE: 2.5,
    c.STOCK: 3.0,
    c.AVAILABLE: True,
}


def table(*told: Mapping[str, object]) -> pl.DataFrame:
    return pl.DataFrame([{**dict.fromkeys(c.ITEMS), **one} for one in told], schema=dict(c.ITEMS))


def mark(**changes: object) -> int:
    return int(text_marks(table(ONE | changes))[0])


@pytest.mark.parametrize("name", TEXTS)
def test_a_mark_changes_with_every_text(name: str) -> None:
    marks = {mark(), mark(**{name: "else"}), mark(**{name: "Else"}), mark(**{name: None})}
    assert len(marks) == 4


@pytest.mark.parametrize("name", sorted(set(c.ITEMS) - set(TEXTS)))
def test_a_mark_does_not_change_with_anything_else(name: str) -> None:
    other: object = {pl.Float64: 9.0, pl.Boolean: False}.get(type(c.ITEMS[name]), "else")
    if isinstance(c.ITEMS[name], pl.Datetime):
        other = None
    assert mark(**{name: other}) == mark(**{name: None}) == mark()


def test_a_text_that_moves_to_another_field_is_another() -> None:
    moved = mark(title="green", description="tea"), mark(title="tea", description="green")
    assert len({*moved, mark(title="green tea", description=None)}) == 3


texts = st.one_of(st.none(), st.text(max_size=6))


@settings(max_examples=60, deadline=None)
@given(told=st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=8))
def test_marks_are_of_one_row_and_equal_exactly_where_all_texts_are(
    told: list[tuple[str | None, str | None, str | None]],
) -> None:
    """In any company, in any order, with columns missing altogether."""
    names = (c.TITLE, c.BRAND, c.DESCRIPTION)
    whole = [dict(zip(names, one, strict=True)) for one in told]
    marks = text_marks(table(*whole))
    for place, one in enumerate(whole):
        assert marks[place] == text_marks(table(one))[0]
        narrow = table(one).select(name for name, value in one.items() if value is not None)
        assert len(narrow.columns) == 0 or marks[place] == text_marks(narrow)[0]
    for a, mine in enumerate(told):
        for b, other in enumerate(told):
            assert (marks[a] == marks[b]) == (mine == other)


def test_no_items_have_no_marks() -> None:
    assert text_marks(table()).tolist() == []
