"""A person's request at this moment is the one that a batch job makes of the stored events."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.candidates.popular import Popular
from tailrec.data.histories import Histories, Weights, build_dataset, microseconds
from tailrec.data.live import Live, Moment
from tailrec.data.store import Store
from tailrec.engine import Engine, EngineRecipe
from tailrec.features.build import FeatureRecipe
from tailrec.items import BoolArray, QueryBatch
from tailrec.person import Deed, history_of
from tailrec.simulate import SimulatedShop

START = datetime(2024, 1, 1, tzinfo=UTC)
IDS = [f"i{number}" for number in range(6)]
ITEMS = pl.DataFrame({c.ITEM_ID: IDS})
WEIGHTS = {
    "usual": Weights(),
    "all": Weights.of_all(1.0),
    "no views": Weights(view=0, click=0, purchase=2.5),
}
LAST = "~"
"""Begins event ids behind all others: what is told now comes after what is stored."""

RECIPES = [
    Histories(),
    Histories(repeats="first", baskets="instant"),
    Histories(repeats="all", weights=WEIGHTS["all"]),
    Histories(repeats="last", min_rating=3.5, baskets="instant", weights=WEIGHTS["no views"]),
    Histories(repeats="first", min_rating=3.5),
]


def names(recipe: Histories) -> str:
    return f"{recipe.repeats}-{recipe.baskets}-{recipe.min_rating}"


def engine_of(items: pl.DataFrame, ids: Sequence[str] | None = None) -> Engine:
    """An engine that knows some of the items; what it would recommend does not matter."""
    known = items if ids is None else items.filter(pl.col(c.ITEM_ID).is_in(list(ids)))
    recipe = EngineRecipe(features=FeatureRecipe(encode=False), source=Popular())
    none = pl.DataFrame(schema=dict(c.EVENTS))
    return recipe.fit(build_dataset(none, known, Histories()))


def assert_same(one: QueryBatch, other: QueryBatch) -> None:
    assert len(one) == len(other) == 1
    for name in ("ptr", "item", "age", "days", "weight", "exclude_ptr", "exclude"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
    assert one.tail == other.tail


def moment_of(events: pl.DataFrame, user: str) -> Moment:
    """What the store would say of a person."""
    own = events.filter(pl.col(c.USER_ID) == user).sort(c.TIMESTAMP, c.EVENT_ID)
    nothing = np.zeros(0, np.int64)
    return Moment(
        revision=0,
        now=int(events[c.TIMESTAMP].dt.epoch("us").max() or 0),  # type: ignore[arg-type]
        item_ids=own[c.ITEM_ID].to_list(),
        types=own[c.TYPE].to_list(),
        times=own[c.TIMESTAMP].dt.epoch("us").to_numpy().astype(np.int64),
        values=own[c.VALUE].to_list(),
        session_ids=own[c.SESSION_ID].to_list(),
        shown=[],
        shown_at=nothing,
    )


def expected(
    engine: Engine,
    events: pl.DataFrame,
    items: pl.DataFrame,
    recipe: Histories,
    user: str,
    *,
    now: int | None = None,
    hidden: BoolArray | None = None,
) -> QueryBatch:
    """The request of a batch job over all events."""
    data = build_dataset(events, items, recipe)
    data = data if now is None else replace(data, now=now)
    rows = np.array([data.user_index.get(user, -1)], np.int32)
    return engine.queries(data, rows, include_seen=True, hidden=hidden)


@pytest.fixture(scope="module")
def filled(simulated: SimulatedShop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the events of the simulated shop."""
    path = tmp_path_factory.mktemp("filled") / "store.db"
    with Store.open(path, create=True) as store:
        events = simulated.events.with_columns(
            # Some reviews without stars, and two events at one instant for everybody.
            pl.when(pl.int_range(pl.len()) % 3 > 0).then(c.VALUE).alias(c.VALUE),
            pl.col(c.TIMESTAMP).dt.truncate("2h").alias(c.TIMESTAMP),
        )
        store.write("events", events.select(name for name in events.columns if name in c.EVENTS))
        store.write("items", simulated.items.select(c.ITEM_ID, c.TITLE))
        yield store


@pytest.mark.parametrize("recipe", RECIPES, ids=names)
@pytest.mark.parametrize("known", ["all", "half"])
def test_everybody_asks_as_in_a_batch_job(filled: Store, recipe: Histories, known: str) -> None:
    events, items = filled.read("events"), filled.read("items")
    engine = engine_of(items, items[c.ITEM_ID].to_list()[:: 1 if known == "all" else 2])
    live = Live(filled)
    data = build_dataset(events, items, recipe)
    users = [*events[c.USER_ID].unique(), "nobody we know"]
    lengths = []
    for user in users:
        row = np.array([data.user_index.get(user, -1)], np.int32)
        query = history_of(engine.index, recipe, live.moment(user)).query()
        assert_same(query, engine.queries(data, row, include_seen=True))
        lengths.append(len(query.item))
    # Long histories, and at least one that is empty: the comparison says something.
    assert max(lengths) > 10
    assert lengths[-1] == 0


