from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.dataset import Catalog
from tailrec.items import Int32Array
from tailrec.search.facets import count_facets, facets_of

PATHS = [None, "", "Home", "Home > Kitchen", "Home > Kitchen > Mugs", "Garden > Hoses"]
rows = st.lists(
    st.tuples(
        st.sampled_from([None, "", " ", "Acme", "Birk", "Birk "]),
        st.sampled_from(PATHS),
        st.one_of(st.none(), st.floats(0, 1e5, allow_subnormal=False), st.just(float("nan"))),
        st.integers(0, 3),
    ),
    max_size=20,
)


def catalog_of(given: list[tuple[str | None, str | None, float | None, int]]) -> Catalog:
    """Items with a brand, a category, a price and a tier each."""
    table = {
        c.ITEM_ID: [f"i{at}" for at in range(len(given))],
        c.BRAND: [row[0] for row in given],
        c.CATEGORY: [row[1] for row in given],
        c.PRICE: [row[2] for row in given],
    }
    kinds = {c.ITEM_ID: pl.String, c.BRAND: pl.String, c.CATEGORY: pl.String, c.PRICE: pl.Float64}
    return Catalog(pl.DataFrame(table, schema=kinds))


def above(path: str | None) -> list[str]:
    """A path and every path above it."""
    steps = (path or "").split(" > ")
    return [" > ".join(steps[:end]) for end in range(1, len(steps) + 1)] if path else []


@given(rows, st.data())
def test_counts_are_those_of_a_plain_count(
    given: list[tuple[str | None, str | None, float | None, int]], data: st.DataObject
) -> None:
    catalog, tiers = catalog_of(given), np.array([row[3] for row in given], np.int8)
    matches = sorted(data.draw(st.sets(st.integers(0, len(given) - 1)))) if given else []
    facets = facets_of(catalog, tiers)
    counted = count_facets(facets, np.array(matches, np.int32), most=100)
    found = [given[at] for at in matches]
    brands = Counter(row[0].strip() for row in found if row[0] and row[0].strip())
    assert dict(counted["brand"]) == brands
    assert dict(counted["category"]) == Counter(path for row in found for path in above(row[1]))
    names = ("head", "middle", "tail", "cold")
    assert dict(counted["tier"]) == Counter(names[row[3]] for row in found)
    paid = [row[2] for row in found if row[2] is not None and row[2] == row[2]]
    for label, n in counted["price"]:
        low, high = map(float, label.split(".."))
        assert n == sum(low <= price < high for price in paid)
    assert sum(n for _, n in counted["price"]) == len(paid)


def test_the_largest_stand_first_and_prices_in_order() -> None:
    catalog = catalog_of(
        [
            ("Acme", "Home", 3.0, 0),
            ("Birk", "Home > Mugs", 12.0, 1),
            ("Birk", "Home > Mugs", 12.5, 2),
            ("Cole", "Garden", 130.0, 3),
        ]
    )
    every: Int32Array = np.arange(4, dtype=np.int32)
    counted = count_facets(facets_of(catalog), every, most=2)
    assert counted["brand"] == [("Birk", 2), ("Acme", 1)]
    assert counted["category"] == [("Home", 3), ("Home > Mugs", 2)]
    assert counted["price"] == [("2..5", 1), ("10..20", 2), ("100..200", 1)]
    assert "tier" not in counted


@pytest.mark.parametrize("price", [0.0, 0.04, 1.0, 2.0, 5.0, 999.99, 1e9])
def test_every_price_has_a_range_with_round_bounds(price: float) -> None:
    facets = facets_of(catalog_of([(None, None, price, 0), (None, None, 7.0, 0)]))
    ((label, n),) = count_facets(facets, np.array([0], np.int32))["price"]
    low, high = map(float, label.split(".."))
    assert n == 1
    assert low <= price < high


def test_a_catalogue_without_such_columns_has_no_facets() -> None:
    assert facets_of(Catalog(pl.DataFrame({c.ITEM_ID: ["a"]}))) == []
