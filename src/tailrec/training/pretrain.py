"""Domain pre-training: an encoder learns to say words that are hidden in the shop's own texts."""

import copy
import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch.nn.functional import cosine_similarity

from tailrec.errors import RecipeError
from tailrec.features.text import Progress
from tailrec.features.weights import fingerprint
from tailrec.items import BoolArray, Int64Array
from tailrec.training.characters import build_encoder
from tailrec.training.corpus import Corpus
from tailrec.training.course import Outcome, train
from tailrec.training.devices import is_main
from tailrec.training.encoder_files import save_encoder
from tailrec.training.masked_model import MaskedModel, load_encoder, missed
from tailrec.training.masking import OUTSIDE, Masking
from tailrec.training.pieces import Pieces, Plan
from tailrec.training.recipes import Pretrain
from tailrec.training.run_folder import RunFolder
from tailrec.training.tracking import Tracker

PERPLEXITY: Final = "perplexity"
"""e to the mean negative log-likelihood of a hidden token of held-out texts."""
LIKELIHOOD: Final = "log_likelihood"
LIKENESS: Final = "likeness"
"""Mean cosine of held-out texts' vectors to those of the model that training began with."""

UNTAUGHT: Final = "untaught"
"""Folder in a run of an encoder of the shop's own letters, before it was taught."""

_VERSIONS: Final = ("tailrec", "torch", "transformers", "sentence-transformers")
_MEASURES: Final = 0x6D65
"""Seed of what is hidden from held-out texts: the same at every measurement of every run."""


