"""EASE against its formula, written out."""

import numpy as np
import pytest
from tests.worlds import crowd, ring, words_of

from tailrec.candidates import select
from tailrec.candidates.ease import Ease, EaseModel
from tailrec.dataset import Dataset
from tailrec.errors import RecipeError
from tailrec.items import Float64Array


def fitted(recipe: Ease, data: Dataset) -> EaseModel:
    """The recipe's model."""
    return recipe.fit(data, words_of(data), rng=np.random.default_rng(0))


def formula(data: Dataset, regularization: float) -> Float64Array:
    """B = I - P diag(1 / diag P), P = (XᵀX + λI)⁻¹, in double precision."""
    users = (data.matrix().toarray() > 0).astype(float)
    precision = np.linalg.inv(users.T @ users + regularization * np.eye(data.n_items))
    return np.eye(data.n_items) - precision / np.diag(precision)


@pytest.mark.parametrize("entries", [1 << 24, 700])
def test_weights_are_those_of_the_formula(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, entries: int
) -> None:
    """Whole, and in blocks of 14 of the 50 rows."""
    monkeypatch.setattr(select, "DENSE_ENTRIES", entries)
    data = crowd(rng)
    matrix = fitted(Ease(regularization=3), data).matrix.toarray()
    # Single precision against double; weights reach 0.5.
    np.testing.assert_allclose(matrix, formula(data, 3), atol=1e-5)
    assert np.all(matrix.diagonal() == 0)


def test_the_largest_by_magnitude_are_kept(rng: np.random.Generator) -> None:
    data = crowd(rng)
    whole = fitted(Ease(regularization=3), data).matrix.toarray()
    part = fitted(Ease(regularization=3, keep=4), data).matrix.toarray()
    kept = part != 0
    assert np.all(kept.sum(axis=1) <= 4)
    np.testing.assert_array_equal(part[kept], whole[kept])
    smallest = np.min(np.where(kept, np.abs(part), np.inf), axis=1, keepdims=True)
    assert np.all(np.where(kept, 0, np.abs(whole)) <= smallest)
    assert (part < 0).any()


def test_recency_finds_the_way_forward() -> None:
    data = ring()
    ahead = (np.arange(data.n_users) + 4) % data.n_items
    model = fitted(Ease(regularization=5, decay=0.5), data)
    np.testing.assert_array_equal(model.candidates(data.queries(), 1).ids[:, 0], ahead)


def test_too_many_items_are_refused_with_the_memory_they_need(rng: np.random.Generator) -> None:
    with pytest.raises(RecipeError, match=r"50 items needs a dense matrix of .* GiB.*49"):
        fitted(Ease(most_items=49), crowd(rng))


def test_too_little_regularization_is_refused() -> None:
    """Everyone walks the whole ring: XᵀX has rank 1, and λ drowns beside it in single precision."""
    with pytest.raises(RecipeError, match="regularization 1e-12"):
        fitted(Ease(regularization=1e-12), ring(steps=12))
