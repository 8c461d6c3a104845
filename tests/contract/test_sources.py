"""What every source of candidates keeps, whatever it learnt. A new model is one line here."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.worlds import QUICK, checkerboard, crowd, shop, words_of

from tailrec.artifact import Artifact, load_artifact, save_artifact
from tailrec.candidates.als import Als
from tailrec.candidates.content import Content
from tailrec.candidates.ease import Ease
from tailrec.candidates.linear import Linear
from tailrec.candidates.neighbours import ItemKnn
from tailrec.candidates.popular import Popular
from tailrec.candidates.sequence import Sequential
from tailrec.dataset import Dataset, Features
from tailrec.items import PADDING, ItemsBatch
from tailrec.mixture import Mixture
from tailrec.ranking.attention import Attention
from tailrec.ranking.blend import Blend
from tailrec.ranking.greedy import Greedy
from tailrec.ranking.lambdamart import LambdaMart
from tailrec.recipe import Recipe

QUICK_SEQUENCE = Sequential(
    width=8, blocks=1, heads=1, ahead=0.9, own=100, dropout=0.4, course=QUICK
)
FOR_EVERYBODY = [Popular(), Popular(half_life_days=3)]
PERSONAL = [
    ItemKnn(),
    ItemKnn(neighbours=9, shrinkage=2, decay=0.7),
    Ease(regularization=5),
    Ease(regularization=5, keep=12, decay=0.7),
    Als(factors=8),
    Content(),
    Linear(ridge=5),
    Linear(ridge=5, tilt=0.1, half_life_days=9),
    Linear(ridge=5, prior=0.2),
    Mixture(parts=(Linear(ridge=5), ItemKnn(), Content())),
    Mixture(parts=(Linear(ridge=5), ItemKnn()), ranker=Greedy(rounds=5)),
    Mixture(parts=(Linear(ridge=5), ItemKnn()), ranker=LambdaMart(fewest=5, trees=9, least=9)),
    Mixture(parts=(ItemKnn(), QUICK_SEQUENCE), depth=12, ranker=Blend(items=(), histories=())),
    Mixture(
        parts=(Linear(ridge=5), ItemKnn()),
        ranker=Attention(width=4, fewest=5, course=QUICK),
    ),
    QUICK_SEQUENCE,
    QUICK_SEQUENCE.model_copy(update={"negatives": 8, "adjust": 0.3, "own": 50.0}),
]
every_source = pytest.mark.parametrize("recipe", FOR_EVERYBODY + PERSONAL, ids=repr)
every_personal_source = pytest.mark.parametrize("recipe", PERSONAL, ids=repr)


def fitted(recipe: Any, data: Dataset, features: Features | None = None) -> Any:
    """The recipe's model, always from the same seed."""
    return recipe.fit(data, features or words_of(data), rng=np.random.default_rng(3))


def assert_same(one: ItemsBatch, other: ItemsBatch) -> None:
    """The same items; scores up to the order of additions in products of blocks."""
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """A crowd, the same for every test."""
    return crowd(np.random.default_rng(11))


@every_source
@pytest.mark.parametrize("k", [1, 10, 80])
def test_slates_are_sorted_unique_and_without_the_excluded(
    recipe: Recipe, data: Dataset, k: int
) -> None:
    queries = data.queries()
    batch = fitted(recipe, data).candidates(queries, k)
    assert batch.ids.shape == (data.n_users, k)
    assert batch.ids.dtype == np.int32
    assert batch.scores.dtype == np.float32
    real = batch.ids != PADDING
    assert real[1:].any(axis=1).all()
    assert np.all(np.isneginf(batch.scores[~real]))
    assert np.all(batch.scores[real] > 0)
    assert np.all(batch.scores[:, 1:] <= batch.scores[:, :-1])
    assert batch.ids.max() < data.n_items
    for row in range(len(queries)):
        # Items of a row are unique: `Items` itself refuses others.
        assert not np.isin(batch[row].ids, queries[row].exclude).any()


@every_source
def test_equal_scores_stand_in_the_order_of_the_catalogue(recipe: Recipe, data: Dataset) -> None:
    batch = fitted(recipe, data).candidates(data.queries(), 40)
    equal = (batch.scores[:, 1:] == batch.scores[:, :-1]) & (batch.ids[:, 1:] != PADDING)
    assert np.all(batch.ids[:, 1:][equal] > batch.ids[:, :-1][equal])


