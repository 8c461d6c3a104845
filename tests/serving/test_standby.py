"""What answers when the model cannot: always the best there is, and never a broken one."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.arrange import Arrangement, slates_of
from tailrec.artifact import ARRAYS, CARD, RECIPE, get_current, set_current
from tailrec.errors import ArtifactError
from tailrec.items import PADDING, QueryBatch
from tailrec.serving.standby import (
    CONTENT,
    LATELY,
    OLDER,
    POPULAR,
    Standing,
    standing_of,
    wanted_version,
)
from tailrec.shop import Shop
from tailrec.slates import search_items

FIRST = "00000000T000000.000000-abcdef"
"""A version older than any other."""


@pytest.fixture
def current(shop: Shop) -> str:
    """Version of the model that should be served; an older one of the same content is there too."""
    version = get_current(shop.models)
    assert version is not None
    shutil.copytree(shop.models / version, shop.models / FIRST)
    return version


def damage(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


def answers(standing: Standing, shop: Shop) -> float:
    """Share of the people with a history for whom the model, not popularity, has something."""
    stand = standing.stand
    queries = stand.engine.queries(shop.dataset(), hidden=stand.hidden)
    slates = slates_of(stand.engine, queries, Arrangement(5))
    assert not stand.hidden[slates.ids[slates.ids != PADDING]].any()
    return float((slates.scores[:, 0] > 0).mean())


def test_the_model_that_is_named_is_served(shop: Shop, current: str) -> None:
    for version in (current, FIRST):
        set_current(shop.models, version)
        standing = standing_of(shop)
        assert (standing.version, standing.fallback) == (version, None)
        assert wanted_version(shop) == version
    assert answers(standing, shop) == 1


BROKEN = {
    "arrays are cut short": (ARRAYS, b"\x10\0\0\0\0\0\0\0{}"),
    "arrays are missing": (ARRAYS, None),
    "the card is missing": (CARD, None),
    "the card is no object": (CARD, b"[]"),
    "the card is no JSON": (CARD, b"{"),
    "the recipe is missing": (RECIPE, None),
    "the recipe has an unknown option": (RECIPE, b'[source]\nkind = "linear"\nmore = 1\n'),
    "the recipe is of another source": (RECIPE, b'[source]\nkind = "als"\n'),
}


@pytest.mark.parametrize(("name", "content"), BROKEN.values(), ids=BROKEN)
def test_a_broken_model_gives_way_to_an_older_one(
    shop: Shop, current: str, name: str, content: bytes | None
) -> None:
    damage(shop.models / current, name, content)
    standing = standing_of(shop)
    assert (standing.version, standing.fallback) == (FIRST, OLDER)
    assert wanted_version(shop) == current
    assert answers(standing, shop) == 1


def test_a_single_byte_that_changed_is_seen(shop: Shop, current: str) -> None:
    path = shop.models / current / ARRAYS
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert standing_of(shop).fallback == OLDER


@pytest.mark.parametrize("named", ["no such version", "", "..", "/", None])
def test_a_name_that_leads_nowhere_is_answered_by_the_newest(
    shop: Shop, current: str, named: str | None
) -> None:
    if named is None:
        (shop.models / "current").unlink()
    else:
        set_current(shop.models, named)
    standing = standing_of(shop)
    assert (standing.version, standing.fallback) == (current, OLDER)


def test_a_model_that_is_being_written_is_not_looked_at(shop: Shop, current: str) -> None:
    shutil.copytree(shop.models / current, shop.models / f".{current}.1")
    shutil.rmtree(shop.models / current)
    shutil.rmtree(shop.models / FIRST)
    assert standing_of(shop).fallback == CONTENT


def test_without_any_whole_model_the_words_answer(shop: Shop, current: str) -> None:
    for version in (current, FIRST):
        damage(shop.models / version, ARRAYS, b"")
    standing = standing_of(shop)
    assert (standing.version, standing.fallback) == (CONTENT, CONTENT)
    assert answers(standing, shop) == 1
    title = shop.store.read("items")[c.TITLE][0]
    best = search_items(standing.stand, title, k=1).items
    assert standing.stand.engine.ids[best.ids].tolist() == [shop.store.read("items")[c.ITEM_ID][0]]


# ---------------------------------------------------------------------------- never fitted


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Shop]:
    """A shop without items, events or models."""
    with Shop.create(tmp_path / "bare") as opened:
        yield opened


@pytest.fixture(scope="session")
def tables(fitted: Shop) -> dict[str, pl.DataFrame]:
    return {name: fitted.store.read(name) for name in ("items", "events")}


def newcomer(standing: Standing, k: int = 5) -> list[str]:
    """What somebody without a history is shown."""
    zero, none = np.zeros(2, np.int64), np.zeros(0, np.int32)
    empty = none.astype(np.float32)
    hidden = standing.stand.hidden
    query = QueryBatch(zero, none, none, empty, empty, zero, none, hidden=hidden)
    ids = slates_of(standing.stand.engine, query, Arrangement(k))[0].ids
    return [str(item_id) for item_id in standing.stand.engine.ids[ids]]


def test_an_empty_shop_has_nothing_to_show(bare: Shop) -> None:
    with pytest.raises(ArtifactError, match="put some, or run `tailrec ingest`"):
        standing_of(bare)
    assert wanted_version(bare) is None


def test_items_and_events_are_enough(bare: Shop, tables: dict[str, pl.DataFrame]) -> None:
    for name, rows in tables.items():
        bare.store.write(name, rows)
    standing = standing_of(bare)
    assert standing.fallback == CONTENT
    assert answers(standing, bare) == 1
    # Nothing is known of a newcomer: what sells now.
    lately = bare.store.span()
    assert lately is not None
    recipe = bare.recipe.newcomers.fit(
        bare.dataset(whole=True),
        standing.stand.engine.features.features,
        rng=np.random.default_rng(),
    )
    ids = bare.dataset().catalog.ids
    sold = [i for i in recipe.ids if not standing.stand.hidden[standing.stand.engine.index[ids[i]]]]
    assert newcomer(standing) == [str(ids[i]) for i in sold[:5]]


def test_items_alone_are_enough_for_the_words(bare: Shop, tables: dict[str, pl.DataFrame]) -> None:
    bare.store.write("items", tables["items"])
    standing = standing_of(bare)
    assert standing.fallback == CONTENT
    first = tables["items"].row(0, named=True)
    best = search_items(standing.stand, first[c.TITLE], k=1).items
    assert standing.stand.engine.ids[best.ids].tolist() == [first[c.ITEM_ID]]


def test_events_alone_are_enough_for_what_sells(
    bare: Shop, tables: dict[str, pl.DataFrame]
) -> None:
    bare.store.write("events", tables["events"])
    standing = standing_of(bare)
    assert standing.fallback in (CONTENT, POPULAR)
    assert len(newcomer(standing)) == 5
    assert not standing.stand.hidden.any()


def test_the_last_resort_looks_at_what_happened_lately(
    bare: Shop, tables: dict[str, pl.DataFrame]
) -> None:
    """Long ago everybody bought one thing; nobody does now."""
    items, events = tables["items"], tables["events"]
    bare.store.write("items", items)
    bare.store.write("events", events)
    once = items[c.ITEM_ID][7]
    ancient = events.head(5_000).with_columns(
        pl.format("old-{}", c.EVENT_ID).alias(c.EVENT_ID),
        pl.lit(once).alias(c.ITEM_ID),
        pl.lit("purchase").alias(c.TYPE),
        pl.col(c.TIMESTAMP) - (LATELY + timedelta(days=90)),
    )
    bare.store.write("events", ancient)
    standing = standing_of(bare)
    number = standing.stand.engine.index[once]
    lately = events.filter((pl.col(c.ITEM_ID) == once) & (pl.col(c.TYPE) != "impression"))
    assert standing.stand.engine.counts[number] == lately.height
