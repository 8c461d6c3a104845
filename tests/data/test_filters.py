import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec import columns as c
from tailrec.data.conditions import attributes_of
from tailrec.data.filters import FIELDS, MAX_CONDITIONS, MAX_DEPTH, FilterError, parse_filter
from tailrec.errors import DataError

SCHEMA = dict(c.ITEMS) | {"tier": pl.String()}
MAY = datetime(2024, 5, 1, tzinfo=UTC)


def table_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=SCHEMA)


SHOP = table_of(
    [
        {
            "item_id": "A",
            "title": "Red lipstick",
            "brand": "Rosso",
            "category": "Makeup > Lips",
            "price": 12.0,
            "stock": 3.0,
            "available": True,
            "tier": "head",
            "created_at": MAY,
            "attributes": '{"colour": ["red", "rose"], "ml": 5, "vegan": true}',
        },
        {
            "item_id": "B",
            "title": "Makeup bag (ΟΔΟΣ)",
            "brand": "",
            "category": "Makeup",
            "price": float("nan"),
            "stock": 0.0,
            "available": False,
            "tier": "tail",
            "created_at": MAY + timedelta(days=31),
            "attributes": '{"colour": "blue", "ml": "5", "vegan": 1, "size": {"w": 3}, "x": null}',
        },
        {"item_id": "C", "title": "Makeup artist's book", "category": "Makeups", "price": 30.0},
        {"item_id": "D", "title": "Überbrush", "brand": "Über", "attributes": "{broken"},
    ]
)


@pytest.mark.parametrize(
    ("asked", "passing"),
    [
        ({}, "ABCD"),
        ({"all": []}, "ABCD"),
        ({"not": {}}, ""),
        ({"brand": "Rosso"}, "A"),
        ({"brand": {"ne": "Rosso"}}, "D"),
        ({"not": {"brand": "Rosso"}}, "BCD"),
        ({"brand": {"in": ["Rosso", "Über"]}}, "AD"),
        ({"brand": {"not_in": ["Rosso", "x"]}}, "D"),
        ({"brand": "U\u0308ber"}, "D"),
        ({"brand": {"exists": False}}, "BC"),
        ({"price": {"gt": 12}}, "C"),
        ({"price": {"gte": 12, "lt": 30}}, "A"),
        ({"price": {"exists": True}}, "AC"),
        ({"price": {"ne": 12}}, "C"),
        ({"not": {"price": {"lte": 20}}}, "BCD"),
        ({"category": {"under": "Makeup"}}, "AB"),
        ({"category": {"under": " Makeup >  Lips "}}, "A"),
        ({"category": "Makeup"}, "B"),
        ({"title": {"contains": "MAKEUP"}}, "BC"),
        ({"title": {"contains": "(οδος)"}}, "B"),
        ({"title": {"contains": "."}}, ""),
        ({"available": True}, "A"),
        ({"available": {"ne": True}}, "B"),
        ({"tier": "tail"}, "B"),
        ({"tier": {"in": ["tail", "head"]}}, "AB"),
        ({"created_at": {"since": "2024-05-01"}}, "AB"),
        ({"created_at": {"until": "2024-06-01T00:00Z"}}, "A"),
        ({"created_at": {"until": "2024-06-01T00:00-01:00"}}, "AB"),
        ({"created_at": {"since": date(2024, 5, 2), "until": datetime(2025, 1, 1)}}, "B"),
        ({"attributes.colour": "rose"}, "A"),
        ({"attributes.colour": {"ne": "rose"}}, "B"),
        ({"attributes.colour": {"contains": "BL"}}, "B"),
        ({"attributes.ml": 5}, "A"),
        ({"attributes.ml": "5"}, "B"),
        ({"attributes.ml": {"in": ["5", 5, True]}}, "AB"),
        ({"attributes.ml": {"gte": 4}}, "A"),
        ({"attributes.vegan": True}, "A"),
        ({"attributes.vegan": 1}, "B"),
        ({"attributes.size": {"exists": True}}, "B"),
        ({"attributes.x": {"exists": False}}, "ABCD"),
        ({"attributes.unheard": "of"}, ""),
        ({"any": [{"brand": "Rosso"}, {"price": {"gte": 30}}]}, "AC"),
        ({"all": [{"price": {"exists": True}}, {"not": {"brand": "Rosso"}}]}, "C"),
        ({"price": {"exists": True}, "brand": {"exists": False}}, "C"),
    ],
)
def test_who_passes(asked: dict[str, Any], passing: str) -> None:
    kept = SHOP.filter(parse_filter(asked).mask(SHOP))[c.ITEM_ID].to_list()
    assert "".join(kept) == passing