@every_source
def test_fewer_candidates_are_the_first_of_more(recipe: Recipe, data: Dataset) -> None:
    model, queries = fitted(recipe, data), data.queries()
    np.testing.assert_array_equal(
        model.candidates(queries, 4).ids, model.candidates(queries, 25).ids[:, :4]
    )


@every_source
def test_a_batch_of_one_is_a_row_of_a_batch(recipe: Recipe, data: Dataset) -> None:
    model, queries = fitted(recipe, data), data.queries()
    whole = model.candidates(queries, 10)
    alone = [model.candidates(queries.rows(row, row + 1), 10) for row in range(len(queries))]
    assert_same(whole, ItemsBatch.concat(alone))


@every_source
def test_an_empty_batch_is_answered(recipe: Recipe, data: Dataset) -> None:
    nobody = data.queries(np.zeros(0, np.int32))
    assert fitted(recipe, data).candidates(nobody, 10).ids.shape == (0, 10)


@every_source
def test_one_seed_gives_one_model(recipe: Recipe, data: Dataset) -> None:
    first, second = fitted(recipe, data).arrays(), fitted(recipe, data).arrays()
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


@every_source
def test_a_saved_model_gives_the_same_slates(recipe: Any, data: Dataset, tmp_path: Path) -> None:
    model, queries = fitted(recipe, data), data.queries()
    save_artifact(Artifact(recipe.toml(), model.arrays(), {}), tmp_path / "v1")
    arrays = load_artifact(tmp_path / "v1").arrays
    assert not any(values.flags.writeable for values in arrays.values())
    loaded = recipe.restore(arrays)
    assert_same(loaded.candidates(queries, 10), model.candidates(queries, 10))
    for name, values in loaded.arrays().items():
        option = values.size <= 2
        assert option or np.shares_memory(values, arrays[name]), f"{name} was copied"


@every_source
def test_threads_do_not_get_in_each_others_way(recipe: Recipe, data: Dataset) -> None:
    model, queries = fitted(recipe, data), data.queries()
    alone = model.candidates(queries, 10)
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda _: model.candidates(queries, 10), range(40))
        for batch in together:
            np.testing.assert_array_equal(batch.ids, alone.ids)


@every_source
def test_items_newer_than_the_model_are_passed_over(recipe: Recipe, data: Dataset) -> None:
    model, queries = fitted(recipe, data), data.queries()
    newer = np.full(len(queries), 10**6, np.int32)
    bounds = queries.exclude_ptr + np.arange(len(queries) + 1)
    hidden = np.insert(queries.exclude, queries.exclude_ptr[1:], newer)
    item = queries.item.copy()
    item[-1] = 10**6
    later = replace(queries, exclude_ptr=bounds, exclude=hidden, item=item)
    before, after = model.candidates(queries, 10), model.candidates(later, 10)
    np.testing.assert_array_equal(after.ids[:-1], before.ids[:-1])


@every_source
def test_a_shop_without_events_gives_no_error(recipe: Recipe) -> None:
    empty = shop([[], []], ["red thing", "red ball", "blue ball"])
    batch = fitted(recipe, empty).candidates(empty.queries(), 5)
    assert np.all(batch.ids == PADDING)


@pytest.mark.parametrize("recipe", FOR_EVERYBODY, ids=repr)
def test_a_person_without_history_gets_what_is_popular(recipe: Recipe, data: Dataset) -> None:
    assert (fitted(recipe, data).candidates(data.queries(), 10).ids[0] != PADDING).all()


@every_personal_source
def test_a_person_without_history_gets_an_empty_row(recipe: Recipe, data: Dataset) -> None:
    assert (fitted(recipe, data).candidates(data.queries(), 10).ids[0] == PADDING).all()


@every_personal_source
def test_the_right_colour_is_recommended(recipe: Recipe) -> None:
    """Each person lacks one item of the own colour: it must come first."""
    board = checkerboard()
    first = fitted(recipe, board).candidates(board.queries(), 1).ids[:, 0]
    np.testing.assert_array_equal(first, np.arange(board.n_users))


@every_personal_source
def test_the_right_colour_is_kept_where_seen_items_return(recipe: Recipe) -> None:
    board = checkerboard()
    batch = fitted(recipe, board).candidates(board.queries(include_seen=True), 10)
    own = np.arange(board.n_users)[:, None] % 2
    assert np.all((batch.ids % 2 == own)[:, :9])
    assert np.all([len(set(ids)) == 10 for ids in batch.ids])
