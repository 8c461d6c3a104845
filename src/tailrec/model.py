"""A saved model: the engine, the index of its words, and when things are bought again."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import polars as pl

from tailrec import __version__
from tailrec import columns as c
from tailrec.artifact import Artifact, load_artifact, under
from tailrec.data.rows import content
from tailrec.dataset import Catalog, Dataset
from tailrec.engine import Engine, EngineRecipe
from tailrec.errors import ArtifactError
from tailrec.items import Array, Float32Array, Int64Array
from tailrec.looks import Looks
from tailrec.search.index import SearchIndex, SearchRecipe

TEXTS: Final = (c.TITLE, c.BRAND, c.CATEGORY, c.ATTRIBUTES, c.DESCRIPTION)
"""Columns that are read: an item of which one changes is read anew."""


@dataclass(frozen=True)
class Model:
    """What one fit learnt.

    Attributes:
        version: its name.
        engine: as it was fitted.
        index: words of the fitted items.
        again_days: float32 [I], days after which an item is due again.
        texts: int64 [I], marks of the items' texts, see `text_marks`.
        card: what is worth knowing of it.
        looks: how likely places are looked at and items answered; None where no option of the
            shop asks for it.
    """

    version: str
    engine: Engine
    index: SearchIndex
    again_days: Float32Array
    texts: Int64Array
    card: Mapping[str, Any]
    looks: Looks | None = None

    @classmethod
    def of(
        cls,
        version: str,
        engine: Engine,
        catalog: Catalog,
        recipe: SearchRecipe,
        again_days: Float32Array,
        *,
        card: Mapping[str, Any],
    ) -> Self:
        """The model of a fitted engine.

        Args:
            version: its name.
            engine: just fitted.
            catalog: what it was fitted on.
            recipe: of the search.
            again_days: float32 [I].
            card: what is worth knowing of it; the model of a private fit keeps of it what is
                not exactly so of the data.
        """
        index = recipe.fit(catalog, engine.features.features.dense)
        if engine.spent is not None:
            card = engine.spent.without_exact(card)
        return cls(version, engine, index, again_days, text_marks(catalog.table), card)

    def artifact(self) -> Artifact:
        """The model as files; see `load_model`."""
        saved = self.engine.artifact(self.card)
        arrays: dict[str, Array] = {"again_days": self.again_days, "texts": self.texts}
        arrays |= {f"search.{name}": values for name, values in self.index.arrays().items()}
        if self.looks is not None:
            arrays |= {f"looks.{name}": values for name, values in self.looks.arrays().items()}
        return replace(saved, arrays={**saved.arrays, **arrays})


def load_model(
    folder: Path, search: SearchRecipe, cache: Path | None, home: Path | None = None
) -> Model:
    """The model in a folder; its arrays stay in the file and are shared between processes.

    Args:
        folder: of the model; its name is the version.
        search: options of the search.
        cache: folder of vectors made before.
        home: folder of the shop, where its encoders are.

    Raises:
        ArtifactError: a file is missing, damaged, or of another version of tailrec.
    """
    artifact = load_artifact(folder)
    try:
        recipe = EngineRecipe.parse(tomllib.loads(artifact.recipe), origin=str(folder))
        engine = Engine.from_artifact(artifact, recipe, cache, home)
        arrays = artifact.arrays
        dense = engine.features.features.dense
        index = SearchIndex.from_arrays(search, under(arrays, "search."), dense)
        again, texts = arrays["again_days"], arrays["texts"]
        looks = Looks.from_arrays(under(arrays, "looks."))
    except (ValueError, KeyError, TypeError, IndexError) as error:  # a bad option, a lost array
        message = f"{folder} does not fit this version of tailrec ({error})"
        raise ArtifactError(f"{message}; fit again with `tailrec fit`") from error
    return Model(folder.name, engine, index, again, texts, artifact.card, looks)


def text_marks(items: pl.DataFrame) -> Int64Array:
    """A mark of each item's texts; it changes when one of `TEXTS` does.

    Args:
        items: table of `columns.ITEMS`.

    Returns:
        int64 [I], the same in every process and version.
    """
    texts = content(items.select(name for name in TEXTS if name in items.columns)).to_list()
    made = (blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(made), np.int64)


def card_of(engine: Engine, data: Dataset, fingerprint: str, started: datetime) -> dict[str, Any]:
    """What is worth knowing of a model, as plain values.

    Args:
        engine: of the model.
        data: what it was fitted to.
        fingerprint: of the store it came from.
        started: when the fit began.
    """
    packages = ("numpy", "scipy", "polars", "onnxruntime")
    return {
        "fitted_at": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 2),
        "source": engine.recipe.source.model_dump(),
        **({"privacy": engine.spent.card()} if engine.spent else {}),
        "data": {
            "fingerprint": fingerprint,
            "n_users": data.n_users,
            "n_items": data.n_items,
            "n_events": data.n_events,
            "now": datetime.fromtimestamp(data.now / 1e6, UTC).isoformat(),
        },
        "versions": {"tailrec": __version__} | {name: version_of(name) for name in packages},
    }
