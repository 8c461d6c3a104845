"""The engine: one recipe in, fitted parts out, slates for any request, reasons for each item."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from tailrec.artifact import Artifact, pack_strings, under, unpack_strings
from tailrec.candidates.als import Als, AlsModel
from tailrec.candidates.content import Content
from tailrec.candidates.ease import Ease
from tailrec.candidates.item_item import ItemToItem
from tailrec.candidates.linear import Contributions, Linear, LinearModel
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.popular import Popular, PopularModel
from tailrec.candidates.private import Spent
from tailrec.candidates.sequence import Sequential, SequentialModel
from tailrec.data.histories import Histories
from tailrec.dataset import Catalog, Dataset, Features
from tailrec.errors import DataError, RecipeError, UnknownItem
from tailrec.features.build import FeatureModel, FeatureRecipe
from tailrec.features.text import Progress
from tailrec.items import (
    PADDING,
    Array,
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
    StrArray,
    ragged_rows,
)
from tailrec.mixture import Mixture, MixtureModel
from tailrec.recipe import Recipe
from tailrec.reranking.variety import Method, Sides, varied

AnyModel = LinearModel | ItemToItem | AlsModel | PopularModel | SequentialModel | MixtureModel
AnySource = Annotated[
    Linear | Content | ItemKnn | Ease | Als | Popular | Sequential | Mixture,
    Field(discriminator="kind"),
]


class EngineRecipe(Recipe):
    """Everything that decides what an engine recommends.

    Attributes:
        histories: how events become histories.
        features: how the words of items become vectors.
        source: the model that proposes items.
        newcomers: what a person without history is shown, and what fills short slates.
        seed: of everything that is drawn at random.
    """

    histories: Histories = Histories()
    features: FeatureRecipe = FeatureRecipe()
    source: AnySource = Linear()
    newcomers: Popular = Popular(half_life_days=30)
    seed: int = 0

    @property
    def private(self) -> bool:
        """Whether what is learnt must tell of nobody."""
        return isinstance(self.source, Linear) and self.source.privacy is not None

    @property
    def leans(self) -> bool:
        """Whether scores lean to the tail where a request asks for it."""
        return isinstance(self.source, Linear | Mixture)

    @model_validator(mode="after")
    def _newcomers_tell_of_nobody(self) -> Self:
        half_life = self.newcomers.half_life_days
        if self.private and half_life is not None:
            raise ValueError(
                "with source.privacy, newcomers are shown what the noised counts say, which know "
                f"no times; newcomers.half_life_days = {half_life:g} cannot be kept: write a table "
                '[newcomers] with kind = "popular" alone'
            )
        return self

    def fit(
        self,
        data: Dataset,
        *,
        whole: Dataset | None = None,
        features: FeatureModel | None = None,
        cache: Path | None = None,
        home: Path | None = None,
        progress: Progress | None = None,
    ) -> "Engine":
        """Learn everything from a dataset.

        Args:
            data: histories over a catalogue.
            whole: the same with every repeat; a mixture cuts its inner split from it.
            features: of the same catalogue, where they are there already.
            cache: folder of vectors made before; only new texts are encoded.
            home: folder of the shop, where its encoders are.
            progress: called while texts are encoded.

        Returns:
            The engine; two fits of one recipe on the same data are identical on a CPU, but for the
            noise of `source.privacy` without a seed.
        """
        known = features or self.features.fit(
            data.catalog, cache=cache, home=home, progress=progress
        )
        rng = np.random.default_rng(self.seed)
        model: AnyModel
        if isinstance(self.source, Mixture):
            repeats = self.histories.repeats
            model = self.source.fit(data, known.features, rng=rng, whole=whole, repeats=repeats)
        else:
            model = self.source.fit(data, known.features, rng=rng)
        newcomers, counts = self.newcomers.fit(data, known.features, rng=rng), data.item_counts
        if isinstance(model, LinearModel) and model.spent is not None:
            # The exact counts beside the noised ones would undo them.
            newcomers, counts = PopularModel.of(model.counts), model.counts
        none = known.features.rows(slice(0, 0))
        return Engine(self, data.catalog.ids, counts, known, model, newcomers, none)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item has its place for one person.

    Attributes:
        item_id: the item explained.
        rank: its place among all items the person may be shown, from 1; None where nothing
            speaks for it, or it is excluded.
        excluded: the person has it already, or it is not for sale.
        parts: what each past item gives, by behaviour and by text, and what being popular does.
    """

    item_id: str
    rank: int | None
    excluded: bool
    parts: Contributions


