"""Fair slates: minima against the paper and all rankings, slates against a plain reading."""

import re
import tomllib
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrec.errors import DataError, RecipeError
from tailrec.items import PADDING, BoolArray, Int32Array, ItemsBatch
from tailrec.reranking.fairness import (
    LIFTED,
    CompiledFairness,
    Fairness,
    fair,
    is_fair,
    lacking,
    minimum_protected,
    rejection_chance,
)

PAGE = Path(__file__).parents[2] / "docs" / "fairness.md"

# Table 2 of Zehlike et al. 2017: alpha 0.1, prefixes of 1 to 12 items.
PUBLISHED = {
    0.1: "000000000000",
    0.2: "000000000011",
    0.3: "000000111112",
    0.4: "000011112223",
    0.5: "000111223334",
    0.6: "001122334455",
    0.7: "011223345566",
}
SHARES = st.floats(0.05, 0.95)
ALPHAS = st.floats(0.01, 0.5)


@pytest.mark.parametrize("share", PUBLISHED)
def test_single_tests_ask_for_what_the_paper_prints(share: float) -> None:
    found = minimum_protected(12, share, 0.1, adjusted=False)
    assert "".join(map(str, found)) == PUBLISHED[share]


def test_single_tests_of_twenty_ask_for_what_the_authors_library_gives() -> None:
    found = minimum_protected(20, 0.25, 0.1, adjusted=False)
    assert found.tolist() == [0] * 8 + [1] * 6 + [2] * 5 + [3]


def enumerated(minimum: Int32Array, share: float) -> float:
    """The chance of rejection, over all rankings one by one."""
    rankings = np.array(list(product([0, 1], repeat=len(minimum))))
    chance = np.prod(np.where(rankings, share, 1 - share), axis=1)
    fails = (np.cumsum(rankings, axis=1) < minimum).any(axis=1)
    return float(chance[fails].sum())


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 12), share=SHARES, alpha=ALPHAS)
def test_the_chance_of_rejection_is_that_of_all_rankings(
    n: int, share: float, alpha: float
) -> None:
    for adjusted in (False, True):
        minimum = minimum_protected(n, share, alpha, adjusted=adjusted)
        assert rejection_chance(minimum, share) == pytest.approx(enumerated(minimum, share))


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 40), share=SHARES, alpha=ALPHAS)
def test_adjusted_minima_reject_at_most_alpha_and_no_larger_level_does(
    n: int, share: float, alpha: float
) -> None:
    own = minimum_protected(n, share, alpha)
    assert rejection_chance(own, share) <= alpha
    single = minimum_protected(n, share, alpha, adjusted=False)
    assert (own <= single).all()
    # Levels from 0 to alpha, closely: minima that ask for more reject more than alpha.
    for level in np.geomspace(alpha / 1000, alpha, 60):
        other = minimum_protected(n, share, float(level), adjusted=False)
        if (other > own).any():
            assert rejection_chance(other, share) > alpha


@settings(deadline=None, max_examples=50)
@given(n=st.integers(2, 60), share=SHARES, alpha=ALPHAS)
def test_minima_rise_by_steps_of_one_at_most(n: int, share: float, alpha: float) -> None:
    for adjusted in (False, True):
        found = minimum_protected(n, share, alpha, adjusted=adjusted)
        assert set(np.diff(found, prepend=0)) <= {0, 1}
        assert found.dtype == np.int32
        assert not found.flags.writeable, "the same array is given to all who ask"


def test_fair_rankings_drawn_at_random_are_rejected_as_often_as_said() -> None:
    rng = np.random.default_rng(3)
    minimum = minimum_protected(30, 0.4, 0.15)
    drawn = rng.random((40_000, 30)) < 0.4
    fails = (np.cumsum(drawn, axis=1) < minimum).any(axis=1).mean()
    # Four standard errors of a share of 40,000.
    assert fails == pytest.approx(rejection_chance(minimum, 0.4), abs=4 * 0.0018)
    assert fails <= 0.15 + 4 * 0.0018
    single = minimum_protected(30, 0.4, 0.15, adjusted=False)
    assert (np.cumsum(drawn, axis=1) < single).any(axis=1).mean() > 0.2, "why it is adjusted"


