"""Batches of requests, taken apart and put together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tailrec.items import QueryBatch


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
