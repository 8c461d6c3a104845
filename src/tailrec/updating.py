"""A model brought up to date: everything is fitted to more events, and what is trained goes on.

What takes minutes in a fit is training, and finding out whom to trust. An update does neither from
the beginning: a trained part goes on from where it was, with a share of its steps, and a mixture's
weights stay. All else is fitted as ever, in seconds. The vocabulary stays too, so that words mean
what they meant; new items are read by it.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from tailrec.candidates.sequence import Sequential
from tailrec.data.histories import Histories
from tailrec.dataset import Dataset
from tailrec.engine import Engine
from tailrec.errors import RecipeError
from tailrec.items import PADDING
from tailrec.mixture import Mixture


def updated(engine: Engine, data: Dataset, histories: Histories) -> Engine:
    """The engine after more events, with the options that it was fitted with.

    Args:
        engine: as it was fitted.
        data: histories as they are now; the catalogue may have grown.
        histories: how they were made.

    Raises:
        RecipeError: nothing of the engine is trained, so an update would be a fit; or the engine
            has learnt from histories that were made otherwise.
    """
    if histories != engine.recipe.histories:
        raise RecipeError(
            "[histories] of the recipe has changed since the model was fitted, and an update goes "
            "on with what it learnt: run `tailrec fit` without --update"
        )
    source, before = engine.recipe.source, engine.model
    features = engine.features.transform(data.catalog)
    placed = np.array([engine.index.get(name, PADDING) for name in data.catalog.ids], np.int32)
    rng = np.random.default_rng(engine.recipe.seed)
    trained: Any = source if isinstance(source, Sequential | Mixture) else None
    if trained is None:
        raise RecipeError(
            f"nothing of source {source.kind!r} is trained, and a fit takes seconds: "
            "leave out --update"
        )
    model = trained.update(before, placed, data, features, rng=rng)
    newcomers = engine.recipe.newcomers.fit(data, features, rng=rng)
    known = replace(engine.features, features=features)
    none = features.rows(slice(0, 0))
    return Engine(engine.recipe, data.catalog.ids, data.item_counts, known, model, newcomers, none)
