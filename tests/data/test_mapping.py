"""Mapping: columns get our names and types, and a wrong one is refused by name."""

import json

import polars as pl
import pytest

from tailrec.data.coerce import BAD
from tailrec.data.jsonlines import ROW
from tailrec.data.mapping import Layout, json_object, parse_pairs
from tailrec.errors import SchemaError


def _raw(**columns: list[object]) -> pl.DataFrame:
    frame = pl.DataFrame(columns)
    return frame.with_row_index(ROW, offset=2).cast({ROW: pl.Int64})


def test_pairs() -> None:
    assert parse_pairs("user_id=Customer ID, title=a+b,") == {
        "user_id": "Customer ID",
        "title": "a+b",
    }
    for wrong in ("user_id", "=x", "a=b,a=c"):
        with pytest.raises(SchemaError):
            parse_pairs(wrong)


def test_columns_are_named_joined_filled_and_typed() -> None:
    raw = _raw(sku=["1", "2"], a=["Red ", None], b=["shoe", ""], top=["X", "X"], price=["5", ""])
    layout = Layout(
        "items",
        mapping={"item_id": "sku", "title": "a+b", "category": "top>b"},
        fill={"available": "yes"},
    )
    rows = layout.apply(raw, "f").drop(ROW)
    assert rows.to_dicts() == [
        {
            "item_id": "1",
            "title": "Red shoe",
            "category": "X > shoe",
            "price": 5.0,
            "available": True,
        },
        {"item_id": "2", "title": None, "category": "X", "price": None, "available": True},
    ]


def test_a_column_name_that_looks_like_a_join_is_a_name() -> None:
    layout = Layout("items", mapping={"title": "a+b"})
    assert layout.apply(_raw(item_id=["1"], **{"a+b": ["T"]}), "f")["title"].to_list() == ["T"]


def test_columns_without_a_use_become_attributes() -> None:
    raw = _raw(
        item_id=["1", "2"],
        title=["T", "U"],
        size=[4, None],
        ink=['a "b"', ""],
        tags=[["x"], None],
    )
    found = Layout("items").apply(raw, "f")["attributes"].to_list()
    assert json.loads(found[0]) == {"size": 4, "ink": 'a "b"', "tags": ["x"]}
    assert found[1] is None
    kept = Layout("items", attributes=("size",)).apply(raw, "f")["attributes"].to_list()
    assert kept == ['{"size":4}', None]


def test_attributes_the_file_has_stay_as_they_are() -> None:
    raw = _raw(item_id=["1"], title=["T"], attributes=["Red|Large"])
    assert Layout("items").apply(raw, "f")["attributes"].to_list() == ["Red|Large"]


def test_events_leave_columns_without_a_use_behind() -> None:
    raw = _raw(user_id=["u"], item_id=["i"], type=["view"], timestamp=["2011-01-01"], x=["y"])
    assert "x" not in Layout("events").apply(raw, "f").columns


def test_a_missing_column_is_named_with_those_there_are() -> None:
    raw = _raw(CustomerID=["u"], item_id=["i"])
    with pytest.raises(SchemaError, match=r"shop\.csv: events need user_id, type, timestamp") as e:
        Layout("events").apply(raw, "shop.csv")
    assert "CustomerID, item_id" in str(e.value)
    assert "--map user_id=COLUMN" in str(e.value)
    with pytest.raises(SchemaError, match=r"has no column 'Kunde'.*CustomerID"):
        Layout("events", mapping={"user_id": "Kunde"}).apply(raw, "shop.csv")
    with pytest.raises(SchemaError, match=r"events has no column \['colour'\]"):
        Layout("events", mapping={"colour": "x"})


def test_a_column_of_the_wrong_type_is_named_with_row_and_value() -> None:
    raw = _raw(item_id=["1", "2", "3"], title=["T"] * 3, price=["5", "cheap", "dear"])
    with pytest.raises(SchemaError, match="f, row 3, column 'price': 'cheap' is not a number"):
        Layout("items").apply(raw, "f")


def test_single_unreadable_cells_are_kept_beside() -> None:
    raw = _raw(item_id=["1", "2", "3"], title=["T"] * 3, price=["5", "cheap", "7"])
    rows = Layout("items").apply(raw, "f")
    assert rows["price"].to_list() == [5.0, None, 7.0]
    assert rows[BAD + "price"].to_list() == [None, "cheap", None]


def test_json_objects_leave_empty_values_out() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": ["", None]})
    assert json_object(frame).to_list() == ['{"a":1}', None]