@dataclass(frozen=True)
class Engine:
    """A fitted engine. It never changes; `with_items` gives a new one.

    Attributes:
        recipe: what it was fitted with.
        ids: object [I + N], item ids by the engine's own catalogue number.
        counts: int64 [I + N], training events of each item.
        features: of the I items of the fit; makes vectors of new items and of search words.
        model: proposes items.
        newcomers: answers where the model has nothing to go by.
        arrivals: features of the N items that came after the fit.
    """

    recipe: EngineRecipe
    ids: StrArray
    counts: Int64Array
    features: FeatureModel
    model: AnyModel
    newcomers: PopularModel
    arrivals: Features

    def recommend(self, queries: QueryBatch, k: int) -> ItemsBatch:
        """Slates of k items, best first; the callable that evaluation takes.

        Places the model cannot fill go to what is popular now, below everything it proposed,
        with scores of -1, -2, ...; only a catalogue exhausted leaves a row short.

        Args:
            queries: B requests, in the engine's catalogue numbers.
            k: places of a slate; those beyond the catalogue's size are left out.
        """
        k = min(k, len(self.ids))
        found = self.model.candidates(queries, k)
        short = np.flatnonzero(found.ids[:, -1] == PADDING)
        if not len(short):
            return found
        ids, scores = found.ids.copy(), found.scores.copy()
        popular = self.newcomers.candidates(_without(queries, short, ids[short]), k).ids
        ids[short], scores[short] = _filled(ids[short], scores[short], popular)
        return ItemsBatch(ids, scores)

    @property
    def explains(self) -> LinearModel | MixtureModel | None:
        """The model, if it splits scores into exact parts: a linear one, or a mixture with one."""
        model = self.model
        if isinstance(model, MixtureModel) and model.linear is not None:
            return model
        return model if isinstance(model, LinearModel) else None

    @property
    def spent(self) -> Spent | None:
        """The privacy budget of the fit; None where it had none."""
        return self.model.spent if isinstance(self.model, LinearModel) else None

    def mark(self, fingerprint: str) -> str:
        """What a version is told by: a fingerprint of the data; drawn, where they must not tell."""
        return fingerprint if self.spent is None else secrets.token_hex(16)

    @cached_property
    def index(self) -> dict[str, int]:
        """The engine's catalogue number by item id."""
        return {item_id: row for row, item_id in enumerate(self.ids)}

    def queries(
        self,
        data: Dataset,
        users: Int32Array | None = None,
        *,
        include_seen: bool = False,
        tail: float = 0.0,
        hidden: BoolArray | None = None,
    ) -> QueryBatch:
        """Requests of users of any dataset of the shop, in the engine's catalogue numbers.

        Args:
            data: histories; items the engine does not know are left out of them.
            users: int32 [B], rows of users; all of them where None.
            include_seen: items of the history may be shown again.
            tail: 0..1, lean to the long tail.
            hidden: bool [I], items of the engine that nobody is shown.
        """
        asked = data.queries(users, include_seen=include_seen, tail=tail)
        own = np.array([self.index.get(name, PADDING) for name in data.catalog.ids], np.int32)
        return replace(_renumbered(asked, own), hidden=hidden)

    def varied(
        self,
        pools: ItemsBatch,
        k: int,
        strength: float,
        *,
        method: Method = "mmr",
        window: int | None = None,
        width: int | None = None,
        code: Int32Array | None = None,
        had: tuple[Int64Array, Int32Array] | None = None,
    ) -> ItemsBatch:
        """Slates of k from larger pools, trading relevance for variety.

        Args:
            pools: [B, P] scored items, best first.
            k: places of a slate.
            strength: 0..1; see `reranking.variety`, as for all that follows.
            method: what varied means.
            window: items above an item that it has to differ from; None: all.
            width: places that are returned, at least k; None: k.
            code: int32 [I + N], category or tier by the engine's number, -1 for none; all methods
                but `mmr` and `dpp` need it.
            had: bounds int64 [B + 1] and catalogue numbers int32 [E] of the people's past;
                `interests` and `popularity` need it.

        Returns:
            [B, width] or [B, P], with the scores and columns they came with.

        Raises:
            DataError: an argument is out of range, or one that the method needs is missing.
        """
        there = np.unique(pools.ids[pools.ids != PADDING])
        # Numbered among the pools' own items: nothing of the catalogue's size is copied.
        own = np.where(pools.ids == PADDING, PADDING, np.searchsorted(there, pools.ids))
        sides = Sides()
        if method in ("mmr", "dpp"):
            sides = Sides(self._vectors(there))
        elif code is not None and len(code) == len(self.ids):
            ptr, past = had or (sides.had_ptr, sides.had)
            sides = Sides(code=code[there], had_ptr=ptr, had=code[past])
        elif code is not None:
            raise DataError(f"code is of {len(code)} items; the engine has {len(self.ids)}")
        slates = varied(
            replace(pools, ids=own.astype(np.int32)),
            k,
            strength,
            method=method,
            sides=sides,
            window=window,
            width=width,
        )
        back = np.append(there, PADDING)[slates.ids]  # padding is -1, the last of them
        return replace(slates, ids=back.astype(np.int32))

    def _vectors(self, items: Int32Array) -> Float32Array:
        """float32 [J, D], language-model vectors of some items, numbers rising."""
        known = items < len(self.features.features)
        arrived = items[~known] - len(self.features.features)
        return np.concatenate(
            [self.features.features.dense[items[known]], self.arrivals.dense[arrived]]
        )

    def explain(self, query: QueryBatch, item_id: str) -> Explanation:
        """Why an item has its place, exactly.

        Args:
            query: a batch of one request.
            item_id: any item the engine knows.

        Raises:
            UnknownItem: the engine does not know the item.
            RecipeError: the engine's source gives no reasons.
        """
        if self.explains is None:
            kind = self.recipe.source.kind
            raise RecipeError(
                f"source {kind!r} gives no reasons; fit kind 'linear', or a mixture with it whose "
                "ranker is not lambdamart"
            )
        if item_id not in self.index:
            message = f"item {item_id!r} is not among the {len(self.ids)} of this model"
            raise UnknownItem(f"{message}; ingest it, or fit again")
        item = self.index[item_id]
        every = self.model.candidates(query, len(self.ids)).ids[0]
        place = np.flatnonzero(every == item)
        rank = int(place[0]) + 1 if len(place) else None
        hidden = query.hidden is not None and query.hidden[item]
        excluded = bool(hidden or np.isin(item, query.exclude))
        return Explanation(item_id, rank, excluded, self.explains.explain(query, item))

    def with_items(self, catalog: Catalog) -> "Engine":
        """The engine, knowing every item of a catalogue; those it knew stay as they were.

        Nothing of the fit is copied: what is new stands beside it. A new item is recommended by
        its words alone, without a fit. Sources that cannot place it by its words list it and never
        propose it.
        """
        # By the index: numpy compares each object of one array with each of the other.
        new = np.array([item_id not in self.index for item_id in catalog.ids.tolist()], np.bool_)
        if not new.any():
            return self
        arrivals = Catalog(catalog.table.filter(new))
        ids = np.concatenate([self.ids, arrivals.ids])
        counts = np.concatenate([self.counts, np.zeros(len(arrivals), np.int64)])
        features = self.features.transform(arrivals)
        model = self.model
        if isinstance(model, LinearModel | SequentialModel | MixtureModel):
            model = model.extended(features)
        all_arrivals = self.arrivals.below(features)
        return replace(self, ids=ids, counts=counts, model=model, arrivals=all_arrivals)

    def artifact(self, card: Mapping[str, Any]) -> Artifact:
        """The engine as it was fitted, as files; see `from_artifact`."""
        fitted = slice(0, len(self.features.features))
        text, bounds = pack_strings(self.ids[fitted])
        arrays: dict[str, Array] = {
            "ids.text": text,
            "ids.bounds": bounds,
            "counts": self.counts[fitted],
        }
        parts = {"features": self.features, "source": self.model, "newcomers": self.newcomers}
        for name, part in parts.items():
            arrays |= {f"{name}.{key}": values for key, values in part.arrays().items()}
        return Artifact(self.recipe.toml(), arrays, card)

    @classmethod
    def from_artifact(
        cls,
        artifact: Artifact,
        recipe: EngineRecipe,
        cache: Path | None,
        home: Path | None = None,
    ) -> Self:
        """The engine that was saved; its arrays stay in the file."""
        arrays = artifact.arrays
        features = recipe.features.restore(under(arrays, "features."), cache=cache, home=home)
        return cls(
            recipe,
            unpack_strings(arrays["ids.text"], arrays["ids.bounds"]),
            arrays["counts"],
            features,
            recipe.source.restore(under(arrays, "source.")),
            recipe.newcomers.restore(under(arrays, "newcomers.")),
            features.features.rows(slice(0, 0)),
        )


