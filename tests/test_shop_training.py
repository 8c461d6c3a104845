"""What an encoder is taught with in a shop, and where going on begins."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.test_shop import events
from tests.training.tiny import tiny_encoder
from tests.worlds import shop as world
from tests.worlds import words_of

from tailrec import columns as c
from tailrec.data.seen import LEARNT, check_unseen
from tailrec.dataset import DAY_US, Features
from tailrec.errors import DataError, RecipeError
from tailrec.features.build import FeatureRecipe
from tailrec.features.text import TextEncoder
from tailrec.features.weights import CARD
from tailrec.shop import Shop
from tailrec.shop_recipe import RECIPE, ShopRecipe
from tailrec.shop_training import (
    SPACE,
    _since,
    _written,
    material_of,
    pretrain_encoder,
    search_finetune,
    space_of,
    with_options,
    write_finetune,
)
from tailrec.teaching import lessons_of
from tailrec.training.corpus import Texts
from tailrec.training.recipes import (
    Adapt,
    Characters,
    Course,
    Finetune,
    Objective,
    Pretrain,
    Privacy,
)

THINGS = ("lamp", "mug", "rug", "vase", "bowl", "tray")
TITLES = [f"{colour} {thing}" for colour in ("red", "blue") for thing in THINGS]


def taught(shop: Shop, *, until_day: int, cut: bool) -> str:
    """An encoder of the shop, with the card of one lesson."""
    folder = tiny_encoder(THINGS, shop.folder / "encoders" / f"until-{until_day}")
    lesson = {"until_us": until_day * DAY_US, "cut": cut}
    (folder / CARD).write_text(json.dumps({LEARNT: [lesson]}), "utf-8")
    return f"encoders/{folder.name}"


@pytest.mark.parametrize(("cut", "left"), [(True, [2, 3]), (False, [3])])
def test_going_on_begins_with_the_first_event_not_learnt(
    tmp_path: Path, *, cut: bool, left: list[int]
) -> None:
    """What is cut at an instant has not seen that instant; what learnt all has."""
    known = world([[0, 1, 2, 3]], TITLES)
    with Shop.create(tmp_path / "shop") as shop:
        assert _since(shop, taught(shop, until_day=2, cut=cut), known).item.tolist() == left
        later = taught(shop, until_day=4, cut=cut)
        with pytest.raises(DataError, match="nothing happened since"):
            _since(shop, later, known)


@pytest.mark.parametrize("made_up", [False, True])
def test_reviews_of_what_is_asked_for_are_not_read(tmp_path: Path, *, made_up: bool) -> None:
    """Each purchase is reviewed at once: a review that is read tells of an event that is known."""
    bought = events(30, same_start=made_up)
    said = pl.format("{} had {}", c.USER_ID, c.ITEM_ID).alias(c.TEXT)
    reviews = bought.with_columns(said, pl.lit("review").alias(c.TYPE))
    with Shop.create(tmp_path / "shop") as shop:
        shop.store.write("events", pl.concat([bought, reviews], how="diagonal"))
        (split,) = shop.splits("leave-one-out" if made_up else "time", windows=1)
        some, lessons = _written(shop, everything=False)
        whole = split.whole
        pairs = zip(whole.user_ids[whole.user], whole.catalog.ids[whole.item], strict=True)
        assert set(some[c.TEXT]) == {f"{user} had {item}" for user, item in pairs}
        check_unseen("it", {LEARNT: lessons}, [split])
        every, lessons = _written(shop, everything=True)
        assert set(every[c.TEXT]) == set(reviews.select(said)[c.TEXT]) > set(some[c.TEXT])
        with pytest.raises(DataError, match="learnt from"):
            check_unseen("it", {LEARNT: lessons}, [split])


def test_going_on_does_not_begin_where_texts_were_read(tmp_path: Path) -> None:
    known = world([[0, 1, 2, 3]], TITLES)
    with Shop.create(tmp_path / "shop") as shop:
        name = taught(shop, until_day=2, cut=False)
        card = shop.folder / name / CARD
        of_texts = {"until_us": 9 * DAY_US, "cut": False, "of": "texts"}
        lessons = [*json.loads(card.read_text("utf-8"))[LEARNT], of_texts]
        card.write_text(json.dumps({LEARNT: lessons}), "utf-8")
        assert _since(shop, name, known).item.tolist() == [3]


def test_an_encoder_of_own_letters_has_learnt_nothing_from_the_one_that_is_named(
    tmp_path: Path,
) -> None:
    own = Characters(vocabulary=128, rarest=1, layers=1, width=8, heads=1)
    course = Course(steps=1, device="cpu")
    with Shop.create(tmp_path / "shop") as shop:
        ids = [f"i{number}" for number in range(6)]
        shop.store.write("items", pl.DataFrame({c.ITEM_ID: ids, c.TITLE: TITLES[:6]}))
        shop.store.write("events", events(30))
        name = taught(shop, until_day=2, cut=False)
        texts = Texts(held_out=0.5)
        for letters, lessons in ((own, 0), (None, 1)):
            recipe = Pretrain(model=name, own=letters, texts=texts, course=course)
            done = pretrain_encoder(shop, recipe)
            assert len(done.card[LEARNT]) == lessons


def test_an_item_without_a_text_has_no_prefix(tmp_path: Path) -> None:
    encoder = tiny_encoder(THINGS, tmp_path / "tiny")
    titles = ["", *TITLES[1:]]
    histories = [[*range(n % 3, 12, 2)] for n in range(30)]
    reader = TextEncoder(item_prefix="sold: ", form="fp32")
    recipe = Finetune(model=str(encoder), adapt=Adapt(kind="lora"))
    shop = ShopRecipe(features=FeatureRecipe(text=reader))
    given = material_of(shop, recipe, world(histories, titles), tmp_path / "cache", tmp_path)
    assert given.texts[:2] == ["", "sold: red mug"]
    assert given.max_length == reader.max_length
    assert not given.vectors[0].any()


def test_a_small_shop_has_fewer_hard_negatives() -> None:
    data = world([[0, 1], [0, 1], [2, 3], [2, 3]], TITLES[:4])
    features = Features(words_of(data).words, np.eye(4, dtype=np.float32) + 1)
    alike = lessons_of(data, features, hard=True, rng=np.random.default_rng(0)).alike
    assert alike.shape == (4, 3)
    assert sorted(alike[0].tolist()) == [-1, 2, 3]  # item 1 is a partner


def test_a_search_says_what_it_cannot_compare(tmp_path: Path) -> None:
    shop = Shop.create(tmp_path / "shop")
    recipe = Finetune(objective=Objective(pairs="people"), privacy=Privacy())
    with shop, pytest.raises(RecipeError, match="leave `privacy` out"):
        search_finetune(shop, recipe, budget_s=0)


def test_a_search_varies_only_what_the_objective_uses() -> None:
    assert space_of(Finetune()) == SPACE
    rebuilt = Finetune(objective=Objective(kind="autoencoder", temperature=0.5))
    space = space_of(rebuilt)
    assert SPACE.keys() - space.keys() == {"temperature"}
    tried = with_options(rebuilt, {"rate": 1e-4, "weight_decay": 0.2, "batch": 64})
    assert (tried.course.rate, tried.course.weight_decay, tried.batch) == (1e-4, 0.2, 64)
    assert tried.objective == rebuilt.objective


def test_what_a_search_found_is_written_with_its_kind(tmp_path: Path) -> None:
    with Shop.create(tmp_path / "shop") as shop:
        path = shop.folder / RECIPE
        told = '[train.finetune]\nbatch = 64\n\n[train.finetune.adapt]\nkind = "full"\nlayers = 1\n'
        path.write_text(told, "utf-8")
        shop.recipe = ShopRecipe.load(path)
        found = shop.recipe.train.finetune.adapted_to("lora")
        write_finetune(shop, found)
        written = ShopRecipe.load(path).train.finetune
        assert written == shop.recipe.train.finetune == found
