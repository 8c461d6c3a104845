"""BPR, ALS and item neighbours of implicit on a split in files, slates back.

``python run.py SPLIT_DIR OUT.parquet --model bpr|als|itemknn [options]`` runs in the environment
of requirements.txt. It tries options on the validation part until the minutes are spent, fits the
best once more on all of train, and writes 20 items for each request, with a card beside them.

BPR: Rendle et al. 2009. ALS: Hu, Koren and Volinsky 2008. Item neighbours: by cosine, TF-IDF or
BM25 weights.
"""

import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import (
    BM25Recommender,
    CosineRecommender,
    ItemItemRecommender,
    TFIDFRecommender,
)
from implicit.recommender_base import ModelFitError
from implicit.utils import ParameterWarning
from scipy.sparse import csr_matrix

sys.path.append(str(Path(__file__).parents[1]))
import common
from common import Options, Peer, Recommend, between, one_of, within

NEIGHBOURS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
FIRST = {
    "bpr": {"factors": 128, "learning_rate": 0.1, "regularization": 0.01, "iterations": 100},
    "als": {"factors": 128, "regularization": 10.0, "alpha": 10.0, "iterations": 15},
    "itemknn": {"weights": "cosine", "neighbours": 20},
}
SPACE = {
    "bpr": {
        "factors": one_of(32, 64, 128, 256),
        "learning_rate": between(0.03, 0.2),
        "regularization": between(0.005, 0.05),
        "iterations": one_of(30, 60, 100, 200),
    },
    "als": {
        "factors": one_of(32, 64, 128, 256),
        "regularization": between(0.1, 100),
        "alpha": between(1, 50),
        "iterations": one_of(5, 10, 15, 30),
    },
    "itemknn": {
        "weights": one_of("cosine", "tfidf", "bm25", "bm25"),
        "neighbours": one_of(10, 20, 50, 100, 200, 500),
    },
}
BM25 = {"K1": between(0.1, 100), "B": within(0, 1)}


def draw(kind: str, rng: np.random.Generator) -> Options:
    """Options to try; those of BM25 only where it is used."""
    options = common.drawn(SPACE[kind])(rng)
    return options | (common.drawn(BM25)(rng) if options.get("weights") == "bm25" else {})


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
    own = {name: options[name] for name in BM25 if name in options}
    # The nearest neighbour of an item is itself, and it is counted.
    return NEIGHBOURS[options["weights"]](K=options["neighbours"] + 1, num_threads=threads, **own)


def fit(events: pd.DataFrame, model: Any) -> Recommend:
    """Fit a model; what comes back answers for the users with events."""
    user, user_ids = pd.factorize(events[common.USER])
    item, item_ids = pd.factorize(events[common.ITEM])
    known = pd.Index(user_ids)
    had = csr_matrix((events["weight"].to_numpy(np.float32), (user, item)))
    try:
        model.fit(had, show_progress=False)
    except ModelFitError as error:
        raise common.FitError(str(error)) from error
    # Neighbours may fill up with items that score 0, those of the history among them;
    # factors pad with the lowest number there is.
    least = 0.0 if isinstance(model, ItemItemRecommender) else np.finfo(np.float32).min

    def recommend(users: pd.Series) -> pd.DataFrame:
        rows = known.get_indexer(users)
        rows = rows[rows >= 0]
        ids, scores = model.recommend(rows, had[rows], N=common.K)
        at, place = np.nonzero((ids >= 0) & (scores > least))
        return pd.DataFrame(
            {
                common.USER: np.asarray(user_ids)[rows[at]],
                common.ITEM: np.asarray(item_ids)[ids[at, place]],
                common.RANK: place + 1,
                common.SCORE: scores[at, place].astype(np.float64),
            }
        )

    return recommend


def main() -> None:
    """Read the command line, search, fit, write slates and card."""
    given = common.parser(__doc__, tuple(SPACE)).parse_args()
    # It converts its own matrices, and warns of that.
    warnings.simplefilter("ignore", ParameterWarning)

    def own_fit(events: pd.DataFrame, options: Options) -> Recommend:
        model = make_model(given.model, options, seed=given.seed, threads=given.threads)
        return fit(events, model)

    also = ("numpy", "scipy", "pandas")
    own_draw = partial(draw, given.model)
    common.answer(Peer("implicit", own_fit, FIRST[given.model], own_draw, also), given)


if __name__ == "__main__":
    main()
