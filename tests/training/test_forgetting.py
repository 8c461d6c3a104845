"""Forgetting and transfer, against values worked by hand."""

import numpy as np
import pytest

from tailrec.training.forgetting import (
    backward_transfer,
    forgetting,
    forward_transfer,
    measured,
)

BEFORE = np.array([0.1, 0.2, 0.3])
FIGURES = np.array([[0.8, 0.3, 0.2], [0.9, 0.7, 0.5], [0.6, 0.5, 0.9]])


def test_figures_of_a_hand_worked_matrix() -> None:
    # Period 1 was best after period 2: 0.9 - 0.6; period 2 loses 0.7 - 0.5.
    assert forgetting(FIGURES) == pytest.approx((0.3 + 0.2) / 2)
    # Against when each had just been learnt: 0.6 - 0.8 and 0.5 - 0.7.
    assert backward_transfer(FIGURES) == pytest.approx(-0.2)
    # Just before each is learnt, against the start: 0.3 - 0.2 and 0.5 - 0.3.
    assert forward_transfer(FIGURES, BEFORE) == pytest.approx(0.15)


def test_what_is_only_gained_is_not_forgotten() -> None:
    gained = np.array([[0.5, 0.1], [0.7, 0.6]])
    assert forgetting(gained) == pytest.approx(-0.2)
    assert backward_transfer(gained) == pytest.approx(0.2)


def test_each_is_learnt_on_top_of_those_before() -> None:
    def learn(known: str, task: str) -> str:
        return known + task

    before, figures = measured("", ["a", "b"], learn, lambda known, task: known.count(task))
    assert before.tolist() == [0, 0]
    assert figures.tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros(3), np.zeros((1, 1))])
def test_other_shapes_are_refused(wrong: np.ndarray) -> None:
    for figure in (forgetting, backward_transfer, lambda m: forward_transfer(m, np.zeros(2))):
        with pytest.raises(ValueError, match="square matrix"):
            figure(wrong)
    with pytest.raises(ValueError, match="do not fit"):
        forward_transfer(FIGURES, np.zeros(2))
