"""SASRec and eSASRec of RecTools on a split in files, slates back; runs in its own environment.

``python run.py SPLIT_DIR OUT.parquet --model sasrec|esasrec [options]`` trains on the validation
part until NDCG@10 there stops rising, fits once more on all of train for as many epochs, and
writes 20 items for each request, with a card (minutes, memory, versions, options) beside them.
With ``--keep`` there is no second fit: the model of the search answers from the histories of
all of train, which is how leave-one-out figures of SASRec are published.

SASRec: Kang and McAuley 2018, with sampled softmax. eSASRec: Tikhonovich et al. 2025: the same
objective with LiGR layers.
"""

import argparse
import json
import resource
import warnings
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

K = 20
HALF_LIFE_DAYS = 30.0
warnings.filterwarnings("ignore")


def trainer() -> Trainer:
    """A trainer that writes nothing; epochs are steered by `fit_partial`."""
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=1_000,
    )


def make_model(given: argparse.Namespace) -> SASRecModel:
    """An untrained model with the options given."""
    layers = {"transformer_layers_type": LiGRLayers} if given.model == "esasrec" else {}
    return SASRecModel(
        n_blocks=given.blocks,
        n_heads=given.heads,
        n_factors=given.factors,
        dropout_rate=given.dropout,
        session_max_len=given.length,
        loss="sampled_softmax",
        n_negatives=given.negatives,
        lr=given.lr,
        batch_size=given.batch,
        get_trainer_func=trainer,
        recommend_torch_device="cpu",
        **layers,
    )


def read_events(folder: Path) -> pd.DataFrame:
    """Interactions as RecTools names them, oldest first."""
    events = pd.read_parquet(folder / "train.parquet")
    return events.rename(columns={"timestamp": Columns.Datetime})[
        [Columns.User, Columns.Item, Columns.Datetime, Columns.Weight]
    ].assign(**{Columns.Datetime: lambda e: e[Columns.Datetime].dt.tz_localize(None)})


def recommend(model: SASRecModel, data: Dataset, users: pd.Series) -> pd.DataFrame:
    """user_id, item_id, rank of the users that the model knows anything of."""
    known = users[users.isin(data.user_id_map.external_ids)]
    return model.recommend(
        users=known.to_numpy(),
        dataset=data,
        k=K,
        filter_viewed=True,
        on_unsupported_targets="ignore",
    )[[Columns.User, Columns.Item, Columns.Rank, Columns.Score]]


def ndcg_at_10(slates: pd.DataFrame, targets: pd.DataFrame, n_requests: int) -> float:
    """Mean over all requests; one without slates counts 0."""
    hits = slates[slates[Columns.Rank] <= 10].merge(targets, on=[Columns.User, Columns.Item])
    gains = (1 / np.log2(hits[Columns.Rank] + 1)).groupby(hits[Columns.User]).sum()
    sizes = targets.groupby(Columns.User).size().clip(upper=10)
    ideal = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(10) + 2))])[sizes]
    return float((gains.reindex(sizes.index, fill_value=0) / ideal).sum() / n_requests)


def search(given: argparse.Namespace) -> tuple[SASRecModel, int, list[tuple[int, float]]]:
    """The model after the epochs with the highest NDCG@10 on validation; epochs and course."""
    folder = given.split / "validation"
    data = Dataset.construct(read_events(folder))
    users = pd.read_parquet(folder / "requests.parquet")[Columns.User]
    targets = pd.read_parquet(folder / "targets.parquet")
    asked = users.sample(min(len(users), given.sample), random_state=given.seed)
    targets = targets[targets[Columns.User].isin(asked)]
    model = make_model(given)
    course: list[tuple[int, float]] = []
    best, weights = (0, -1.0), {}
    started = perf_counter()
    while True:
        model.fit_partial(data, min_epochs=given.every, max_epochs=given.every)
        figure = ndcg_at_10(recommend(model, data, asked), targets, len(asked))
        course.append(((len(course) + 1) * given.every, figure))
        spent = (perf_counter() - started) / 60
        print(f"epoch {course[-1][0]}: NDCG@10 {figure:.4f}, {spent:.1f} min", flush=True)
        if figure > best[1]:
            best, weights = course[-1], deepcopy(model.torch_model.state_dict())
        waited = (course[-1][0] - best[0]) / given.every
        if waited >= given.patience or spent > given.minutes or course[-1][0] >= given.epochs:
            model.torch_model.load_state_dict(weights)
            return model, best[0], course