def _filled(
    ids: Int32Array, scores: Float32Array, extra: Int32Array
) -> tuple[Int32Array, Float32Array]:
    """Slates [B, k] whose padding is replaced by `extra` [B, k], which are not yet in them."""
    size = (ids != PADDING).sum(axis=1, keepdims=True)
    place = np.arange(ids.shape[1]) - size  # [B, k], place among the extras
    chosen = np.take_along_axis(extra, np.maximum(place, 0), axis=1)
    filled = (place >= 0) & (chosen != PADDING)
    ranked = (np.float32(-1) - place).astype(np.float32)
    return np.where(filled, chosen, ids), np.where(filled, ranked, scores)


def _without(queries: QueryBatch, rows: Int64Array, shown: Int32Array) -> QueryBatch:
    """Some requests that exclude what is shown already, too.

    They have no histories: popularity only asks what is excluded.

    Args:
        queries: B requests.
        rows: [R], those wanted.
        shown: int32 [R, k], items; padded.
    """
    start, at = ragged_rows(queries.exclude_ptr, rows)
    ptr, exclude = _joined(start, queries.exclude[at], shown != PADDING, shown)
    nothing = np.zeros(0, np.int32)
    none = nothing.astype(np.float32)
    empty = np.zeros(len(rows) + 1, np.int64)
    return QueryBatch(empty, nothing, nothing, none, none, ptr, exclude, hidden=queries.hidden)


