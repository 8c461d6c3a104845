"""From requests to slates, step by step, against a plain reading of each step."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.crowded import N_ITEMS, crowd_engine, crowd_queries, crowd_rules

from tailrec import columns as c
from tailrec.arrange import (
    POOL,
    SOURCE,
    SOURCES,
    Arrangement,
    Seen,
    Variety,
    leaving_out,
    slates_of,
)
from tailrec.engine import Engine
from tailrec.items import PADDING, Int32Array, ItemsBatch, QueryBatch
from tailrec.reranking.fatigue import rested
from tailrec.reranking.rules import Rules
from tailrec.reranking.rules_compiled import BOOSTED, NOTHING, PINNED, RULE, CompiledRules

N_AGAIN = 6
"""Items that are due again or never; those numbered beyond are new."""
AGAIN = np.array([0.0, 2.0, 10.0, np.inf, 2.0, 5.0], np.float32)
NONE = np.zeros(0, np.int32)


def requests(*histories: Sequence[tuple[int, float]]) -> QueryBatch:
    """Requests from items and the days since."""
    flat = [one for history in histories for one in history]
    item = np.array([number for number, _ in flat], np.int32)
    days = np.array([since for _, since in flat], np.float32)
    ptr = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    nothing = np.zeros(len(histories) + 1, np.int64)
    ones = np.ones(len(flat), np.float32)
    steps = np.zeros(len(flat), np.int32)
    return QueryBatch(ptr.astype(np.int64), item, steps, days, ones, nothing, NONE)


def left_out(queries: QueryBatch) -> list[list[int]]:
    bounds = zip(queries.exclude_ptr[:-1], queries.exclude_ptr[1:], strict=True)
    return [queries.exclude[a:b].tolist() for a, b in bounds]


def test_what_the_people_have_is_hidden_due_or_shown() -> None:
    queries = requests([(1, 1.0), (2, 9.0), (3, 1e6)], [], [(1, 2.0), (2, 11.0), (9, 1e6)])
    assert left_out(leaving_out(queries, "hide", AGAIN)) == [[1, 2, 3], [], [1, 2, 9]]
    # Due from the day on; item 9 came after the fit, and 3 is never due.
    assert left_out(leaving_out(queries, "due", AGAIN)) == [[1, 2, 3], [], [9]]
    assert leaving_out(queries, "show", AGAIN) is queries
    further = np.array([7, 1], np.int32)
    assert left_out(leaving_out(queries, "show", AGAIN, further)) == [[7, 1]] * 3
    assert left_out(leaving_out(queries, "due", AGAIN, further)) == [
        [1, 2, 3, 7, 1],
        [7, 1],
        [9, 7, 1],
    ]


histories_told = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1.9999, 2.0, 5.0, 9.0, 400.0])),
        max_size=6,
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(
    told=histories_told,
    seen=st.sampled_from(["hide", "due", "show"]),
    further=st.lists(st.integers(0, 9), max_size=4),
)
def test_left_out_is_what_a_plain_reading_leaves_out(
    told: list[list[tuple[int, float]]], seen: Seen, further: list[int]
) -> None:
    queries = requests(*told)
    got = leaving_out(queries, seen, AGAIN, np.array(further, np.int32))
    assert got.exclude.dtype == np.int32
    expected = []
    for history in told:
        own = []
        for item, days in history:
            is_due = item < N_AGAIN and days >= AGAIN[item]
            if seen == "hide" or (seen == "due" and not is_due):
                own.append(item)
        expected.append(own + further)
    assert left_out(got) == expected
    for name in ("ptr", "item", "age", "days", "weight"):
        assert getattr(got, name) is getattr(queries, name)


def test_a_pool_is_wider_only_where_something_may_reorder_it() -> None:
    rules = Rules.parse({"at_most": {"brand": 1}}).compiled(pl.DataFrame({c.ITEM_ID: ["a"]}))
    one = np.zeros(1, np.int32)
    for how in (
        Arrangement(4),
        Arrangement(4, fatigue=0.5),
        Arrangement(4, fatigue=0.0, shown_rows=one, shown=one),
    ):
        assert how.pool == 4
    for how in (
        Arrangement(4, Variety(0.1)),
        Arrangement(4, rules=rules),
        Arrangement(4, fatigue=0.5, shown_rows=one, shown=one),
    ):
        assert how.pool == 4 * POOL


# ---------------------------------------------------------------------------- whole slates


@pytest.fixture(scope="module")
def engine() -> Engine:
    return crowd_engine()


@pytest.fixture(scope="module")
def queries(engine: Engine) -> QueryBatch:
    return crowd_queries(engine)


@pytest.fixture(scope="module")
def rules() -> CompiledRules:
    return crowd_rules()


def test_without_anything_a_slate_is_what_the_engine_says(
    engine: Engine, queries: QueryBatch
) -> None:
    slates, plain = slates_of(engine, queries, Arrangement(6)), engine.recommend(queries, 6)
    np.testing.assert_array_equal(slates.ids, plain.ids)
    np.testing.assert_array_equal(slates.scores, plain.scores)
    assert slates.columns.keys() == {SOURCE}
    by = np.array(SOURCES)[slates.columns[SOURCE]]
    np.testing.assert_array_equal(by == "model", slates.scores > 0)
    assert set(by.ravel()) == {"model", "popular"}


def shown_of(slates: ItemsBatch) -> tuple[Int32Array, Int32Array]:
    """Showings of the upper half of some slates, the top one three times."""
    row, place = np.nonzero(slates.ids[:, :3] != PADDING)
    row, place = (
        np.concatenate([part, part[place == 0], part[place == 0]]) for part in (row, place)
    )
    return row.astype(np.int32), slates.ids[row, place]


@pytest.mark.parametrize("diversity", [0.0, 0.4])
@pytest.mark.parametrize("tired", [False, True])
@pytest.mark.parametrize("ruled", [False, True])
def test_the_steps_come_in_their_order_and_carry_what_proposed_an_item(
    engine: Engine,
    queries: QueryBatch,
    rules: CompiledRules,
    *,
    diversity: float,
    tired: bool,
    ruled: bool,
) -> None:
    k = 6
    row, item = shown_of(engine.recommend(queries, k)) if tired else (NONE, NONE)
    own = rules if ruled else None
    how = Arrangement(k, Variety(diversity), rules=own, fatigue=0.3, shown_rows=row, shown=item)
    slates = slates_of(engine, queries, how)

    # The same by hand, from a pool whose origin is told by a look at the engine's own scores.
    pool = engine.recommend(queries, how.pool)
    asked = np.where(pool.scores > 0, 0, 1)
    origin = [dict(zip(i, s, strict=True)) for i, s in zip(pool.ids, asked, strict=True)]
    pool = rested(pool, row, item, 0.3)
    pool = rules.reweighted(pool) if ruled else pool
    if diversity:
        pool = engine.varied(pool, k, diversity, width=how.pool if ruled else None)
    if ruled:
        hidden = queries.hidden
        assert hidden is not None
        left = (queries.exclude_ptr, queries.exclude)
        pool = rules.placed(pool, k, allowed=~hidden, exclude=left)
    np.testing.assert_array_equal(slates.ids, pool.ids[:, :k])
    np.testing.assert_array_equal(slates.scores, pool.scores[:, :k])

    for number, (ids, sources) in enumerate(zip(slates.ids, slates.columns[SOURCE], strict=True)):
        there = [(i, s) for i, s in zip(ids, sources, strict=True) if i != PADDING]
        assert {i: origin[number].get(i, SOURCES.index("rule")) for i, _ in there} == dict(there)
    if ruled:
        touched = slates.columns[RULE]
        np.testing.assert_array_equal(touched == PINNED, slates.ids == 49)
        boosted = (slates.ids % 10 == 3) & (slates.ids != PADDING)
        np.testing.assert_array_equal(touched == BOOSTED, boosted)
        assert NOTHING in touched


def test_a_pin_stands_where_it_is_pinned_and_says_what_put_it_there(
    engine: Engine, queries: QueryBatch, rules: CompiledRules
) -> None:
    """Item 49 has no events: it is in nobody's pool. Item 7 is hidden, and pinned in vain."""
    slates = slates_of(engine, queries, Arrangement(6, rules=rules))
    may = [49 not in out for out in left_out(queries)]
    assert all(may)
    assert (slates.ids[:, 1] == 49).all()
    in_pool = (engine.recommend(queries, 6 * POOL).ids == 49).any(axis=1)
    by = np.where(in_pool, slates.columns[SOURCE][:, 1], SOURCES.index("rule"))
    np.testing.assert_array_equal(slates.columns[SOURCE][:, 1], by)
    assert (~in_pool).any()
    assert not np.isin(slates.ids, [0, 7]).any()