@pytest.mark.parametrize(
    ("n", "share", "alpha"), [(0, 0.5, 0.1), (5, 0.0, 0.1), (5, 1.0, 0.1), (5, 0.5, 0), (5, 0.5, 1)]
)
def test_minima_out_of_range_are_refused(n: int, share: float, alpha: float) -> None:
    with pytest.raises(ValueError, match=f"a ranking of {n} items, share {share:g}"):
        minimum_protected(n, share, alpha)


def pools_of(*rows: list[int], width: int | None = None) -> ItemsBatch:
    """Pools with falling scores, and a column of the place each item had."""
    shape = len(rows), width or max(map(len, rows))
    ids = np.full(shape, PADDING, np.int32)
    scores = np.full(shape, -np.inf, np.float32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        scores[number, : len(row)] = np.arange(len(row), 0, -1)
    return ItemsBatch(ids, scores, {"was": np.tile(np.arange(shape[1]), (shape[0], 1))})


def shown(slates: ItemsBatch) -> list[list[int]]:
    return [[item for item in row if item != PADDING] for row in slates.ids.tolist()]


# Items from 10 on are protected.
PROTECTED = np.arange(20) >= 10
HALF = np.array([0, 1, 1, 2], np.int32)


def test_a_place_goes_to_a_protected_item_only_where_a_minimum_asks_for_it() -> None:
    slates = fair(pools_of([0, 1, 2, 10, 3, 11]), PROTECTED, 4, HALF)
    assert shown(slates) == [[0, 10, 1, 11]]
    assert slates.columns[LIFTED].tolist() == [[False, True, False, True]]
    assert slates.columns["was"].tolist() == [[0, 3, 1, 5]]
    assert slates.scores.tolist() == [[6, 3, 5, 1]]


def test_a_fair_pool_is_left_as_it_is() -> None:
    slates = fair(pools_of([10, 0, 11, 1, 2]), PROTECTED, 4, HALF)
    assert shown(slates) == [[10, 0, 11, 1]]
    assert not slates.columns[LIFTED].any()


def test_a_pool_short_of_protected_items_is_filled_and_told() -> None:
    pools = pools_of([0, 1, 10, 2, 3], [0, 1, 2, 3], [0], [], [10, 11])
    slates = fair(pools, PROTECTED, 4, HALF)
    assert shown(slates) == [[0, 10, 1, 2], [0, 1, 2, 3], [0], [], [10, 11]]
    assert lacking(slates.ids, PROTECTED, HALF).tolist() == [1, 2, 0, 0, 0]
    assert is_fair(slates.ids, PROTECTED, HALF).tolist() == [False, False, True, True, True]
    assert np.isneginf(slates.scores[2, 1:]).all()


def test_places_beyond_the_minima_ask_for_nothing() -> None:
    slates = fair(pools_of([0, 1, 2, 10, 11, 3]), PROTECTED, 6, HALF[:2])
    assert shown(slates) == [[0, 10, 1, 2, 11, 3]]
    assert lacking(slates.ids, PROTECTED, HALF[:2]).tolist() == [0]


def test_slates_are_judged_by_their_worst_prefix() -> None:
    ids = pools_of([0, 1, 10, 11], [10, 0, 1, 2]).ids
    assert lacking(ids, PROTECTED, HALF).tolist() == [1, 1]
    assert lacking(ids, PROTECTED, HALF[:1]).tolist() == [0, 0]


@pytest.mark.parametrize("width", [0, 3])
def test_pools_without_items_give_slates_without_items(width: int) -> None:
    empty = ItemsBatch(
        np.full((2, width), PADDING, np.int32), np.full((2, width), -np.inf, np.float32)
    )
    slates = fair(empty, PROTECTED, 4, HALF)
    assert shown(slates) == [[], []]
    assert lacking(slates.ids, PROTECTED, HALF).tolist() == [0, 0]
    assert shown(fair(ItemsBatch(empty.ids[:0], empty.scores[:0]), PROTECTED, 4, HALF)) == []


def test_pools_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="item number 20; the mask is of 20 items"):
        fair(pools_of([20]), PROTECTED, 4, HALF)
    with pytest.raises(DataError, match="item number 20"):
        lacking(pools_of([20]).ids, PROTECTED, HALF)
    with pytest.raises(DataError, match="k is 0"):
        fair(pools_of([1]), PROTECTED, 0, HALF)
    with pytest.raises(DataError, match="k is 0"):
        CompiledFairness(PROTECTED, 0.5, 0.1, ()).placed(pools_of([1]), 0)