def test_what_the_shelf_lacks_counts_as_a_step_and_is_told_to_nobody() -> None:
    """Something the engine does not know still lies between two things it knows."""
    engine = engine_of(ITEMS, ["i0", "i2"])
    events = table([("i0", "view", 0), ("i1", "view", 1), ("ghost", "view", 2), ("i2", "view", 3)])
    history = history_of(engine.index, Histories(), moment_of(events, "u"))
    query = history.query(tail=0.5)
    assert query.item.tolist() == [0, 1]
    assert query.age.tolist() == [3, 0]
    assert query.tail == 0.5
    hidden = np.array([True, False])
    assert history.query(hidden=hidden).hidden is hidden


Told = tuple[str, str, int]


def table(
    told: Sequence[Told],
    *,
    values: Sequence[float | None] | None = None,
    sessions: Sequence[str | None] | None = None,
    users: Sequence[str] | None = None,
    prefix: str = "e",
) -> pl.DataFrame:
    """Events from item, type and hour."""
    schema = {name: c.EVENTS[name] for name in (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.TYPE)}
    schema |= {name: c.EVENTS[name] for name in (c.TIMESTAMP, c.VALUE, c.SESSION_ID)}
    return pl.DataFrame(
        {
            c.EVENT_ID: [f"{prefix}{place:04}" for place in range(len(told))],
            c.USER_ID: users or ["u"] * len(told),
            c.ITEM_ID: [item for item, _, _ in told],
            c.TYPE: [kind for _, kind, _ in told],
            c.TIMESTAMP: [START + timedelta(hours=hour) for _, _, hour in told],
            c.VALUE: values or [None] * len(told),
            c.SESSION_ID: sessions or [None] * len(told),
        },
        schema=schema,
    )


kinds = st.sampled_from(c.EVENT_TYPES)
known_or_not = st.sampled_from([*IDS, "ghost", "other ghost"])
stars = st.sampled_from([None, 1.0, 3.5, 3.4999999999, 5.0])
told_events = st.lists(
    st.tuples(known_or_not, kinds, st.integers(0, 6), stars, st.sampled_from([None, "s", "t"])),
    max_size=14,
)
recipes = st.builds(
    Histories,
    weights=st.sampled_from(list(WEIGHTS.values())),
    min_rating=st.sampled_from([None, 3.5]),
    baskets=st.sampled_from(["session", "instant"]),
    repeats=st.sampled_from(["first", "last", "all"]),
)
ENGINE = engine_of(ITEMS, IDS[:4])


@settings(max_examples=100, deadline=None)
@given(told=told_events, others=told_events, recipe=recipes)
def test_any_history_is_read_as_a_batch_job_reads_it(
    told: list[tuple[str, str, int, float | None, str | None]],
    others: list[tuple[str, str, int, float | None, str | None]],
    recipe: Histories,
) -> None:
    both = [*told, *others]
    events = table(
        [(item, kind, hour) for item, kind, hour, _, _ in both],
        values=[value for *_, value, _ in both],
        sessions=[session for *_, session in both],
        users=["u"] * len(told) + ["v"] * len(others),
    )
    for user in ("u", "v", "w"):
        history = history_of(ENGINE.index, recipe, moment_of(events, user))
        assert_same(history.query(), expected(ENGINE, events, ITEMS, recipe, user))


deeds_told = st.lists(
    st.tuples(known_or_not, kinds, st.one_of(st.none(), st.integers(0, 9)), stars), max_size=6
)


