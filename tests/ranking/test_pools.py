"""Pools: every proposal once, and what each source says of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrec.items import PADDING, ItemsBatch
from tailrec.ranking.pools import RANK, SCORE, columns_of, names_of, pooled, stacked

ONE = ItemsBatch(
    np.array([[4, 2, 7], [1, -1, -1]], np.int32),
    np.array([[9.0, 3.0, 1.0], [2.0, -np.inf, -np.inf]], np.float32),
)
OTHER = ItemsBatch(
    np.array([[2, 5], [-1, -1]], np.int32),
    np.array([[0.4, 0.2], [-np.inf, -np.inf]], np.float32),
)


def test_every_proposal_stands_once_with_what_each_source_says() -> None:
    pool = pooled({"one": ONE, "other": OTHER})
    assert sorted(pool.ids[0].tolist()) == [2, 4, 5, 7]
    assert pool.ids[1].tolist() == [1, -1, -1, -1]
    place = {int(item): n for n, item in enumerate(pool.ids[0])}
    of_one, of_other = pool.columns[SCORE + "one"][0], pool.columns[SCORE + "other"][0]
    # The lowest of three is at 1/3, the highest at 1.
    assert of_one[place[4]] == pytest.approx(1)
    assert of_one[place[2]] == pytest.approx(1 / 3 + 2 / 3 * 2 / 8)
    assert of_one[place[7]] == pytest.approx(1 / 3)
    assert of_one[place[5]] == 0
    assert of_other[place[2]] == pytest.approx(1)
    assert pool.columns[RANK + "one"][0][place[2]] == pytest.approx(1 / np.log2(3))
    assert pool.columns[RANK + "other"][0][place[4]] == 0
    assert np.isneginf(pool.scores[1, 1:]).all()
    assert (np.diff(pool.scores[0]) <= 0).all()


def test_columns_are_named_after_sources_in_their_order() -> None:
    pool = pooled({"b": ONE, "a": OTHER})
    assert columns_of(pool) == names_of(["b", "a"])
    assert stacked(pool, names_of(["b", "gone"])).shape == (2, 4, 4)
    assert (stacked(pool, names_of(["gone"])) == 0).all()


def test_no_sources_are_no_pool() -> None:
    with pytest.raises(ValueError, match="at least one source"):
        pooled({})


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 9))
def test_a_pool_holds_what_was_proposed_and_nothing_else(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    proposals = {}
    for source in range(n):
        ids = np.stack([rng.permutation(12)[:k] for _ in range(3)]).astype(np.int32)
        ids[np.arange(k) >= rng.integers(0, k + 1, 3)[:, None]] = PADDING
        scores = np.sort(rng.random((3, k)).astype(np.float32))[:, ::-1]
        scores = np.where(ids == PADDING, -np.inf, scores).astype(np.float32)
        proposals[str(source)] = ItemsBatch(ids, scores)
    pool = pooled(proposals)
    for row in range(3):
        own = pool.ids[row][pool.ids[row] != PADDING]
        wanted = set(np.concatenate([batch.ids[row] for batch in proposals.values()])) - {PADDING}
        assert len(own) == len(set(own.tolist()))
        assert set(own.tolist()) == wanted
        for name, batch in proposals.items():
            says = {
                int(i)
                for i, v in zip(pool.ids[row], pool.columns[SCORE + name][row], strict=True)
                if v > 0
            }
            assert says == set(batch.ids[row].tolist()) - {PADDING}
            order = [int(i) for i in batch.ids[row] if i != PADDING]
            value = dict(zip(pool.ids[row].tolist(), pool.columns[SCORE + name][row], strict=True))
            assert [value[i] for i in order] == sorted((value[i] for i in order), reverse=True)
