"""The items nearest in text, by the kernel K = ⟨words⟩ + max(⟨meaning⟩, 0)³ of given vectors.

Every pair is looked at in a small catalogue. In a large one, meanings are clustered first, and an
item is compared with the members of the clusters nearest to its own, which costs n^1.5 instead
of n². Only the choice of neighbours is approximate; what is computed over them is exact.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from scipy import sparse

from tailrec.candidates.heap import best_of_row, csr_view
from tailrec.candidates.select import row_blocks
from tailrec.candidates.vectors import Vectors
from tailrec.items import PADDING, Array, Float32Array, Int32Array
from tailrec.kernels import compiled, kernel_view, over_rows

Arrays = tuple[Array, ...]

EXACT_UP_TO = 20_000
"""Items up to which every pair is looked at."""
SEARCHED_CLUSTERS = 24
"""Clusters whose members an item is compared with."""
PROJECTED: Final = 96
"""Dimensions of words where there are no meanings to cluster."""


def nearest_to_each_other(items: Vectors, k: int) -> tuple[Int32Array, Float32Array]:
    """The k nearest others of each item.

    Args:
        items: [I] vectors.
        k: how many, at least 1.

    Returns:
        int32 [I, k] catalogue numbers, best first, `PADDING` where fewer have a kernel above 0,
        and their kernel, float32 [I, k].

    Cost:
        I² up to `EXACT_UP_TO` items, I^1.5 beyond.
    """
    n_items = len(items.dense)
    ids = np.full((n_items, k), PADDING, np.int32)
    kernel = np.full((n_items, k), -np.inf, np.float32)
    for members, searched in _parts(items):
        own = np.searchsorted(searched, members).astype(np.int32)
        found, best = nearest(items.rows(members), items.rows(searched), k, own=own)
        ids[members] = np.where(found == PADDING, PADDING, searched[found])
        kernel[members] = best
    return ids, kernel


def nearest(
    queries: Vectors, items: Vectors, k: int, *, own: Int32Array | None = None
) -> tuple[Int32Array, Float32Array]:
    """The k items nearest to each query, every pair looked at.

    Args:
        queries: [Q] vectors.
        items: [I] vectors of the same kernel.
        k: how many, at least 1.
        own: int32 [Q], the item that a query itself is and that is left out; -1 for none.

    Returns:
        int32 [Q, k] rows of `items`, best first, `PADDING` at the end, and their kernel.
    """
    n_queries, n_items = len(queries.dense), len(items.dense)
    ids = np.full((n_queries, k), PADDING, np.int32)
    best = np.full((n_queries, k), -np.inf, np.float32)
    hidden = kernel_view(np.full(n_queries, -1) if own is None else own, np.int32)
    by_word = csr_view(sparse.csr_array(items.words.T))
    for block in row_blocks(n_queries, n_items):
        alike = queries.dense[block] @ items.dense.T  # [block, I]
        words = csr_view(queries.words[block])
        out = (hidden[block], ids[block], best[block])
        over_rows(len(alike), partial(_best_of_rows, alike, words, by_word, out))
    return ids, best


def _parts(items: Vectors) -> Iterator[tuple[Array, Array]]:
    """Groups of items, each with the items (rising) that it is searched among."""
    n_items = len(items.dense)
    if n_items <= EXACT_UP_TO:
        yield np.arange(n_items), np.arange(n_items)
        return
    n_clusters = round(np.sqrt(n_items))
    # Here, as it takes longer to load than all else and only large catalogues need it.
    from sklearn.cluster import MiniBatchKMeans

    clusters = MiniBatchKMeans(n_clusters, batch_size=4096, n_init=1, max_iter=20, random_state=0)
    label = clusters.fit_predict(_to_cluster(items))
    centres = clusters.cluster_centers_
    order = np.argsort(label, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=n_clusters))])
    members = [order[a:b] for a, b in itertools.pairwise(bounds)]
    close = np.argsort(-(centres @ centres.T), axis=1)[:, :SEARCHED_CLUSTERS]
    for cluster, group in enumerate(members):
        if len(group):
            near = np.union1d(close[cluster], cluster)
            yield group, np.sort(np.concatenate([members[other] for other in near]))


def _to_cluster(items: Vectors) -> Float32Array:
    """Dense vectors [I, ...] that say which items are close: meanings, or else words projected.

    Source:
        Johnson and Lindenstrauss 1984: random projections keep angles, nearly.
    """
    if items.dense.shape[1]:
        return items.dense
    shape = (items.words.shape[1], PROJECTED)
    directions = np.random.default_rng(0).standard_normal(shape, np.float32)
    projected: Float32Array = items.words @ directions
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    projected /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return projected


def _best_of_rows(
    alike: Float32Array, words: Arrays, by_word: Arrays, out: Arrays, rows: slice
) -> None:
    _best_of_kernel((rows.start, rows.stop), alike, words, by_word, out)


@compiled
def _best_of_kernel(
    rows: tuple[int, int], alike: Array, words: Arrays, by_word: Arrays, out: Arrays
) -> None:
    """Cube the meanings, add the words, keep the best of some rows."""
    own, ids, best = out
    for row in range(rows[0], rows[1]):
        total = alike[row]
        for item in range(len(total)):
            total[item] = total[item] ** 3 if total[item] > 0 else 0
        for at in range(words[0][row], words[0][row + 1]):
            word, value = words[1][at], words[2][at]
            for entry in range(by_word[0][word], by_word[0][word + 1]):
                total[by_word[1][entry]] += value * by_word[2][entry]
        if own[row] >= 0:
            total[own[row]] = 0
        best_of_row(total, ids[row], best[row])