@pytest.mark.parametrize(
    ("asked", "path", "words"),
    [
        (
            {"all": [{"brand": "X"}, {"price": {"lte": "low"}}]},
            "filter.all[1].price.lte",
            "'low' was given; give a number",
        ),
        ({"prise": 3}, "filter.prise", "did you mean 'price'"),
        ({"zzz": 3}, "filter.zzz", "there are item_id, title, description, brand"),
        ({"price": {"under": 3}}, "filter.price.under", "it has: eq, ne, in, not_in, lt, lte"),
        ({"price": {"$lte": 3}}, "filter.price.'$lte'", "did you mean 'lte'"),
        ({"price": True}, "filter.price", "true was given; give a number"),
        ({"price": float("nan")}, "filter.price", "finite"),
        ({"price": 10**5000}, "filter.price", "beyond 2 to the 53rd was given"),
        ({"price": None}, "filter.price", "for items without a value ask"),
        ({"price": []}, "filter.price", "a list was given"),
        ({"price": {}}, "filter.price", "an object with one of: eq"),
        ({"price": {"in": []}}, "filter.price.in", "of 0 values"),
        ({"price": {"in": [1, "2"]}}, "filter.price.in[1]", "give a number"),
        ({"brand": {"in": ["x"] * 1001}}, "filter.brand.in", "list of 1001 values"),
        ({"brand": "x" * 1001}, "filter.brand", "text of 1001 characters"),
        ({"brand": ""}, "filter.brand", "for items without a value ask"),
        ({"brand": "\ud800"}, "filter.brand", "surrogate"),
        ({"brand\ud800": "x"}, r"filter.'brand\ud800'", "did you mean 'brand'"),
        ({"available": 1}, "filter.available", "give true or false"),
        ({"tier": "tial"}, "filter.tier", "did you mean 'tail'"),
        ({"created_at": "2024-05-01"}, "filter.created_at", "one of: since, until"),
        ({"created_at": {"since": "now"}}, "filter.created_at.since", "write 2024-05-31"),
        ({"created_at": {"since": "0001-01-01T00+10"}}, "filter.created_at.since", "is no time"),
        ({"category": {"under": "A >  > B"}}, "filter.category.under", "an empty step"),
        ({"attributes": "x"}, "filter.attributes", "attributes.NAME"),
        ({"attributes.": "x"}, "filter.attributes.", "there is no field"),
        ({"attributes.a": {"eq": None}}, "filter.attributes.a.eq", "true or false"),
        ({"all": {"brand": "x"}}, "filter.all", "give a list"),
        ({"any": []}, "filter.any", "nothing would pass"),
        ({"not": [{"brand": "x"}]}, "filter.not", "a list was given; give an object"),
        ({3: "x"}, "filter.3", "there is no field 3"),
        ([], "filter", "a list was given; give an object"),
        ("brand = 'x'", "filter", "give an object such as"),
    ],
)
def test_faults_are_named_with_their_place(asked: object, path: str, words: str) -> None:
    with pytest.raises(FilterError, match=re.escape(words)) as caught:
        parse_filter(asked)
    assert caught.value.path == path
    assert str(caught.value) == f"{path}: {caught.value.fault}"
    str(caught.value).encode()  # an answer can hold it


def test_a_filter_is_called_as_asked() -> None:
    with pytest.raises(FilterError, match=r"^body\.filter\.prize:"):
        parse_filter({"prize": 1}, at="body.filter")


