"""All of `tailrec.toml`: what it may say, a new one, and options put back into one."""

import tomllib
from pathlib import Path

from pydantic import Field

from tailrec.data.cleaning import Cleaning
from tailrec.engine import AnySource, EngineRecipe
from tailrec.recipe import Recipe
from tailrec.recipe_file import replace_table
from tailrec.tail.segments import Definition
from tailrec.tuning import KEEP, Objective
from tailrec.tuning_search import Goal

RECIPE = "tailrec.toml"

NEW_SHOP = """\
# What this shop's engine does. Every option has a default; docs/recipe.md lists them all.

[store]
# url = "postgresql://user@host/database"    # instead of store.db beside this file

[source]
kind = "linear"
"""


class StoreRecipe(Recipe):
    """Where the shop's tables are.

    Attributes:
        url: `postgresql://...` or `sqlite:///...`; `store.db` in the shop's folder where None.
    """

    url: str | None = None


class ShopRecipe(EngineRecipe):
    """All of `tailrec.toml`.

    Attributes:
        store: where the tables are.
        cleaning: what an ingest corrects and refuses.
        tail: which definition of the tail steers and is shown.
        objective: what a search for options raises: `tail`, the tail's NDCG while nearly all of
            the overall NDCG is kept, or `overall`, the other way round.
        keep: share of the best of the NDCG that is kept; within it, the other one decides. Lower
            it to give more to the objective.
    """

    store: StoreRecipe = StoreRecipe()
    cleaning: Cleaning = Cleaning()
    tail: Definition = "pareto"
    objective: Objective = "tail"
    keep: float = Field(default=KEEP, gt=0, le=1)

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
    default = type(source)().model_dump()
    options = {
        name: value
        for name, value in source.model_dump().items()
        if value is not None and (name in there or name == "kind" or value != default[name])
    }
    replace_table(path, "source", options)
    return ShopRecipe.load(path)
