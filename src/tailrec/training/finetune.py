"""Fine-tuning an encoder on a shop's behaviour: a recipe, a run, an encoder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from tailrec import __version__
from tailrec.errors import RecipeError
from tailrec.features.adapted import opened
from tailrec.features.original import quiet
from tailrec.features.text import Progress
from tailrec.features.token_sums import TokenSum
from tailrec.features.weights import fingerprint
from tailrec.items import Float32Array
from tailrec.training.adapt import Adapted, adapted, n_trained
from tailrec.training.behaviour import WATCHED, Autoencoder, Contrastive, Judged, Lessons
from tailrec.training.course import Outcome, Task, train
from tailrec.training.devices import is_main
from tailrec.training.embedders import (
    Embedder,
    MapEmbedder,
    TextEmbedder,
    TokensEmbedder,
    Vary,
)
from tailrec.training.encoder_files import save_encoder
from tailrec.training.heads import WithHeads
from tailrec.training.marks import told_apart
from tailrec.training.memory import Memory, remembered
from tailrec.training.models import transformer_of
from tailrec.training.private import Private
from tailrec.training.ranks import WithRanks
from tailrec.training.recipes import Finetune
from tailrec.training.retain import Start, continued
from tailrec.training.run_folder import RunFolder
from tailrec.training.tracking import Tracker


@dataclass(frozen=True)
class Material:
    """What an encoder is fine-tuned with.

    Attributes:
        base: folder of the encoder it begins with.
        texts: [I] of the items, with the encoder's prefix.
        vectors: float32 [I, D], what that encoder makes of them; a map is learnt of these.
        lessons: what behaviour has to teach.
        judged: what is held out.
        max_length: tokens of a text that were read for the vectors; None: as many as the encoder
            can read.
        form: in which the encoder ran for the vectors; see `TextEncoder`.
        vary: says texts in other words while they are learnt from; None: they are taken as they
            are. What is held out is measured by the plain ones.
        earlier: what the run kept that the encoder is from; None: it is from none.
    """

    base: Path
    texts: Sequence[str]
    vectors: Float32Array
    lessons: Lessons
    judged: Judged
    max_length: int | None = None
    form: str = "auto"
    vary: Vary | None = None
    earlier: Memory | None = None

    def mark(self, recipe: Finetune) -> str:
        """Digest of all that a run depends on: 32 hexadecimal digits."""
        whole = hashlib.sha256(recipe.toml().encode())
        whole.update(fingerprint(self.base).encode())
        whole.update(told_apart(self.texts))
        data, matrix = self.lessons.data, self.lessons.affinity.matrix
        arrays = (data.ptr, data.item, data.step, data.weight, matrix.indices, matrix.data)
        for array in (*arrays, self.judged.items):
            whole.update(np.ascontiguousarray(array).tobytes())
        if recipe.adapt.on_top:
            whole.update(f"read {self.max_length}".encode())
        if self.form != "auto":
            # What int8 rounds is in what a map learns of, and in which texts are alike.
            whole.update(f"form {self.form}".encode())
        if self.vary is not None:
            whole.update(self.vary.digest.encode())
        if self.earlier is not None:
            whole.update(self.earlier.digest.encode())
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
        as_it_is = opened if recipe.adapt.kind == "map" else transformer_of
        model = as_it_is(material.base, device="cpu")
    if not recipe.adapt.on_top:
        longest = int(model.max_seq_length or recipe.max_length)
        model.max_seq_length = min(recipe.max_length, longest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.course.seed)  # matrices put beside begin at random
        embedder, ready = _embedder(recipe, model, material)
    task = _task(recipe, embedder, material, run)
    if ready.ranks is not None:
        task = WithRanks(task, ready.ranks)
    if recipe.heads.weights():
        data, seed = material.lessons.data, recipe.course.seed
        task = WithHeads(task, embedder, data, recipe.heads, seed)
    card: dict[str, Any] = {"trained_parameters": n_trained(ready.module)}
    outcome = train(task, recipe.course, run, tracker=tracker, progress=progress)
    card = _card(recipe, fingerprint(material.base), outcome) | card
    if isinstance(task, Private):
        card["privacy"] = task.card()
    model = ready.finish()
    if not is_main():
        return outcome
    save_encoder(model, run.encoder, card)
    if recipe.keep_memory and recipe.privacy is None:
        lessons, new = material.lessons, fingerprint(run.encoder)
        memory = remembered(lessons.data.catalog, lessons.affinity, new, material.earlier)
        memory.save(run.folder)
    return outcome


def _task(recipe: Finetune, embedder: Embedder, material: Material, run: RunFolder) -> Task:
    """What is learnt; with what is to be kept where the recipe goes on from an earlier run."""
    if recipe.privacy is not None:
        return Private(
            embedder,
            material.lessons.data,
            recipe.objective,
            recipe.privacy,
            size=recipe.batch,
            steps=recipe.course.steps,
            seed=recipe.course.seed,
        )

    def make(lessons: Lessons) -> Task:
        judged = material.judged
        if recipe.objective.kind == "autoencoder":
            return Autoencoder(embedder, lessons, size=recipe.batch, judged=judged)
        return Contrastive(embedder, lessons, recipe.objective, size=recipe.batch, judged=judged)

    if recipe.continual is None:
        return make(material.lessons)
    memory = material.earlier
    if memory is None or memory.encoder != fingerprint(material.base):
        of = "none was given" if memory is None else "the one given is of another encoder"
        raise RecipeError(
            f"`continual` needs the memory of the run that trained {recipe.model}, and {of}; take "
            "the encoder and the memory of one run, or leave `continual` out"
        )
    start = Start(embedder, material.vectors, memory, run, recipe.course.seed)
    return continued(
        recipe.continual, start, material.lessons, recipe.objective, recipe.batch, make=make
    )


def _embedder(
    recipe: Finetune, model: SentenceTransformer, material: Material
) -> tuple[Embedder, Adapted]:
    """What is trained, and the encoder it becomes."""
    if recipe.adapt.kind == "map":
        mapped = MapEmbedder(material.vectors)
        return mapped, Adapted(mapped.module, lambda: _with_map(model, mapped.module))
    if recipe.adapt.kind == "tokens":
        more = TokensEmbedder(
            material.vectors,
            model,
            material.texts,
            max_length=material.max_length,
            left_out=recipe.adapt.left_out,
        )
        return more, Adapted(more.module, lambda: _with_tokens(model, more))
    ready = adapted(model, recipe.adapt, steps=recipe.course.steps)
    return TextEmbedder(ready.module, model, material.texts, vary=material.vary), ready


def _with_map(model: SentenceTransformer, learnt: torch.nn.Module) -> SentenceTransformer:
    """The encoder with a map behind its vectors; the vectors themselves are its diagonal."""
    weight = next(learnt.parameters()).detach().cpu()
    whole = weight + torch.eye(len(weight))
    parts = _unscaled(list(model))
    before = _earlier_map(parts[-1])
    if before is not None:
        parts = _unscaled(parts[:-1])
        whole = whole @ before  # several maps in a row are one
    linear = Dense(
        whole.shape[1],
        whole.shape[0],
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=whole,
    )
    # The map was learnt of vectors of unit length.
    return _of([*parts, Normalize(), linear, Normalize()], model)


def _with_tokens(model: SentenceTransformer, learnt: TokensEmbedder) -> SentenceTransformer:
    """The encoder with a map behind its vectors, and vectors of tokens added."""
    parts: Any = learnt.module
    own = parts["table"].weight.detach().cpu()
    table = torch.cat([torch.zeros(1, own.shape[1]), own])
    place = torch.zeros(len(model.tokenizer), dtype=torch.int64)
    place[torch.as_tensor(learnt.used)] = torch.arange(1, len(table))
    *mapped, last = _with_map(model, parts["map"])
    return _of([*mapped, TokenSum(table, place), last], model)


def _of(modules: list[torch.nn.Module], model: SentenceTransformer) -> SentenceTransformer:
    """An encoder of some modules, with the prompts of another."""
    prompts = {name: said or "" for name, said in model.prompts.items()}
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=prompts,
        default_prompt_name=model.default_prompt_name,
    )


def _unscaled(parts: list[torch.nn.Module]) -> list[torch.nn.Module]:
    """Without what brings vectors to unit length at the end."""
    while isinstance(parts[-1], Normalize):
        parts = parts[:-1]
    return parts


def _earlier_map(part: torch.nn.Module) -> torch.Tensor | None:
    """The matrix of a layer that is linear and nothing else; None for any other."""
    if not isinstance(part, Dense) or not isinstance(part.activation_function, torch.nn.Identity):
        return None
    linear: Any = part.linear
    plain = linear.bias is None and not part.use_residual
    return linear.weight.detach().cpu() if plain else None


def _card(recipe: Finetune, base: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": "finetune",
        "base": {"model": recipe.model, "fingerprint": base},
        "adapt": recipe.adapt.kind,
        "objective": recipe.objective.model_dump(),
        "steps": outcome.step,
        "ended": outcome.ended,
        "best_step": outcome.best_step,
        "watched": WATCHED,
        "held_out": dict(outcome.best) if recipe.privacy is None else {},
        "seconds": outcome.seconds,
        "versions": {"tailrec": __version__, "torch": torch.__version__},
    }
