"""The nearest items in text: exact in small catalogues, nearly so in large ones."""

import numpy as np
import pytest
from scipy import sparse

from tailrec.candidates import nearest as module
from tailrec.candidates.nearest import nearest_to_each_other
from tailrec.candidates.vectors import Vectors

N_KINDS, N_EACH, K = 40, 15, 8


def products(rng: np.random.Generator, *, meaning: bool) -> Vectors:
    """Items of 40 kinds, each kind with words, and perhaps a direction, of its own."""
    kind = np.repeat(np.arange(N_KINDS), N_EACH)
    words = rng.random((len(kind), 6 * N_KINDS)) * (
        kind[:, None] == np.arange(6 * N_KINDS)[None, :] // 6
    )
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    dense = np.zeros((len(kind), 0), np.float32)
    if meaning:
        dense = rng.standard_normal((N_KINDS, 64))[kind] + 0.3 * rng.standard_normal(
            (len(kind), 64)
        )
        dense = (dense / np.linalg.norm(dense, axis=1, keepdims=True)).astype(np.float32)
    return Vectors(sparse.csr_array(words.astype(np.float32)), dense)


@pytest.mark.parametrize("meaning", [True, False])
def test_clusters_find_nearly_all_that_an_exact_search_finds(
    meaning: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = products(rng, meaning=meaning)
    exact, strength = nearest_to_each_other(items, K)
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)
    monkeypatch.setattr(module, "SEARCHED_CLUSTERS", 6)
    ids, _ = nearest_to_each_other(items, K)
    found = [len(np.intersect1d(a, b)) for a, b in zip(exact, ids, strict=True)]
    assert np.mean(found) > 0.9 * K
    assert (strength[:, 0] > 0).all()


def test_neighbours_are_of_the_same_kind_and_never_the_item_itself(
    rng: np.random.Generator,
) -> None:
    ids, _ = nearest_to_each_other(products(rng, meaning=False), K)
    own = np.arange(len(ids))
    assert (ids // N_EACH == own[:, None] // N_EACH).all()
    assert (ids != own[:, None]).all()
