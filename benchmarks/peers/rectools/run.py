"""SASRec and eSASRec of RecTools on a split in files, slates back; runs in its own environment.

``python run.py SPLIT_DIR OUT.parquet --model sasrec|esasrec [options]`` trains on the validation
part until NDCG@10 there stops rising, fits once more on all of train for as many epochs, and
writes 20 items for each request, with a card (minutes, memory, versions, options) beside them.
With ``--keep`` there is no second fit: the model of the search answers from the histories of
all of train, which is how leave-one-out figures of SASRec are published. With ``--texts FILE`` an
item's vector is an embedding of its own and a learnt map of a text vector: arrays `ids` and
`vectors` of the file.

SASRec: Kang and McAuley 2018, with sampled softmax. eSASRec: Tikhonovich et al. 2025: the same
objective with LiGR layers.
"""

import argparse
import sys
import warnings
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet, ItemNetBase
from rectools.models.nn.transformers.ligr import LiGRLayers
from torch import nn

sys.path.append(str(Path(__file__).parents[1]))
import common
from common import K

Course = list[tuple[int, float]]
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


class TextNet(ItemNetBase):
    """A learnt map of text vectors, as RecTools takes parts of items' vectors.

    Attributes:
        given: row by item id, and vectors [I, D]; set before a model is made.
    """

    given: ClassVar[tuple[dict[str, int], np.ndarray]]

    def __init__(self, vectors: np.ndarray, n_factors: int, dropout_rate: float) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.as_tensor(vectors, dtype=torch.float32))
        self.map = nn.Linear(vectors.shape[1], n_factors, bias=False)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Their part of the items' vectors."""
        return self.dropout(self.map(self.vectors[items]))

    @classmethod
    def from_dataset(
        cls, dataset: Dataset, n_factors: int, dropout_rate: float, **_: object
    ) -> "TextNet":
        """Of the items of a dataset; what has no text, padding for one, has zeros."""
        rows, vectors = cls.given
        with_none = np.vstack([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
        own = [rows.get(str(name), -1) for name in dataset.item_id_map.external_ids]
        return cls(with_none[own], n_factors, dropout_rate)

    @property
    def out_dim(self) -> int:
        """Width of the vectors."""
        return self.map.out_features


def make_model(given: argparse.Namespace) -> SASRecModel:
    """An untrained model with the options given."""
    layers = {"transformer_layers_type": LiGRLayers} if given.model == "esasrec" else {}
    if given.texts:
        file = np.load(given.texts, allow_pickle=False)
        TextNet.given = ({name: row for row, name in enumerate(file["ids"])}, file["vectors"])
        layers["item_net_block_types"] = (IdEmbeddingsItemNet, TextNet)
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


def dataset(events: pd.DataFrame) -> Dataset:
    """Events as RecTools takes them."""
    return Dataset.construct(events.rename(columns={common.TIME: Columns.Datetime}))


def recommend(model: SASRecModel, data: Dataset, users: pd.Series) -> pd.DataFrame:
    """Slates of the users that the model knows anything of."""
    known = users[users.isin(data.user_id_map.external_ids)]
    return model.recommend(
        users=known.to_numpy(),
        dataset=data,
        k=K,
        filter_viewed=True,
        on_unsupported_targets="ignore",
    )[[Columns.User, Columns.Item, Columns.Rank, Columns.Score]]


def search(given: argparse.Namespace) -> tuple[SASRecModel, int, Course]:
    """The model after the epochs with the highest NDCG@10 on validation; epochs and course."""
    inner = common.read_validation(given.split, given.sample, given.seed)
    data = dataset(inner.events)
    seed_everything(given.seed)
    model = make_model(given)
    course: Course = []
    best, weights = (0, -1.0), {}
    started = perf_counter()
    while True:
        model.fit_partial(data, min_epochs=given.every, max_epochs=given.every)
        figure = inner.judge(recommend(model, data, inner.users))
        course.append(((len(course) + 1) * given.every, figure))
        spent = (perf_counter() - started) / 60
        print(f"epoch {course[-1][0]}: NDCG@10 {figure:.4f}, {spent:.1f} min", flush=True)
        if figure > best[1]:
            best, weights = course[-1], deepcopy(model.torch_model.state_dict())
        waited = (course[-1][0] - best[0]) / given.every
        if waited >= given.patience or spent > given.minutes or course[-1][0] >= given.epochs:
            model.torch_model.load_state_dict(weights)
            return model, best[0], course


def parser() -> argparse.ArgumentParser:
    """The command line: that of all runners, and what SASRec needs besides."""
    made = common.parser(__doc__, ("sasrec", "esasrec"))
    made.add_argument("--factors", type=int, default=64)
    made.add_argument("--blocks", type=int, default=2)
    made.add_argument("--heads", type=int, default=2)
    made.add_argument("--dropout", type=float, default=0.2)
    made.add_argument("--length", type=int, default=20, help="events of a history")
    made.add_argument("--negatives", type=int, default=64)
    made.add_argument("--lr", type=float, default=1e-3)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--epochs", type=int, default=200, help="at most")
    made.add_argument("--every", type=int, default=3, help="epochs between looks at validation")
    made.add_argument("--patience", type=int, default=2, help="looks without a rise")
    made.add_argument("--fit-epochs", type=int, default=0, help="as many, without a search")
    made.add_argument("--texts", type=Path, help="file of text vectors")
    made.add_argument("--keep", action="store_true", help="do not fit again on all of train")
    return made


def main() -> None:
    """Read the command line, train, write slates and card."""
    given = parser().parse_args()
    # More threads than free cores make every step several times slower.
    torch.set_num_threads(given.threads)
    events, users = common.read_events(given.split), common.read_users(given.split)
    data = dataset(events)
    started = perf_counter()
    epochs, course = given.fit_epochs, []
    if not epochs:
        model, epochs, course = search(given)
    searched, started = perf_counter() - started, perf_counter()
    if not given.keep:
        seed_everything(given.seed)
        model = make_model(given)
        model.fit_partial(data, min_epochs=epochs, max_epochs=epochs)
    # Where the model of the search is kept, its training is what a fit takes.
    fitted, started = searched if given.keep else perf_counter() - started, perf_counter()
    slates = recommend(model, data, users)
    answered = perf_counter() - started
    slates = common.filled(slates, users, events)
    common.check(slates, users, events)
    options = {name: value for name, value in vars(given).items() if not isinstance(value, Path)}
    card = {
        "model": given.model,
        "library": "rectools",
        "versions": common.versions("rectools", "torch", "numpy"),
        "options": options | {"chosen_epochs": epochs, "loss": "sampled_softmax"},
        "validation": course,
        "seeds": [given.seed],
        "search_seconds": round(searched, 1),
        "fit_seconds": round(fitted, 1),
        "slate_seconds": answered / len(users),
        "peak_bytes": common.peak_bytes(),
    }
    common.write(given.out, slates, card, given.split)


if __name__ == "__main__":
    main()