def _renumbered(queries: QueryBatch, own: Int32Array) -> QueryBatch:
    """The same requests in other catalogue numbers; items without one are dropped."""
    item, exclude = own[queries.item], own[queries.exclude]
    kept, out = item != PADDING, exclude != PADDING
    upto = np.concatenate([[0], np.cumsum(kept)])
    out_upto = np.concatenate([[0], np.cumsum(out)])
    return QueryBatch(
        upto[queries.ptr],
        item[kept],
        queries.age[kept],
        queries.days[kept],
        queries.weight[kept],
        out_upto[queries.exclude_ptr],
        exclude[out],
        queries.tail,
        queries.hidden,
    )


def _joined(
    ptr: Int64Array, values: Int32Array, more: BoolArray, further: Int32Array
) -> tuple[Int64Array, Int32Array]:
    """Ragged rows, each with the values of `further` [R, W] behind it where `more` [R, W] holds."""
    added = np.concatenate([[0], np.cumsum(more.sum(axis=1))])
    joined = np.empty(ptr[-1] + added[-1], np.int32)
    own = np.arange(ptr[-1]) + np.repeat(added[:-1], np.diff(ptr))
    joined[own] = values
    new = np.arange(added[-1]) + np.repeat(ptr[1:], np.diff(added))
    joined[new] = further[more]
    return ptr + added, joined