def filled(slates: pd.DataFrame, users: pd.Series, events: pd.DataFrame) -> pd.DataFrame:
    """Short and missing slates, filled up with what is popular lately and not yet had."""
    age = (events[Columns.Datetime].max() - events[Columns.Datetime]).dt.total_seconds() / 86_400
    popular = np.exp2(-age / HALF_LIFE_DAYS).groupby(events[Columns.Item]).sum()
    listed = popular.sort_values(ascending=False).index.to_numpy()
    sizes = slates.groupby(Columns.User).size().reindex(users, fill_value=0)
    short = sizes.index[sizes < K]
    had = events[events[Columns.User].isin(short)].groupby(Columns.User)[Columns.Item].agg(set)
    own = slates[slates[Columns.User].isin(short)]
    own = own.groupby(Columns.User)[Columns.Item].agg(list)
    rows = []
    for user in short:
        taken = had.get(user, set()) | set(own.get(user, []))
        first = sizes[user]
        items = [item for item in listed[: len(taken) + K] if item not in taken][: K - first]
        rows += [(user, item, first + at + 1, -float(at + 1)) for at, item in enumerate(items)]
    more = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Rank, Columns.Score])
    return pd.concat([slates, more], ignore_index=True) if rows else slates


def main() -> None:
    """Read the command line, train, write slates and card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=("sasrec", "esasrec"), default="sasrec")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--negatives", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--every", type=int, default=3, help="epochs between looks at validation")
    parser.add_argument("--patience", type=int, default=2, help="looks without a rise")
    parser.add_argument("--minutes", type=float, default=30, help="of the search, at most")
    parser.add_argument("--sample", type=int, default=5_000, help="validation requests looked at")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fit-epochs", type=int, default=0, help="as many, without a search")
    parser.add_argument("--keep", action="store_true", help="do not fit again on all of train")
    given = parser.parse_args()
    # More threads than free cores make every step several times slower.
    torch.set_num_threads(given.threads)
    seed_everything(given.seed)
    events = read_events(given.split)
    data = Dataset.construct(events)
    users = pd.read_parquet(given.split / "requests.parquet")[Columns.User]
    started = perf_counter()
    epochs, course = given.fit_epochs, []
    if not epochs:
        model, epochs, course = search(given)
    searched = perf_counter() - started
    started = perf_counter()
    if not given.keep:
        seed_everything(given.seed)
        model = make_model(given)
        model.fit_partial(data, min_epochs=epochs, max_epochs=epochs)
    # Where the model of the search is kept, its training is what a fit takes.
    fitted = searched if given.keep else perf_counter() - started
    started = perf_counter()
    slates = recommend(model, data, users)
    answered = perf_counter() - started
    filled(slates, users, events).to_parquet(given.out, index=False)
    options = {name: value for name, value in vars(given).items() if not isinstance(value, Path)}
    card = {
        "model": given.model,
        "library": "rectools",
        "versions": {name: version(name) for name in ("rectools", "torch", "numpy")},
        "options": options | {"chosen_epochs": epochs, "loss": "sampled_softmax"},
        "validation": course,
        "seeds": [given.seed],
        "search_seconds": round(searched, 1),
        "fit_seconds": round(fitted, 1),
        "slate_seconds": answered / len(users),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "split": json.loads((given.split / "split.json").read_text("utf-8")),
    }
    given.out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
