"""A crowd's engine with requests and rules, for tests of whole slates."""

from dataclasses import replace

import numpy as np
import polars as pl
from tests import worlds

from tailrec import columns as c
from tailrec.arrange import leaving_out
from tailrec.candidates.linear import Linear
from tailrec.dataset import Features
from tailrec.engine import Engine, EngineRecipe
from tailrec.features.build import FeatureModel, FeatureRecipe
from tailrec.items import QueryBatch
from tailrec.reranking.rules import Rules
from tailrec.reranking.rules_compiled import CompiledRules

N_ITEMS = 50


def crowd_engine() -> Engine:
    """A crowd's engine; its items have made-up directions of meaning."""
    rng = np.random.default_rng(5)
    data = worlds.crowd(rng, n_items=N_ITEMS)
    recipe = EngineRecipe(
        features=FeatureRecipe(encode=False), source=Linear(neighbours=5, tilt=0.0)
    )
    fitted = recipe.fit(data)
    dense = rng.normal(size=(N_ITEMS, 4)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    known = fitted.features
    features = FeatureModel(known.recipe, known.words, Features(known.features.words, dense), None)
    arrivals = Features(known.features.words[:0], dense[:0])
    return replace(fitted, features=features, arrivals=arrivals)


def crowd_queries(engine: Engine) -> QueryBatch:
    """Requests of the crowd; two items are hidden from all."""
    data = worlds.crowd(np.random.default_rng(5), n_items=N_ITEMS)
    asked = leaving_out(engine.queries(data, include_seen=True), "hide", np.zeros(0, np.float32))
    hidden = np.zeros(N_ITEMS, np.bool_)
    hidden[[0, 7]] = True
    return replace(asked, hidden=hidden)


def crowd_rules() -> CompiledRules:
    """A pin at the second place, more of items that end in 3, one of a group of five at most."""
    table = pl.DataFrame(
        {
            c.ITEM_ID: [f"i{number}" for number in range(N_ITEMS)],
            c.BRAND: [f"brand {number // 5}" for number in range(N_ITEMS)],
        }
    )
    named = [f"i{number}" for number in range(3, N_ITEMS, 10)]
    told: dict[str, object] = {
        "pin": [{"item": "i49", "position": 2}, {"item": "i7", "position": 1}],
        "boost": [{"items": named, "factor": 3.0}],
        "at_most": {"brand": 1},
    }
    return Rules.parse(told).compiled(table)
