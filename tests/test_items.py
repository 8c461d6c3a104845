"""Batches of requests, taken apart and put together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tailrec.items import PADDING, ItemsBatch, QueryBatch


def batch(histories: list[list[int]], excluded: list[list[int]]) -> QueryBatch:
    """Requests with these items in their histories and exclusions."""
    item = np.array([i for own in histories for i in own], np.int32)
    out = np.array([i for own in excluded for i in own], np.int32)
    return QueryBatch(
        np.cumsum([0, *map(len, histories)]),
        item,
        item + 1,
        item.astype(np.float32) / 2,
        item.astype(np.float32) + 3,
        np.cumsum([0, *map(len, excluded)]),
        out,
        tail=0.25,
        hidden=np.zeros(9, np.bool_),
    )


ROWS = st.lists(st.lists(st.integers(0, 8), max_size=4), min_size=1, max_size=6)


@given(ROWS, st.data())
def test_requests_taken_are_those_asked_for(
    histories: list[list[int]], data: st.DataObject
) -> None:
    whole = batch(histories, histories[::-1])
    rows = data.draw(st.lists(st.integers(0, len(histories) - 1), max_size=8))
    taken = whole.take(np.array(rows, np.int64))
    assert len(taken) == len(rows)
    assert taken.tail == 0.25
    assert taken.hidden is whole.hidden
    for place, row in enumerate(rows):
        for name in ("item", "age", "days", "weight", "exclude"):
            asked, got = getattr(whole[row], name), getattr(taken[place], name)
            assert np.array_equal(asked, got)
            assert asked.dtype == got.dtype


def test_taking_a_span_is_the_same_as_cutting_it_out() -> None:
    whole = batch([[1], [], [2, 3], [4]], [[5], [6, 7], [], []])
    span, taken = whole.rows(1, 3), whole.take(np.arange(1, 3))
    for name in ("ptr", "item", "age", "exclude_ptr", "exclude"):
        assert np.array_equal(getattr(span, name), getattr(taken, name))


def slates() -> ItemsBatch:
    """Two rows with a column of each kind."""
    ids = np.array([[4, 2, 7], [5, PADDING, PADDING]], np.int32)
    scores = np.array([[3, 2, 1], [9, -np.inf, -np.inf]], np.float32)
    columns = {
        "code": np.array([[1, 2, 3], [4, 0, 0]], np.int8),
        "share": np.array([[0.1, 0.2, 0.3], [0.4, 0, 0]]),
        "marked": np.array([[True, False, True], [True, False, False]]),
        "name": np.array([["a", "b", "c"], ["d", None, None]], object),
    }
    return ItemsBatch(ids, scores, columns)


def test_what_stands_at_places_rows_and_the_first_places() -> None:
    placed = slates().placed(np.array([[2, PADDING], [0, PADDING]], np.int32))
    assert placed.ids.tolist() == [[7, PADDING], [5, PADDING]]
    assert placed.scores.tolist() == [[1, -np.inf], [9, -np.inf]]
    assert placed.columns["name"][:, 0].tolist() == ["c", "d"]
    assert slates().rows(slice(1, 2)).ids.tolist() == [[5, PADDING, PADDING]]
    assert slates().rows(np.array([1, 0])).columns["code"].tolist() == [[4, 0, 0], [1, 2, 3]]
    assert slates().first(1).ids.tolist() == [[4], [5]]
    assert slates().first(9).ids.shape == (2, 3)


def test_beside_and_below_what_is_lacking_is_blank() -> None:
    other = ItemsBatch(np.array([[1], [8]], np.int32), np.array([[5], [6]], np.float32))
    both = slates().beside(other)
    assert both.ids.tolist() == [[4, 2, 7, 1], [5, PADDING, PADDING, 8]]
    assert both.scores[:, 3].tolist() == [5, 6]
    last = {name: values[:, 3].tolist() for name, values in both.columns.items()}
    assert last == {
        "code": [-1, -1],
        "share": [0, 0],
        "marked": [False, False],
        "name": [None, None],
    }
    assert {name: values.dtype for name, values in both.columns.items()} == {
        name: values.dtype for name, values in slates().columns.items()
    }
    narrow = slates().first(1)
    below = ItemsBatch.concat([slates(), narrow])
    assert below.ids.tolist()[2:] == [[4, PADDING, PADDING], [5, PADDING, PADDING]]
    assert below.scores[2].tolist() == [3, -np.inf, -np.inf]
    assert below.columns["code"][2].tolist() == [1, -1, -1]
    assert list(ItemsBatch.concat([slates(), other]).columns) == []