def test_filters_stay_small() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"brand": "x"} if depth == 1 else {"not": nested(depth - 1)}

    parse_filter(nested(MAX_DEPTH))
    with pytest.raises(FilterError, match=f"{MAX_DEPTH} deep"):
        parse_filter(nested(MAX_DEPTH + 1))
    one: list[dict[str, Any]] = [{"price": {"lt": 1}}] * (MAX_CONDITIONS - 1)
    parse_filter({"all": [*one, {"brand": "x"}]})
    with pytest.raises(FilterError, match=f"{MAX_CONDITIONS} conditions"):
        parse_filter({"all": [*one, {"price": {"gt": 1, "lt": 2}}]})
    with pytest.raises(FilterError, match=f"{MAX_CONDITIONS} conditions"):
        parse_filter({"all": [{}] * (MAX_CONDITIONS + 1)})
    with pytest.raises(FilterError, match="asks contains 10 times"):
        parse_filter({"any": [{"title": {"contains": str(n)}} for n in range(11)]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"price": {"gte": 1, "lte": 2}},
            {"all": [{"price": {"lte": 2.0}}, {"price": {"gte": 1}}]},
        ),
        ({"brand": "x"}, {"brand": {"in": ["x", "x"]}}),
        ({"brand": {"ne": "x"}}, {"brand": {"not_in": ["x"]}}),
        ({"brand": "x"}, {"not": {"not": {"brand": {"eq": "x"}}}}),
        ({"brand": "x", "price": 1}, {"all": [{}, {"all": [{"price": 1}]}, {"brand": "x"}]}),
        ({"price": {"in": [1, 2]}}, {"price": {"in": [2, 1, 2.0]}}),
        ({"price": 0}, {"price": -0.0}),
        ({"category": {"under": "A > B"}}, {"category": {"under": "A  >  B "}}),
        (
            {"created_at": {"since": "2024-05-01"}},
            {"created_at": {"since": "2024-05-01T02:00:00+02:00"}},
        ),
    ],
)
def test_filters_that_say_the_same_share_a_key(one: object, other: object) -> None:
    assert parse_filter(one) == parse_filter(other)
    assert hash(parse_filter(one)) == hash(parse_filter(other))


def test_filters_that_differ_have_their_own_key() -> None:
    differing = [
        {"attributes.a": True},
        {"attributes.a": 1},
        {"attributes.a": "1"},
        {"attributes.a": {"in": [1, True]}},
        {"all": [{"brand": "x"}, {"price": 1}]},
        {"any": [{"brand": "x"}, {"price": 1}]},
        {"not": {"brand": "x"}},
        {"brand": {"ne": "x"}},
    ]
    assert len({parse_filter(value) for value in differing}) == len(differing)


def test_columns_of_categories_and_columns_that_are_missing() -> None:
    tiers = pl.DataFrame({"tier": ["head", "tail", None]}, schema={"tier": pl.Enum(c.TIERS)})
    assert parse_filter({"tier": {"ne": "head"}}).mask(tiers).tolist() == [False, True, False]
    assert not parse_filter({"price": {"lt": 1}}).mask(tiers).any()
    assert parse_filter({"price": {"exists": False}}).mask(tiers).all()
    assert not parse_filter({"attributes.a": {"exists": True}}).mask(tiers).any()
    assert parse_filter({"brand": "x"}).mask(SHOP.clear()).shape == (0,)


BROKEN = ["[1]", "3", '"a"', "", "{", "nan", "[" * 100_000, '{"a": ' * 5_000, "9" * 5_000]


def test_attributes_survive_what_is_no_object() -> None:
    odd = ['{"a": NaN, "b": 1e400}', '{"b": ' + "9" * 400 + "}", '{"a": "\\ud800", "\\udfff": 1}']
    texts = [*BROKEN, *odd, '{"a": "x"}', '{"a": [], "b": [null], "c": {}}', None]
    table = pl.DataFrame({"attributes": texts})
    have = {name: np.flatnonzero(attributes_of(table).present(name)).tolist() for name in "abc"}
    last = len(BROKEN) + len(odd)
    assert have == {"a": [last - 1, last], "b": [], "c": []}
    assert parse_filter({"attributes.a": "x"}).mask(table).nonzero()[0].tolist() == [last]


def test_attributes_belong_to_their_table() -> None:
    """Tables come and go, and a new one may be where an old one was."""
    asked = parse_filter({"attributes.n": 1})
    for n in [1, 2, 1, 1, 2] * 20:
        assert asked.mask(pl.DataFrame({"attributes": [f'{{"n": {n}}}']})).tolist() == [n == 1]
    assert attributes_of(SHOP) is attributes_of(SHOP)


