"""Cost of work: seconds and peaks."""

import sys
import time

import numpy as np
import pytest

from tailrec.cost import measured


def test_seconds_are_those_of_the_work() -> None:
    with measured() as cost:
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a peak that can be reset")
def test_a_peak_is_forgotten_by_the_next_measurement() -> None:
    size = 300_000_000
    with measured() as large:
        np.ones(size, np.uint8)
    with measured() as small:
        np.ones(1_000, np.uint8)
    assert large.peak_bytes is not None
    assert small.peak_bytes is not None
    assert large.peak_bytes - small.peak_bytes > 0.8 * size


def test_work_that_fails_is_measured_too() -> None:
    with pytest.raises(RuntimeError), measured() as cost:
        raise RuntimeError
    assert cost.seconds > 0
