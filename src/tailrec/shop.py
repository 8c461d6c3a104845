"""A shop is a folder: its recipe, its store, its models. Everything a command does starts here.

::

    myshop/ tailrec.toml  store.db  models/<version>/  models/current  tuning/  cache/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.artifact import (
    clear_leftovers,
    get_current,
    save_artifact,
    set_current,
)
from tailrec.assortment import Assortment
from tailrec.comparison import Comparison, Entry, Rules, Tell, compare
from tailrec.data.backend import aware
from tailrec.data.histories import Histories, Weights, build_dataset, settle_repeats
from tailrec.data.leaks import check_no_leak
from tailrec.data.live import Live, impressions
from tailrec.data.split import (
    Split,
    cold_items,
    has_real_times,
    inner_split,
    leave_one_out,
    time_windows,
)
from tailrec.data.store import Store
from tailrec.dataset import Dataset
from tailrec.engine import AnySource, Engine, EngineRecipe
from tailrec.errors import ArtifactError, DataError, StoreError
from tailrec.features.build import FeatureModel
from tailrec.features.text import Progress
from tailrec.frontier import Asked, Frontier, measure
from tailrec.items import PADDING
from tailrec.looks import Looks, attention_of, conversion_of, learn_looks
from tailrec.mixture import Mixture
from tailrec.model import Model, card_of, load_model
from tailrec.shop_recipe import NEW_SHOP, RECIPE, ShopRecipe, write_source
from tailrec.tail.segments import equal_windows, movement
from tailrec.tail.value import ValuableTail, valuable_tail
from tailrec.tuning import OnTrial
from tailrec.tuning_mixture import FITS, Validation, search_source
from tailrec.tuning_search import Goal, Tuned, search_options
from tailrec.tuning_study import Trial
from tailrec.updating import updated

STORE = "store.db"
MODELS = "models"
CACHE = "cache"
TUNING = "tuning"
COLD_SHARE = 0.1
"""Share of the items that a cold split withholds."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit gave.

    Attributes:
        version: name of the model, served from now on.
        card: what was learnt from, options chosen, figures on validation, seconds.
        trials: of the search for options; empty without one.
    """

    version: str
    card: dict[str, Any]
    trials: list[Trial]


class Shop:
    """An open shop. Close it, or use it in a `with`."""

    def __init__(self, folder: Path, recipe: ShopRecipe, store: Store) -> None:
        self.folder = folder
        self.recipe = recipe
        self.store = store

    @classmethod
    def create(cls, folder: Path, *, store_url: str | None = None) -> Self:
        """Make a new, empty shop and open it.

        Args:
            folder: may exist, but not as a shop.
            store_url: overrides the recipe's.

        Raises:
            DataError: there is a shop already.
        """
        if (folder / RECIPE).exists():
            raise DataError(f"{folder} is a shop already; name another folder")
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is a file; name a folder that is a shop from now on")
        folder.mkdir(parents=True, exist_ok=True)
        Store.open(store_url or folder / STORE, create=True).close()
        # The recipe last: without it a folder half made is no shop, and can be made again.
        (folder / RECIPE).write_text(NEW_SHOP, "utf-8")
        return cls.open(folder, store_url=store_url)

    @classmethod
    def open(cls, folder: Path, *, store_url: str | None = None) -> Self:
        """Open a shop.

        Raises:
            StoreError: there is no shop, or its store cannot be opened.
            RecipeError: tailrec.toml holds a bad option.
        """
        if not (folder / RECIPE).exists():
            raise StoreError(f"{folder} is no shop (no {RECIPE}); run `tailrec init {folder}`")
        recipe = ShopRecipe.load(folder / RECIPE)
        return cls(folder, recipe, Store.open(store_url or recipe.store.url or folder / STORE))

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def models(self) -> Path:
        """Folder of the fitted models."""
        return self.folder / MODELS

    @property
    def cache(self) -> Path:
        """Folder of vectors and encoders made before; may be deleted at any time."""
        return self.folder / CACHE

    def dataset(self, *, until: datetime | None = None, whole: bool = False) -> Dataset:
        """The shop's histories.

        Args:
            until: only events before this instant, which becomes "now".
            whole: keep repeated events, as splits need them.

        Raises:
            DataError: the store has no events that count.
        """
        events = self.store.read("events", until=until)
        items = self.store.read("items")
        data = build_dataset(events, items, self.recipe.histories, until=until, whole=whole)
        if not data.n_events:
            raise DataError(
                f"{self.folder} has no events that count as history (of {len(events)} stored"
                f"{'' if until is None else f' before {until}'}); run `tailrec ingest events FILE`"
            )
        return data

    def activity(self) -> Dataset:
        """Everything that happened, every repeat and impression included, each counting 1."""
        recipe = Histories(weights=Weights.of_all(1.0), repeats="all")
        events = pl.concat([self.store.read("events"), impressions(self.store.read("slates"))])
        return build_dataset(events, self.store.read("items"), recipe)

    def valuable_tail(self) -> ValuableTail:
        """The tail's items by their signs of value; demand by meaning where a model is fitted."""
        data = self.activity()
        vectors = None
        if get_current(self.models):
            engine = self.engine()
            row = {item_id: place for place, item_id in enumerate(engine.ids)}
            # Whatever has events and no row in the catalogue is unknown to the engine.
            known = np.array([row.get(item_id, PADDING) for item_id in data.catalog.ids])
            dense = engine.features.features.below(engine.arrivals).dense
            vectors = np.where(known[:, None] == PADDING, np.float32(0), dense[known])
        return valuable_tail(data, vectors=vectors, definition=self.recipe.tail)

    def movers(self, windows: int = 4) -> pl.DataFrame:
        """Items that rose or fell from the last but one to the last of equal windows in time.

        Returns:
            Rows of `tail.segments.movement` with titles, the surest change first; none where
            times are made up.
        """
        data = self.dataset(whole=True)
        moves = movement(data, equal_windows(data, windows))
        latest = moves.filter(pl.col("start") == pl.col("start").max())
        if not has_real_times(data):
            latest = latest.clear()
        titles = data.catalog.table.select(c.ITEM_ID, c.TITLE)
        return latest.filter(pl.col("direction").is_in(["rises", "falls"])).join(
            titles, on=c.ITEM_ID, how="left", maintain_order="left"
        )

    def splits(
        self, kind: str, *, windows: int = 3, days: float | None = None, seed: int = 0
    ) -> list[Split]:
        """The shop's data, split for evaluation.

        Args:
            kind: `time`, `leave-one-out` or `cold`.
            windows: of a time split.
            days: width of a window; None: by the time of the latest fifth of the events.
            seed: draws the items of a cold split.

        Raises:
            DataError: the kind is none of them, or times are made up and the split is by time.
        """
        data = self.dataset(whole=True)
        repeats = self.recipe.histories.repeats
        if kind == "leave-one-out":
            return _checked([leave_one_out(data, repeats=repeats)], data)
        if kind == "cold":
            rng = np.random.default_rng(seed)
            return _checked([cold_items(data, COLD_SHARE, rng, repeats=repeats)], data)
        if kind != "time":
            raise DataError(f"split is {kind!r}; it must be time, leave-one-out or cold")
        if not has_real_times(data):
            raise DataError(
                "most users begin at the same instant, so the times look made up from the order "
                "of events; a split in time would mean nothing: use --split leave-one-out"
            )
        return _checked(time_windows(data, n=windows, days=days, repeats=repeats), data)

    def compare(
        self,
        splits: list[Split],
        *,
        peers: Sequence[Entry] = (),
        slates: Mapping[str, Path] | None = None,
        rules: Rules | None = None,
        progress: Progress | None = None,
        tell: Tell | None = None,
    ) -> Comparison:
        """Measure the shop's source, beside peers and slates from elsewhere.

        Args:
            splits: of `splits`.
            peers: of ours, fitted on the same splits.
            slates: files by name, made elsewhere for the same splits.
            rules: how it is done; without, as the recipe says.
            progress: called while texts are encoded.
            tell: called with what is worked on.

        Raises:
            DataError: slates do not fit, or the comparison would not be valid.
        """
        own = Entry(self.recipe.source.kind, self.recipe.source)
        return compare(
            self.recipe.engine(),
            [own, *peers],
            splits,
            rules=rules or Rules(goal=self.recipe.goal()),
            slates=slates,
            cache=self.cache,
            home=self.folder,
            progress=progress,
            tell=tell,
        )

    def frontier(self, asked: Asked | None = None, *, progress: Progress | None = None) -> Frontier:
        """Measure what more exposure of the tail costs, on validation; nothing is changed.

        Args:
            asked: the questions, the usual ones where None; see `frontier.measure`.
            progress: called with a stage, what is done of it, and all of it.
        """
        whole = self.dataset(whole=True)
        asked, cache, home = asked or Asked(), self.cache, self.folder
        return measure(self.recipe, whole, asked, cache=cache, home=home, progress=progress)

    def fit(
        self,
        *,
        until: datetime | None = None,
        budget_s: float = 0.0,
        progress: Progress | None = None,
        on_trial: OnTrial | None = None,
    ) -> Fitted:
        """Fit the shop's recipe and serve it from now on.

        Args:
            until: learn from events before this instant only.
            budget_s: seconds to search options on validation; 0 takes them from the recipe. Where
                the recipe names no source, it is chosen, too; see `tuning_mixture`.
            progress: called while texts are encoded.
            on_trial: called after each trial of the search.

        Raises:
            DataError: there is nothing to learn from.
        """
        started = datetime.now(UTC)
        # Read once: what another process writes meanwhile must not come between the two.
        whole = self.dataset(until=until, whole=True)
        data = settle_repeats(whole, self.recipe.histories.repeats)
        recipe = self.recipe.engine()
        cache, home = self.cache, self.folder
        features = recipe.features.fit(data.catalog, cache=cache, home=home, progress=progress)
        tuned = None
        if budget_s > 0:
            goal = self.recipe.goal()
            # Who names no source gets the best measured.
            source = recipe.source if "source" in self.recipe.model_fields_set else Mixture()
            on, folder = self._validation(whole, features, goal), self.folder / TUNING
            tuned = search_source(source, on, folder=folder, budget_s=budget_s, progress=on_trial)
            if tuned.stopped:  # a model nobody waited for is not to be served
                raise KeyboardInterrupt
            recipe = recipe.model_copy(update={"source": tuned.chosen.source})
        engine = recipe.fit(data, whole=whole, features=features)
        told = tuned.card() if tuned else {}
        fitted = self._serve(engine, data, whole, started=started, until=until, told=told)
        return replace(fitted, trials=tuned.trials if tuned else [])

    def update(self, *, until: datetime | None = None) -> Fitted:
        """Bring the model that is served up to date with the events since; see `updating`.

        It keeps its options, whatever the recipe says of sources now.

        Args:
            until: learn from events before this instant only.

        Raises:
            ArtifactError: nothing was fitted yet, or the model is missing or damaged.
            RecipeError: nothing of the model is trained, or histories are made otherwise now.
            DataError: there is nothing to learn from.
        """
        started, histories = datetime.now(UTC), self.recipe.histories
        told = {"updated": get_current(self.models)}
        whole = self.dataset(until=until, whole=True)
        data = settle_repeats(whole, histories.repeats)
        engine = updated(self.model().engine, data, histories)
        return self._serve(engine, data, whole, started=started, until=until, told=told)

    def _serve(
        self,
        engine: Engine,
        data: Dataset,
        whole: Dataset,
        *,
        started: datetime,
        until: datetime | None,
        told: dict[str, Any],
    ) -> Fitted:
        """Save an engine and serve it from now on."""
        card = card_of(engine, data, self.store.fingerprint(), started) | told
        version = f"{started:%Y%m%dT%H%M%S.%f}-{engine.mark(card['data']['fingerprint'])[:6]}"
        again = self.recipe.due_days(whole)
        model = Model.of(version, engine, data.catalog, self.recipe.search, again, card=card)
        if self.recipe.needs_looks:
            looks = self._looks(whole, engine.recipe, engine.features, until)
            model = replace(model, looks=looks)
        clear_leftovers(self.models)
        save_artifact(model.artifact(), self.models / version)
        set_current(self.models, version)
        return Fitted(version, card, [])

    def tune(
        self,
        source: AnySource | None = None,
        goal: Goal | None = None,
        *,
        budget_s: float,
        progress: Progress | None = None,
        on_trial: OnTrial | None = None,
    ) -> Tuned:
        """Search options on validation, going on where the last search on the same data ended.

        Nothing is fitted for serving and no recipe changes; see `set_source`. Ctrl-C ends the
        search early.

        Args:
            source: where to start; the recipe's where None.
            goal: what is looked for; the recipe's where None.
            budget_s: seconds.
            progress: called while texts are encoded.
            on_trial: called after each trial with the seconds spent and the trial.

        Raises:
            DataError: there is nothing to learn from.
        """
        whole = self.dataset(whole=True)
        recipe, cache, home = self.recipe.features, self.cache, self.folder
        features = recipe.fit(whole.catalog, cache=cache, home=home, progress=progress)
        on = self._validation(whole, features, goal or self.recipe.goal())
        return search_options(
            source or self.recipe.source,
            on.inner,
            on.features,
            on.goal,
            folder=self.folder / TUNING,
            budget_s=budget_s,
            seed=on.seed,
            progress=on_trial,
        )

    def set_source(self, source: AnySource) -> None:
        """Put a source's options into `[source]` of tailrec.toml; all else in it stays.

        Options at their default are left out, unless they were written there before.

        Raises:
            RecipeError: the file holds a bad option, or `[source]` in a form that cannot be
                changed line by line; it is as it was.
        """
        self.recipe = write_source(self.folder / RECIPE, source)

    def model(self, version: str | None = None) -> Model:
        """A model as it was fitted.

        Args:
            version: its name; the one that is served where None.

        Raises:
            ArtifactError: nothing was fitted yet, or the model is missing or damaged.
        """
        name = version or get_current(self.models)
        if name is None:
            raise ArtifactError(f"{self.folder} has no model yet; run `tailrec fit`")
        if name not in self.versions():
            known = ", ".join(self.versions()) or "none"
            raise ArtifactError(f"model {name!r} is not in {self.models} (there: {known})")
        return load_model(self.models / name, self.recipe.search, self.cache, self.folder)

    def assortment(self, version: str | None = None, *, model: Model | None = None) -> Assortment:
        """Every item now in the store, over a model.

        Args:
            version: name of the model; the one that is served where None.
            model: loaded already, instead.

        Raises:
            ArtifactError: nothing was fitted yet, or the model is missing or damaged.
        """
        fitted = model or self.model(version)
        # The revision first: what changes in between is told again later, which does no harm.
        live = Live(self.store)
        revision = live.revision()
        items = self.store.read("items")
        bare = Assortment.of(fitted, items, self.recipe.tail, revision=revision)
        return bare if len(items) else bare.after(items, live.gone(), revision)

    def engine(self, version: str | None = None) -> Engine:
        """The engine of a model, knowing every item now in the store; see `assortment`."""
        return self.assortment(version).engine

    def versions(self) -> list[str]:
        """Names of the complete models, oldest first."""
        if not self.models.is_dir():
            return []
        # What starts with a dot is being written, or was when its process was killed.
        complete = (p.name for p in self.models.iterdir() if (p / "card.json").exists())
        return sorted(name for name in complete if not name.startswith("."))

    def erase(self, user_id: str) -> dict[str, int]:
        """Erase a person from the store; the next fit learns nothing of them.

        Models hold sums over people and no row of any person; they are left as they are.

        Returns:
            Rows erased by table.
        """
        return self.store.delete_user(user_id)

    def _looks(
        self,
        whole: Dataset,
        recipe: EngineRecipe,
        features: FeatureModel,
        until: datetime | None,
    ) -> Looks | None:
        """How slates are looked at; None where nobody answered anything on validation."""
        wanted = [c.TYPE, c.SLATE_ID, c.ITEM_ID]
        events = self.store.read("events", columns=wanted, until=until)
        slates = self.store.read("slates")
        if until is not None:
            slates = slates.filter(pl.col(c.TIMESTAMP) < aware(until))
        attention = attention_of(self.recipe.attention, slates, events)
        try:
            inner = inner_split(whole, self.recipe.histories.repeats)
            bought = conversion_of(events, whole.catalog.ids)
            return learn_looks(recipe, inner, features, attention=attention, bought=bought)
        except DataError:
            return None

    def _validation(self, whole: Dataset, features: FeatureModel, goal: Goal) -> Validation:
        repeats = self.recipe.histories.repeats
        inner = inner_split(whole, repeats)
        fits = FITS + 2 * self.recipe.needs_looks
        return Validation(inner, repeats, features.features, goal, self.recipe.seed, fits)


def _checked(splits: list[Split], data: Dataset) -> list[Split]:
    """The splits, each proved to know nothing of its future."""
    for split in splits:
        check_no_leak(split, data)
    return splits