def plainly(pool: list[int], protected: BoolArray, k: int, minimum: Int32Array) -> list[int]:
    """The algorithm of the paper, with two queues."""
    special = [item for item in pool if protected[item]]
    others = [item for item in pool if not protected[item]]
    slate: list[int] = []
    while len(slate) < min(k, len(pool)):
        due = len(slate) < len(minimum) and sum(protected[slate]) < minimum[len(slate)]
        if due and special:
            slate.append(special.pop(0))
            continue
        heads = [queue for queue in (special, others) if queue]
        slate.append(min(heads, key=lambda queue: pool.index(queue[0])).pop(0))
    return slate


@settings(deadline=None)  # the first call compiles
@given(seed=st.integers(0, 2**32 - 1), share=SHARES, k=st.integers(1, 18))
def test_slates_are_those_of_the_paper_and_keep_their_promises(
    seed: int, share: float, k: int
) -> None:
    rng = np.random.default_rng(seed)
    protected = rng.random(20) < 0.4
    rows = [rng.permutation(20)[: rng.integers(0, 19)].tolist() for _ in range(4)]
    pools = pools_of(*rows, width=18)
    minimum = minimum_protected(k, share, 0.2)
    before = pools.ids.copy()
    slates = fair(pools, protected, k, minimum)
    assert shown(slates) == [plainly(row, protected, k, minimum) for row in rows]
    np.testing.assert_array_equal(pools.ids, before)
    for number, (slate, pool) in enumerate(zip(shown(slates), rows, strict=True)):
        assert len(slate) == len(set(slate)) == min(k, len(pool))
        for kind in (True, False):
            own = [item for item in slate if protected[item] == kind]
            assert own == [item for item in pool if protected[item] == kind][: len(own)]
        there = sum(protected[pool])
        lack = lacking(slates.ids[number : number + 1], protected, minimum)[0]
        # It falls short only where the pool has no more to give.
        assert lack == max(minimum[len(slate) - 1] - there, 0) if slate else lack == 0
        alone = fair(
            ItemsBatch(pools.ids[number : number + 1], pools.scores[number : number + 1]),
            protected,
            k,
            minimum,
        )
        assert shown(alone)[0] == slate


SHOP = pl.DataFrame({"item_id": ["A", "B", "C"], "tier": ["head", "tail", "tail"]})


def test_protected_items_are_named_or_filtered() -> None:
    by_tier = Fairness.parse({"protected": {"filter": {"tier": "tail"}}}).compiled(SHOP)
    named = Fairness.parse({"protected": {"items": ["B", "Z"]}, "share": 0.5}).compiled(SHOP)
    assert by_tier is not None
    assert named is not None
    assert by_tier.protected.tolist() == [False, True, True]
    assert by_tier.unknown == ()
    assert named.protected.tolist() == [False, True, False]
    assert named.unknown == ("Z",)
    assert Fairness().compiled(SHOP) is None


def test_a_compiled_constraint_places_by_its_own_minima() -> None:
    own = CompiledFairness(PROTECTED, 0.7, 0.1, ())
    pools = pools_of([*range(10), *range(10, 20)])
    np.testing.assert_array_equal(own.minimum(12), minimum_protected(12, 0.7, 0.1))
    slates = own.placed(pools, 12)
    assert is_fair(slates.ids, PROTECTED, own.minimum(12)).all()
    assert not is_fair(pools.ids, PROTECTED, own.minimum(12)).any()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"share": 0}, "share: Input should be greater than 0"),
        ({"share": 1}, "share: Input should be less than 1"),
        ({"alpha": 0}, "alpha: Input should be greater than 0"),
        ({"protected": {}}, "neither was given"),
        ({"protected": {"filter": {"tear": "tail"}}}, "did you mean 'tier'"),
        ({"shares": 1}, "Extra inputs"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        Fairness.parse(options)


def test_the_page_shows_a_recipe_and_its_minima() -> None:
    text = PAGE.read_text("utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, flags=re.M | re.S)
    recipe = Fairness.parse(tomllib.loads(block)["fairness"])
    table = re.search(r"^\| places \| (.*) \|\n.*\n\| at least \| (.*) \|$", text, flags=re.M)
    assert table is not None
    least = [int(cell) for cell in table[2].split(" | ")]
    spans = [[int(end) for end in cell.split("-")] for cell in table[1].split(" | ")]
    told = [n for n, (low, high) in zip(least, spans, strict=True) for _ in range(low, high + 1)]
    assert told == minimum_protected(20, recipe.share, recipe.alpha).tolist()
