"""Item neighbours, implicit ALS and SLIM of LensKit on a split in files, slates back.

``python run.py SPLIT_DIR OUT.parquet --model itemknn|ials|slim [options]`` runs in the environment
of requirements.txt. It tries options on the validation part until the minutes are spent, fits the
best once more on all of train, and writes 20 items for each request, with a card beside them.

Item neighbours: Deshpande and Karypis 2004. ALS: Hu, Koren and Volinsky 2008. SLIM: Ning and
Karypis 2011.
"""

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.batch import recommend as recommend_batch
from lenskit.data import from_interactions_df
from lenskit.knn import ItemKNNScorer
from lenskit.knn.slim import SLIMScorer
from lenskit.parallel import initialize
from lenskit.pipeline import topn_pipeline
from lenskit.training import TrainingOptions

sys.path.append(str(Path(__file__).parents[1]))
import common
from common import Options, Peer, Recommend, between, one_of

SCORERS = {"itemknn": ItemKNNScorer, "ials": ImplicitMFScorer, "slim": SLIMScorer}
# Fixed: events are presence, not ratings to be centred.
ALWAYS = {"itemknn": {"feedback": "implicit"}, "ials": {}, "slim": {}}
FIRST = {
    "itemknn": {"max_nbrs": 20, "min_nbrs": 1, "min_sim": 1e-6, "save_nbrs": None},
    "ials": {"embedding_size": 64, "epochs": 10, "regularization": 0.1, "weight": 40.0},
    "slim": {"l1_reg": 1.0, "l2_reg": 1.0, "max_nbrs": 100},
}
SPACE = {
    "itemknn": {
        "max_nbrs": one_of(5, 10, 20, 50, 100, 200),
        "min_nbrs": one_of(1, 1, 2, 3),
        "min_sim": between(1e-6, 0.1),
        "save_nbrs": one_of(None, 50, 200, 500),
    },
    "ials": {
        "embedding_size": one_of(32, 64, 128, 256),
        "epochs": one_of(5, 10, 20),
        "regularization": between(0.01, 100),
        "weight": between(1, 100),
    },
    "slim": {
        "l1_reg": between(0.01, 10),
        "l2_reg": between(0.01, 100),
        "max_nbrs": one_of(20, 50, 100, 200),
    },
}


def fit(events: pd.DataFrame, kind: str, options: Options, seed: int) -> Recommend:
    """Fit a pipeline; what comes back answers for the users with events."""
    data = from_interactions_df(events[[common.USER, common.ITEM]])
    pipeline = topn_pipeline(SCORERS[kind], options | ALWAYS[kind], n=common.K)
    pipeline.train(data, TrainingOptions(rng=seed))

    def recommend(users: pd.Series) -> pd.DataFrame:
        known = users[users.isin(events[common.USER])]
        slates = recommend_batch(pipeline, known.tolist(), n=common.K, n_jobs=1).to_df()
        if kind != "ials":
            # Nothing speaks for what scores 0: no neighbour of it is in the history.
            slates = slates[slates[common.SCORE] > 0]
        names = [common.USER, common.ITEM, common.RANK, common.SCORE]
        return slates[names].astype({common.RANK: "int64", common.SCORE: "float64"})

    return recommend


def fit_of(kind: str, seed: int) -> Callable[[pd.DataFrame, Options], Recommend]:
    """`fit` as a function of events and options."""
    return lambda events, options: fit(events, kind, options, seed)


def main() -> None:
    """Read the command line, search, fit, write slates and card."""
    given = common.parser(__doc__, tuple(SPACE)).parse_args()
    logging.getLogger("lenskit").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    initialize(processes=1, threads=given.threads, backend_threads=given.threads)
    kind = given.model
    own = fit_of(kind, given.seed)
    also = ("numpy", "scipy", "pandas", "torch")
    common.answer(Peer("lenskit", own, FIRST[kind], SPACE[kind], also), given)


if __name__ == "__main__":
    main()
