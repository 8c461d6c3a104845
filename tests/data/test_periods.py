"""Periods: equal in events, or cut at instants, and nothing that one holds out is taught by any."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from tests.worlds import shop

from tailrec.data.leaks import check_no_leak
from tailrec.data.periods import periods
from tailrec.dataset import DAY_US, Dataset
from tailrec.errors import DataError

RNG = np.random.default_rng
N_ITEMS, N_USERS, LENGTH = 30, 40, 30


@pytest.fixture
def busy() -> Dataset:
    """40 people meet 30 items at random, two days apart, each from an instant of its own."""
    rng = RNG(1)
    histories = [rng.integers(N_ITEMS, size=LENGTH).tolist() for _ in range(N_USERS)]
    data = shop(histories, [f"thing{n}" for n in range(N_ITEMS)])
    starts = np.repeat(rng.integers(DAY_US, size=N_USERS), LENGTH)
    return replace(data, time=2 * data.time + starts, now=2 * LENGTH * DAY_US)


def test_periods_of_equal_size_hold_their_own_events_only(busy: Dataset) -> None:
    found = periods(busy, 3, RNG(0))
    assert len(found) == 3
    sizes = [int(((busy.time >= p.start) & (busy.time < p.stop)).sum()) for p in found]
    assert sum(sizes) == busy.n_events
    assert max(sizes) - min(sizes) <= 1
    for period in found:
        times = period.split.whole.time
        assert period.start <= times.min() <= times.max() < period.stop
        assert (period.split.asof >= period.start).all()
        assert (period.split.asof < period.stop).all()


def test_what_is_held_out_is_taught_in_no_period(busy: Dataset) -> None:
    found = periods(busy, 3, RNG(0), share=0.2)
    taught = np.unique(np.concatenate([period.split.whole.item for period in found]))
    for period in found:
        inside = busy.keep((busy.time >= period.start) & (busy.time < period.stop), now=period.stop)
        check_no_leak(period.split, inside)
        assert len(period.split) > 0
        assert not np.isin(period.split.target, taught).any()
        assert not np.isin(period.split.queries.item, period.split.target).any()
    assert len(taught) == N_ITEMS - 6


def test_instants_cut_where_they_say(busy: Dataset) -> None:
    cuts = [datetime(1970, 1, 11, tzinfo=UTC), datetime(1970, 2, 1, tzinfo=UTC)]
    found = periods(busy, cuts, RNG(0))
    assert [p.stop for p in found[:2]] == [10 * DAY_US, 31 * DAY_US]
    assert [p.start for p in found[1:]] == [10 * DAY_US, 31 * DAY_US]
    assert found[0].start == busy.time.min()
    assert found[-1].stop == busy.time.max() + 1


def test_periods_that_cannot_be_cut_are_refused(busy: Dataset) -> None:
    with pytest.raises(DataError, match="ask for one or more"):
        periods(busy, 0, RNG(0))
    late = datetime(1980, 1, 1, tzinfo=UTC)
    with pytest.raises(DataError, match="instants that rise"):
        periods(busy, [late], RNG(0))
    with pytest.raises(DataError, match="no events"):
        periods(busy.keep(np.zeros(busy.n_events, bool)), 3, RNG(0))
    with pytest.raises(DataError, match="real ones"):
        periods(replace(busy, time=busy.step.astype(np.int64)), 3, RNG(0))
