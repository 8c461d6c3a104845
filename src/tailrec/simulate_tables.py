"""The hidden world told as a shop's tables: products in words, people, and a log of events."""

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Final

import numpy as np
import polars as pl
from numpy.random import Generator

from tailrec import columns as c
from tailrec.items import Float64Array, Int32Array, Int64Array
from tailrec.simulate_orders import ITEM, SECOND, USER, VISIT
from tailrec.simulate_visits import Visits
from tailrec.simulate_words import COLOURS, DEPARTMENTS, DESCRIPTIONS, STYLES
from tailrec.simulate_world import AGES, DAY_S, Simulation, World, brand_names

ARM: Final = "popular"
"""The name of the policy that chose the slates: `Truth.display`."""

_TITLE: Final = ("brand", "style", "material", "type", "colour", "size")
_REGIONS: Final = ("north", "east", "south", "west", "capital")


def items_table(world: World, rng: Generator) -> pl.DataFrame:
    """Columns of `columns.ITEMS`, one row a product, in the order of the truth."""
    recipe, n = world.truth.recipe, world.truth.recipe.n_items
    words = _words(world)
    price, cost = _prices(world, rng)
    table = words.select(
        pl.format("P{}", _number(n, 6)).alias(c.ITEM_ID),
        pl.format("{} {} {} {}, {}, {}", *_TITLE).alias(c.TITLE),
        _described(rng.integers(len(DESCRIPTIONS), size=n)).alias(c.DESCRIPTION),
        c.BRAND,
        pl.col("path").alias(c.CATEGORY),
        pl.Series(c.PRICE, price),
        pl.Series(c.COST, cost),
        pl.Series(c.STOCK, rng.negative_binomial(1, 0.02, n).astype(np.float64)),
        pl.format("S{}", pl.Series(rng.integers(1, 30, n))).alias(c.SELLER_ID),
        pl.struct("colour", "material", "size", "style").struct.json_encode().alias(c.ATTRIBUTES),
        _instant(recipe, pl.lit(pl.Series(world.truth.born_s))).alias(c.CREATED_AT),
        pl.Series(c.AVAILABLE, rng.random(n) < 0.99),
    )
    return _in_schema(table, c.ITEMS)


def _words(world: World) -> pl.DataFrame:
    """One row a product: its words, as they are and with a capital letter."""
    products, kinds = world.products, world.kinds
    room = np.array([list(DEPARTMENTS).index(name) for name in kinds.department])[products.kind]

    def of_room(lists: list[tuple[str, ...]], place: Int32Array) -> pl.Series:
        first = np.cumsum([0] + [len(words) for words in lists])[room]
        return pl.Series([word for words in lists for word in words]).gather(first + place)

    rooms = DEPARTMENTS.values()
    words = pl.DataFrame(
        {
            "type": pl.Series(kinds.name).gather(products.kind),
            "path": pl.Series(kinds.path).gather(products.kind),
            "style": pl.Series(list(STYLES)).gather(products.style),
            "phrase": pl.Series(list(STYLES.values())).gather(products.style),
            "colour": pl.Series(COLOURS).gather(products.colour),
            "material": of_room([d.materials for d in rooms], products.material),
            "size": of_room([d.sizes for d in rooms], products.size),
            "brand": pl.Series(brand_names()).gather(products.brand),
        }
    )
    return words.with_columns(
        (pl.col(name).str.slice(0, 1).str.to_uppercase() + pl.col(name).str.slice(1)).alias(
            name.capitalize()
        )
        for name in ("style", "colour", "material", "size")
    )


def _described(form: Int64Array) -> pl.Expr:
    """A product's description in the form with its number."""
    told = pl.lit(None, pl.String)
    for number, template in enumerate(DESCRIPTIONS):
        names = re.findall(r"{(\w+)}", template)
        text = pl.format(re.sub(r"{\w+}", "{}", template), *names)
        told = pl.when(pl.lit(pl.Series(form)) == number).then(text).otherwise(told)
    return told


