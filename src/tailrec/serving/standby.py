"""What answers when the model cannot: an older model, then the words, then what sells now."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tailrec.artifact import get_current, verify_artifact
from tailrec.assortment import Assortment
from tailrec.candidates.content import Content
from tailrec.candidates.popular import Popular
from tailrec.data.histories import build_dataset
from tailrec.engine import EngineRecipe
from tailrec.errors import ArtifactError, TailrecError
from tailrec.features.build import FeatureRecipe
from tailrec.model import Model, load_model
from tailrec.shop import Shop

OLDER: Final = "older model"
CONTENT: Final = "content"
POPULAR: Final = "popular"
LATELY: Final = timedelta(days=90)
"""Events that the last resorts look at."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a service answers from now.

    Attributes:
        stand: every item, over a model.
        fallback: what the model is where it is not the one that should be served; else None.
    """

    stand: Assortment
    fallback: str | None

    @property
    def version(self) -> str:
        """Name of the model."""
        return self.stand.model.version


def standing_of(shop: Shop) -> Standing:
    """The best that can be served now.

    Raises:
        ArtifactError: there is no model and no item either.
    """
    for version, fallback in _versions(shop):
        try:
            return _checked(shop, version, fallback)
        except ArtifactError as error:
            log.warning("model %s cannot be served: %s", version, error)
    return _resort(shop)


def wanted_version(shop: Shop) -> str | None:
    """Name of the model that should be served; None where there is none."""
    return get_current(shop.models)


def _versions(shop: Shop) -> Iterator[tuple[str, str | None]]:
    """Models worth a try: the one that is named, then the others, newest first."""
    current = get_current(shop.models)
    if current is not None:
        yield current, None
    for version in reversed(shop.versions()):
        if version != current:
            yield version, OLDER


def _checked(shop: Shop, version: str, fallback: str | None) -> Standing:
    folder = shop.models / version
    # Read whole once: damage found here would else end the process when a page is touched.
    verify_artifact(folder)
    model = load_model(folder, shop.recipe.search, shop.cache, shop.folder)
    return Standing(shop.assortment(model=model), fallback)


def _resort(shop: Shop) -> Standing:
    items = shop.store.read("items")
    span = shop.store.span()
    since = None if span is None else span[1] - LATELY
    whole = build_dataset(
        shop.store.read("events", since=since), items, shop.recipe.histories, whole=True
    )
    if not whole.n_items:
        raise ArtifactError("the shop has no items yet; put some, or run `tailrec ingest`")
    words = FeatureRecipe(words=shop.recipe.features.words, encode=False)
    newcomers = shop.recipe.newcomers
    for name, source in ((CONTENT, Content()), (POPULAR, Popular(half_life_days=30))):
        recipe = EngineRecipe(
            histories=shop.recipe.histories, features=words, source=source, newcomers=newcomers
        )
        try:
            engine = recipe.fit(whole)
            again = shop.recipe.repurchase.fit(whole)
            search = shop.recipe.search
            model = Model.of(name, engine, whole.catalog, search, again, card={})
            return Standing(shop.assortment(model=model), name)
        except TailrecError as error:
            log.warning("%s cannot stand in: %s", name, error)
    raise ArtifactError("nothing can stand in for the model; run `tailrec doctor`")
