"""Texts vary while an encoder learns from them: by the batch alone, and not where it is judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.data.test_augment import same_contexts
from tests.training.test_finetune import COLOURS, THINGS, TITLES, course, encoded, material
from tests.training.tiny import tiny_encoder

from tailrec.data.augment import Rewording
from tailrec.dataset import Catalog
from tailrec.errors import DataError, RecipeError
from tailrec.features.text import TextEncoder
from tailrec.items import Float32Array
from tailrec.training.finetune import Material, finetune
from tailrec.training.recipes import Adapt, Finetune, Objective, Privacy
from tailrec.training.reworded import Reworded, reworded
from tailrec.training.run_folder import RunFolder

RNG = np.random.default_rng
PREFIX = "item: "
GOODS = Catalog(
    pl.DataFrame(
        {
            "item_id": ["b", "a", "c"],
            "title": ["red mug", "steel pan", None],
            "brand": ["Acme", None, "Acme"],
            "category": ["Home > Mugs", "Pans", "Home"],
        }
    )
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder([*COLOURS, *THINGS], tmp_path_factory.mktemp("base") / "tiny")


def made(catalog: Catalog, reader: TextEncoder, **augment: object) -> Reworded:
    recipe = Finetune.parse({"adapt": {"kind": "lora"}, "augment": augment, "course": course()})
    found = reworded(recipe, catalog, reader)
    assert found is not None
    return found


def test_words_vary_and_the_prefix_and_brands_stay() -> None:
    catalog = same_contexts()
    reader = TextEncoder(item_prefix=PREFIX)
    vary = made(catalog, reader, synonyms=1.0, word_drop=0.3)
    items = np.arange(len(catalog))
    texts = vary(items, RNG(0))
    assert texts == vary(items, RNG(0)) != vary(items, RNG(1))
    assert all(text.startswith(PREFIX) for text in texts)
    own = [set(text.split()) for text in reader.texts(catalog)]
    said = [set(text.removeprefix(PREFIX).split()) for text in texts]
    others = set().union(*(told - known for told, known in zip(said, own, strict=True)))
    assert others == {"sofa", "couch"}
    brands = catalog.text(["brand"])
    assert all(brand in told for brand, told in zip(brands, said, strict=True) if brand)
    assert sum(told < known for told, known in zip(said, own, strict=True)) > 100
    # An item that stands twice is said twice.
    assert len(set(vary(np.zeros(40, np.int32), RNG(0)))) > 1


def test_wordings_are_of_the_fields_that_are_read() -> None:
    reader = TextEncoder(fields=("title", "brand"))
    vary = made(GOODS, reader, descriptions=3)
    texts = np.array(vary(np.repeat([0, 1, 2], 4000), RNG(0)), dtype=object).reshape(3, 4000)
    mugs, pans, none = (
        dict(zip(*np.unique(row, return_counts=True), strict=True)) for row in texts
    )
    assert set(mugs) > {"red mug Acme"}
    assert set(mugs) < {
        "red mug Acme",
        "red mug by Acme.",
        "Acme: red mug.",
        "From Acme: red mug.",
    } | {"red mug."}
    assert [mugs[text] for text in mugs] == pytest.approx([1000] * 4, abs=120)
    assert set(pans) == {"steel pan", "steel pan."}
    assert set(none) == {"Acme"}  # without a title there is no wording
    shaped = made(GOODS, TextEncoder(template="{title} in {category}"), descriptions=50)
    assert "Mugs: red mug." in shaped.texts
    assert not any("Acme" in text for text in shaped.texts)


def test_without_words_to_vary_it_is_refused() -> None:
    reader = TextEncoder(fields=("brand",))
    with pytest.raises(DataError, match=r"synonyms = 0\.3 asks .* the 3 titles .* teach none"):
        made(GOODS, reader, synonyms=0.3)
    with pytest.raises(DataError, match="descriptions = 2 asks for wordings"):
        made(GOODS, reader, descriptions=2)
    plain = Finetune(adapt=Adapt(kind="lora"), course=course())
    assert reworded(plain, GOODS, reader) is None


@pytest.mark.parametrize("option", [{"synonyms": 0.1}, {"word_drop": 0.1}, {"descriptions": 1}])
def test_a_map_reads_no_texts_to_vary(option: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"`augment` varies texts, and adapt.kind = 'map' learns"):
        Finetune.parse({"augment": option})
    varied = Finetune.parse({"adapt": {"kind": "full"}, "augment": option})
    assert varied.adapted_to("lora").augment == Rewording.parse(option)
    with pytest.raises(RecipeError, match="`augment` varies texts"):
        varied.adapted_to("map")


@pytest.mark.parametrize(
    "option", [{"translated": 0.3}, {"translated": 0.0, "back_translation": ["a", "b"]}]
)
def test_a_share_without_translations_and_the_reverse_are_refused(
    option: dict[str, object],
) -> None:
    with pytest.raises(RecipeError, match=r"is the share of `augment.back_translation`"):
        Finetune.parse({"adapt": {"kind": "full"}, "augment": option})
    with pytest.raises(RecipeError, match=r"augment\.crop"):  # pictures are not learnt from here
        Finetune.parse({"adapt": {"kind": "full"}, "augment": {"crop": 0.3}})


def varied(base: Path, recipe: Finetune) -> Material:
    """The coloured things, with every text read in other words each time."""
    plain = material(base)
    vary = reworded(recipe, plain.lessons.data.catalog, TextEncoder(model=str(base)))
    return replace(plain, vary=vary)


def recipe_of(base: Path, **augment: object) -> Finetune:
    adapt = Adapt(kind="lora", dropout=0)
    whole = {"model": str(base), "adapt": adapt, "course": course(), "batch": 16}
    return Finetune.parse(whole | {"augment": augment})


def test_a_run_learns_from_variants_and_goes_on_where_it_stopped(
    base: Path, tmp_path: Path
) -> None:
    recipes = {"plain": recipe_of(base), "varied": recipe_of(base, word_drop=0.4, descriptions=2)}
    given = {name: varied(base, recipe) for name, recipe in recipes.items()}
    runs = {
        name: RunFolder(tmp_path / name, given[kind].mark(recipes[kind]))
        for name, kind in {"plain": "plain", "one": "varied", "two": "varied"}.items()
    }
    finetune(recipes["plain"], given["plain"], runs["plain"])
    finetune(recipes["varied"], given["varied"], runs["one"])

    def stop(_: str, step: int, __: int) -> None:
        if step == 33:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(recipes["varied"], given["varied"], runs["two"], progress=stop)
    again = varied(base, recipes["varied"])  # as another process makes it
    finetune(recipes["varied"], again, runs["two"])
    assert runs["one"].curve() == runs["two"].curve()
    assert np.array_equal(encoded(runs["one"].encoder), encoded(runs["two"].encoder))
    plain, other = runs["plain"].curve(), runs["one"].curve()
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (plain, other)]
    assert all(a != b for a, b in zip(*losses, strict=True))


def test_what_is_held_out_is_read_as_it_is(base: Path, tmp_path: Path) -> None:
    seen: list[Float32Array] = []

    def judge(vectors: Float32Array) -> dict[str, float]:
        seen.append(vectors)
        return {"tail recall@20": 0.0}

    for name, augment in {"plain": {}, "varied": {"word_drop": 0.9}}.items():
        recipe = recipe_of(base, **augment)
        given = varied(base, recipe)
        given = replace(given, judged=replace(given.judged, judge=judge))
        run = RunFolder(tmp_path / name, given.mark(recipe))
        finetune(recipe, given, run)
    n_checks = len(seen) // 2
    assert np.array_equal(seen[0], seen[n_checks])  # before the first step
    assert np.allclose(seen[0], material(base).vectors, atol=1e-5)
    assert not np.allclose(seen[n_checks - 1], seen[-1], atol=1e-3)


def test_a_private_run_may_vary_texts(base: Path, tmp_path: Path) -> None:
    """They are public, and so is whatever is made of them."""
    privacy = Privacy(delta=1e-3, negatives=3, seeded=True)
    whole = recipe_of(base, word_drop=0.4).model_dump()
    whole |= {"privacy": privacy, "objective": Objective(pairs="people")}
    whole["course"]["steps"] = 6
    recipe = Finetune.parse(whole)
    plain = Finetune.parse(whole | {"augment": {}})
    made = []
    for name, one in (("a", recipe), ("b", recipe), ("plain", plain)):
        given = varied(base, one)
        run = RunFolder(tmp_path / name, given.mark(one))
        finetune(one, given, run)
        made.append(encoded(run.encoder))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_a_mark_tells_what_texts_vary_with_apart(base: Path) -> None:
    recipe = recipe_of(base, word_drop=0.4, descriptions=2)
    given = varied(base, recipe)
    vary = given.vary
    assert isinstance(vary, Reworded)
    others = [
        None,
        replace(vary, reader=TextEncoder(item_prefix="x ")),
        replace(vary, texts=vary.texts[::-1]),
        replace(vary, first=vary.first[::-1].copy()),
        replace(vary, brands=vary.texts[: len(TITLES)]),
        replace(vary, translated=vary.texts),
        replace(vary, synonyms=made(same_contexts(), TextEncoder(), synonyms=0.1).synonyms),
    ]
    marks = {replace(given, vary=other).mark(recipe) for other in [vary, *others]}
    assert len(marks) == len(others) + 1
    assert varied(base, recipe).mark(recipe) == given.mark(recipe)
    goods = [
        reworded(
            Finetune.parse(recipe.model_dump() | {"course": course(seed=seed)}),
            GOODS,
            TextEncoder(),
        )
        for seed in (0, 0, 1)
    ]
    digests = [one.digest for one in goods if one is not None]
    assert digests[0] == digests[1] != digests[2]  # the course's seed draws wordings
