"""What a shop has now: a model, and every change of the catalogue since it was fitted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, TypeVar

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.arrange import Valued, Variety
from tailrec.data.filters import Filter
from tailrec.dataset import Catalog
from tailrec.engine import Engine
from tailrec.items import BoolArray, Float32Array, Int8Array, Int32Array
from tailrec.model import Model, text_marks
from tailrec.reranking.fairness import CompiledFairness, Fairness
from tailrec.reranking.grouping import UNGROUPED, groups_of
from tailrec.reranking.rules import Rules
from tailrec.reranking.rules_compiled import CompiledRules
from tailrec.reranking.variety import Method
from tailrec.search.facets import Facet, facets_of
from tailrec.search.index import SearchIndex
from tailrec.tail.segments import Definition, tiers

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

_KEPT: Final = 64
"""Masks and rules kept ready, at most; the oldest go first."""


@dataclass(frozen=True)
class Assortment:
    """All items of a shop at one moment, in the engine's catalogue numbers.

    It never changes: `after` gives a new one, beside which the old one goes on answering.

    Attributes:
        model: what was fitted.
        engine: the model's, knowing every item.
        index: the model's, knowing every text.
        table: columns of `columns.ITEMS` and `tier`, a row an item; those that are known by
            their events alone, or were deleted, have nothing but their id and tier.
        missing: bool [I], items that are not in the store's catalogue.
        tier: int8 [I], positions in `columns.TIERS`, by the events of the fit.
        hidden: bool [I], items that nobody is shown: missing, not for sale, or out of stock.
        revision: of the store's catalogue that this is; see `data.live`.
    """

    model: Model
    engine: Engine
    index: SearchIndex
    table: pl.DataFrame
    missing: BoolArray
    tier: Int8Array
    hidden: BoolArray
    revision: int
    _masks: dict[str, BoolArray] = field(default_factory=dict, repr=False)
    _rules: dict[Rules, CompiledRules] = field(default_factory=dict, repr=False)
    _fair: dict[Fairness, CompiledFairness | None] = field(default_factory=dict, repr=False)
    _groups: dict[str, Int32Array] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, model: Model, items: pl.DataFrame, definition: Definition, *, revision: int = 0
    ) -> "Assortment":
        """The shop's items as they are, over a model.

        Args:
            model: as it was fitted.
            items: the whole table of `columns.ITEMS`; without any, all that the model knows are
                taken as being there.
            definition: of the tail.
            revision: of the catalogue that `items` is.
        """
        engine = model.engine
        n_items = len(engine.ids)
        tier = tiers(engine.counts, definition)
        bare = pl.DataFrame({c.ITEM_ID: engine.ids.astype(str)}, schema={c.ITEM_ID: pl.String})
        table = pl.concat([bare, pl.DataFrame(schema=dict(c.ITEMS))], how="diagonal")
        table = table.select(list(c.ITEMS)).with_columns(_tier_names(tier))
        missing = np.full(n_items, len(items) > 0)
        first = cls(
            model, engine, model.index, table, missing, tier, _hidden(table, missing), revision
        )
        return first.after(items, (), revision)

    def after(self, changed: pl.DataFrame, gone: Sequence[str], revision: int) -> "Assortment":
        """The assortment after some changes; a new item is recommended and found at once.

        Args:
            changed: items that are new or changed, of `columns.ITEMS`.
            gone: ids of items that were deleted.
            revision: of the catalogue after these changes.

        Cost:
            One pass over the columns, and for each new or retold item one encoding and one small
            system; nothing of the fit is copied. Where the texts of an item change that came
            after the fit, all that came after it are solved anew.
        """
        engine = self._retold(changed).with_items(Catalog(changed))
        table, missing, tier = self._longer(engine)
        rows = _numbers(engine, changed[c.ITEM_ID].to_list())
        left = _numbers(engine, [item_id for item_id in gone if item_id in engine.index])
        index = self._reread(engine, changed, rows)
        if len(left):
            nothing = pl.DataFrame({c.ITEM_ID: engine.ids[left].astype(str)})
            table = _with_rows(table, left, nothing)
        table = _with_rows(table, rows, changed)
        if len(rows) and self.table[c.TITLE].null_count() == len(self.table):
            missing[:] = True  # the first of the catalogue: from now on it says what there is
        missing[rows] = False
        missing[left] = True
        return replace(
            self,
            engine=engine,
            index=index,
            table=table,
            missing=missing,
            tier=tier,
            hidden=_hidden(table, missing),
            revision=revision,
            _masks={},
            _rules={},
            _fair={},
            _groups={},
        )

    @cached_property
    def facets(self) -> list[Facet]:
        """How what is found is counted."""
        return facets_of(Catalog(self.table), self.tier)

    def hiding(self, wanted: Filter | None) -> BoolArray:
        """bool [I], items not on sale or stopped by a filter; ready where asked before."""
        if wanted is None:
            return self.hidden
        if wanted.key not in self._masks:
            _keep(self._masks, wanted.key, self.hidden | ~wanted.mask(self.table))
        return self._masks[wanted.key]

    def rules_of(self, rules: Rules) -> CompiledRules | None:
        """Rules over these items, None where they say nothing; ready where asked before."""
        if not (rules.pin or rules.selections or rules.at_most):
            return None
        if rules not in self._rules:
            _keep(self._rules, rules, rules.compiled(self.table))
        return self._rules[rules]

    def fairness_of(self, fairness: Fairness) -> CompiledFairness | None:
        """Protected items among these, None where none are; ready where asked before."""
        if fairness.protected is None:
            return None
        if fairness not in self._fair:
            _keep(self._fair, fairness, fairness.compiled(self.table))
        return self._fair[fairness]

    def variety(self, strength: float, method: Method, window: int | None) -> Variety:
        """How varied slates of these items are; see `reranking.variety`."""
        code = None
        if strength and method in ("categories", "interests"):
            code = self.groups(c.CATEGORY)
        elif strength and method == "popularity":
            code = self.tier.astype(np.int32)
        return Variety(strength, method, window, code)

    def groups(self, name: str) -> Int32Array:
        """int32 [I], codes by a field, `UNGROUPED` without one; ready where asked before.

        Args:
            name: as `reranking.grouping.is_group` takes it.
        """
        if name not in self._groups:
            _keep(self._groups, name, groups_of(self.table, name)[0])
        return self._groups[name]

    def akin(self, number: int, level: int) -> BoolArray | None:
        """bool [I], items of an item's category as far as a level; None where it has none."""
        code = self.groups(f"{c.CATEGORY}/{level}")
        return None if code[number] == UNGROUPED else code == code[number]

    def value(self, valued: Valued) -> Float32Array | None:
        """float32 [I], what a response to each item is worth, at least 0; None: all alike.

        Where it is not told it is the mean of the others.
        """
        if valued == "conversion":
            return self._conversion()
        price = self.table[c.PRICE].to_numpy()
        known = price if valued == "price" else price - self.table[c.COST].to_numpy()
        told = np.isfinite(known)
        if valued == "one" or not told.any():
            return None
        least = np.maximum(known, 0)
        value: Float32Array = np.where(told, least, least[told].mean()).astype(np.float32)
        return value

    def _conversion(self) -> Float32Array | None:
        """float32 [I], how often looks end in a purchase; items after the fit have the mean."""
        looks = self.model.looks
        if looks is None or not len(looks.conversion):
            return None
        known = looks.conversion
        late = np.full(len(self.engine.ids) - len(known), known.mean(), np.float32)
        return np.concatenate([known, late])

    def numbers(self, ids: Iterable[str]) -> Int32Array:
        """Catalogue numbers of those ids that are known, in their order."""
        index = self.engine.index
        return np.array([index[item_id] for item_id in ids if item_id in index], np.int32)

    def row(self, number: int) -> pl.DataFrame:
        """The row of one item."""
        return self.table.slice(number, 1)

    def _retold(self, changed: pl.DataFrame) -> Engine:
        """The engine, reading anew items that came after the fit and whose texts changed since."""
        n_fitted, index = len(self.model.texts), self.engine.index
        ids = changed[c.ITEM_ID].to_list()
        late = [place for place, item_id in enumerate(ids) if index.get(item_id, -1) >= n_fitted]
        told = changed[late]
        rows = _numbers(self.engine, told[c.ITEM_ID].to_list())
        if np.array_equal(text_marks(self.table[rows]), text_marks(told)):
            return self.engine
        arrivals = _with_rows(self.table[n_fitted:], rows - np.int32(n_fitted), told)
        return self.model.engine.with_items(Catalog(arrivals))

    def _longer(self, engine: Engine) -> tuple[pl.DataFrame, BoolArray, Int8Array]:
        """Table, what is missing, and tiers, with rows for items that are new to them."""
        known = len(self.missing)
        n_new = len(engine.ids) - known
        if not n_new:
            return self.table, self.missing.copy(), self.tier
        cold = np.full(n_new, c.TIERS.index("cold"), np.int8)
        new = pl.DataFrame({c.ITEM_ID: engine.ids[known:].astype(str), c.TIER: ["cold"] * n_new})
        table = pl.concat([self.table, new], how="diagonal").rechunk()
        return table, np.append(self.missing, np.ones(n_new, bool)), np.append(self.tier, cold)

    def _reread(self, engine: Engine, changed: pl.DataFrame, rows: Int32Array) -> SearchIndex:
        """The index with the items whose texts it does not know."""
        marks = text_marks(changed)
        fitted = rows < len(self.model.texts)
        same = np.zeros(len(rows), bool)
        same[fitted] = self.model.texts[rows[fitted]] == marks[fitted]
        # An item that was retold before may be back to what it was.
        told = np.flatnonzero(~same | np.isin(rows, self.index.overlay.numbers))
        if not len(told):
            return self.index
        catalog = Catalog(changed[told])
        dense = engine.features.transform(catalog).dense
        return self.index.put(catalog, rows[told], dense, len(engine.ids))


