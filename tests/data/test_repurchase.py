"""When an item is due again, in worlds small enough to reckon by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tailrec import columns as c
from tailrec.data.histories import Histories, Weights, build_dataset
from tailrec.data.repurchase import NEVER, Repurchase
from tailrec.dataset import Dataset

START = datetime(2024, 1, 1, tzinfo=UTC)
ALL = Histories(weights=Weights.of_all(1.0))
CATEGORIES = {"soap": "Bath", "sponge": "Bath", "sofa": "Rooms", "lamp": "Rooms", "odd": None}
ITEMS = pl.DataFrame({c.ITEM_ID: list(CATEGORIES), c.CATEGORY: list(CATEGORIES.values())})

Told = tuple[str, str, float]
"""Who had what, on which day."""


def world(
    told: Sequence[Told],
    *,
    items: pl.DataFrame = ITEMS,
    kind: str = "purchase",
    sessions: Sequence[str] | None = None,
) -> Dataset:
    """Whole histories of what people had."""
    events = pl.DataFrame(
        {
            c.USER_ID: [user for user, _, _ in told],
            c.ITEM_ID: [item for _, item, _ in told],
            c.TYPE: [kind] * len(told),
            c.TIMESTAMP: [START + timedelta(days=day) for _, _, day in told],
            c.SESSION_ID: sessions or [None] * len(told),
        },
        schema_overrides={
            c.TIMESTAMP: c.EVENTS[c.TIMESTAMP],
            c.SESSION_ID: pl.String,
            c.USER_ID: pl.String,
            c.ITEM_ID: pl.String,
            c.TYPE: pl.String,
        },
    )
    return build_dataset(events, items, ALL, whole=True)


def due(data: Dataset, recipe: Repurchase | None = None) -> dict[str, float]:
    """Days after which each item is due again, by id."""
    days = (recipe or Repurchase()).fit(data)
    assert days.dtype == np.float32
    return dict(zip(data.catalog.ids, days.tolist(), strict=True))


def crowd(item: str, n_people: int, n_back: int, every: float) -> list[Told]:
    """People who had an item once, of whom the first come back for it after some days."""
    once = [(f"{item}{n}", item, 0.0) for n in range(n_people)]
    return once + [(f"{item}{n}", item, every) for n in range(n_back)]


def test_half_the_median_time_between_of_the_whole_category() -> None:
    """30 of 40 come back for soap: after 10, 20 or 40 days; nobody comes back for a sofa."""
    told = [(f"u{n}", "soap", 0.0) for n in range(40)]
    told += [(f"u{n}", "soap", (10.0, 20.0, 40.0)[n % 3]) for n in range(30)]
    found = due(world([*told, *crowd("sofa", 400, 0, 0)]))
    assert found == {"soap": 10, "sponge": 10, "sofa": NEVER, "lamp": NEVER, "odd": NEVER}
    assert due(world(told), Repurchase(wait=1.0))["sponge"] == 20


def test_the_time_between_is_that_of_a_time() -> None:
    """Had on days 0, 1, 2 and 30: three times again in 30 days, one each ten."""
    told = [(f"u{n}", "soap", day) for n in range(30) for day in (0, 1, 2, 30)]
    assert due(world(told), Repurchase(wait=1.0))["soap"] == 10


def test_a_small_category_is_pulled_to_the_rate_of_the_shop() -> None:
    """Of 5 for soap and 95 for sofas, 3 come back, all for soap: .03 in the shop.

    Credited with 20 people at .03, soap has (3 + .6) / 25 = .144, and without credit .6.
    """
    data = world(crowd("soap", 5, 3, 8) + crowd("sofa", 95, 0, 0))
    below, above = np.nextafter(0.144, 0), np.nextafter(0.144, 1)
    for rate, days in ((below, 8), (above + 1e-9, NEVER)):
        assert due(data, Repurchase(rate=rate, wait=1.0))["soap"] == days
    assert due(data, Repurchase(rate=0.59, prior=1e-6, wait=1.0))["soap"] == 8
    assert due(data, Repurchase(rate=0.61, prior=1e-6, wait=1.0))["soap"] == NEVER
    # The other way round: the usual rate is not enough where nobody was seen to come back.
    assert due(data, Repurchase(rate=0.0))["sofa"] == NEVER


def test_items_without_a_category_are_one_category() -> None:
    items = pl.DataFrame({c.ITEM_ID: ["a", "b"]})
    found = due(world(crowd("a", 10, 10, 6), items=items))
    assert found == {"a": 3, "b": 3}
    with_others = due(world(crowd("odd", 10, 10, 6) + crowd("sofa", 400, 0, 0)))
    assert with_others["odd"] == 3
    assert with_others["soap"] == NEVER


def test_where_nobody_comes_back_nothing_is_due() -> None:
    for told in (crowd("soap", 30, 0, 0), [("u", "soap", 0.0)]):
        assert set(due(world(told)).values()) == {NEVER}


def test_what_is_bought_twice_at_once_is_no_coming_back() -> None:
    """Several pieces in one order, or in one session, are one occasion."""
    twice = [("u", "soap", 0.0), ("u", "soap", 0.0)] * 3
    assert due(world(twice), Repurchase(rate=0.0))["soap"] == NEVER
    told = [("u", "soap", 0.0), ("u", "soap", 0.01)]
    assert due(world(told, sessions=["s", "s"]), Repurchase(rate=0.0))["soap"] == NEVER
    assert due(world(told, sessions=["s", "t"]), Repurchase(rate=0.0))["soap"] < 1


@pytest.mark.parametrize("kind", sorted(set(c.EVENT_TYPES) - {"purchase", "play"}))
def test_looking_again_is_no_coming_back(kind: str) -> None:
    assert set(due(world(crowd("soap", 30, 30, 5), kind=kind)).values()) == {NEVER}


def test_what_is_played_again_is_due_again() -> None:
    assert due(world(crowd("soap", 30, 30, 5), kind="play"))["soap"] == 2.5


def test_without_a_wait_what_comes_back_is_due_at_once_and_nothing_else() -> None:
    found = due(world(crowd("soap", 30, 30, 5) + crowd("sofa", 400, 0, 0)), Repurchase(wait=0.0))
    assert found["soap"] == 0
    assert found["sofa"] == NEVER


def test_a_shop_without_events_or_items() -> None:
    assert set(due(world([])).values()) == {NEVER}
    assert due(world([], items=ITEMS.clear())) == {}
