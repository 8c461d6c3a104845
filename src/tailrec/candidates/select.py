"""From histories and scores to candidates: what every source shares.

One rule holds for all sources: an item is a candidate only if its score is **above zero**,
that is, if something speaks for it. Where fewer than k items qualify, the row ends in `PADDING`
at -inf. So a person without history gets an empty row from a personal source; filling up with
popular items is the engine's business. Equal scores are ordered by catalogue number.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import sparse

from tailrec.candidates.heap import (
    best_of_dense,
    best_of_product,
    best_of_sparse,
    csr_over,
    csr_view,
    running_sums,
)
from tailrec.dataset import Dataset
from tailrec.items import (
    PADDING,
    Array,
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    ItemsBatch,
    QueryBatch,
)
from tailrec.kernels import kernel_view, over_rows

Left = tuple[Array, Array, Array]
"""What is left out: bounds [R + 1] and items of each row, and items hidden from all, bool [I]."""

DENSE_ENTRIES = 1 << 24
"""Entries of the largest dense block made on the way to candidates: 64 MiB of float32."""

NOTHING = (
    kernel_view(np.zeros(1), np.int64),
    kernel_view(np.zeros(0), np.int32),
    kernel_view(np.zeros(0), np.float32),
)
"""A sparse matrix without rows, as kernels take it."""


def row_blocks(n_rows: int, n_columns: int) -> list[slice]:
    """Slices of rows whose dense block stays within `DENSE_ENTRIES`."""
    size = max(1, DENSE_ENTRIES // max(1, n_columns))
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def pair_strengths(data: Dataset) -> sparse.csr_array:
    """Float32 [U, I]: the highest event weight of each user and item.

    Repeats count once, so that one wholesale buyer does not make an item similar to all others.
    """
    # int64: users times items outgrows int32 in any middling shop.
    pair = data.user.astype(np.int64) * data.n_items + data.item
    order = np.argsort(pair, kind="stable")
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    pairs = pair[order[first]]
    strength = np.maximum.reduceat(data.weight[order], first) if len(first) else data.weight[:0]
    shape = (data.n_users, data.n_items)
    where = (pairs // data.n_items, pairs % data.n_items)
    return sparse.coo_array((strength, where), shape=shape, dtype=np.float32).tocsr()


class Weights(NamedTuple):
    """How much each past item of B requests counts now, row by row.

    Attributes:
        bounds: int64 [B + 1], row b is `bounds[b]:bounds[b + 1]`.
        items: int32 [E], in the order of the histories; repeats of an item add up.
        values: float32 [E].
        n_items: I, size of the catalogue.
    """

    bounds: Int64Array
    items: Int32Array
    values: Float32Array
    n_items: int

    def matrix(self) -> sparse.csr_array:
        """The same as float32 CSR [B, I], one entry an item."""
        shape = (len(self.bounds) - 1, self.n_items)
        # Copied: adding up sorts the columns, which are those of the requests.
        matrix = csr_over(self.values.copy(), self.items.copy(), self.bounds, shape).copy()
        matrix.sum_duplicates()
        return matrix


def history_weights(
    queries: QueryBatch, n_items: int, *, decay: float = 1.0, half_life_days: float | None = None
) -> Weights:
    """How much each past item counts now.

    Args:
        queries: B requests.
        n_items: I, size of the catalogue.
        decay: factor a step back, in (0, 1]; events of one basket share a step.
        half_life_days: days after which an event counts half; no decay by time where None.

    Returns:
        weight · decay^age · 2^(-days / half life); items numbered beyond the catalogue, being
        newer than the model, are passed over.
    """
    weights = queries.weight * np.float32(decay) ** queries.age
    if half_life_days is not None:
        weights = weights * np.exp2(-queries.days / half_life_days)
    weights = weights.astype(np.float32, copy=False)
    items, bounds = queries.item, queries.ptr
    if items.max(initial=-1) >= n_items:
        known = items < n_items
        items, weights = items[known], weights[known]
        bounds = np.concatenate([[0], np.cumsum(known)])[bounds]
    return Weights(bounds, items, weights, n_items)


def top_k(scores: Float32Array, queries: QueryBatch, k: int) -> ItemsBatch:
    """The best k items of each row of dense scores.

    Args:
        scores: float32 [B, I]; NaN and all that is not above 0 is no candidate.
        queries: B requests; their exclusions are left out.
        k: width of the result, at least 1.

    Returns:
        [B, k], best first.
    """
    return ItemsBatch(*best_of_rows(scores, exclusions(queries), k))


def best_of_rows(dense: Float32Array, exclude: Left, k: int) -> tuple[Int32Array, Float32Array]:
    """Columns and values [R, k] of the largest positive entries of each row, largest first.

    Args:
        dense: float32 [R, I].
        exclude: columns that are left out.
        k: width of the result, at least 1.

    Returns:
        int32 [R, k], `PADDING` where a row has fewer; float32 [R, k], -inf there.
    """
    values = kernel_view(dense, np.float32)
    bounds, excluded, hidden = exclude
    ids, best = blank(len(values), k)

    def work(rows: slice) -> None:
        own = (bounds[rows.start : rows.stop + 1], excluded, hidden)
        best_of_dense(values[rows], own, ids[rows], best[rows])

    over_rows(len(values), work)
    return ids, best


def sparse_candidates(
    weights: Weights,
    item_matrix: sparse.csr_array,
    queries: QueryBatch,
    k: int,
    *,
    row_scale: Float32Array | None = None,
    column_scale: Float32Array | None = None,
    prior: tuple[Int32Array, Float32Array] | None = None,
    more: sparse.csr_array | None = None,
) -> ItemsBatch:
    """The best k items by `weights @ item_matrix`, never forming the [B, I] product.

    Args:
        weights: how much each past item counts, of B requests.
        item_matrix: [I, I], what row i says for item j.
        queries: B requests; their exclusions are left out.
        k: width of the result, at least 1.
        row_scale: [I], multiplies row i of the item matrix.
        column_scale: [I], multiplies column j of the item matrix, and its prior; above 0.
        prior: items [M] and what each has in every row whose weights are not empty, [M], above 0.
        more: [I, I], added to the item matrix, which may then have fewer rows and columns.

    Returns:
        [B, k], best first; only scores above 0.
    """
    bound, past = kernel_view(weights.bounds, np.int64), kernel_view(weights.items, np.int32)
    weight = kernel_view(weights.values, np.float32)
    if row_scale is not None:
        weight = kernel_view(weight * row_scale[past], np.float32)
    n_items = weights.n_items
    matrices = csr_view(item_matrix), NOTHING if more is None else csr_view(more)
    scale = _all_ones(n_items) if column_scale is None else kernel_view(column_scale, np.float32)
    final = (*(_no_prior(n_items) if prior is None else _best_first(prior, scale)), scale)
    bounds, excluded, hidden = exclusions(queries)
    ids, best = blank(len(queries), k)

    def work(rows: slice) -> None:
        history = (bound[rows.start : rows.stop + 1], past, weight)
        exclude = (bounds[rows.start : rows.stop + 1], excluded, hidden)
        out = ids[rows], best[rows]
        best_of_product((history, exclude), matrices, final, running_sums(n_items), out)

    over_rows(len(queries), work)
    return ItemsBatch(ids, best)


def _best_first(prior: tuple[Int32Array, Float32Array], scale: Array) -> tuple[Array, Array]:
    """Items with a prior, best final score first, and the priors of all items, float32 [I]."""
    dense = np.zeros(len(scale), np.float32)
    listed, dense[prior[0]] = prior
    listed = listed[np.lexsort((listed, -dense[listed] * scale[listed]))]
    return kernel_view(listed, np.int32), kernel_view(dense, np.float32)


@lru_cache(maxsize=16)
def _all_ones(n_items: int) -> Array:
    return kernel_view(np.ones(n_items), np.float32)


@lru_cache(maxsize=16)
def _no_prior(n_items: int) -> tuple[Array, Array]:
    return kernel_view(np.zeros(0), np.int32), kernel_view(np.zeros(n_items), np.float32)


def strongest(rows: sparse.csr_array | Float32Array, keep: int) -> sparse.csr_array:
    """The entries of each row that are largest by magnitude.

    Args:
        rows: [R, I], sparse or dense.
        keep: how many entries a row keeps, at least 1; zeros are never kept.

    Returns:
        float32 [R, I], columns of a row rising; of equal entries the lower column stays.
    """
    keep = min(keep, rows.shape[1])
    if isinstance(rows, np.ndarray):
        nothing = np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, bool)
        views = (kernel_view(part, part.dtype.type) for part in nothing)
        places, _ = best_of_rows(np.abs(rows), (*views,), keep)  # type: ignore[arg-type]
        kept = places != PADDING
        values, columns = np.take_along_axis(rows, places, axis=1)[kept], places[kept]
    else:
        rows = rows if rows.has_sorted_indices else rows.sorted_indices()
        bounds, entries, sizes = csr_view(abs(rows))
        places, best = blank(rows.shape[0], keep)

        def work(part: slice) -> None:
            own = bounds[part.start : part.stop + 1]
            best_of_sparse(own, sizes, places[part], best[part])

        over_rows(rows.shape[0], work)
        kept = places != PADDING
        values, columns = rows.data[places[kept]], entries[places[kept]]
    return _rows_to_csr(kept, columns, values, rows.shape[1])


def padded_to_csr(ids: Int32Array, values: Float32Array, n_columns: int) -> sparse.csr_array:
    """Rows of columns and values, padded as in an `ItemsBatch`, as float32 CSR [R, n_columns]."""
    kept = ids != PADDING
    return _rows_to_csr(kept, ids[kept], values[kept], n_columns)


def exclusions(queries: QueryBatch) -> Left:
    """What requests leave out, each and all, as kernels take it."""
    hidden = np.zeros(0, np.bool_) if queries.hidden is None else queries.hidden
    return (
        kernel_view(queries.exclude_ptr, np.int64),
        kernel_view(queries.exclude, np.int32),
        kernel_view(hidden, np.bool_),
    )


def blank(n_rows: int, k: int) -> tuple[Int32Array, Float32Array]:
    """Ids and scores [n_rows, k] that are all padding.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one item")
    ids = np.full((n_rows, k), PADDING, np.int32)
    return ids, np.full((n_rows, k), -np.inf, np.float32)


def _rows_to_csr(
    kept: BoolArray, columns: Int32Array, values: Float32Array, n_columns: int
) -> sparse.csr_array:
    # Bounds as narrow as they can be: scipy widens the columns to the type of the bounds.
    narrow = "int32" if len(columns) <= np.iinfo(np.int32).max else "int64"
    bounds: Array = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(narrow)
    shape = (len(kept), n_columns)
    matrix = sparse.csr_array((values, columns, bounds), shape=shape, dtype=np.float32)
    matrix.sort_indices()
    return matrix
