"""Slates of one person, of some, or of all, as a table."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from tailrec import columns as c
from tailrec.arrange import (
    Arrangement,
    Steering,
    arranged,
    leaving_out,
    pools_of,
    slates_of,
)
from tailrec.assortment import Assortment
from tailrec.data.counters import Counters
from tailrec.data.jsonlines import ROW
from tailrec.data.live import MOST_SLATES
from tailrec.data.read import read_table
from tailrec.dataset import DAY_US, Dataset
from tailrec.errors import DataError
from tailrec.files import whole_file
from tailrec.items import PADDING, Array, Int32Array, ItemsBatch, QueryBatch
from tailrec.reranking.exposure_goals import CompiledGoals
from tailrec.reranking.exposure_plan import Plan, plan
from tailrec.shop import Shop
from tailrec.slates import PLAIN, Ask, check_dials, slate_table
from tailrec.steering import Controls, Helm, Ledger

CHUNK: Final = 4_096
"""Users asked for at once, at most."""
PLANNED: Final = 100_000
"""Users whose slates are planned together, at most."""
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Files of people that are tables with a column user_id; others have an id a line."""


class Planned(NamedTuple):
    """What a plan of exposure for many people gave.

    Attributes:
        goals: that were planned for.
        plans: one for each `PLANNED` people.
    """

    goals: CompiledGoals
    plans: list[Plan]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: goals met, what slates keep of their value, and goals that are not met."""
        given, missing, attainable = (
            np.sum([getattr(made, name) for made in self.plans], axis=0)
            for name in ("given", "shortfall", "attainable")
        )
        best = sum(made.best for made in self.plans) or 1.0
        worst = [n for n in np.argsort(-missing, kind="stable").tolist() if missing[n] > 0]
        return {
            "exposure": {
                "n_goals": len(self.goals),
                "n_met": len(self.goals) - len(worst),
                "kept": sum(made.value for made in self.plans) / best,
                "bound": sum(made.bound for made in self.plans) / best,
                "unmet": [
                    {
                        "goal": self.goals.names[n],
                        "given": float(given[n]),
                        "missing": float(missing[n]),
                        "attainable": float(attainable[n]),
                    }
                    for n in worst
                ],
            }
        }


def recommended(
    shop: Shop,
    *,
    user: str | None = None,
    users: str | None = None,
    ask: Ask = PLAIN,
    version: str | None = None,
    out: Path | None = None,
    on_plan: Callable[[Planned], None] | None = None,
) -> pl.DataFrame:
    """Slates of one person, of the people in a file, or of all.

    Where the recipe has goals on exposure, the slates of several people are planned together;
    one person's are steered by what was served so far, as the service does it. New items are
    launched and places sold by the service alone: it is seen there what comes of them.

    Args:
        shop: an open shop.
        user: one person; anybody, known or not.
        users: a file of ids (one a line, or a table of `TABLES`), or `all` who have a history.
        ask: what is asked of each slate.
        version: of the model; the served one where None.
        out: also write them there (.parquet or .csv), whole or not at all.
        on_plan: called with what was planned.

    Returns:
        user_id, rank (1..k), item_id, score.

    Raises:
        DataError: neither or both of user and users are given, or a file is of the wrong kind.
        RecipeError: the model has no such dial, or has not learnt what goals on exposure need.
    """
    _check(user, users, out)
    stand = shop.assortment(version)
    people = _People.of(shop, stand, ask)
    ids = [user] if user is not None else _ids_of(users or "", people.data.user_ids)
    controls = _controls(shop, stand)
    if controls is None or controls.goals is None or len(ids) == 1:
        parts = [people.slates(names, controls) for names in _chunks(ids, CHUNK)]
    else:
        blocks = [people.planned(names, controls) for names in _chunks(ids, PLANNED)]
        parts = [part for slates, _ in blocks for part in slates]
        if on_plan is not None:
            on_plan(Planned(controls.goals, [made for _, made in blocks]))
    table = pl.concat(parts)
    if out is not None:
        _write(table, out)
    return table


class _People(NamedTuple):
    """Whose slates are asked for, and how."""

    shop: Shop
    stand: Assortment
    ask: Ask
    data: Dataset
    shown: Callable[[list[str]], tuple[Int32Array, Int32Array]]

    @classmethod
    def of(cls, shop: Shop, stand: Assortment, ask: Ask) -> "_People":
        slate = shop.recipe.slate
        ask = ask._replace(
            tail=slate.tail if ask.tail is None else ask.tail,
            diversity=slate.diversity if ask.diversity is None else ask.diversity,
        )
        check_dials(stand, ask.tail or 0.0, ask.diversity or 0.0, slate.variety)
        data = shop.dataset(until=ask.asof)
        return cls(shop, stand, ask, data, _shown_in_vain(shop, data, stand, ask.asof))

    def slates(self, names: list[str], controls: Controls | None) -> pl.DataFrame:
        """Slates, each steered on its own."""
        queries, how = self._asked(names)
        if controls is not None:
            how = replace(how, worth=controls.worth, steering=controls.steering)
        return self._table(names, slates_of(self.stand.engine, queries, how))

    def planned(self, names: list[str], controls: Controls) -> tuple[list[pl.DataFrame], Plan]:
        """Slates that meet the goals together."""
        goals, cost = controls.goals, self.shop.recipe.exposure.cost
        assert goals is not None
        owed = (goals.least(1.0, 1.0) > 0).astype(np.float64)
        seek = Steering(goals.item_prices(owed), cost)
        asked, pools = [], []
        for part in _chunks(names, CHUNK):
            queries, how = self._asked(part)
            how = replace(how, worth=controls.worth, steering=seek)
            asked.append((part, queries, how))
            pools.append(pools_of(self.stand.engine, queries, how))
        whole = ItemsBatch.concat(pools)
        made = plan(
            whole,
            controls.worth.of(whole),
            goals,
            self.ask.k,
            attention=controls.worth.attention,
            cost=cost,
        )
        steering = Steering(goals.item_prices(made.prices), cost)
        tables = []
        for number, (part, queries, how) in enumerate(asked):
            if how.bends_later:
                # Later steps choose from the whole pool, at the plan's prices.
                own = arranged(
                    self.stand.engine, pools[number], queries, replace(how, steering=steering)
                )
            else:
                start = number * CHUNK
                own = made.slates.rows(slice(start, start + len(part)))
            tables.append(self._table(part, own))
        return tables, made

    def _asked(self, names: list[str]) -> tuple[QueryBatch, Arrangement]:
        """Requests of some people, and how their slates are made."""
        stand, recipe, ask = self.stand, self.shop.recipe, self.ask
        rows = np.array([self.data.user_index.get(name, -1) for name in names], np.int32)
        queries = stand.engine.queries(
            self.data, rows, include_seen=True, tail=ask.tail or 0.0, hidden=stand.hidden
        )
        seen = "show" if ask.include_seen else recipe.slate.seen
        place, item = self.shown(names)
        how = Arrangement(
            ask.k,
            stand.variety(ask.diversity or 0.0, recipe.slate.variety, recipe.slate.window),
            rules=stand.rules_of(recipe.rules),
            fatigue=recipe.slate.fatigue,
            shown_rows=place,
            shown=item,
            fairness=stand.fairness_of(recipe.fairness),
        )
        return leaving_out(queries, seen, stand.model.again_days), how

    def _table(self, names: list[str], slates: ItemsBatch) -> pl.DataFrame:
        return slate_table(self.stand.engine, names, slates)


def _controls(shop: Shop, stand: Assortment) -> Controls | None:
    """What steers slates now, by the counters of the store."""
    if not shop.recipe.needs_looks:
        return None
    ledger = Ledger(Counters(shop.store))
    ledger.read()
    return Helm(shop.recipe, ledger).controls(stand, datetime.now(UTC), {})


def _chunks(names: list[str], size: int) -> Iterator[list[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _check(user: str | None, users: str | None, out: Path | None) -> None:
    if (user is None) == (users is None):
        raise DataError("say who the slates are for: --user ID, or --users FILE, or --users all")
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise DataError(f"{out} must end in .parquet or .csv")
    if out is not None and not out.absolute().parent.is_dir():
        raise DataError(f"{out.parent} is no folder; make it, or name another file")


def _shown_in_vain(
    shop: Shop, data: Dataset, stand: Assortment, asof: datetime | None
) -> Callable[[list[str]], tuple[Int32Array, Int32Array]]:
    """For people by id: rows and items of what they were shown lately, as the service knows it."""
    wanted = [c.USER_ID, c.TIMESTAMP, c.ITEM_IDS]
    slates = shop.store.read("slates", columns=wanted).drop_nulls(c.USER_ID)
    if asof is not None:
        slates = slates.filter(pl.col(c.TIMESTAMP).dt.epoch("us") < data.now)
    newest = slates.sort(c.TIMESTAMP, descending=True).group_by(c.USER_ID).head(MOST_SLATES)
    time = pl.col(c.TIMESTAMP).dt.epoch("us")
    latest = pl.max_horizontal(time.max().over(c.USER_ID), pl.lit(data.now))
    lately = newest.filter(time >= latest - shop.recipe.slate.fatigue_days * DAY_US)
    items = lately.select(
        c.USER_ID, pl.col(c.ITEM_IDS).str.json_decode(pl.List(pl.String)).alias(c.ITEM_ID)
    ).explode(c.ITEM_ID)
    number = [stand.engine.index.get(item_id, PADDING) for item_id in items[c.ITEM_ID].to_list()]
    items = items.with_columns(pl.Series("number", number, dtype=pl.Int32))
    items = items.filter(pl.col("number") != PADDING)

    def of(names: list[str]) -> tuple[Int32Array, Int32Array]:
        people = pl.DataFrame({c.USER_ID: names}).with_row_index("row")
        own = people.join(items, on=c.USER_ID, how="inner")
        return own["row"].cast(pl.Int32).to_numpy(), own["number"].to_numpy()

    return of


def _ids_of(users: str, known: Array) -> list[str]:
    """Ids in a file: one a line, or a column user_id of a table."""
    if users == "all":
        return [str(user_id) for user_id in known]
    path = Path(users)
    if not path.is_file():
        raise DataError(f"{users} is no file; name one with a user id a line, or say all")
    if path.suffix in TABLES:
        frame = read_table(path).drop(ROW)
        if c.USER_ID not in frame.columns:
            raise DataError(f"{users} has columns {frame.columns}; {c.USER_ID} is needed")
        ids = frame[c.USER_ID].cast(pl.String).drop_nulls().to_list()
    else:
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{users} is no text in UTF-8; save it as such") from error
        ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise DataError(f"{users} names nobody")
    return list(dict.fromkeys(ids))


def _write(table: pl.DataFrame, out: Path) -> None:
    with whole_file(out) as beside:
        if out.suffix == ".parquet":
            table.write_parquet(beside)
        else:
            table.write_csv(beside)