def _numbers(engine: Engine, ids: Sequence[str]) -> Int32Array:
    return np.array([engine.index[item_id] for item_id in ids], np.int32)


def _with_rows(table: pl.DataFrame, rows: Int32Array, values: pl.DataFrame) -> pl.DataFrame:
    """The table with some rows replaced; columns that `values` lacks become empty there."""
    if not len(rows):
        return table
    whole = len(rows) == len(table) and values.width >= len(c.ITEMS)
    if whole and np.array_equal(rows, np.arange(len(table))):
        return values.with_columns(table[c.TIER]).select(table.columns)
    columns = []
    for name, dtype in c.ITEMS.items():
        new = (
            values[name]
            if name in values.columns
            else pl.repeat(None, len(rows), dtype=dtype, eager=True)
        )
        columns.append(table[name].clone().scatter(rows, new))
    return table.with_columns(columns)


def _tier_names(tier: Int8Array) -> pl.Series:
    return pl.Series(c.TIER, np.array(c.TIERS)[tier], dtype=pl.String)


def _hidden(table: pl.DataFrame, missing: BoolArray) -> BoolArray:
    """bool [I]: missing, not for sale, or none in stock where stock is told."""
    gone = ~pl.col(c.AVAILABLE).fill_null(True) | (pl.col(c.STOCK).fill_null(1) <= 0)
    unsold: BoolArray = table.select(gone).to_series().to_numpy()
    return missing | unsold


def _keep(kept: dict[KeyT, ValueT], key: KeyT, value: ValueT) -> None:
    while len(kept) >= _KEPT:
        kept.pop(next(iter(kept)), None)
    kept[key] = value
