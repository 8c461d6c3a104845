"""The hidden world of a simulated shop: its products, its people, and the truth about them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import AwareDatetime, Field, model_validator
from scipy.special import expit

from tailrec.items import Float32Array, Float64Array, Int32Array, Int64Array
from tailrec.recipe import Recipe
from tailrec.simulate_words import BRAND_ENDS, BRAND_STARTS, COLOURS, DEPARTMENTS, STYLES

DAY_S = 86_400
AGES = ("18-24", "25-34", "35-49", "50-64", "65+")
N_INTERESTS = 3
_DIM = 16  # of the types' space, and of the styles' space
_FADE_DAYS = 45.0


class Simulation(Recipe):
    """Options of a simulated shop."""

    n_users: int = Field(1500, ge=1, description="people")
    n_items: int = Field(2000, ge=2, description="products")
    n_days: int = Field(180, ge=2, description="days from the first to the last visit")
    start: AwareDatetime = Field(datetime(2025, 1, 1, tzinfo=UTC), description="the first day")
    visits: float = Field(6.0, ge=1, description="mean visits of a person")
    steps: float = Field(4.0, ge=1, description="mean products looked at in a visit")
    arriving: float = Field(0.3, ge=0, lt=1, description="share of products that come later")
    zipf: float = Field(1.0, ge=0, description="exponent of the products' hidden appeal")
    taste: float = Field(3.0, ge=0, description="how far people choose by their style")
    drift: float = Field(3.0, ge=0, description="how far people stay near the last product")
    repeat: float = Field(0.3, ge=0, lt=1, description="chance to buy a used-up product again")
    impressions: bool = Field(True, description="log what was shown but not clicked, too")
    slate_size: int = Field(10, ge=1, description="products shown at the start of a visit")
    attention: float = Field(0.7, ge=0, description="position k is looked at with k^-attention")
    exploration: float = Field(0.2, gt=0, le=1, description="share of the slots shown at random")

    @model_validator(mode="after")
    def _shelves_are_full(self) -> Self:
        if self.n_opening < self.slate_size:
            raise ValueError(
                f"a slate of {self.slate_size} needs as many products from the first day on; "
                f"{self.n_items} products less {self.arriving:.0%} arriving leave {self.n_opening}"
            )
        return self

    @property
    def n_opening(self) -> int:
        """How many products are there on the first day."""
        return self.n_items - int(self.n_items * self.arriving)


@dataclass(frozen=True, slots=True)
class Truth:
    """What decides the simulated behaviour, and no real shop ever sees.

    Attributes:
        recipe: the options.
        user_factors: float32 [U, D], hidden tastes.
        item_factors: float32 [I, D], hidden nature; taste for an item is the inner product.
        appeal: float64 [I], popularity of equally liked items, summing to 1.
        quality: float32 [I], standard normal: how satisfied buyers are.
        born_s: int64 [I], seconds from the first day to the product's arrival.
        attention: float64 [slate_size], chance that a position is looked at.
    """

    recipe: Simulation
    user_factors: Float32Array
    item_factors: Float32Array
    appeal: Float64Array
    quality: Float32Array
    born_s: Int64Array
    attention: Float64Array

    def affinity(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """float32 [N], how much each user likes the item beside it."""
        return np.asarray(
            np.einsum("nd,nd->n", self.user_factors[users], self.item_factors[items]), np.float32
        )

    def probability(
        self, users: Int32Array, items: Int32Array, *, of: Literal["click", "purchase"] = "click"
    ) -> Float64Array:
        """The true chances of a response.

        Args:
            users: int32 [N], rows of the users' table.
            items: int32 [N], rows of the items' table.
            of: a click, given that the item is looked at (multiply by `attention` for a
                position), or a purchase, given that it was clicked or viewed.

        Returns:
            float64 [N], in (0, 1).
        """
        liked = self.affinity(users, items).astype(np.float64)
        if of == "click":
            known = np.log(self.appeal * len(self.appeal))
            return np.asarray(expit(-3.0 + liked + 0.2 * known[items]), np.float64)
        return np.asarray(expit(-2.4 + 0.6 * liked + 0.7 * self.quality[items]), np.float64)

    def freshness(self, age_s: Int64Array) -> Float64Array:
        """float64 like `age_s`: new items draw attention that fades to a third."""
        return np.asarray((1 + 2 * np.exp(-age_s / (_FADE_DAYS * DAY_S))) / 3, np.float64)

    def display(self, day: int) -> Float64Array:
        """The logging policy: what is shown on one day, to everybody alike.

        Args:
            day: day since the start.

        Returns:
            float64 [I], chance that the item stands at one given position, the same for all
            positions; 0 for items that had not arrived when the day began.
        """
        there = self.born_s <= day * DAY_S
        age_s = np.maximum(day * DAY_S - self.born_s, 0)
        popular = np.where(there, self.appeal * self.freshness(age_s), 0)
        explore = self.recipe.exploration
        chance = (1 - explore) * popular / popular.sum() + explore * there / there.sum()
        return _capped(chance, 1 / self.recipe.slate_size)


def _capped(chance: Float64Array, cap: float) -> Float64Array:
    """Chances of at most `cap`, the excess spread over the others in proportion."""
    capped = np.zeros(len(chance), np.bool_)
    fair = chance
    while (over := fair > cap * (1 + 1e-12)).any():
        capped |= over
        free = 1 - cap * capped.sum()
        fair = np.where(capped, cap, chance * (free / chance[~capped].sum()))
    return fair


@dataclass(frozen=True, slots=True)
class Kinds:
    """Types of product, whole categories beside each other.

    Attributes:
        name, path, department: [T], "wall clock", "Home > Decoration > wall clock", "Home".
        demand: float64 [T], share of people's interests.
        nature: float32 [T, D], unit vectors; types of a category lie near each other.
        companion: int32 [T, 2], what is looked at next: a direct match, then a looser one.
    """

    name: tuple[str, ...]
    path: tuple[str, ...]
    department: tuple[str, ...]
    demand: Float64Array
    nature: Float32Array
    companion: Int32Array


@dataclass(frozen=True, slots=True)
class Products:
    """What the products' words are, as places in the vocabulary; each int32 [I].

    Attributes:
        kind: type of product.
        style, colour: place in `STYLES` and `COLOURS`.
        material, size: place in the department's lists.
        brand: place in `brand_names`.
    """

    kind: Int32Array
    style: Int32Array
    colour: Int32Array
    material: Int32Array
    size: Int32Array
    brand: Int32Array


@dataclass(frozen=True, slots=True)
class People:
    """Who comes to the shop.

    Attributes:
        joined_day: int64 [U].
        age: int32 [U], place in `AGES`.
        interest: int32 [U, 3], types of product.
        interest_share: float64 [U, 3], rows sum to 1.
    """

    joined_day: Int64Array
    age: Int32Array
    interest: Int32Array
    interest_share: Float64Array


@dataclass(frozen=True, slots=True)
class World:
    """All that is fixed before anybody visits."""

    kinds: Kinds
    products: Products
    people: People
    truth: Truth


def build_world(recipe: Simulation, rng: Generator) -> World:
    """Kinds, products and people of a shop, and their hidden vectors."""
    # People have numbers of their own: more of them leave the products as they are.
    rng, for_people = rng.spawn(2)
    kinds = _kinds(recipe, rng)
    words = {
        name: _unit(rng.normal(size=(n, _DIM)))
        for name, n in (
            ("style", len(STYLES)),
            ("colour", len(COLOURS)),
            ("brand", len(brand_names())),
            ("material", len(DEPARTMENTS) * 10),
        )
    }
    products = _products(recipe, kinds, rng)
    people = _people(recipe, kinds, for_people)
    style = _unit(
        words["style"][products.style]
        + 0.8 * words["brand"][products.brand]
        + 0.6 * words["material"][_material_row(kinds, products)]
        + 0.5 * words["colour"][products.colour]
        + 0.4 * _unit(rng.normal(size=(recipe.n_items, _DIM)))
    )
    likes = _unit(_liked_words(recipe, products, words, for_people))
    wants = _unit(np.einsum("uk,ukd->ud", people.interest_share, kinds.nature[people.interest]))
    truth = Truth(
        recipe=recipe,
        user_factors=np.hstack([1.5 * wants, 1.5 * likes]).astype(np.float32),
        item_factors=np.hstack([kinds.nature[products.kind], style]).astype(np.float32),
        appeal=_appeal(recipe, rng),
        quality=rng.normal(size=recipe.n_items).astype(np.float32),
        born_s=_born(recipe, rng),
        attention=np.arange(1.0, recipe.slate_size + 1) ** -recipe.attention,
    )
    return World(kinds, products, people, truth)


def brand_names() -> tuple[str, ...]:
    """Every brand a simulated shop may sell."""
    starts, ends = len(BRAND_STARTS), len(BRAND_ENDS)
    # Both parts change from one brand to the next, and no pair comes twice.
    return tuple(
        BRAND_STARTS[n % starts] + BRAND_ENDS[(n // starts + n) % ends]
        for n in range(starts * ends)
    )


def _kinds(recipe: Simulation, rng: Generator) -> Kinds:
    categories = [
        (department, category, types)
        for department, vocabulary in DEPARTMENTS.items()
        for category, types in vocabulary.types.items()
    ]
    # A small shop has few categories, and each of its types several products.
    n = int(np.clip(recipe.n_opening // 50, 1, len(categories)))
    chosen = [categories[row] for row in np.linspace(0, len(categories) - 1, n).astype(int)]
    roots = dict(zip(DEPARTMENTS, _unit(rng.normal(size=(len(DEPARTMENTS), _DIM))), strict=True))
    rows: list[tuple[str, str, str]] = []
    nature, companion = [], []
    for root, category, all_types in chosen:
        types = all_types[: recipe.n_opening]
        trunk = roots[root] + 0.8 * _unit(rng.normal(size=(1, _DIM)))
        nature.append(_unit(trunk + 0.8 * _unit(rng.normal(size=(len(types), _DIM)))))
        beside = (np.arange(len(types))[:, None] + [1, 3]) % len(types)
        companion.append(len(rows) + beside)
        rows += [(kind, f"{root} > {category} > {kind}", root) for kind in types]
    name, path, department = zip(*rows, strict=True)
    demand = rng.lognormal(sigma=0.7, size=len(rows))
    return Kinds(
        name,
        path,
        department,
        demand / demand.sum(),
        np.concatenate(nature).astype(np.float32),
        np.concatenate(companion).astype(np.int32),
    )


def _products(recipe: Simulation, kinds: Kinds, rng: Generator) -> Products:
    n = recipe.n_items
    # What many people look for comes in more variety.
    width = np.sqrt(kinds.demand) * rng.lognormal(sigma=0.3, size=len(kinds.name))
    kind = rng.choice(len(kinds.name), n, p=width / width.sum())
    # Every type is there on the first day, so that a visit never meets an empty shelf.
    kind[: len(kinds.name)] = rng.permutation(len(kinds.name))
    rooms = list(DEPARTMENTS)
    room = np.array([rooms.index(d) for d in kinds.department])[kind]
    materials = np.array([len(d.materials) for d in DEPARTMENTS.values()])
    sizes = np.array([len(d.sizes) for d in DEPARTMENTS.values()])
    per_room = int(np.clip(n // 250, 3, len(brand_names()) // len(rooms)))
    brand = (rng.integers(per_room, size=n) * len(rooms) + room).astype(np.int32)
    # A brand has a style of its own, and some products that step out of it.
    house_style = rng.integers(len(STYLES), size=len(brand_names()))
    style = np.where(rng.random(n) < 0.5, house_style[brand], rng.integers(len(STYLES), size=n))
    return Products(
        kind=kind.astype(np.int32),
        style=style.astype(np.int32),
        colour=rng.integers(len(COLOURS), size=n, dtype=np.int32),
        material=rng.integers(materials[room]).astype(np.int32),
        size=rng.integers(sizes[room]).astype(np.int32),
        brand=brand,
    )


def _people(recipe: Simulation, kinds: Kinds, rng: Generator) -> People:
    n = recipe.n_users
    age = rng.choice(len(AGES), n, p=[0.15, 0.3, 0.3, 0.17, 0.08]).astype(np.int32)
    rooms = list(DEPARTMENTS)
    leaning = rng.lognormal(sigma=0.8, size=(len(AGES), len(rooms)))
    room = np.array([rooms.index(d) for d in kinds.department])
    chance = kinds.demand * leaning[:, room]
    cumulated = np.cumsum(chance / chance.sum(1, keepdims=True), 1)
    interest = np.zeros((n, N_INTERESTS), np.int32)
    for band in range(len(AGES)):
        own = age == band
        drawn = np.searchsorted(cumulated[band], rng.random((int(own.sum()), N_INTERESTS)))
        interest[own] = np.minimum(drawn, len(room) - 1)
    early = rng.random(n) < 0.5
    return People(
        joined_day=np.where(early, 0, rng.integers(0, max(recipe.n_days * 9 // 10, 1), size=n)),
        age=age,
        interest=interest,
        interest_share=rng.dirichlet(np.ones(N_INTERESTS), n),
    )


def _liked_words(
    recipe: Simulation, products: Products, words: dict[str, Float64Array], rng: Generator
) -> Float64Array:
    """float64 [U, D]: two styles, one of them that of a brand, one colour, and a whim."""
    n = recipe.n_users
    model = rng.integers(recipe.n_items, size=n)  # a product that would be just right
    return np.asarray(
        words["style"][products.style[model]]
        + 0.7 * words["style"][rng.integers(len(STYLES), size=n)]
        + 0.8 * words["brand"][products.brand[model]]
        + 0.5 * words["colour"][products.colour[model]]
        + 0.3 * _unit(rng.normal(size=(n, _DIM))),
        np.float64,
    )


def _material_row(kinds: Kinds, products: Products) -> Int32Array:
    rooms = list(DEPARTMENTS)
    room = np.array([rooms.index(d) for d in kinds.department], np.int32)
    return np.asarray(room[products.kind] * 10 + products.material, np.int32)


def _appeal(recipe: Simulation, rng: Generator) -> Float64Array:
    falling = np.arange(1, recipe.n_items + 1) ** -recipe.zipf
    return np.asarray(rng.permutation(falling / falling.sum()), np.float64)


def _born(recipe: Simulation, rng: Generator) -> Int64Array:
    """Seconds to arrival, rising: products are numbered as they come."""
    late = rng.integers(0, recipe.n_days * DAY_S, size=recipe.n_items - recipe.n_opening)
    return np.concatenate([np.zeros(recipe.n_opening, np.int64), np.sort(late)])


def _unit(rows: Float64Array) -> Float64Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float64)
