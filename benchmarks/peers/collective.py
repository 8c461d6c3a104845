"""Collective EASE: EASE that also learns from what items say (Jeunen et al. 2020).

Every word is one more person, who had the items whose texts hold it, each as much as the word
counts there. doi:10.1145/3383313.3418480.
"""

from typing import NamedTuple

import numpy as np

from tailrec.candidates.ease import Ease, EaseModel
from tailrec.dataset import Dataset, Features


class CollectiveEase(NamedTuple):
    """Options.

    Attributes:
        regularization: λ of EASE.
        texts: what a word counts beside a person.
        decay: factor a past item loses with each step back, as for EASE here.
    """

    regularization: float
    texts: float
    decay: float

    def fit(self, data: Dataset, features: Features) -> EaseModel:
        """Fit it.

        Args:
            data: histories.
            features: of every item; words alone are learnt from.
        """
        words = features.words.T.tocsr()  # [V, I]
        sizes = np.diff(words.indptr)
        # The square of a weight is what counts in the products of EASE.
        weight = (np.sqrt(self.texts) * words.data).astype(np.float32)
        n = len(words.data)
        both = Dataset(
            data.catalog,
            np.append(data.user_ids, [f"word {number}" for number in range(len(sizes))]),
            np.append(data.ptr, data.ptr[-1] + np.cumsum(sizes)).astype(np.int64),
            np.append(data.item, words.indices).astype(np.int32),
            np.append(data.time, np.zeros(n, np.int64)),
            np.append(data.step, np.zeros(n, np.int32)),
            np.append(data.weight, weight),
            np.append(data.type, np.zeros(n, np.int8)),
            np.append(data.value, np.full(n, np.nan, np.float32)),
            data.now,
        )
        recipe = Ease(regularization=self.regularization, decay=self.decay)
        return recipe.fit(both, features, rng=np.random.default_rng(0))
