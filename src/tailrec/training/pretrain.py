"""Domain pre-training: an encoder learns to say words that are hidden in the shop's own texts."""

import copy
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from pydantic import Field
from torch.nn.functional import cosine_similarity

from tailrec.errors import RecipeError
from tailrec.features.weights import PACKAGED, fingerprint
from tailrec.items import BoolArray, Int64Array
from tailrec.recipe import Recipe
from tailrec.training.corpus import Corpus, Texts
from tailrec.training.course import Course, Outcome, train
from tailrec.training.devices import is_main
from tailrec.training.encoder_files import save_encoder
from tailrec.training.masked_model import MaskedModel, find_base, load_encoder, missed
from tailrec.training.masking import OUTSIDE, Masking
from tailrec.training.pieces import Pieces, Plan
from tailrec.training.run_folder import Progress, RunFolder
from tailrec.training.tracking import Tracker

PERPLEXITY: Final = "perplexity"
"""e to the mean negative log-likelihood of a hidden token of held-out texts."""
LIKELIHOOD: Final = "log_likelihood"
LIKENESS: Final = "likeness"
"""Mean cosine of held-out texts' vectors to those of the model that training began with."""

_MEASURES: Final = 0x6D65
"""Seed of what is hidden from held-out texts: the same at every measurement of every run."""


class Pretrain(Recipe):
    """How an encoder is pre-trained on the texts of a shop.

    Attributes:
        kind: says which training this is.
        model: what training begins with: the packaged MiniLM, a folder, or a name on the Hugging
            Face hub.
        texts: what is read.
        max_length: tokens of a piece; longer texts make several.
        batch_tokens: of a batch, padding counted.
        masked: share of the words that are hidden.
        run: letters of a script without blanks that are hidden together.
        anchor: what counts, beside saying hidden words, that vectors of texts stay near those of
            the model that training began with; 0 lets them drift.
        head_batches: batches in which only a new head learns, before the encoder does.
        measured: pieces of held-out texts that are measured on, at most.
        course: of the training.
    """

    kind: Literal["pretrain"] = "pretrain"
    model: str = PACKAGED
    texts: Texts = Texts()
    max_length: int = Field(default=64, ge=4)
    batch_tokens: int = Field(default=2048, ge=1)
    masked: float = Field(default=0.15, gt=0, lt=1)
    run: int = Field(default=1, ge=1)
    anchor: float = Field(default=0.0, ge=0)
    head_batches: int = Field(default=0, ge=0)
    measured: int = Field(default=1000, ge=1)
    course: Course = Course()

    def mark(self, corpus: Corpus) -> str:
        """Digest of all that a run of this recipe depends on."""
        base = fingerprint(find_base(self.model))
        whole = "\n".join((self.toml(), base, corpus.digest()))
        return hashlib.sha256(whole.encode()).hexdigest()[:32]

    def learn(
        self,
        corpus: Corpus,
        folder: Path,
        *,
        tracker: Tracker | None = None,
        progress: Progress | None = None,
    ) -> "Pretrained":
        """Pre-train, and leave the encoder in the run's folder.

        A run that was stopped goes on.

        Args:
            corpus: result of `texts.gather`.
            folder: of the run; made where missing.
            tracker: told losses and figures.
            progress: told steps.

        Raises:
            RecipeError: the model cannot be found, or not be pre-trained.
            DataError: the model's tokenizer knows none of the texts.
            ArtifactError: the folder holds a run of another recipe, or of other data.
        """
        run = RunFolder(folder, self.mark(corpus))
        task = PretrainTask(self, corpus)
        outcome = train(task, self.course, run, tracker=tracker, progress=progress)
        card = self._card(corpus, task, outcome, run.curve()) if is_main() else {}
        if is_main():
            save_encoder(task.model.encoder.cpu(), run.encoder, card)
        return Pretrained(run.encoder, outcome, card)

    def _card(
        self, corpus: Corpus, task: "PretrainTask", outcome: Outcome, curve: list[dict[str, float]]
    ) -> dict[str, Any]:
        """What is told with the encoder."""
        before = next(line for line in curve if PERPLEXITY in line)
        return {
            "kind": self.kind,
            "base": {"model": self.model, "fingerprint": fingerprint(find_base(self.model))},
            "recipe": self.model_dump(mode="json"),
            "texts": {
                **corpus.counts,
                "train": len(corpus.train),
                "held_out": len(corpus.held_out),
            },
            "corpus": corpus.digest(),
            "pieces": task.n_pieces,
            "new_head": task.model.new_head,
            "before": {name: value for name, value in before.items() if name != "step"},
            "after": dict(outcome.best),
            "steps": outcome.step,
            "best_step": outcome.best_step,
            "ended": outcome.ended,
            "seconds": outcome.seconds,
            "versions": {
                name: version(name)
                for name in ("tailrec", "torch", "transformers", "sentence-transformers")
            },
        }


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What pre-training left.

    Attributes:
        encoder: folder of the encoder.
        outcome: how the run ended.
        card: what stands in the encoder's card.
    """

    encoder: Path
    outcome: Outcome
    card: Mapping[str, Any]


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
        watched: log-likelihood of hidden words.
        n_pieces: pieces learnt from and measured on.
    """

    watched = LIKELIHOOD

    def __init__(self, recipe: Pretrain, corpus: Corpus) -> None:
        folder = find_base(recipe.model)
        self._recipe = recipe
        self.model = MaskedModel(load_encoder(folder), folder)
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
