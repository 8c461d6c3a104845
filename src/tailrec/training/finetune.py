"""Fine-tuning an encoder on a shop's behaviour: a recipe, a run, an encoder."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from tailrec import __version__
from tailrec.features.original import quiet
from tailrec.features.weights import PACKAGED, fingerprint
from tailrec.items import Float32Array
from tailrec.recipe import Recipe
from tailrec.training.adapt import Adapt, adapted
from tailrec.training.behaviour import Autoencoder, Contrastive, Judged, Lessons, Objective
from tailrec.training.course import Course, Outcome, Task, train
from tailrec.training.embedders import Embedder, MapEmbedder, TextEmbedder, Vary
from tailrec.training.encoder_files import save_encoder
from tailrec.training.run_folder import Progress, RunFolder
from tailrec.training.tracking import Tracker


class Finetune(Recipe):
    """How an encoder is fine-tuned on behaviour.

    Attributes:
        model: the encoder it begins with: the packaged one, a folder, or a name on the hub.
        adapt: which parameters are trained.
        objective: what is minimised.
        course: steps, rates, checks.
        batch: pairs of one step, or items of the autoencoder's.
        max_length: tokens of a text that are read.
    """

    model: str = PACKAGED
    adapt: Adapt = Adapt()
    objective: Objective = Objective()
    course: Course = Course()
    batch: int = Field(default=128, ge=2)
    max_length: int = Field(default=48, ge=4)


@dataclass(frozen=True)
class Material:
    """What an encoder is fine-tuned with.

    Attributes:
        base: folder of the encoder it begins with.
        texts: [I] of the items, with the encoder's prefix.
        vectors: float32 [I, D], what that encoder makes of them; a map is learnt of these.
        lessons: what behaviour has to teach.
        judged: what is held out.
        vary: makes variants of texts; None: they are taken as they are.
    """

    base: Path
    texts: Sequence[str]
    vectors: Float32Array
    lessons: Lessons
    judged: Judged
    vary: Vary | None = None

    def mark(self, recipe: Finetune) -> str:
        """Digest of all that a run depends on: 32 hexadecimal digits."""
        whole = hashlib.sha256(recipe.toml().encode())
        whole.update(fingerprint(self.base).encode())
        for text in self.texts:
            whole.update(f"{len(text)}:{text}".encode())
        data, matrix = self.lessons.data, self.lessons.affinity.matrix
        arrays = (data.ptr, data.item, data.step, data.weight, matrix.indices, matrix.data)
        for array in (*arrays, self.judged.items):
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()[:32]


def finetune(
    recipe: Finetune,
    material: Material,
    run: RunFolder,
    *,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Fine-tune, and write the encoder into the run's folder; a run begun before goes on.

    Args:
        recipe: how.
        material: what with.
        run: its files.
        tracker: told how it goes.
        progress: called after each step.
    """
    with quiet():
        model = SentenceTransformer(str(material.base), device="cpu")
    model.max_seq_length = min(recipe.max_length, int(model.max_seq_length or recipe.max_length))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.course.seed)  # matrices put beside begin at random
        embedder, finish = _embedder(recipe, model, material)
    outcome = train(
        _task(recipe, embedder, material), recipe.course, run, tracker=tracker, progress=progress
    )
    finished = finish()
    save_encoder(finished, run.encoder, _card(recipe, fingerprint(material.base), outcome))
    return outcome


def _task(recipe: Finetune, embedder: Embedder, material: Material) -> Task:
    lessons, judged = material.lessons, material.judged
    if recipe.objective.kind == "autoencoder":
        return Autoencoder(embedder, lessons, size=recipe.batch, judged=judged)
    return Contrastive(embedder, lessons, recipe.objective, size=recipe.batch, judged=judged)


def _embedder(
    recipe: Finetune, model: SentenceTransformer, material: Material
) -> tuple[Embedder, Callable[[], SentenceTransformer]]:
    """What is trained, and the encoder it becomes."""
    if recipe.adapt.kind == "map":
        mapped = MapEmbedder(material.vectors)
        return mapped, lambda: _with_map(model, mapped.module)
    ready = adapted(model, recipe.adapt)
    embedder = TextEmbedder(ready.module, model, material.texts, vary=material.vary)
    return embedder, ready.finish


def _with_map(model: SentenceTransformer, learnt: torch.nn.Module) -> SentenceTransformer:
    """The encoder with a map behind its vectors; the vectors themselves are its diagonal."""
    weight = next(learnt.parameters()).detach().cpu()
    whole = weight + torch.eye(len(weight))
    linear = Dense(
        len(weight),
        len(weight),
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=whole,
    )
    parts = [part for part in model if not isinstance(part, Normalize)]
    # The map was learnt of vectors of unit length.
    return SentenceTransformer(modules=[*parts, Normalize(), linear, Normalize()], device="cpu")


def _card(recipe: Finetune, base: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": "finetune",
        "base": {"model": recipe.model, "fingerprint": base},
        "adapt": recipe.adapt.kind,
        "objective": recipe.objective.model_dump(),
        "steps": outcome.step,
        "ended": outcome.ended,
        "best_step": outcome.best_step,
        "held_out": dict(outcome.best),
        "seconds": outcome.seconds,
        "versions": {"tailrec": __version__, "torch": torch.__version__},
    }
