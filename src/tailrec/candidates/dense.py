"""The dense solver of `linear`: the formula as it is written, for checking the local one."""

import numpy as np
from scipy import linalg, sparse

from tailrec.candidates.basis import Basis
from tailrec.candidates.vectors import POWER
from tailrec.errors import RecipeError
from tailrec.items import Float32Array, Int32Array

LIMIT = 8_000
"""Most items the dense solver takes: its matrices are n×n in float64."""


def solve_dense(
    basis: Basis, near: Int32Array, neighbours: int
) -> tuple[sparse.csr_array, Float32Array]:
    """A⁻¹PᵀF and A⁻¹offdiag(K) over all items at once.

    Args:
        basis: behaviour and text.
        near: not used: every item is a neighbour.
        neighbours: not used.

    Returns:
        The part of B by behaviour as float32 CSR [I, I], and for each of its entries the part by
        text for τ = 1.

    Raises:
        RecipeError: there are more than `LIMIT` items.

    Cost:
        Cubic in the items.
    """
    del near, neighbours
    n_items = len(basis)
    if n_items > LIMIT:
        raise RecipeError(
            f"the dense solver was asked for {n_items} items and takes at most {LIMIT}; "
            "set solver to 'local'"
        )
    vectors, gram, shape = basis.text, basis.gram, (n_items, n_items)
    meaning = np.maximum(vectors.dense.astype(np.float64) @ vectors.dense.T, 0) ** POWER
    text = (vectors.words @ vectors.words.T).toarray() + meaning
    np.fill_diagonal(text, 0)
    together = sparse.csr_array((gram.together, gram.indices, gram.indptr), shape=shape)
    matrix = together.toarray() + text
    np.fill_diagonal(matrix, basis.ridge)
    leads = sparse.csr_array((gram.leads, gram.indices, gram.indptr), shape=shape).toarray().T
    factor = linalg.cho_factor(matrix)
    by_text = linalg.cho_solve(factor, text).astype(np.float32)
    by_behaviour = linalg.cho_solve(factor, leads).astype(np.float32)
    full = sparse.csr_array(np.ones(shape, np.int8))
    bounds = (full.indices, full.indptr)
    return sparse.csr_array((by_behaviour.ravel(), *bounds), shape=shape), by_text.ravel()
