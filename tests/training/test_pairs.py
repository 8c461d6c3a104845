"""Pairs that are drawn: only real partners, every item as often, nobody's future as their past."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from tests.worlds import shop

from tailrec.errors import DataError
from tailrec.training.pairs import LONGEST, Affinity, People


def strengths() -> sparse.csr_array:
    """Item 0 belongs to 1 (3 times as much as to 2), 1 to 0, 2 to 1, and 3 to nobody."""
    dense = np.zeros((4, 4), np.float32)
    dense[0, 1], dense[0, 2], dense[1, 0], dense[2, 1] = 3.0, 1.0, 2.0, 0.5
    dense[3, 0], dense[2, 2] = -1.0, 9.0
    return sparse.csr_array(dense)


def test_an_affinity_keeps_what_speaks_for_a_pair() -> None:
    affinity = Affinity.of(strengths())
    assert affinity.warm.tolist() == [0, 1, 2]
    assert affinity.matrix.toarray().tolist() == [
        [0, 3, 1, 0],
        [2, 0, 0, 0],
        [0, 0.5, 0, 0],
        [0, 0, 0, 0],
    ]


def test_an_affinity_keeps_the_strongest() -> None:
    assert Affinity.of(strengths(), most=1).matrix.toarray()[0].tolist() == [0, 3, 0, 0]


def test_pairs_are_partners_drawn_by_strength_and_anchors_all_alike() -> None:
    affinity = Affinity.of(strengths())
    rng = np.random.default_rng(0)
    drawn = [affinity.draw(9, rng) for _ in range(4000)]
    anchor = np.concatenate([pairs.anchor[:, 0] for pairs in drawn])
    target = np.concatenate([pairs.target for pairs in drawn])
    assert np.bincount(anchor).tolist() == [4000, 4000, 4000]
    assert (affinity.matrix[anchor, target] > 0).all()
    share = (target[anchor == 0] == 1).mean()
    assert share == pytest.approx(0.75, abs=0.03)  # 4 standard deviations of 4,000 draws


def test_pairs_repeat_under_one_seed() -> None:
    affinity = Affinity.of(strengths())
    one, other = (affinity.draw(3, np.random.default_rng(7)) for _ in range(2))
    assert one.anchor.tolist() == other.anchor.tolist()
    assert one.target.tolist() == other.target.tolist()


def test_partners_are_told() -> None:
    found = Affinity.of(strengths()).partners(np.array([0, 3]), np.array([1, 0, 2]))
    assert found.tolist() == [[True, False, True], [False, False, False]]


def test_no_pairs_is_said() -> None:
    with pytest.raises(DataError, match="no two items"):
        Affinity.of(sparse.csr_array((3, 3), dtype=np.float32))


def test_people_are_their_past_and_the_next_item() -> None:
    history = [5, 3, 1, 4, 0, 2, 7, 6]
    people = People(shop([history], ["t"] * 8), decay=0.5)
    pairs = people.draw(100, np.random.default_rng(0))
    # The first item follows nothing.
    assert sorted(pairs.target.tolist()) == sorted(history[1:])
    assert np.allclose(pairs.weight.sum(axis=1), 1)
    for anchor, weight, target in zip(*pairs[:2], pairs.target, strict=True):
        past = history[: history.index(target)][::-1][:LONGEST]
        assert anchor[weight > 0].tolist() == past
        assert weight[1 : len(past)] == pytest.approx(weight[: len(past) - 1] / 2)


def test_what_shares_an_instant_is_no_past() -> None:
    data = shop([[0, 1, 2]], ["t"] * 3)
    data.step[:] = [0, 1, 1]
    pairs = People(data, decay=1.0).draw(10, np.random.default_rng(0))
    assert sorted(pairs.target.tolist()) == [1, 2]
    for anchor, weight in zip(pairs.anchor, pairs.weight, strict=True):
        assert anchor[weight > 0].tolist() == [0]


def test_a_past_ends_before_the_basket_of_its_target() -> None:
    """Item 0, a basket of 1 to 9, then item 10: each of the basket follows item 0 alone."""
    data = shop([[*range(11)]], [str(n) for n in range(11)])
    data = replace(data, step=np.array([0, *[1] * 9, 2], np.int32))
    pairs = People(data, 0.5).ending(np.arange(11))
    assert pairs.target.tolist() == [*range(1, 11)]
    assert (pairs.anchor[:9] == [0, *[-1] * 5]).all()
    assert (pairs.weight[:9, 0] == 1).all()
    assert pairs.anchor[9].tolist() == [9, 8, 7, 6, 5, 4]