@pytest.mark.parametrize("diversity", [0.0, 0.4])
def test_slates_hold_nothing_that_is_left_out(
    engine: Engine, queries: QueryBatch, rules: CompiledRules, diversity: float
) -> None:
    further = np.array([11, 12, 13, 49], np.int32)
    fewer = leaving_out(replace(queries, exclude_ptr=queries.ptr * 0, exclude=NONE), "hide", AGAIN)
    fewer = leaving_out(fewer, "hide", AGAIN, further)
    slates = slates_of(engine, fewer, Arrangement(N_ITEMS, Variety(diversity), rules=rules))
    for ids, out in zip(slates.ids, left_out(fewer), strict=True):
        assert not set(ids.tolist()) & {*out, 0, 7, 11, 12, 13, 49}


def test_a_batch_and_one_at_a_time_agree(
    engine: Engine, queries: QueryBatch, rules: CompiledRules
) -> None:
    row, item = shown_of(engine.recommend(queries, 6))
    how = Arrangement(6, Variety(0.3), rules=rules, fatigue=0.2, shown_rows=row, shown=item)
    together = slates_of(engine, queries, how)
    for number in range(len(queries)):
        mine = item[row == number]
        alone = replace(how, shown_rows=np.zeros(len(mine), np.int32), shown=mine)
        slate = slates_of(engine, queries.rows(number, number + 1), alone)
        width = slate.ids.shape[1]
        np.testing.assert_array_equal(slate.ids[0], together.ids[number, :width])
        np.testing.assert_array_equal(slate.scores[0], together.scores[number, :width])
