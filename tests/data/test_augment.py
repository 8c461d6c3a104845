"""Variants keep what identifies an item; what is made up says so and is never asked about."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.worlds import checkerboard, crowd, shop, words_of

from tailrec.candidates.content import Content
from tailrec.candidates.heap import csr_over
from tailrec.candidates.linear import Linear, LinearModel
from tailrec.data.augment import Augment, same_numbers, variants
from tailrec.data.crops import crop, write_crops
from tailrec.data.leaks import check_no_leak
from tailrec.data.split import leave_one_out
from tailrec.data.synonyms import FACT, Learning, Synonyms, split_words
from tailrec.data.synthetic import PREFIX, SYNTHETIC, is_synthetic
from tailrec.data.virtual import with_virtual_users
from tailrec.data.wordings import NO_BRAND, described, descriptions
from tailrec.dataset import Catalog, Dataset
from tailrec.errors import DataError
from tailrec.items import Int32Array
from tailrec.protocols import Source

TITLES = [
    "Acme Red Mug, 250ml (Set of 2)",
    "Large steel pan",
    "pan",
    "",
    "BIG Pan: 3 sizes",
]
BRANDS = ["Acme", "", "", "", "Pan"]
RNG = np.random.default_rng


@pytest.fixture
def table(tmp_path: Path) -> Synonyms:
    path = tmp_path / "words.csv"
    path.write_text(
        "mug, cup, beaker\npan, skillet\nlarge, big\n5kg, five\nfrying pan, wok\n", "utf-8"
    )
    return Synonyms.read(path)


def test_words_are_cut_as_written_and_as_looked_up() -> None:
    words = split_words(["Red  Mug, (Big)", "", "- a"])
    assert words["row"].to_list() == [0, 0, 0, 2, 2]
    assert words["word"].to_list() == ["Red", "Mug,", "(Big)", "-", "a"]
    assert words["core"].to_list() == ["red", "mug", "big", "", "a"]


def test_a_file_gives_pairs_both_ways_without_numbers_and_expressions(table: Synonyms) -> None:
    assert set(table.table.rows()) == {
        ("mug", "cup"),
        ("cup", "mug"),
        ("mug", "beaker"),
        ("beaker", "mug"),
        ("cup", "beaker"),
        ("beaker", "cup"),
        ("pan", "skillet"),
        ("skillet", "pan"),
    }
    assert len(table) == 5


@pytest.mark.parametrize("content", ["", "alone\n", "5kg, 6kg\n"])
def test_a_file_without_pairs_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "words.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError, match="holds no pair of words"):
        Synonyms.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        Synonyms.read(tmp_path / "none.csv")


def test_synonyms_take_the_place_and_the_dress(table: Synonyms) -> None:
    made = variants(TITLES, Augment(synonyms=1), RNG(0), synonyms=table, brands=BRANDS)
    assert made[0] in ("Acme Red Cup, 250ml (Set of 2)", "Acme Red Beaker, 250ml (Set of 2)")
    # Sizes are facts, in the table or not; the last one's "Pan" is its brand.
    assert made[1:] == ["Large steel skillet", "skillet", "", "BIG Pan: 3 sizes"]
    assert (
        variants(TITLES, Augment(synonyms=1), RNG(0), synonyms=table)[4] == "BIG Skillet: 3 sizes"
    )


def test_each_synonym_is_drawn_about_as_often(table: Synonyms) -> None:
    made = variants(["mug"] * 4000, Augment(synonyms=0.5), RNG(1), synonyms=table)
    share = {word: made.count(word) / len(made) for word in ("mug", "cup", "beaker")}
    assert share == pytest.approx({"mug": 0.5, "cup": 0.25, "beaker": 0.25}, abs=0.03)


def test_words_are_left_out_and_facts_and_the_last_word_stay() -> None:
    made = variants(TITLES * 300, Augment(word_drop=0.9), RNG(2), brands=BRANDS * 300)
    for number, text in enumerate(made):
        given = TITLES[number % len(TITLES)]
        left = text.split()
        assert bool(left) == bool(given)
        assert set(left) <= set(given.split())
        if "250ml" in given:
            assert {"Acme", "Red", "250ml", "(Set", "2)"} <= set(left)
    assert {text for text in made if "steel" in text or "pan" in text} > {"Large steel"}
    # Where luck leaves out every word, one stays, and not the text as it was.
    lone = variants(["steel pan lid"] * 300, Augment(word_drop=0.9), RNG(2))
    assert lone.count("steel pan lid") < 20
    assert {"steel", "pan", "lid"} <= set(lone)


def test_the_share_left_out_is_the_share_asked_for() -> None:
    text = " ".join(f"word{letter}" for letter in "abcdefghijklmnopqrst")
    plain = text.replace("word", "w")  # no digits: nothing is fixed
    made = variants([plain] * 500, Augment(word_drop=0.3), RNG(3))
    assert np.mean([len(line.split()) for line in made]) == pytest.approx(20 * 0.7, rel=0.03)


def test_variants_are_drawn_by_the_rng_alone(table: Synonyms) -> None:
    recipe = Augment(synonyms=0.5, word_drop=0.3)
    one, two, other = (
        variants(TITLES * 50, recipe, RNG(seed), synonyms=table) for seed in (4, 4, 5)
    )
    assert one == two != other
    assert variants(TITLES, Augment(), RNG(0)) == TITLES


def test_translations_that_lost_a_number_are_not_used() -> None:
    other = ["Rote Tasse 250 2", "Große Pfanne", "3 Pfannen", "x", "GROSS: 3"]
    assert same_numbers(TITLES, other).tolist() == [True, True, False, True, True]
    made = variants(TITLES, Augment(translated=1), RNG(0), translated=other)
    assert made == [other[0], other[1], "pan", "x", other[4]]
    half = variants(["a"] * 1000, Augment(translated=0.5), RNG(0), translated=["b"] * 1000)
    assert half.count("b") == pytest.approx(500, abs=60)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="asks for a table of synonyms"):
        variants(TITLES, Augment(synonyms=0.1), RNG(0))
    with pytest.raises(DataError, match="brands are of 1 texts; 5 are given"):
        variants(TITLES, Augment(), RNG(0), brands=["a"])


def test_twelve_thousand_titles_take_well_under_a_second(table: Synonyms) -> None:
    titles = [f"{a} Mug {n} with a large pan and lid" for n, a in enumerate("xyz" * 4000)]
    recipe = Augment(synonyms=0.3, word_drop=0.1)
    variants(titles[:10], recipe, RNG(0), synonyms=table)
    used = time.process_time()
    made = variants(titles, recipe, RNG(0), synonyms=table, brands=["x"] * len(titles))
    assert len(made) == len(titles)
    assert time.process_time() - used < 2  # about a tenth of it on one core


def same_contexts() -> Catalog:
    """ "sofa" and "couch" stand in the same titles; "lamp" elsewhere; "corner" goes with "sofa"."""
    titles, brands = [], []
    for n in range(60):
        for seat in ("sofa", "couch"):
            titles.append(f"soft {('wool', 'linen')[n % 2]} {seat} cover")
            brands.append("wool" if n % 2 == 0 else "")
        titles.append(f"bright desk {('lamp', 'lamp')[n % 2]} bulb e{n}")
        brands.append("")
    titles += ["plain word"] * 1500
    brands += [""] * 1500
    rows = {"item_id": [f"i{n}" for n in range(len(titles))], "title": titles, "brand": brands}
    return Catalog(pl.DataFrame(rows))


def test_learnt_synonyms_stand_in_the_same_contexts() -> None:
    learnt = Synonyms.learn(same_contexts(), Learning(alike=0.8))
    # "wool" would be like "linen", but is mostly a brand here.
    assert set(learnt.table.rows()) == {("sofa", "couch"), ("couch", "sofa")}
    nobody = Synonyms.learn(Catalog(same_contexts().table.head(3)))
    assert len(nobody) == 0
    assert variants(["sofa"], Augment(synonyms=1), RNG(0), synonyms=nobody) == ["sofa"]


def test_words_that_often_stand_together_are_not_learnt() -> None:
    titles = [f"soft {('sofa', 'couch', 'sofa couch')[n % 3]} cover" for n in range(90)]
    titles += ["plain word"] * 900
    rows = {"item_id": [f"i{n}" for n in range(len(titles))], "title": titles}
    assert len(Synonyms.learn(Catalog(pl.DataFrame(rows)), Learning(alike=0.1))) == 0


CATALOG = Catalog(
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "title": ["Red mug.", "Pan {brand}", "Lid", None],
            "brand": ["Acme", "Unknown", None, "Acme"],
            "category": ["Home > Kitchen > Mugs", "Pans", None, "Home"],
            "attributes": ['{"colour": "red", "ml": 250, "tags": ["x"]}', "steel|24 cm", "", None],
            "description": ["A mug of its own.", " ", None, None],
        }
    )
)


def test_descriptions_say_nothing_that_the_row_does_not() -> None:
    made = descriptions(CATALOG, Augment(descriptions=1000), RNG(0))
    texts = made.group_by("item_id").agg("description")
    by_item = {row[0]: row[1] for row in texts.rows()}
    assert set(by_item) == {"a", "b", "c"}
    assert by_item["c"] == ["Lid."]
    assert "Acme: Red mug. In Mugs, part of Home." in by_item["a"]
    assert "Red mug. Details: colour: red, ml: 250." in by_item["a"]
    assert all("Unknown" not in text and "None" not in text for text in by_item["b"])
    assert "Pans: Pan {brand}. steel, 24 cm." in by_item["b"]
    frame = {
        "found",
        "under",
        "in",
        "part",
        "of",
        "a",
        "product",
        "for",
        "details",
        "by",
        "from",
        "with",
    }
    for item_id, lines in by_item.items():
        row = CATALOG.table.row(by_predicate=pl.col("item_id") == item_id, named=True)
        own = split_words([str(value) for value in row.values()])["core"].to_list()
        own = {word for core in own for word in core.replace('"', " ").replace("|", " ").split()}
        for line in lines:
            told = {word.strip(':",') for word in split_words([line])["core"].to_list()}
            assert told <= own | frame, line
        assert len(lines) == len(set(lines))


def test_descriptions_are_marked_drawn_and_as_many_as_asked() -> None:
    one, two, other = (descriptions(CATALOG, Augment(descriptions=4), RNG(s)) for s in (0, 0, 1))
    assert one.equals(two)
    assert not one.equals(other)
    assert one.group_by("item_id").len().sort("item_id").rows() == [("a", 4), ("b", 4), ("c", 1)]
    assert one[SYNTHETIC].all()
    assert not len(descriptions(CATALOG, Augment(), RNG(0)))


def test_a_made_description_never_replaces_a_real_one() -> None:
    made = descriptions(CATALOG, Augment(descriptions=2), RNG(0))
    table = described(CATALOG, made).table
    assert table["item_id"].to_list() == ["a", "b", "c", "d"]
    assert table[SYNTHETIC].to_list() == [False, True, True, False]
    assert table["description"][0] == "A mug of its own."
    assert table["description"][2] == "Lid."
    assert table["description"][3] is None
    bare = Catalog(CATALOG.table.drop("description"))
    assert described(bare, made).table[SYNTHETIC].to_list() == [True, True, True, False]


def test_brands_that_say_none_are_those_of_the_features() -> None:
    from tailrec.features import fields

    assert fields._NO_BRAND == NO_BRAND


def fitted(data: Dataset) -> Source:
    return Content().fit(data, words_of(data), rng=RNG(0))


def test_virtual_users_begin_with_the_cold_item_and_like_what_is_like_it() -> None:
    titles = ["green tea", "green tea", "green tea", "steel pan", "steel pan", "green tea"]
    data = shop([[0, 1], [3, 4], [1, 2]], titles)
    recipe = Augment(virtual_users=5, virtual_length=3)
    made = with_virtual_users(data, fitted(data), np.array([5], np.int32), recipe, RNG(0))
    own = made.user_ids[3:]
    assert own.tolist() == [f"{PREFIX}{n}" for n in range(5)]
    assert is_synthetic(made.user_ids).tolist() == [False] * 3 + [True] * 5
    for user in range(3, 8):
        events = slice(made.ptr[user], made.ptr[user + 1])
        history = made.item[events]
        assert history[0] == 5
        assert set(history[1:]) < {0, 1, 2}
        assert len(set(history)) == len(history) == 3
        assert made.step[events].tolist() == [0, 1, 2]
        assert (np.diff(made.time[events]) > 0).all()
    assert made.time.max() <= made.now
    # What was there is as it was, to the last number.
    for name in ("item", "time", "step", "weight", "type"):
        assert np.array_equal(getattr(made, name)[: data.n_events], getattr(data, name))
    assert np.array_equal(made.ptr[:4], data.ptr)


def test_virtual_users_give_a_cold_item_a_place_by_behaviour(rng: np.random.Generator) -> None:
    data = crowd(rng, n_users=200)
    cold = np.flatnonzero(data.item_counts == 0).astype(np.int32)
    plain = Linear().fit(data, words_of(data), rng=rng)
    made = with_virtual_users(data, plain, cold, Augment(virtual_users=10), RNG(0))
    taught = Linear().fit(made, words_of(data), rng=rng)
    assert (made.item_counts[cold] >= 10).all()
    assert by_behaviour(plain, cold) == pytest.approx(0, abs=1e-6)
    assert by_behaviour(taught, cold) > 0.01


def by_behaviour(model: LinearModel, items: Int32Array) -> float:
    """How much behaviour says for some items, whatever their text says."""
    own = csr_over(
        model.matrix.data - model.by_text,
        model.matrix.indices,
        model.matrix.indptr,
        model.matrix.shape,
    )
    return float(abs(own[:, items]).sum())


def test_histories_may_begin_with_a_real_persons(rng: np.random.Generator) -> None:
    data = checkerboard()
    titled = ["red thing0"] * 2
    rows = {"item_id": ["x0", "x1"], "title": titled}
    wider = replace(data, catalog=Catalog(pl.concat([data.catalog.table, pl.DataFrame(rows)])))
    recipe = Augment(virtual_users=10, virtual_length=4)
    cold = np.array([20, 21], np.int32)
    made = with_virtual_users(wider, fitted(wider), cold, recipe, rng, start="history")
    n_made = made.n_users - data.n_users
    assert 0 < n_made < 20  # those who like black are proposed nothing red
    for user in range(data.n_users, made.n_users):
        history = made.item[made.ptr[user] : made.ptr[user + 1]]
        assert history[-1] in cold
        assert (history[:-1] % 2 == 0).all()
        assert len(history) == 4


def test_virtual_users_are_drawn_by_the_rng_and_only_where_asked(rng: np.random.Generator) -> None:
    data = crowd(rng)
    cold = np.array([45], np.int32)
    recipe = Augment(virtual_users=6)
    one, two, other = (
        with_virtual_users(data, fitted(data), cold, recipe, RNG(seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(one.item, two.item)
    assert not np.array_equal(one.item, other.item)
    assert with_virtual_users(data, fitted(data), cold, Augment(), RNG(0)) is data
    with pytest.raises(DataError, match="are there already"):
        with_virtual_users(one, fitted(data), cold, recipe, RNG(0))
    with pytest.raises(DataError, match=r"items 99..99 of a catalogue of 50"):
        with_virtual_users(data, fitted(data), np.array([99], np.int32), recipe, RNG(0))


def test_a_split_that_asks_what_was_made_up_is_refused(rng: np.random.Generator) -> None:
    data = crowd(rng)
    recipe = Augment(virtual_users=3)
    made = with_virtual_users(data, fitted(data), np.array([45], np.int32), recipe, RNG(0))
    check_no_leak(leave_one_out(data), data)
    with pytest.raises(DataError, match=r"people who were made up \(3 times\)"):
        check_no_leak(leave_one_out(made), made)
    table = data.catalog.table.with_columns(pl.lit(PREFIX).add(pl.col("item_id")).alias("item_id"))
    renamed = replace(data, catalog=Catalog(table))
    split = leave_one_out(renamed)
    with pytest.raises(DataError, match=rf"items that were made up \({len(split.target)} times\)"):
        check_no_leak(split, renamed)


@pytest.fixture
def picture() -> Image.Image:
    """Red left of the middle, blue right of it; 60 by 40."""
    whole = Image.new("RGB", (60, 40), (255, 0, 0))
    whole.paste((0, 0, 255), (30, 0, 60, 40))
    return whole


def test_crops_are_parts_of_the_size_asked_for(picture: Image.Image) -> None:
    whole = np.asarray(crop(picture, Augment(flip=0), RNG(0), size=30))
    assert whole.shape == (30, 30, 3)
    assert whole[:, 0].tolist() == [[255, 0, 0]] * 30
    assert whole[:, -1].tolist() == [[0, 0, 255]] * 30
    mirrored = np.asarray(crop(picture, Augment(flip=1), RNG(0), size=30))
    assert np.array_equal(mirrored, whole[:, ::-1])
    small = [
        np.asarray(crop(picture, Augment(crop=0.1, flip=0), RNG(s), size=30)) for s in range(40)
    ]
    red = [(part[..., 0] > 128).mean() for part in small]
    assert min(red) == 0
    assert max(red) == 1
    assert np.array_equal(
        small[3], np.asarray(crop(picture, Augment(crop=0.1, flip=0), RNG(3), size=30))
    )


def test_crops_are_written_and_marked(
    picture: Image.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture.convert("RGBA").save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    files = {"a": tmp_path / "a.png", "b": tmp_path / "b.jpg", "c": tmp_path / "none.png"}
    with caplog.at_level("WARNING"):
        made = write_crops(files, tmp_path / "crops", Augment(crop=0.3), RNG(0), each=2)
    assert "2 pictures cannot be read, such as that of 'b'" in caplog.text
    assert made["item_id"].to_list() == ["a", "a"]
    assert made[SYNTHETIC].all()
    for file in made["images"]:
        with Image.open(file) as part:
            assert part.size == (224, 224)


@pytest.mark.real
def test_photos_of_a_real_catalogue_are_cropped(real_data: Path, tmp_path: Path) -> None:
    photos = sorted((real_data / "retail_demo_store" / "v2020" / "images").rglob("*.jpg"))[:10]
    files = {os.fspath(path): path for path in photos}
    made = write_crops(files, tmp_path, Augment(crop=0.3), RNG(0))
    assert made["item_id"].to_list() == list(files)


@pytest.mark.real
def test_learnt_synonyms_of_a_real_catalogue(real_data: Path) -> None:
    catalog = Catalog(pl.read_parquet(real_data / "amazon_beauty" / "items.parquet"))
    learnt = Synonyms.learn(catalog)
    assert ("cleanser", "wash") in set(learnt.table.rows())
    assert not learnt.table["word"].str.contains(FACT).any()
    titles, brands = catalog.text(["title"]), catalog.text(["brand"])
    recipe = Augment(synonyms=0.3, word_drop=0.1)
    made = variants(titles, recipe, RNG(0), synonyms=learnt, brands=brands)
    assert same_numbers(titles, made).all()
    assert np.mean([a != b for a, b in zip(titles, made, strict=True)]) > 0.3
