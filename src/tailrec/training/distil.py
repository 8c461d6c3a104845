"""A small encoder that learns to give a large one's vectors.

The student is the teacher with fewer layers and only the tokens that are read, or any other model.
It learns from the shop's own texts two things: each text's vector, and how like the texts of a
batch are to each other, which is what neighbours are made of.

Source:
    Sanh et al. 2019, arXiv:1910.01108, layers of the teacher as a start; Park et al. 2019,
    arXiv:1904.05068, relations; Passalis and Tefas 2018, likeness as a distribution.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.random import Generator
from sentence_transformers import SentenceTransformer
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, softmax

from tailrec import __version__
from tailrec.features.original import Original, quiet
from tailrec.features.text import Progress
from tailrec.items import Float32Array, Int64Array
from tailrec.training.course import Outcome, train
from tailrec.training.devices import is_main
from tailrec.training.embedders import TextEmbedder
from tailrec.training.encoder_files import save_encoder
from tailrec.training.likeness import LIKENESS, NEAREST, OVERLAP, hold_out, likeness, overlap
from tailrec.training.models import transformer_of
from tailrec.training.prune import even_layers, keep_layers, keep_tokens, least_harm_layers
from tailrec.training.recipes import Distil
from tailrec.training.run_folder import RunFolder
from tailrec.training.taught import Taught
from tailrec.training.tracking import Tracker

_PROBES: Final = 200
"""Texts by which layers are chosen."""

_PROBES_OF_MAP: Final = 2000
"""Texts by which a map between two widths is begun."""

_BATCH_TOKENS: Final = 4096


def distil(
    recipe: Distil,
    taught: Taught,
    run: RunFolder,
    *,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train a student, and write it into the run's folder; a run begun before goes on.

    Args:
        recipe: how.
        taught: what the teacher says.
        run: its files.
        tracker: told how it goes.
        progress: called after each step.

    Raises:
        DataError: there are too few texts.
        RecipeError: the student is not there, or cannot be cut out of the teacher.
    """
    rng = np.random.default_rng(recipe.course.seed)
    learnt, held = hold_out(taught.texts, recipe.held_out, rng)
    student = _student(recipe, taught, [taught.texts[row] for row in learnt])
    task = Imitation(recipe, student, taught, learnt=learnt, held=held)
    outcome = train(task, recipe.course, run, tracker=tracker, progress=progress)
    if is_main():
        save_encoder(student, run.encoder, _card(recipe, taught, outcome))
    return outcome


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one step.

    Attributes:
        prepared: their tokens.
        target: float32 [B, D], the teacher's vectors.
    """

    prepared: Any
    target: torch.Tensor


class Imitation:
    """To give the vectors that the teacher gives.

    Attributes:
        module: the student, and the map from its vectors to the teacher's where widths differ.
        watched: how many of each text's neighbours it shares with the teacher.
    """

    watched: str = OVERLAP

    def __init__(
        self,
        recipe: Distil,
        student: SentenceTransformer,
        taught: Taught,
        *,
        learnt: Int64Array,
        held: Int64Array,
    ) -> None:
        self._recipe = recipe
        self._vectors, self._learnt, self._held = taught.vectors, learnt, held
        self._texts = TextEmbedder(student, student, taught.texts)
        width = taught.vectors.shape[1]
        own = int(student.get_embedding_dimension() or width)
        self._map: torch.nn.Module = torch.nn.Identity()
        if own != width:
            some = learnt[:: max(1, len(learnt) // _PROBES_OF_MAP)]
            self._map = _best_map(self._texts.encode(some), taught.vectors[some])
        self.module: torch.nn.Module = torch.nn.ModuleDict({"student": student, "map": self._map})

    def batch(self, number: int, rng: Generator) -> Batch:
        """Texts, each with a near one: neighbours must be told apart, not only strangers."""
        del number
        size = min(self._recipe.batch // 2, len(self._learnt))
        seeds = rng.choice(self._learnt, size, replace=False)
        like = self._vectors[seeds] @ self._vectors[self._learnt].T  # [S, N]
        k = min(NEAREST + 1, len(self._learnt))
        near = np.argpartition(-like, k - 1, axis=1)[:, :k]
        chosen = near[np.arange(size), rng.integers(0, k, size)]
        rows = np.unique(np.concatenate([seeds, self._learnt[chosen]]))
        return Batch(self._texts.prepare(rows, rng), torch.as_tensor(self._vectors[rows]))

    def loss(self, batch: Batch) -> torch.Tensor:
        """One minus the cosine to the teacher, and how far likenesses in the batch are off."""
        student = self._texts.embed(batch.prepared)
        target = batch.target.to(student.device)
        vectors = (1 - cosine_similarity(self._map(student), target, dim=1)).mean()
        if not self._recipe.relation:
            return vectors
        cold = self._recipe.temperature
        itself = torch.eye(len(target), dtype=torch.bool, device=target.device)
        ours = (student @ student.T / cold).masked_fill(itself, -1e4)
        theirs = (target @ target.T / cold).masked_fill(itself, -1e4)
        off = kl_div(log_softmax(ours, 1), softmax(theirs, 1), reduction="batchmean")
        loss: torch.Tensor = vectors + self._recipe.relation * off
        return loss

    def figures(self) -> dict[str, float]:
        """Mean cosine to the teacher, and the share of neighbours shared, on texts held out."""
        student, exact = self._texts.encode(self._held), self._vectors[self._held]
        device = next(self.module.parameters()).device
        with torch.no_grad():
            mapped = self._map(torch.as_tensor(student, device=device)).float().cpu().numpy()
        return {LIKENESS: likeness(mapped, exact), OVERLAP: overlap(student, exact)}


def _best_map(own: Float32Array, exact: Float32Array) -> torch.nn.Linear:
    """The linear map that brings vectors [N, D] nearest to others [N, E]."""
    weight = np.linalg.lstsq(own, exact, rcond=None)[0].T
    linear = torch.nn.Linear(own.shape[1], exact.shape[1], bias=False)
    linear.weight = torch.nn.Parameter(torch.as_tensor(np.ascontiguousarray(weight)))
    return linear


def _student(recipe: Distil, taught: Taught, texts: list[str]) -> SentenceTransformer:
    """The student before it learns; the same for the same recipe and texts."""
    with quiet():
        model = transformer_of(recipe.student(taught), device="cpu")
    longest = taught.teacher.max_length
    model.max_seq_length = min(longest, int(model.max_seq_length or longest))
    if recipe.model is None:
        keep_layers(model, _layers(recipe, taught, texts))
    if recipe.tokens == "used":
        keep_tokens(model, texts, spare=recipe.spare)
    if not recipe.train_tokens:
        first: Any = model[0]
        first.auto_model.get_input_embeddings().weight.requires_grad_(requires_grad=False)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0  # there is no noise in what the teacher says
    return model


def _layers(recipe: Distil, taught: Taught, texts: list[str]) -> list[int]:
    original = Original(taught.folder, device="cpu", max_length=taught.teacher.max_length)
    if recipe.choose == "even":
        first: Any = original.model[0]
        return even_layers(int(first.auto_model.config.num_hidden_layers), recipe.layers)
    probes = texts[:: max(1, len(texts) // _PROBES)][:_PROBES]

    def read() -> Float32Array:
        return original.vectors(probes, batch_tokens=_BATCH_TOKENS)

    return least_harm_layers(original.model, recipe.layers, read)


def _card(recipe: Distil, taught: Taught, outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": "distil",
        "teacher": taught.card(),
        "student": recipe.model or f"{recipe.layers} layers of the teacher",
        "n_texts": len(taught.texts),
        "steps": outcome.step,
        "ended": outcome.ended,
        "best_step": outcome.best_step,
        "watched": OVERLAP,
        "held_out": dict(outcome.best),
        "seconds": outcome.seconds,
        "versions": {"tailrec": __version__, "torch": torch.__version__},
    }