@pytest.mark.parametrize(
    ("asked", "item", "reason"),
    [
        ({"price": {"lte": 20}}, "A", None),
        ({"price": {"lte": 20}}, "C", "price is 30; it must be at most 20"),
        ({"price": {"lte": 20}}, "B", "price is missing; it must be at most 20"),
        ({"brand": {"ne": "Rosso"}}, "A", "brand is 'Rosso'; it must be anything but 'Rosso'"),
        ({"brand": {"exists": True}}, "C", "brand is missing; it must be known"),
        ({"price": 1, "stock": {"exists": False}}, "D", "price is missing; it must be 1"),
        ({"not": {"tier": "head"}}, "A", "ruled out: tier is 'head'"),
        (
            {"attributes.colour": {"in": ["red", "green"]}},
            "B",
            "attributes.colour is 'blue'; it must be one of 'green', 'red'",
        ),
        (
            {"created_at": {"until": "2024-01-01"}},
            "A",
            "created_at is 2024-05-01T00:00:00Z; it must be before 2024-01-01T00:00:00Z",
        ),
        ({"price": 2, "stock": 9}, "A", "price is 12; it must be 2; stock is 3; it must be 9"),
        (
            {"any": [{"brand": "Über"}, {"price": {"gt": 20}}]},
            "A",
            "brand is 'Rosso'; it must be 'Über', or else price is 12; it must be above 20",
        ),
        (
            {"not": {"brand": "Rosso", "available": True}},
            "A",
            "ruled out: available is true and brand is 'Rosso'",
        ),
    ],
)
def test_why_an_item_does_not_pass(asked: object, item: str, reason: str | None) -> None:
    assert parse_filter(asked).why_not(SHOP.filter(pl.col(c.ITEM_ID) == item)) == reason


def test_why_is_asked_of_one_item() -> None:
    with pytest.raises(DataError, match="4 items was given"):
        parse_filter({}).why_not(SHOP)


# Random filters over a small world, held against a plain reading, row by row.

WORDS = st.text("aAbσςΣ.> ", min_size=1, max_size=4)
NUMBERS = st.sampled_from([-1, 0, 1, 2.5, 7])
MOMENTS = st.integers(0, 4).map(lambda days: MAY + timedelta(days=days))
BRANDS = st.sampled_from(["a", "A", "b", "σ"])
PATHS = st.sampled_from(["A", "A > B", "A > B > C", "AB", "B"])
ATTRIBUTE_VALUES = st.one_of(BRANDS, NUMBERS, st.booleans())


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


ROWS = st.fixed_dictionaries(
    {
        "item_id": st.just("x"),
        "title": maybe(WORDS),
        "brand": maybe(BRANDS | st.just("")),
        "category": maybe(PATHS),
        "price": maybe(NUMBERS.map(float) | st.just(math.nan)),
        "available": maybe(st.booleans()),
        "created_at": maybe(MOMENTS),
        "tier": maybe(st.sampled_from(c.TIERS)),
        "attributes": maybe(
            st.dictionaries(
                st.sampled_from(["c", "d.e"]),
                maybe(ATTRIBUTE_VALUES | st.lists(ATTRIBUTE_VALUES, max_size=2)),
            ).map(json.dumps)
            | st.sampled_from(BROKEN)
        ),
    }
)


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=3)


def asks(field: str, values: st.SearchStrategy[Any], **more: st.SearchStrategy[Any]) -> Any:
    """Conditions on a field: equality, existence and some operators more."""
    operators = {
        "eq": values,
        "ne": values,
        "in": lists(values),
        "not_in": lists(values),
        "exists": st.booleans(),
    } | more
    one = st.sampled_from(sorted(operators)).flatmap(
        lambda name: operators[name].map(lambda value: {name: value})
    )
    return (one | values).map(lambda asked: {field: asked})


ORDERED = dict.fromkeys(("lt", "lte", "gt", "gte"), NUMBERS)
ISO = MOMENTS.map(lambda moment: moment.isoformat())
LEAVES = st.one_of(
    asks("title", WORDS, contains=WORDS),
    asks("brand", BRANDS),
    asks("category", PATHS, under=PATHS),
    asks("price", NUMBERS, **ORDERED),
    asks("tier", st.sampled_from(c.TIERS)),
    asks("attributes.c", ATTRIBUTE_VALUES, contains=BRANDS, **ORDERED),
    asks("attributes.d.e", ATTRIBUTE_VALUES),
    st.booleans().map(lambda flag: {"available": flag}),
    st.sampled_from(["since", "until"]).flatmap(
        lambda name: ISO.map(lambda moment: {"created_at": {name: moment}})
    ),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
        st.lists(inner, max_size=3).map(lambda parts: dict(p for x in parts for p in x.items())),
    ),
    max_leaves=6,
)


