"""Histories from tables: order, steps, weights, repeats, unknown items."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.data.histories import Histories, Weights, build_dataset, microseconds, settle_repeats
from tailrec.dataset import Dataset
from tailrec.errors import DataError, RecipeError, SchemaError

START = datetime(2024, 1, 1, tzinfo=UTC)
ITEMS = pl.DataFrame({"item_id": ["c", "a", "b"], "title": ["Cup", "Axe", "Bag"]})


def table(*rows: tuple[object, ...]) -> pl.DataFrame:
    """Events from (user, item, day, type, event_id, session, value); the last four optional."""
    defaults = ("purchase", None, None, None)
    full = [
        (*row, *defaults[len(row) - 3 :])[:7] if len(row) < 7 else row for row in map(tuple, rows)
    ]
    names = ["user_id", "item_id", "day", "type", "event_id", "session_id", "value"]
    kinds = [pl.String, pl.String, pl.Float64, pl.String, pl.String, pl.String, pl.Float64]
    frame = pl.DataFrame(full, schema=dict(zip(names, kinds, strict=True)), orient="row")
    day = pl.duration(seconds=pl.col("day") * 86_400)
    frame = frame.with_columns((pl.lit(START) + day).alias("timestamp")).drop("day")
    return frame.drop("event_id") if frame["event_id"].null_count() else frame


def events_of(data: Dataset, user: str) -> list[str]:
    row = data.user_index[user]
    return [str(data.catalog.ids[i]) for i in data.item[data.ptr[row] : data.ptr[row + 1]]]


def test_users_and_items_are_sorted_and_events_follow_time_then_event_id() -> None:
    events = table(
        ("v", "a", 2, "purchase", "1"),
        ("u", "c", 5, "purchase", "2"),
        ("u", "b", 1, "purchase", "9"),
        ("u", "a", 1, "purchase", "8"),
    )
    for order in (events, events.reverse()):
        data = build_dataset(order, ITEMS, Histories())
        assert list(data.user_ids) == ["u", "v"]
        assert list(data.catalog.ids) == ["a", "b", "c"]
        assert events_of(data, "u") == ["a", "b", "c"]
        assert events_of(data, "v") == ["a"]
        assert data.step.tolist() == [0, 0, 1, 0]
        assert data.now == microseconds(START + timedelta(days=5))
        assert data.time[0] == microseconds(START + timedelta(days=1))


def test_order_inside_an_instant_does_not_follow_item_ids_when_none_is_known() -> None:
    names = [f"i{n:03d}" for n in range(200)]
    data = build_dataset(
        table(*(("u", name, 0) for name in names)),
        pl.DataFrame({"item_id": names}),
        Histories(),
    )
    assert events_of(data, "u") != names
    assert sorted(events_of(data, "u")) == names
    assert not data.step.any()


@pytest.mark.parametrize(
    ("baskets", "steps"), [("session", [0, 0, 1, 1]), ("instant", [0, 1, 2, 2])]
)
def test_events_of_a_basket_share_a_step(baskets: str, steps: list[int]) -> None:
    events = table(
        ("u", "a", 1, "purchase", "1", "s1"),
        ("u", "b", 2, "purchase", "2", "s1"),
        ("u", "c", 3, "purchase", "3", "s2"),
        ("u", "d", 3, "purchase", "4", None),
    )
    recipe = Histories.parse({"baskets": baskets})
    assert build_dataset(events, ITEMS, recipe).step.tolist() == steps


def test_one_session_of_two_users_is_two_baskets() -> None:
    events = table(
        ("u", "a", 1, "purchase", "1", "s"),
        ("v", "b", 2, "purchase", "2", "s"),
        ("v", "c", 3, "purchase", "3", "t"),
    )
    assert build_dataset(events, ITEMS, Histories()).step.tolist() == [0, 0, 1]


def test_weights_follow_the_type_and_weightless_types_are_no_history() -> None:
    kinds = ["purchase", "view", "impression", "search", "unheard of", "cart"]
    events = table(*(("u", f"i{n}", n, kind) for n, kind in enumerate(kinds)))
    recipe = Histories(weights=Weights(view=0.25, cart=0))
    data = build_dataset(events, ITEMS, recipe)
    assert events_of(data, "u") == ["i0", "i1"]
    assert data.weight.tolist() == [1.0, 0.25]
    assert [c.EVENT_TYPES[t] for t in data.type] == ["purchase", "view"]
    assert data.now == microseconds(START + timedelta(days=5)), "any event moves the clock"


def test_every_event_type_has_a_weight() -> None:
    assert set(Weights.model_fields) == set(c.EVENT_TYPES)


def test_ratings_below_the_bar_are_left_out_and_other_values_are_not() -> None:
    events = table(
        ("u", "a", 1, "rating", "1", None, 2.0),
        ("u", "b", 2, "rating", "2", None, 4.0),
        ("u", "c", 3, "purchase", "3", None, 1.0),
        ("u", "d", 4, "review", "4", None, None),
    )
    data = build_dataset(events, ITEMS, Histories(min_rating=4))
    assert events_of(data, "u") == ["b", "c", "d"]
    np.testing.assert_array_equal(data.value, np.array([4, 1, np.nan], np.float32))
    assert events_of(build_dataset(events, ITEMS, Histories()), "u") == ["a", "b", "c", "d"]


def test_repeats_leave_one_event_that_counts_as_the_strongest() -> None:
    events = table(("u", "a", 1, "purchase"), ("u", "b", 2, "purchase"), ("u", "a", 3, "view"))
    whole = build_dataset(events, ITEMS, Histories(), whole=True)
    assert events_of(whole, "u") == ["a", "b", "a"]
    last = build_dataset(events, ITEMS, Histories())
    assert (events_of(last, "u"), last.weight.tolist()) == (["b", "a"], [1.0, 1.0])
    assert last.step.tolist() == [1, 2]
    first = settle_repeats(whole, "first")
    assert (events_of(first, "u"), first.step.tolist()) == (["a", "b"], [0, 1])
    assert settle_repeats(whole, "all") is whole


def test_of_many_repeats_the_very_first_or_last_stays() -> None:
    events = table(*(("u", "ab"[n % 2], n) for n in range(300)))
    whole = build_dataset(events, ITEMS, Histories(), whole=True)
    assert settle_repeats(whole, "first").step.tolist() == [0, 1]
    assert settle_repeats(whole, "last").step.tolist() == [298, 299]


def test_until_cuts_strictly_and_sets_the_clock() -> None:
    events = table(("u", "a", 1), ("u", "b", 2), ("v", "c", 3))
    cut = START + timedelta(days=2)
    for until in (cut, cut.replace(tzinfo=None)):
        data = build_dataset(events, ITEMS, Histories(), until=until)
        assert list(data.user_ids) == ["u"]
        assert events_of(data, "u") == ["a"]
        assert data.now == microseconds(cut)
    one_more = build_dataset(events, ITEMS, Histories(), until=cut + timedelta(microseconds=1))
    assert events_of(one_more, "u") == ["a", "b"]


def test_items_known_by_their_events_alone_join_without_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = table(("u", "x", 1), ("u", "a", 2), ("u", "y", 3), ("v", "x", 4))
    data = build_dataset(events, ITEMS, Histories())
    assert list(data.catalog.ids) == ["a", "b", "c", "x", "y"]
    assert data.catalog.text(["title"]) == ["Axe", "Bag", "Cup", "", ""]
    assert "3 events name 2 items" in caplog.text


def test_events_without_user_item_or_time_are_no_history() -> None:
    events = table(("u", "a", 1), (None, "b", 2), ("u", None, 3), ("u", "c", None))
    data = build_dataset(events, ITEMS, Histories())
    assert events_of(data, "u") == ["a"]
    assert data.n_events == 1


def test_an_empty_shop_is_a_dataset() -> None:
    data = build_dataset(table(("u", "a", 1)).head(0), ITEMS, Histories())
    assert (data.n_users, data.n_items, data.n_events, data.now) == (0, 3, 0, 0)


def test_wrong_tables_are_refused_by_name() -> None:
    events = table(("u", "a", 1))
    with pytest.raises(SchemaError, match=r"'user_id'.*there is none"):
        build_dataset(events.drop("user_id"), ITEMS, Histories())
    with pytest.raises(SchemaError, match=r"'item_id'.*Int64"):
        build_dataset(events.with_columns(pl.lit(3, pl.Int64).alias("item_id")), ITEMS, Histories())
    with pytest.raises(SchemaError, match=r"'timestamp'.*String"):
        build_dataset(events.cast({"timestamp": pl.String}), ITEMS, Histories())
    with pytest.raises(SchemaError, match="items need"):
        build_dataset(events, ITEMS.drop("item_id"), Histories())
    with pytest.raises(DataError, match="twice"):
        build_dataset(events, pl.concat([ITEMS, ITEMS]), Histories())
    with pytest.raises(RecipeError, match=r"weights\.click"):
        Histories.parse({"weights": {"click": -1}})
