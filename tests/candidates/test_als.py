"""iALS: folding in, and what its factors mean."""

import warnings

import numpy as np
from tests.worlds import crowd, shop, words_of

from tailrec.candidates.als import Als, AlsModel
from tailrec.candidates.select import history_weights
from tailrec.dataset import Dataset


def fitted(recipe: Als, data: Dataset, seed: int = 0) -> AlsModel:
    """The recipe's model."""
    return recipe.fit(data, words_of(data), rng=np.random.default_rng(seed))


def test_people_are_folded_in_by_the_normal_equations(rng: np.random.Generator) -> None:
    data = crowd(rng)
    model = fitted(Als(factors=6, regularization=0.7, alpha=4), data)
    queries = data.queries(include_seen=True)
    batch = model.candidates(queries, data.n_items)
    counts = history_weights(queries, data.n_items).matrix().toarray()
    y = model.factors.astype(float)
    for row in range(1, len(queries)):
        extra = 4 * counts[row]
        left = y.T @ y + 0.7 * np.eye(6) + (y.T * extra) @ y
        person = np.linalg.solve(left, y.T @ ((1 + extra) * (extra > 0)))
        slate = batch[row]
        np.testing.assert_allclose(slate.scores, y[slate.ids] @ person, atol=1e-4)


def test_factors_reconstruct_what_people_have(rng: np.random.Generator) -> None:
    """With as many factors as items and little regularization, preferences come back as 1."""
    data = crowd(rng)
    model = fitted(Als(factors=50, regularization=0.01, alpha=50, iterations=20), data)
    batch = model.candidates(data.queries(include_seen=True), 12)
    for row in range(1, data.n_users):
        own = set(data.item[data.ptr[row] : data.ptr[row + 1]].tolist())
        assert set(batch[row].ids[: len(own)].tolist()) == own


def test_items_without_events_have_no_factors(rng: np.random.Generator) -> None:
    data = crowd(rng)
    factors = fitted(Als(factors=6), data).factors
    assert np.all(factors[data.item_counts == 0] == 0)
    assert np.all(np.any(factors[data.item_counts > 0] != 0, axis=1))


def test_another_seed_gives_another_model(rng: np.random.Generator) -> None:
    data = crowd(rng)
    first, second = (fitted(Als(factors=6), data, seed).factors for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_fitting_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(Als(factors=2), shop([[0, 1], [1]], ["a", "b"]))
