"""All of `tailrec.toml`: what it may say, a new one, and options put back into one."""

import tomllib
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from tailrec.arrange import Seen, Valued
from tailrec.data.cleaning import Cleaning
from tailrec.data.repurchase import NEVER, Repurchase
from tailrec.dataset import Dataset
from tailrec.engine import AnySource, EngineRecipe
from tailrec.errors import RecipeError
from tailrec.items import Float32Array
from tailrec.recipe import Recipe
from tailrec.recipe_file import replace_table
from tailrec.reranking.attention import Attention
from tailrec.reranking.exposure import Exposure
from tailrec.reranking.fairness import Fairness
from tailrec.reranking.launch import Launch
from tailrec.reranking.rules import FilterOption, Rules
from tailrec.reranking.sponsored import Sponsored
from tailrec.reranking.variety import Method
from tailrec.search.index import SearchRecipe
from tailrec.tail.segments import Definition
from tailrec.training.recipes import TrainRecipe
from tailrec.tuning import KEEP, Objective
from tailrec.tuning_search import Goal

RECIPE = "tailrec.toml"

NEW_SHOP = """\
# What this shop's engine does. Every option has a default; docs/recipe.md lists them all.

[store]
# url = "postgresql://user@host/database"    # instead of store.db beside this file

# [source]
# kind = "linear"    # as without this table; `fit --budget 10m` then takes what measures best
"""


class StoreRecipe(Recipe):
    """Where the shop's tables are.

    Attributes:
        url: `postgresql://...` or `sqlite:///...`; `store.db` in the shop's folder where None.
    """

    url: str | None = None


class SlateRecipe(Recipe):
    """What slates are like, unless a request says otherwise.

    Attributes:
        tail: 0..1, lean to the long tail.
        diversity: 0..1, variety within a slate.
        variety: what varied means: `mmr`, items unlike each other; `dpp`, the same of all
            together; `categories`, many kinds; `interests`, the shares of the person's own kinds;
            `popularity`, the shares of the person's own tiers.
        window: items above an item that it has to differ from, in long feeds; None: all.
        value: what a response to an item is worth: `one`, all alike; `price`; `margin`, price
            less cost; `conversion`, how often looks at it end in a purchase. Where it is not known,
            the mean of the others. Slates then are in the order of worth, not of scores.
        seen: what is done with items a person has: `hide`; `due`: shown once they are due again,
            see `repurchase`; `show`.
        fatigue: what every showing without an answer takes from an item's score, in 0..1.
        fatigue_days: showings longer ago are forgotten.
    """

    tail: float = Field(default=0.0, ge=0, le=1)
    diversity: float = Field(default=0.0, ge=0, le=1)
    variety: Method = "mmr"
    window: int | None = Field(default=None, ge=1)
    value: Valued = "one"
    seen: Seen = "hide"
    fatigue: float = Field(default=0.05, ge=0, le=1)
    fatigue_days: float = Field(default=7.0, gt=0)

    @model_validator(mode="after")
    def _window_of_a_method_that_has_one(self) -> Self:
        if self.window is not None and self.variety in ("interests", "popularity"):
            raise ValueError(
                f"variety {self.variety!r} weighs slates as a whole and has no window; leave out "
                f"window = {self.window}, or take mmr, dpp or categories"
            )
        return self


class Scene(Recipe):
    """A place in the shop where slates are shown, and what they are like there.

    Attributes:
        n: places.
        tail: 0..1, lean to the long tail; as in `slate` where None.
        diversity: 0..1, variety within a slate; as in `slate` where None.
        outside: level of the category in view that is left out: 1 for its first; None leaves out
            nothing. For what goes with a product and is of another kind.
        seen: what is done with items a person has; as in `slate` where None.
        filter: what may be shown; all where None.
        rules: pins, boosts and caps of this place, instead of the shop's; the shop's where None.
    """

    n: int = Field(default=20, ge=1, le=200)
    tail: float | None = Field(default=None, ge=0, le=1)
    diversity: float | None = Field(default=None, ge=0, le=1)
    outside: int | None = Field(default=None, ge=1, le=9)
    seen: Seen | None = None
    filter: FilterOption | None = None
    rules: Rules | None = None


class ServeRecipe(Recipe):
    """What a service allows.

    Attributes:
        requests_per_s: of one key, over all workers; None: as many as it likes.
        burst: requests of one key that may come at once.
    """

    requests_per_s: float | None = Field(default=None, gt=0)
    burst: int = Field(default=100, ge=1)