def _prices(world: World, rng: Generator) -> tuple[Float64Array, Float64Array]:
    """Prices that end in 9 and what the shop pays, float64 [I] each."""
    n = world.truth.recipe.n_items
    median = np.array([DEPARTMENTS[name].price for name in world.kinds.department])
    of_type = median * rng.lognormal(sigma=0.35, size=len(median))
    of_brand = rng.lognormal(sigma=0.25, size=len(brand_names()))
    raw = of_type[world.products.kind] * of_brand[world.products.brand]
    tenths = np.ceil(raw * rng.lognormal(sigma=0.2, size=n) * 10) + 5
    price = np.round(tenths / 10 - 0.01, 2)
    return price, np.round(price * rng.uniform(0.35, 0.8, n), 2)


def users_table(world: World, rng: Generator) -> pl.DataFrame:
    """Columns of `columns.USERS`, one row a person, in the order of the truth."""
    recipe, n = world.truth.recipe, world.truth.recipe.n_users
    told = pl.DataFrame(
        {
            "age": pl.Series(AGES).gather(world.people.age),
            "region": pl.Series(_REGIONS).gather(rng.integers(len(_REGIONS), size=n)),
            "household": 1 + rng.poisson(1.2, n),
        }
    )
    table = told.select(
        pl.format("U{}", _number(n, 6)).alias(c.USER_ID),
        pl.struct("age", "region", "household").struct.json_encode().alias(c.ATTRIBUTES),
        _instant(recipe, pl.lit(pl.Series(world.people.joined_day * DAY_S))).alias(c.CREATED_AT),
    )
    return _in_schema(table, c.USERS)


def events_table(world: World, log: pl.DataFrame, visits: Visits, rng: Generator) -> pl.DataFrame:
    """Columns of `columns.EVENTS`, in the order of the log (of `draw_log`).

    Events are numbered before impressions are left out, so that the others keep their ids.
    """
    recipe = world.truth.recipe
    # A visit's device is drawn; who orders again does so on the web.
    device = pl.Series(np.where(rng.random(len(visits.user)) < 0.6, "app", "web"))
    numbered = log.with_columns(_number(len(log), 8).alias(c.EVENT_ID))
    if not recipe.impressions:
        numbered = numbered.filter(pl.col(c.TYPE) != "impression")
    in_slate = pl.col(c.POSITION).is_not_null()
    visit = pl.col(VISIT).cast(pl.String)
    table = numbered.select(
        pl.format("E{}", c.EVENT_ID).alias(c.EVENT_ID),
        pl.format("U{}", pl.col(USER).cast(pl.String).str.zfill(6)).alias(c.USER_ID),
        pl.format("P{}", pl.col(ITEM).cast(pl.String).str.zfill(6)).alias(c.ITEM_ID),
        c.TYPE,
        c.VALUE,
        _instant(recipe, pl.col(SECOND)).alias(c.TIMESTAMP),
        pl.format("V{}", visit).alias(c.SESSION_ID),
        c.TEXT,
        pl.when(in_slate).then(pl.format("L{}", visit)).alias(c.SLATE_ID),
        c.POSITION,
        c.PROPENSITY,
        pl.when(in_slate).then(pl.lit(ARM)).alias(c.ARM),
        pl.lit(device).gather(pl.col(VISIT), null_on_oob=True).fill_null("web").alias(c.PLATFORM),
    )
    return _in_schema(table, c.EVENTS)


def _instant(recipe: Simulation, second: pl.Expr) -> pl.Expr:
    start = pl.lit(recipe.start.astimezone(UTC)).cast(pl.Datetime("us", "UTC"))
    return start + pl.duration(seconds=second)


def _number(n: int, width: int) -> pl.Expr:
    """Numbers from 0 as text of one width, so that text sorts as they do."""
    return pl.int_range(n).cast(pl.String).str.zfill(width)


def _in_schema(table: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The schema's columns in its order; those that the table lacks are empty."""
    return table.select(
        pl.col(name).cast(kind) if name in table.columns else pl.lit(None, kind).alias(name)
        for name, kind in schema.items()
    )
