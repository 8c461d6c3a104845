"""Finding items by words: by what they say and by what they mean, fused by rank."""

import numpy as np

from tailrec.features.build import FeatureModel
from tailrec.items import BoolArray, Float32Array, Int32Array, Items

DAMPING = 60
"""How little the first places count above the next ones: a place counts 1 / (60 + place)."""


def search(words: str, model: FeatureModel, k: int, *, hidden: BoolArray | None = None) -> Items:
    """The k items that best fit some words.

    Args:
        words: what somebody typed, in any script.
        model: features of the items; makes such of the words.
        k: most items returned.
        hidden: bool [I], items never to be returned.

    Returns:
        At most k items, best first; none where neither words nor meaning match.

    Source:
        Reciprocal rank fusion: Cormack et al. 2009, doi:10.1145/1571941.1572114.
    """
    asked = model.transform_queries([words])
    lexical = (model.features.words @ asked.words.T).toarray().ravel()
    semantic = model.features.dense @ asked.dense[0]
    total = _by_rank(lexical) + _by_rank(semantic)
    if hidden is not None:
        total[hidden] = 0
    best = np.argsort(-total, kind="stable")[:k]
    found: Int32Array = best[total[best] > 0].astype(np.int32)
    return Items(found, total[found])


def _by_rank(scores: Float32Array) -> Float32Array:
    """float32 [I], what each place counts; nothing where nothing matches."""
    place = np.empty(len(scores), np.int64)
    place[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return np.where(scores > 0, 1 / (DAMPING + 1 + place), 0).astype(np.float32)
