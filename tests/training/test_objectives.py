"""Losses against values that can be worked out by hand."""

import math

import pytest
import torch

from tailrec.training.objectives import autoencoder, info_nce


def nce(anchors: torch.Tensor, targets: torch.Tensor, **options: object) -> float:
    """InfoNCE at temperature 1, nothing hidden and nothing subtracted unless said."""
    hidden = options.get("hidden", torch.zeros(len(anchors), len(targets), dtype=torch.bool))
    offset = options.get("offset", torch.zeros(len(targets)))
    losses = info_nce(anchors, targets, temperature=1.0, hidden=hidden, offset=offset)
    return float(losses.mean())


def test_alike_targets_cannot_be_told_apart() -> None:
    same = torch.ones(4, 1)
    assert nce(same, same) == pytest.approx(math.log(4))


def test_a_pair_of_opposites() -> None:
    own = torch.tensor([[1.0], [-1.0]])
    assert nce(own, own) == pytest.approx(math.log(1 + math.exp(-2)))


def test_what_is_hidden_does_not_count() -> None:
    same = torch.ones(3, 1)
    hidden = torch.tensor([[False, True, True], [True, False, True], [True, True, False]])
    assert nce(same, same, hidden=hidden) == pytest.approx(0, abs=1e-6)


def test_hard_negatives_are_asked_one_way_only() -> None:
    same, targets = torch.ones(2, 1), torch.ones(3, 1)
    assert nce(same, targets) == pytest.approx((math.log(3) + math.log(2)) / 2)


def test_an_offset_takes_popularity_out_of_the_loss() -> None:
    """With logits that are log-counts, subtracting the log-share leaves all alike."""
    anchors = torch.ones(2, 1)
    targets = torch.tensor([[math.log(8.0)], [math.log(2.0)]])
    offset = torch.log(torch.tensor([0.8, 0.2]))
    assert nce(anchors, targets, offset=offset) == pytest.approx(math.log(2))


def test_histories_of_like_items_are_rebuilt() -> None:
    pairs = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    right = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    wrong = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert float(autoencoder(right, pairs)) == pytest.approx(0, abs=1e-6)
    # Each item brings back only its like, which the person did not have: unit rows at right angles.
    assert float(autoencoder(wrong, pairs)) == pytest.approx(2)
