"""Cancellations: matched to the latest earlier purchase, and nothing is taken back twice."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.data.cancellations import cancellations, take_back
from tailrec.data.cleaning import Cleaning
from tailrec.data.jsonlines import ROW

START = datetime(2011, 1, 1, tzinfo=UTC)


def _purchases(*rows: tuple[str, str, int, float], session: str = "") -> pl.DataFrame:
    """user, item, day and quantity of each row; the value is twice the quantity."""
    return pl.DataFrame(
        {
            ROW: range(2, len(rows) + 2),
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "type": ["purchase"] * len(rows),
            "timestamp": [START + timedelta(days=row[2]) for row in rows],
            "session_id": [session] * len(rows),
            "quantity": [row[3] for row in rows],
            "value": [2 * row[3] for row in rows],
        },
        schema_overrides={ROW: pl.Int64, "quantity": pl.Float64, "value": pl.Float64},
    )


def test_the_latest_earlier_purchase_is_taken_back_first() -> None:
    frame = _purchases(
        ("u", "i", 0, 6), ("u", "i", 1, 5), ("u", "i", 2, -8), ("u", "i", 3, 4), ("v", "i", 0, 9)
    )
    after, reason = cancellations(frame, Cleaning())
    assert reason is not None
    assert reason.to_list() == [None, "taken back by row 4", "takes back 8.0 of 8.0", None, None]
    # 8 taken back: all 5 of the second, 3 of the first; the later one and v's are untouched
    assert after["quantity"].to_list() == [3, 5, -8, 4, 9]
    assert after["value"].to_list() == [6, 10, -16, 8, 18]


def test_what_cancels_nothing_here_is_said_to() -> None:
    frame = _purchases(("u", "i", 0, -2), ("u", "j", 1, 1), ("u", "j", 2, -3))
    _, reason = cancellations(frame, Cleaning())
    assert reason is not None
    assert reason.to_list() == [
        "cancels a purchase that is not here",
        "taken back by row 4",
        "takes back 1.0 of 3.0",
    ]


def test_a_prefix_marks_cancellations_of_any_sign() -> None:
    frame = _purchases(("u", "i", 0, 2), ("u", "i", 1, 2))
    frame = frame.with_columns(pl.Series("session_id", ["1", "C2"]))
    assert cancellations(frame, Cleaning()).reason is None
    reason = cancellations(frame, Cleaning(cancel_prefix="C")).reason
    assert reason is not None
    assert reason.to_list() == ["taken back by row 3", "takes back 2.0 of 2.0"]


def test_rows_keep_their_order_when_the_file_is_not_sorted() -> None:
    frame = _purchases(("u", "i", 5, -1), ("u", "i", 0, 3))
    after, reason = cancellations(frame, Cleaning())
    assert reason is not None
    assert reason.to_list() == ["takes back 1.0 of 1.0", None]
    assert after["quantity"].to_list() == [-1, 2]
    assert after.columns == frame.columns


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 5).filter(bool)), max_size=40).map(
        lambda rows: sorted(rows, key=lambda row: row[0])
    )
)
def test_what_is_taken_equals_what_is_given_back(rows: list[tuple[int, int]]) -> None:
    group = np.array([row[0] for row in rows], np.int64)
    size = np.array([row[1] for row in rows], np.float64)
    left, by = take_back(group, size)
    used = np.abs(size) - left
    assert (left >= 0).all()
    assert (used >= 0).all()
    for number in range(3):
        own = group == number
        assert used[own & (size > 0)].sum() == used[own & (size < 0)].sum()
        # a cancellation that found too little has emptied every earlier purchase
        for place in np.flatnonzero(own & (size < 0) & (left > 0)):
            assert left[:place][own[:place] & (size[:place] > 0)].sum() == 0
    taken = by >= 0
    assert (group[taken] == group[by[taken]]).all()
    assert (by[taken] > np.flatnonzero(taken)).all()
