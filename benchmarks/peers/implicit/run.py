"""BPR, ALS and item neighbours of implicit on a split in files, slates back.

``python run.py SPLIT_DIR OUT.parquet --model bpr|als|itemknn [options]`` runs in the environment
of requirements.txt. It tries options on the validation part until the minutes are spent, fits the
best once more on all of train, and writes 20 items for each request, with a card beside them.

BPR: Rendle et al. 2009. ALS: Hu, Koren and Volinsky 2008. Item neighbours: by cosine, TF-IDF or
BM25 weights.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_matrix

sys.path.append(str(Path(__file__).parents[1]))
import common
from common import Options, Peer, Recommend, between, one_of, within

NEIGHBOURS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
FIRST = {
    "bpr": {"factors": 128, "learning_rate": 0.05, "regularization": 0.01, "iterations": 100},
    "als": {"factors": 128, "regularization": 1.0, "alpha": 10.0, "iterations": 15},
    "itemknn": {"weights": "tfidf", "neighbours": 100, "k1": 1.2, "b": 0.75},
}
SPACE = {
    "bpr": {
        "factors": one_of(32, 64, 128, 256),
        "learning_rate": between(0.01, 0.2),
        "regularization": between(0.001, 0.1),
        "iterations": one_of(25, 50, 100, 200),
    },
    "als": {
        "factors": one_of(32, 64, 128, 256),
        "regularization": between(0.01, 100),
        "alpha": between(1, 100),
        "iterations": one_of(5, 10, 15, 30),
    },
    "itemknn": {
        "weights": one_of(*NEIGHBOURS),
        "neighbours": one_of(10, 20, 50, 100, 200, 500),
        "k1": between(0.1, 100),
        "b": within(0, 1),
    },
}


def make_model(kind: str, options: Options, *, seed: int, threads: int) -> Any:
    """A recommender of implicit that has seen nothing yet."""
    if kind == "bpr":
        return BayesianPersonalizedRanking(
            **options, use_gpu=False, random_state=seed, num_threads=threads
        )
    if kind == "als":
        return AlternatingLeastSquares(
            **options, use_gpu=False, random_state=seed, num_threads=threads
        )
    weights = options["weights"]
    shape = {"K1": options["k1"], "B": options["b"]} if weights == "bm25" else {}
    # The nearest neighbour of an item is itself, and it is counted.
    return NEIGHBOURS[weights](K=options["neighbours"] + 1, num_threads=threads, **shape)


def fit(events: pd.DataFrame, model: Any) -> Recommend:
    """Fit a model; what comes back answers for the users with events."""
    user, user_ids = pd.factorize(events[common.USER])
    item, item_ids = pd.factorize(events[common.ITEM])
    known = pd.Index(user_ids)
    had = csr_matrix((events["weight"].to_numpy(np.float32), (user, item)))
    model.fit(had, show_progress=False)

    def recommend(users: pd.Series) -> pd.DataFrame:
        rows = known.get_indexer(users)
        rows = rows[rows >= 0]
        ids, scores = model.recommend(rows, had[rows], N=common.K)
        # Where there are too few items, implicit pads with -1, or with what was filtered out.
        at, place = np.nonzero((ids >= 0) & (scores > np.finfo(np.float32).min))
        return pd.DataFrame(
            {
                common.USER: np.asarray(user_ids)[rows[at]],
                common.ITEM: np.asarray(item_ids)[ids[at, place]],
                common.RANK: place + 1,
                common.SCORE: scores[at, place].astype(np.float64),
            }
        )

    return recommend


def fit_of(kind: str, *, seed: int, threads: int) -> Callable[[pd.DataFrame, Options], Recommend]:
    """`fit` as a function of events and options."""
    return lambda events, options: fit(
        events, make_model(kind, options, seed=seed, threads=threads)
    )


def main() -> None:
    """Read the command line, search, fit, write slates and card."""
    given = common.parser(__doc__, tuple(SPACE)).parse_args()
    kind = given.model
    own = fit_of(kind, seed=given.seed, threads=given.threads)
    peer = Peer("implicit", own, FIRST[kind], SPACE[kind], also=("numpy", "scipy", "pandas"))
    common.answer(peer, given)


if __name__ == "__main__":
    main()