class ShopRecipe(EngineRecipe):
    """All of `tailrec.toml`.

    Attributes:
        store: where the tables are.
        search: how items are found by words.
        slate: what slates are like.
        attention: how likely places are looked at.
        exposure: who is shown, where and how often.
        launch: what new items are promised.
        fairness: protected items in every slate.
        sponsored: places that are sold.
        rules: pins, boosts and caps on every slate.
        scenes: places in the shop, by name.
        repurchase: when an item is due again.
        train: how encoders are trained.
        serve: what the service allows.
        cleaning: what an ingest corrects and refuses.
        tail: which definition of the tail steers and is shown.
        objective: what a search for options raises: `tail`, the tail's NDCG while nearly all of
            the overall NDCG is kept, or `overall`, the other way round.
        keep: share of the best of the NDCG that is kept; within it, the other one decides. Lower
            it to give more to the objective.
    """

    store: StoreRecipe = StoreRecipe()
    search: SearchRecipe = SearchRecipe()
    slate: SlateRecipe = SlateRecipe()
    attention: Attention = Attention()
    exposure: Exposure = Exposure()
    launch: Launch = Launch()
    fairness: Fairness = Fairness()
    sponsored: Sponsored = Sponsored()
    rules: Rules = Rules()
    scenes: dict[str, Scene] = Field(default={}, max_length=100)
    repurchase: Repurchase = Repurchase()
    train: TrainRecipe = TrainRecipe()
    serve: ServeRecipe = ServeRecipe()
    cleaning: Cleaning = Cleaning()
    tail: Definition = "pareto"
    objective: Objective = "tail"
    keep: float = Field(default=KEEP, gt=0, le=1)

    @model_validator(mode="after")
    def _learns_of_nobody(self) -> Self:
        seen = [self.slate.seen, *(scene.seen for scene in self.scenes.values())]
        if self.private and (self.needs_looks or "due" in seen):
            raise ValueError(
                "source.privacy covers pairs and counts of items; exposure.goals, "
                "launch.impressions, sponsored.campaigns, a slate.value other than 'one' and "
                "seen = 'due' learn more from people than that: leave them out, or privacy"
            )
        return self

    def due_days(self, data: Dataset) -> Float32Array:
        """Days after which each item is due again, float32 [I]; never, where fits are private."""
        if self.private:
            return np.full(data.n_items, NEVER, np.float32)
        return self.repurchase.fit(data)

    @property
    def needs_looks(self) -> bool:
        """Whether an option weighs items by how likely they are answered."""
        wanted = (self.exposure.goals, self.launch.impressions, self.sponsored.campaigns)
        return any(wanted) or self.slate.value != "one"

    def engine(self) -> EngineRecipe:
        """The part that decides what is recommended."""
        return EngineRecipe(**{name: getattr(self, name) for name in EngineRecipe.model_fields})

    def goal(self, objective: Objective | None = None, keep: float | None = None) -> Goal:
        """What a search for options looks for; the recipe's where nothing else is said."""
        return Goal(objective or self.objective, keep or self.keep, self.tail)


def write_source(path: Path, source: AnySource) -> ShopRecipe:
    """Put a source's options into `[source]` of a recipe file; all else in it stays.

    Options at their default are left out, unless they were written there before.

    Args:
        path: of a complete recipe.
        source: takes the place of the one there.

    Returns:
        The recipe as it now is.

    Raises:
        RecipeError: the file holds a bad option, or `[source]` in a form that cannot be changed
            line by line; it is as it was.
    """
    ShopRecipe.load(path)  # people edit it, too: what is wrong is said before anything changes
    there = tomllib.loads(path.read_text("utf-8")).get("source", {})
    if left := [
        n for n, value in there.items() if isinstance(value, dict) and not hasattr(source, n)
    ]:
        raise RecipeError(
            f"{path}: [source.{left[0]}] is no table of kind {source.kind!r}; take it out first"
        )
    default = type(source)().model_dump()
    options = {
        name: value
        for name, value in source.model_dump().items()
        # Tables within are left as they are: no search changes them.
        if value is not None and not isinstance(value, dict)
        if name in there or name == "kind" or value != default[name]
    }
    replace_table(path, "source", options)
    return ShopRecipe.load(path)