@settings(max_examples=100, deadline=None)
@given(
    told=told_events,
    done=deeds_told,
    viewing=st.one_of(st.none(), known_or_not),
    recipe=recipes,
)
def test_what_is_done_now_counts_as_if_it_were_stored(
    told: list[tuple[str, str, int, float | None, str | None]],
    done: list[tuple[str, str, int | None, float | None]],
    viewing: str | None,
    recipe: Histories,
) -> None:
    """Deeds without a time are the newest, a microsecond after one another; so is what is seen."""
    events = table(
        [(item, kind, hour) for item, kind, hour, _, _ in told],
        values=[value for *_, value, _ in told],
        sessions=[session for *_, session in told],
    )
    moment = moment_of(events, "u")
    told_times = [hour_us(hour) for _, _, hour, _ in done if hour is not None]
    now = max([moment.now, *told_times])
    deeds = [
        Deed(item, kind, None if hour is None else hour_us(hour), value)
        for item, kind, hour, value in done
    ]
    got = history_of(ENGINE.index, recipe, moment, deeds=deeds, viewing=viewing)

    late = table(
        [(item, kind, 0) for item, kind, _, _ in done],
        values=[value for *_, value in done],
        prefix=LAST,
    )
    if viewing is not None:
        # Seen now counts as much as the type that counts most, whatever that is.
        shares = {name: getattr(recipe.weights, name) for name in c.EVENT_TYPES}
        most = max((n for n in shares if n not in ("rating", "review")), key=shares.__getitem__)
        late = pl.concat([late, table([(viewing, most, 0)], prefix=f"{LAST}~")])
    times = [
        now + place + 1 if hour is None else hour_us(hour)
        for place, hour in enumerate([*(hour for _, _, hour, _ in done), None])
    ][: len(late)]
    late = late.with_columns(pl.Series(c.TIMESTAMP, times).cast(c.EVENTS[c.TIMESTAMP]))
    stored = pl.concat([events, late])
    assert_same(got.query(), expected(ENGINE, stored, ITEMS, recipe, "u", now=now))


def hour_us(hour: int) -> int:
    return microseconds(START + timedelta(hours=hour))


def test_a_session_comes_last_in_its_order_and_the_item_in_view_after_it() -> None:
    events = table([("i0", "purchase", 0), ("i1", "purchase", 5)])
    deeds = [Deed("i2", "click"), Deed("i3", "view"), Deed("i0", "cart")]
    index = engine_of(ITEMS).index
    query = history_of(
        index, Histories(), moment_of(events, "u"), deeds=deeds, viewing="i4"
    ).query()
    assert query.item.tolist() == [1, 2, 3, 0, 4]
    assert query.age.tolist() == [4, 3, 2, 1, 0]
    # The purchase of i0 stands behind the cart of it, and what is in view counts as a purchase.
    np.testing.assert_allclose(query.weight, [1.0, 0.3, 0.3, 1.0, 1.0])
    np.testing.assert_allclose(query.days, [0, 0, 0, 0, 0], atol=1e-9)


def test_times_of_a_session_put_it_in_its_place() -> None:
    """A deed of the past stands where it happened; one of the future moves now."""
    events = table([("i0", "purchase", 10), ("i1", "purchase", 20)])
    deeds = [Deed("i3", "view", hour_us(44)), Deed("i2", "view", hour_us(15))]
    index = engine_of(ITEMS).index
    query = history_of(index, Histories(), moment_of(events, "u"), deeds=deeds).query()
    assert query.item.tolist() == [0, 2, 1, 3]
    assert query.age.tolist() == [3, 2, 1, 0]
    np.testing.assert_allclose(query.days * 24, [34, 29, 24, 0], rtol=1e-6)


def test_what_is_in_view_counts_most_however_a_shop_weighs() -> None:
    index = engine_of(ITEMS).index
    weights = Weights.of_all(0.0).model_copy(update={"play": 4.0, "view": 2.0})
    recipe = Histories(weights=weights)
    events = table([("i0", "play", 0), ("i1", "view", 1)])
    query = history_of(index, recipe, moment_of(events, "u"), viewing="i2").query()
    assert query.weight.tolist() == [4.0, 2.0, 4.0]


def test_somebody_new_has_only_what_is_told_now() -> None:
    index = engine_of(ITEMS).index
    nothing = moment_of(table([]), "u")
    assert len(history_of(index, Histories(), nothing).query().item) == 0
    query = history_of(index, Histories(), nothing, viewing="i5").query()
    assert (query.item.tolist(), query.days.tolist()) == ([5], [0.0])
    ghost = history_of(index, Histories(), nothing, viewing="ghost").query()
    assert len(ghost.item) == 0
    searches = [Deed("i1", "impression"), Deed("i1", "search")]
    assert len(history_of(index, Histories(), nothing, deeds=searches).query().item) == 0


def test_hypothesis_is_given_a_real_shop(tmp_path: Path) -> None:
    """The hand-made moments above are what the store says of the same events."""
    told = [("i1", "view", 3), ("i0", "purchase", 1), ("i2", "view", 3), ("i1", "rating", 2)]
    events = table(
        told, values=[None, 2.0, None, 4.0], sessions=["s", None, "s", "t"], users=list("uuvu")
    )
    with Store.open(tmp_path / "store.db", create=True) as store:
        store.write("events", events)
        for user in ("u", "v", "w"):
            said, made = Live(store).moment(user), moment_of(events, user)
            for name in ("now", "item_ids", "types", "values", "session_ids"):
                assert getattr(said, name) == getattr(made, name), name
            np.testing.assert_array_equal(said.times, made.times)
