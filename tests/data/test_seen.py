"""An encoder that was taught what is asked for is not evaluated with it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.worlds import shop

from tailrec.data.seen import LEARNT, check_unseen, learnt
from tailrec.data.split import cold_items, leave_one_out, time_windows
from tailrec.dataset import DAY_US, Dataset
from tailrec.errors import DataError


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Ten people who begin a day apart, so that times are real."""
    histories = [np.random.default_rng(n).permutation(12)[:8].tolist() for n in range(10)]
    made = shop(histories, [f"thing {n}" for n in range(12)])
    time = made.time + made.user.astype(np.int64) * DAY_US
    return replace(made, time=time, now=int(time.max()))


def test_an_encoder_that_learnt_nothing_here_is_fine(data: Dataset) -> None:
    check_unseen("packaged", {}, [leave_one_out(data)])


def test_the_same_split_is_fine_and_another_is_not(data: Dataset) -> None:
    split = leave_one_out(data)
    card = {LEARNT: [learnt(split.whole, split)]}
    check_unseen("mine", card, [split])
    cold = cold_items(data, 0.3, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"'mine' learnt from .* split 'cold items, 30%'"):
        check_unseen("mine", card, [split, cold])


def test_what_happened_before_the_cut_is_fine(data: Dataset) -> None:
    early, late = time_windows(data, n=2)
    check_unseen("mine", {LEARNT: [learnt(early.whole, early)]}, [early, late])
    with pytest.raises(DataError, match="learnt from"):
        check_unseen("mine", {LEARNT: [learnt(late.whole, late)]}, [early, late])


def test_everything_is_too_much(data: Dataset) -> None:
    card = {LEARNT: [learnt(data, None)]}
    for split in (leave_one_out(data), *time_windows(data, n=2)):
        with pytest.raises(DataError, match="train it with"):
            check_unseen("mine", card, [split])


def test_each_lesson_counts(data: Dataset) -> None:
    """What an encoder's base had seen, it has seen, too."""
    split = leave_one_out(data)
    card = {LEARNT: [learnt(data, None), learnt(split.whole, split)]}
    with pytest.raises(DataError, match=f"{data.n_events} events"):
        check_unseen("mine", card, [split])