def pretrain(
    recipe: Pretrain,
    corpus: Corpus,
    base: Path,
    run: RunFolder,
    *,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Pre-train, and write the encoder into the run's folder; a run begun before goes on.

    Args:
        recipe: how.
        corpus: result of `recipe.texts.gather`.
        base: folder of the model that training begins with, see `masked_model.find_base`; not
            looked at where the recipe says how to make an `own` one.
        run: its files.
        tracker: told losses and figures.
        progress: called after each step.

    Raises:
        RecipeError: the model cannot be pre-trained.
        DataError: the model's tokenizer knows none of the texts.
        ArtifactError: the run's checkpoint is of another recipe, or of other data.
    """
    if recipe.own is not None:
        base = run.folder / UNTAUGHT
        if is_main():
            build_encoder(recipe.own, corpus.train, base)
    task = PretrainTask(recipe, corpus, base)
    outcome = train(task, recipe.course, run, tracker=tracker, progress=progress)
    if is_main():
        card = _card(recipe, corpus, task, outcome)
        before = next(line for line in run.curve() if PERPLEXITY in line)
        card["before"] = {name: value for name, value in before.items() if name != "step"}
        save_encoder(task.model.encoder.cpu(), run.encoder, card)
    return outcome


def _card(
    recipe: Pretrain, corpus: Corpus, task: "PretrainTask", outcome: Outcome
) -> dict[str, Any]:
    """What is told with the encoder."""
    return {
        "kind": recipe.kind,
        "base": {"model": recipe.model, "fingerprint": task.base},
        "recipe": recipe.model_dump(mode="json"),
        "texts": {**corpus.counts, "train": len(corpus.train), "held_out": len(corpus.held_out)},
        "corpus": corpus.digest(),
        "pieces": task.n_pieces,
        "new_head": task.model.new_head,
        "watched": task.watched,
        "held_out": dict(outcome.best),
        "steps": outcome.step,
        "best_step": outcome.best_step,
        "ended": outcome.ended,
        "seconds": outcome.seconds,
        "versions": {name: version(name) for name in _VERSIONS},
    }


class _Batch(NamedTuple):
    """Pieces with hidden words, as numpy arrays [B, L]."""

    number: int
    ids: Int64Array
    seen: Int64Array
    there: BoolArray
    hidden: BoolArray


class PretrainTask:
    """Hidden words of a shop's texts, for `course.train`.

    Attributes:
        module: the encoder with its head.
        model: the same.
        base: fingerprint of what training begins with.
        watched: log-likelihood of hidden words.
        n_pieces: pieces learnt from and measured on.
    """

    watched = LIKELIHOOD

    def __init__(self, recipe: Pretrain, corpus: Corpus, base: Path) -> None:
        """Read texts and model.

        Args:
            recipe: how.
            corpus: texts.
            base: folder of the model.

        Raises:
            RecipeError: the model cannot be pre-trained.
            DataError: the model's tokenizer knows none of the texts.
        """
        self._recipe = recipe
        self.base = fingerprint(base)
        self.model = MaskedModel(load_encoder(base), base)
        self.module: torch.nn.Module = self.model
        tokenizer = self.model.encoder.tokenizer
        length = min(recipe.max_length, self.model.encoder.max_seq_length or recipe.max_length)
        self._train = Pieces.read(corpus.train, tokenizer, length)
        held_out = Pieces.read(corpus.held_out, tokenizer, length)
        self._plan = Plan(self._train, recipe.batch_tokens, recipe.course.seed)
        if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
            raise RecipeError(
                f"the tokenizer of {recipe.model!r} has no token for hidden words or none for "
                "padding; take a model of BERT's kind"
            )
        self._pad = int(tokenizer.pad_token_id)
        n_entries = int(self.model.whole.config.vocab_size)
        special = list(tokenizer.all_special_ids)
        fillers = np.setdiff1d(np.arange(min(len(tokenizer), n_entries)), special)
        self._masking = Masking(recipe.masked, recipe.run, int(tokenizer.mask_token_id), fillers)
        self.n_pieces = {"train": len(self._train), "held_out": len(held_out)}
        if self.model.new_head:
            words = self._train.ids[self._train.parts != OUTSIDE]
            self.model.start_head(np.bincount(words, minlength=n_entries))
        self._base = copy.deepcopy(self.model).eval().requires_grad_(False)
        self._measured = list(self._fixed(held_out))

    def batch(self, number: int, rng: Generator) -> _Batch:
        """Pieces of like length, with words hidden."""
        return self._hide(number, self._train, self._plan.rows(number), rng)

    def loss(self, batch: _Batch) -> torch.Tensor:
        """Of hidden words, and of how far vectors went."""
        recipe = self._recipe
        head_only = self.model.new_head and batch.number < recipe.head_batches
        self.model.whole.base_model.requires_grad_(not head_only)
        logits, vectors = self.model.said(*self._there(batch.seen, batch.there, batch.hidden))
        (told,) = self._there(batch.ids[batch.hidden])
        loss = missed(logits, told)
        if recipe.anchor and not head_only:
            with torch.no_grad():
                near = self._base.to(logits.device).vectors(*self._there(batch.ids, batch.there))
            loss = loss + recipe.anchor * (1 - cosine_similarity(vectors, near)).mean()
        return loss

    def figures(self) -> dict[str, float]:
        """How well hidden words of held-out texts are said, and how far their vectors went."""
        missed_sum = likeness = 0.0
        n_hidden = n_texts = 0
        for batch, before in self._measured:
            logits, _ = self.model.said(*self._there(batch.seen, batch.there, batch.hidden))
            (told,) = self._there(batch.ids[batch.hidden])
            missed_sum += float(missed(logits, told)) * len(told)
            n_hidden += len(told)
            vectors = self.model.vectors(*self._there(batch.ids, batch.there))
            likeness += float(cosine_similarity(vectors, before.to(vectors.device)).sum())
            n_texts += len(vectors)
        mean = missed_sum / n_hidden
        return {
            PERPLEXITY: math.exp(min(mean, 700)),
            LIKELIHOOD: -mean,
            LIKENESS: likeness / n_texts,
        }

    def _fixed(self, pieces: Pieces) -> Iterator[tuple[_Batch, torch.Tensor]]:
        """Batches to measure on, hidden the same way each time, and their vectors before."""
        rng = np.random.default_rng(_MEASURES)
        chosen = rng.permutation(len(pieces))[: self._recipe.measured]
        some = pieces.take(np.sort(chosen))
        for number, rows in enumerate(Plan(some, self._recipe.batch_tokens, 0).in_order()):
            batch = self._hide(number, some, rows, rng)
            with torch.no_grad():
                yield batch, self._base.vectors(*self._there(batch.ids, batch.there))

    def _hide(self, number: int, pieces: Pieces, rows: Int64Array, rng: Generator) -> _Batch:
        ids, parts = pieces.padded(rows, self._pad)
        seen, hidden = self._masking.apply(ids, parts, rng)
        there = np.arange(ids.shape[1]) < np.diff(pieces.ptr)[rows][:, None]
        return _Batch(number, ids, seen, there, hidden)

    def _there(self, *arrays: Any) -> tuple[torch.Tensor, ...]:
        """Arrays as tensors where the module is."""
        device = next(self.module.parameters()).device
        return tuple(torch.as_tensor(array, device=device) for array in arrays)