def reads(asked: dict[str, Any], row: Mapping[str, Any]) -> bool:
    """A plain reading of a filter on one row."""
    answers = []
    for key, part in asked.items():
        if key == "all":
            answers.append(all(reads(inner, row) for inner in part))
        elif key == "any":
            answers.append(any(reads(inner, row) for inner in part))
        elif key == "not":
            answers.append(not reads(part, row))
        else:
            values = [v for v in known_values(row, key) if v not in (None, "")]
            values = [v for v in values if v == v]
            operators = part if isinstance(part, dict) else {"eq": part}
            answers += [holds(values, name, value) for name, value in operators.items()]
    return all(answers)


def known_values(row: Mapping[str, Any], field: str) -> list[Any]:
    if not field.startswith("attributes."):
        return [row[field]]
    try:
        read = json.loads(row["attributes"] or "{}")
    except (ValueError, RecursionError):
        return []
    value = read.get(field.removeprefix("attributes.")) if isinstance(read, dict) else None
    return value if isinstance(value, list) else [value]


def holds(values: list[Any], operator: str, given: Any) -> bool:
    if operator == "exists":
        return bool(values) == given
    if operator in ("ne", "not_in"):
        return bool(values) and not holds(values, {"ne": "eq", "not_in": "in"}[operator], given)
    return any(passes(value, operator, given) for value in values)


def passes(value: Any, operator: str, given: Any) -> bool:
    if operator == "in":
        return any(passes(value, "eq", part) for part in given)
    if isinstance(value, datetime):
        since = value >= datetime.fromisoformat(given)
        return since if operator == "since" else not since
    both = {
        str if isinstance(v, str) else bool if isinstance(v, bool) else float
        for v in (value, given)
    }
    if len(both) > 1 or (both == {bool} and operator != "eq"):
        return False
    return {
        "eq": lambda: value == given,
        "lt": lambda: value < given,
        "lte": lambda: value <= given,
        "gt": lambda: value > given,
        "gte": lambda: value >= given,
        "contains": lambda: re.search(re.escape(given), value, re.IGNORECASE) is not None,
        "under": lambda: value == given or value.startswith(f"{given} > "),
    }[operator]()


@settings(deadline=None)
@given(FILTERS, st.lists(ROWS, max_size=5))
def test_masks_agree_with_a_plain_reading(asked: dict[str, Any], rows: list[Any]) -> None:
    table = table_of(rows)
    found = parse_filter(asked)
    expected = [reads(asked, row) for row in rows]
    assert found.mask(table).tolist() == expected
    assert [found.why_not(table[n]) is None for n in range(len(rows))] == expected
    parts = [found.mask(table[n]) for n in range(len(rows))]
    assert [bool(part[0]) for part in parts] == expected


@settings(deadline=None)
@given(FILTERS)
def test_the_one_form_of_a_filter_is_that_filter(asked: dict[str, Any]) -> None:
    found = parse_filter(asked)
    again = parse_filter(json.loads(json.dumps(found.plain())))
    assert again == found
    assert again.plain() == found.plain()
    assert found.words()


KEYS = st.sampled_from([*FIELDS, "attributes", "attributes.a", "all", "any", "not", "eq", "in"])
OPERATORS = st.sampled_from(["eq", "lt", "exists", "since", "under", "contains", "not_in"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**20, 10**400),
    st.floats(),
    st.text(st.characters()),  # halves of surrogate pairs included
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | OPERATORS | st.text(st.characters()), inner, max_size=4)
    ),
    max_leaves=20,
)


def fault_of(value: object) -> FilterError | None:
    try:
        parse_filter(value).mask(SHOP)
    except FilterError as error:
        return error
    return None


@settings(deadline=None)
@given(JSON | st.dictionaries(KEYS, JSON))
def test_anything_is_a_filter_or_refused_with_its_place(value: object) -> None:
    fault = fault_of(value)
    if fault is not None:
        assert fault.path.startswith("filter")
        assert len(str(fault)) < 2_000
        str(fault).encode()
