"""Item neighbours, implicit ALS and SLIM of LensKit on a split in files, slates back.

``python run.py SPLIT_DIR OUT.parquet --model itemknn|ials|slim [options]`` runs in the environment
of requirements.txt. It tries options on the validation part until the minutes are spent, fits the
best once more on all of train, and writes 20 items for each request, with a card beside them.

Item neighbours: Deshpande and Karypis 2004. ALS: Hu, Koren and Volinsky 2008. SLIM: Ning and
Karypis 2011.
"""

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.data import ItemList, RecQuery, from_interactions_df
from lenskit.knn import ItemKNNScorer
from lenskit.knn.slim import SLIMScorer
from lenskit.parallel import initialize
from lenskit.training import TrainingOptions

sys.path.append(str(Path(__file__).parents[1]))
import common
from common import Options, Peer, Recommend, between, one_of

SCORERS = {"itemknn": ItemKNNScorer, "ials": ImplicitMFScorer, "slim": SLIMScorer}
# Fixed: events are presence, not ratings to be centred.
ALWAYS = {"itemknn": {"feedback": "implicit"}, "ials": {}, "slim": {}}
FIRST = {
    "itemknn": {"max_nbrs": 20, "min_nbrs": 1, "min_sim": 1e-6, "save_nbrs": None},
    "ials": {"embedding_size": 64, "epochs": 5, "regularization": 10.0, "weight": 10.0},
    "slim": {"l1_reg": 0.4, "l2_reg": 50.0, "max_nbrs": 100},
}
SPACE = {
    "itemknn": {
        "max_nbrs": one_of(5, 10, 20, 50, 100, 200),
        "min_nbrs": one_of(1, 1, 2, 3),
        "min_sim": between(1e-6, 0.1),
        "save_nbrs": one_of(None, 50, 200, 500),
    },
    "ials": {
        # Its solver is exact and takes minutes with more factors.
        "embedding_size": one_of(16, 32, 64),
        "epochs": one_of(5, 10),
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
    """Fit a scorer; what comes back answers for the users with events."""
    data = from_interactions_df(events[[common.USER, common.ITEM]])
    scorer = SCORERS[kind](**options, **ALWAYS[kind])
    scorer.train(data, TrainingOptions(rng=seed))
    everything = ItemList.from_vocabulary(data.items)
    numbers = data.items.numbers(events[common.ITEM].to_numpy())
    rows_of = events.groupby(common.USER).indices

    def recommend(users: pd.Series) -> pd.DataFrame:
        parts = []
        for user in users[users.isin(rows_of)]:
            had = numbers[rows_of[user]]
            # The scorer as LensKit's pipeline calls it; the pipeline around it takes most of
            # the time with bookkeeping of each request.
            history = ItemList(item_nums=had, vocabulary=data.items)
            query = RecQuery(user_id=user, user_items=history)
            scores = np.nan_to_num(scorer(query, everything).scores(), nan=-np.inf)
            scores[had] = -np.inf
            best = np.argpartition(-scores, min(common.K, len(scores) - 1))[: common.K]
            best = best[np.argsort(-scores[best], kind="stable")]
            # Nothing speaks for what scores 0 there: no neighbour of it is in the history.
            best = best[scores[best] > (-np.inf if kind == "ials" else 0)]
            parts.append((user, best, scores[best]))
        return table(parts, data.items.ids())

    return recommend


def table(parts: list[tuple[str, np.ndarray, np.ndarray]], item_ids: np.ndarray) -> pd.DataFrame:
    """Slates as rows, from a user, item numbers and scores each."""
    sizes = [len(best) for _, best, _ in parts]
    return pd.DataFrame(
        {
            common.USER: np.repeat(np.array([user for user, _, _ in parts], object), sizes),
            common.ITEM: item_ids[np.concatenate([best for _, best, _ in parts])],
            common.RANK: np.concatenate([np.arange(1, size + 1) for size in sizes]),
            common.SCORE: np.concatenate([scores for *_, scores in parts]).astype(np.float64),
        }
    )


def main() -> None:
    """Read the command line, search, fit, write slates and card."""
    given = common.parser(__doc__, tuple(SPACE)).parse_args()
    logging.getLogger("lenskit").setLevel(logging.ERROR)
    initialize(processes=1, threads=given.threads, backend_threads=given.threads)
    kind = given.model

    def own_fit(events: pd.DataFrame, options: Options) -> Recommend:
        return fit(events, kind, options, given.seed)

    also = ("numpy", "scipy", "pandas", "torch")
    common.answer(Peer("lenskit", own_fit, FIRST[kind], common.drawn(SPACE[kind]), also), given)


if __name__ == "__main__":
    main()
