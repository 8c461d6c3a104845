import numpy as np
from hypothesis import given, settings
from tests.reranking.pools import World, pools_of, relevance_of, worlds

from tailrec.items import PADDING
from tailrec.reranking.pool import scaled


@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_relevance_is_the_score_on_the_scale_of_what_was_proposed(world: World) -> None:
    pool = scaled(world.pools)
    for row, (ids, scores) in enumerate(zip(world.pools.ids, world.pools.scores, strict=True)):
        own = scores[ids != PADDING]
        assert pool.size[row] == len(own)
        if len(own):
            expected = relevance_of(own)
            np.testing.assert_allclose(pool.relevance[row, : len(own)], expected, atol=1e-12)
            positive = int((own >= 0).sum())
            assert pool.proposed[row] == (positive or len(own))


def test_relevance_of_each_kind_of_pool() -> None:
    nothing = -np.inf
    pools = pools_of(
        [[3, 2, 1, -1], [2, 2, 2, -9], [-1, -2, -3, -5], [5, nothing, nothing, nothing]]
    )
    pool = scaled(pools)
    np.testing.assert_allclose(pool.relevance[0], [1, 0.5, 0, 0])
    np.testing.assert_allclose(pool.relevance[1], [1, 1, 1, 0])
    np.testing.assert_allclose(pool.relevance[2], [1, 0.75, 0.5, 0])
    assert pool.relevance[3, 0] == 1
    assert pool.proposed.tolist() == [3, 3, 4, 1]
