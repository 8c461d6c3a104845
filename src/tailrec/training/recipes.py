"""How encoders are trained: options only, so that reading them loads no PyTorch."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from tailrec.data.augment import Rewording
from tailrec.features.weights import PACKAGED, find_model, fingerprint
from tailrec.recipe import Recipe
from tailrec.training.continual import Continue
from tailrec.training.corpus import Corpus, Texts
from tailrec.training.taught import Taught

LEAST_ENTRIES: Final = 128
"""Of a vocabulary: making the int8 form takes an example with ids up to 116."""


Kind = Literal["map", "tokens", "full", "lora", "adalora", "prefix", "adapter"]
_ONLY: Final[dict[str, tuple[Kind, ...]]] = {
    "layers": ("full",),
    "rank": ("lora", "adalora"),
    "scale": ("lora", "adalora"),
    "dropout": ("lora", "adalora"),
    "length": ("prefix",),
    "width": ("adapter",),
    "left_out": ("tokens",),
}
"""Kinds that an option is for."""


def beside(default: BaseModel) -> BeforeValidator:
    """What is left out of a table stays as in a default of its own, not as in the class's."""

    def filled(given: Any) -> Any:
        return default.model_dump() | given if isinstance(given, dict) else given

    return BeforeValidator(filled)


class Course(Recipe):
    """How anything is trained.

    Attributes:
        steps: of the optimiser; the schedule spans them.
        minutes: the run ends early after so many, at the end of a step; None: after all steps.
        optimiser: `adamw`, or `sgd` with momentum.
        rate: highest learning rate.
        momentum: of `sgd`.
        weight_decay: of matrices; biases and norms have none.
        warmup: share of the steps in which the rate rises from 0.
        schedule: how it falls afterwards: `linear` or `cosine` to 0, or `constant`.
        clip: longest gradient; None: any.
        accumulate: batches of one step, on each device.
        adversarial: how far word embeddings are moved against each batch, see
            `training.adversarial`; 0: not at all.
        precision: `fp32`, or mixed with `bf16` or `fp16`.
        checkpointing: activations are computed twice instead of kept, to save memory.
        check_every: steps between two measurements on held-out data; the first state and the
            last are always measured.
        patience: measurements without a better one that end the run; None: all steps are made.
        keep_every: steps between two checkpoints.
        device: `auto`, or a device of PyTorch's such as `cpu` and `cuda`.
        seed: of all that is drawn.
    """

    steps: int = Field(default=1000, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(default=5e-5, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.06, ge=0, le=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    clip: float | None = Field(default=1.0, gt=0)
    accumulate: int = Field(default=1, ge=1)
    adversarial: float = Field(default=0.0, ge=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpointing: bool = False
    check_every: int = Field(default=100, ge=1)
    patience: int | None = Field(default=None, ge=1)
    keep_every: int = Field(default=50, ge=1)
    device: str = "auto"
    seed: int = 0

    def refuse_what_is_for_encoders(self) -> None:
        """For what is no encoder: a ValueError where an option is set that only they have."""
        if self.adversarial or self.checkpointing:
            raise ValueError(
                "course.adversarial and course.checkpointing are for encoders; leave them out here"
            )

    def share(self, step: int) -> float:
        """What a step's learning rate is of the highest, steps from 0."""
        rising = round(self.warmup * self.steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.schedule == "constant":
            return 1.0
        done = (step - rising) / max(self.steps - rising, 1)
        return 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2


DISTIL_COURSE: Final = Course(steps=600, rate=3e-4, check_every=100, patience=4)


class Distil(Recipe):
    """How a small encoder learns from a large one.

    Attributes:
        layers: of the teacher that the student keeps.
        choose: which: `even`ly spread, or those whose loss does the `least-harm`.
        model: another student than the teacher cut down: a folder, or a name on the hub; it keeps
            all its layers.
        tokens: `used` keeps the tokens of the texts, single letters, and `spare` others; `all`
            keeps every one.
        spare: tokens kept besides, the most frequent of the language.
        train_tokens: tokens' own vectors are trained, too; slower, and seldom of use.
        relation: weight of the likeness between texts, beside that of each text's vector.
        temperature: of the likeness between texts; lower: only the nearest count.
        batch: texts of one step; every second is a near one of another.
        held_out: share of the texts that are measured on, at most 1,000.
        course: steps, rates, checks.
    """

    layers: int = Field(default=3, ge=1)
    choose: Literal["even", "least-harm"] = "least-harm"
    model: str | None = None
    tokens: Literal["used", "all"] = "used"
    spare: int = Field(default=2000, ge=0)
    train_tokens: bool = False
    relation: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.05, gt=0)
    batch: int = Field(default=64, ge=4)
    held_out: float = Field(default=0.1, gt=0, lt=1)
    course: Annotated[Course, beside(DISTIL_COURSE)] = DISTIL_COURSE

    def mark(self, taught: Taught) -> str:
        """A digest of all that a run depends on: 32 hexadecimal digits."""
        whole = "\n".join((self.toml(), taught.digest(), fingerprint(self.student(taught))))
        return hashlib.sha256(whole.encode()).hexdigest()[:32]

    def student(self, taught: Taught) -> Path:
        """Folder of what the student begins as.

        Raises:
            RecipeError: it cannot be found.
        """
        return taught.folder if self.model is None else find_model(self.model, taught.home)


class StaticDistil(Recipe):
    """How a teacher becomes a table of token vectors.

    Attributes:
        dim: length of a vector, at most the teacher's.
        words: frequent words of the texts that become tokens of their own; a table that is not
            tuned gains by them, a tuned one does not.
        spare: tokens kept besides those the texts use, the most frequent of the language.
        rarity: a in a / (a + p), the weight of a token that is a share p of all that is read;
            the smaller, the less do frequent tokens count.
        tune: whether the texts themselves are told, too.
        held_out: share of the texts that are measured on, at most 1,000.
        seed: draws them.
    """

    dim: int = Field(default=256, ge=2)
    words: int = Field(default=0, ge=0)
    spare: int = Field(default=2000, ge=0)
    rarity: float = Field(default=0.03, gt=0)
    tune: bool = True
    held_out: float = Field(default=0.1, gt=0, lt=1)
    seed: int = 0

    def mark(self, taught: Taught) -> str:
        """A digest of all that a run depends on: 32 hexadecimal digits."""
        whole = "\n".join((self.toml(), taught.digest()))
        return hashlib.sha256(whole.encode()).hexdigest()[:32]


class Objective(Recipe):
    """What fine-tuning on behaviour minimises.

    Attributes:
        kind: `contrastive` (InfoNCE over pairs) or `autoencoder` (histories rebuilt).
        pairs: `items` that belong together, or `people`: their past and their next item.
        temperature: of the contrastive loss; lower: only the nearest count.
        hard: negatives an anchor besides those of the batch: items of alike texts that are no
            partners of it.
        popularity: 0: pairs count by how much more often than chance they occur, which suits the
            tail; 1: by how often.
        decay: what a step back leaves of a past item, for `people`.
    """

    kind: Literal["contrastive", "autoencoder"] = "contrastive"
    pairs: Literal["items", "people"] = "items"
    temperature: float = Field(default=0.12, gt=0)
    hard: int = Field(default=0, ge=0, le=16)
    popularity: float = Field(default=0.0, ge=0, le=1)
    decay: float = Field(default=0.7, gt=0, le=1)


class Characters(Recipe):
    """A small encoder and how its words are cut.

    Attributes:
        kind: says which encoder this is.
        vocabulary: most tokens: letters of scripts without blanks, and pieces of other words.
        rarest: times that a letter or a piece must stand in the texts.
        layers: of the transformer.
        width: of a token's vector, and of a text's.
        heads: of attention; they share the width.
        max_length: tokens that the encoder can read.
        dropout: share of activations left out while training.
        seed: of the weights.
    """

    kind: Literal["characters"] = "characters"
    vocabulary: int = Field(default=8000, ge=LEAST_ENTRIES)
    rarest: int = Field(default=2, ge=1)
    layers: int = Field(default=4, ge=1)
    width: int = Field(default=256, ge=8)
    heads: int = Field(default=4, ge=1)
    max_length: int = Field(default=128, ge=32)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _heads_share_width(self) -> "Characters":
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads cannot share a width of {self.width}")
        return self


PRETRAIN_COURSE: Final = Course(rate=1e-4)


class Pretrain(Recipe):
    """How an encoder is pre-trained on the texts of a shop.

    Attributes:
        kind: says which training this is.
        model: what training begins with: the packaged MiniLM, a folder, or a name on the Hugging
            Face hub.
        own: begin with a small encoder made of the shop's own letters instead.
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
    own: Characters | None = None
    texts: Texts = Texts()
    max_length: int = Field(default=64, ge=4)
    batch_tokens: int = Field(default=2048, ge=1)
    masked: float = Field(default=0.15, gt=0, lt=1)
    run: int = Field(default=1, ge=1)
    anchor: float = Field(default=5.0, ge=0)
    head_batches: int = Field(default=0, ge=0)
    measured: int = Field(default=1000, ge=1)
    course: Annotated[Course, beside(PRETRAIN_COURSE)] = PRETRAIN_COURSE

    def mark(self, corpus: Corpus, base: Path) -> str:
        """A digest of all that a run depends on."""
        whole = "\n".join((self.toml(), fingerprint(base), corpus.digest()))
        return hashlib.sha256(whole.encode()).hexdigest()[:32]


class Adapt(Recipe):
    """Which parameters are trained.

    An option that is not its kind's may only be what it is by default.

    Attributes:
        kind: `map`, a linear map of the encoder's vectors, which two cores learn in minutes;
            `tokens`, the same and a vector of each token of the texts, added to it; `full`;
            `lora`, low-rank matrices beside all linear layers; `adalora`, the same with ranks
            that go where they are needed; `prefix`, keys and values that every token of a layer
            attends to; `adapter`, bottlenecks behind attention and feed-forward layers.
        layers: of `full`, only so many of the last layers are trained; None: all, and the word
            embeddings.
        rank: of the matrices of `lora`; of `adalora`, what they have on average in the end, from
            half as much again in the beginning.
        scale: what their product is multiplied with; of `lora`, whatever the rank.
        dropout: of their input.
        length: keys and values of a layer, for `prefix`.
        width: of the bottlenecks, for `adapter`.
        left_out: share of a text's tokens that do not count in a step, drawn anew each time, for
            `tokens`; without, single words are learnt by heart.
    """

    kind: Kind = "map"
    layers: int | None = Field(default=None, ge=1)
    rank: int = Field(default=16, ge=1)
    scale: float = Field(default=2.0, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    length: int = Field(default=16, ge=1)
    width: int = Field(default=32, ge=1)
    left_out: float = Field(default=0.5, ge=0, lt=1)

    @property
    def on_top(self) -> bool:
        """Whether vectors are made once, and what is trained stands behind them."""
        return self.kind in ("map", "tokens")

    @model_validator(mode="after")
    def _options_are_of_the_kind(self) -> Self:
        fields = type(self).model_fields
        for name, kinds in _ONLY.items():
            if self.kind not in kinds and getattr(self, name) != fields[name].default:
                meant = " and ".join(f"'{kind}'" for kind in kinds)
                raise ValueError(f"`{name}` is for {meant}, not for '{self.kind}'; leave it out")
        return self


class Heads(Recipe):
    """What is taught besides the objective, and what each head's loss counts; 0: there is none.

    Attributes:
        category: the item's category, by cross-entropy.
        rating: the mean of its ratings, in standard deviations, by squared error.
        purchase: its share of purchases among the times it was seen, or, where a shop has no
            views, the share of the items that are had less often, by cross-entropy.
        level: of the category, 1 for the broadest.
        batch: items of one step that each head is asked about.
    """

    category: float = Field(default=0.0, ge=0)
    rating: float = Field(default=0.0, ge=0)
    purchase: float = Field(default=0.0, ge=0)
    level: int = Field(default=1, ge=1)
    batch: int = Field(default=32, ge=1)

    def weights(self) -> dict[str, float]:
        """What each head's loss counts, those that count nothing left out."""
        told = {"category": self.category, "rating": self.rating, "purchase": self.purchase}
        return {name: weight for name, weight in told.items() if weight > 0}


class Privacy(Recipe):
    """How little fine-tuning tells of a person, see `training.private`.

    Attributes:
        epsilon: spent once all steps are made; smaller tells less, and needs more noise.
        delta: probability with which more is told; below one in as many as there are people.
        clip: greatest length of a person's gradient.
        negatives: items of the catalogue that a person's next item is told from.
        seeded: noise and people follow the course's seed, so that a run can be repeated; it then
            protects from nobody who knows the seed.
    """

    epsilon: float = Field(default=8.0, gt=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    negatives: int = Field(default=15, ge=1, le=57)
    seeded: bool = False


SUITED: Final[Mapping[Kind, Mapping[str, float]]] = MappingProxyType(
    {
        "map": {"steps": 1500, "rate": 1e-3, "weight_decay": 0.1, "batch": 512},
        "tokens": {"steps": 600, "rate": 1e-3, "weight_decay": 0.1, "batch": 512},
        "full": {"steps": 600, "rate": 1e-4, "weight_decay": 0.01, "batch": 128},
        "lora": {"steps": 600, "rate": 5e-4, "weight_decay": 0.01, "batch": 128},
        "adalora": {"steps": 600, "rate": 1e-3, "weight_decay": 0.01, "batch": 128},
        "prefix": {"steps": 600, "rate": 5e-3, "weight_decay": 0.0, "batch": 128},
        "adapter": {"steps": 600, "rate": 5e-4, "weight_decay": 0.01, "batch": 128},
    }
)
"""What suits each kind of parameters, where a recipe does not say otherwise."""


class Finetune(Recipe):
    """How an encoder is fine-tuned on behaviour.

    Steps, rate, decay and batch are by default those that suit the kind of parameters, `SUITED`.

    Attributes:
        model: the encoder it begins with: the packaged one, a folder, or a name on the hub.
        adapt: which parameters are trained.
        objective: what is minimised.
        course: steps, rates, checks.
        batch: pairs of one step, or items of the autoencoder's.
        max_length: tokens of a text that are read by kinds that read texts; vectors of `map` and
            `tokens` are made as the shop makes them.
        continual: by which means periods are kept that the model learnt before; None: it learnt
            none, or they may be forgotten.
        keep_memory: keep what a later run needs to go on from this one's encoder; a private run
            keeps none.
        heads: plain facts of items that are taught besides.
        augment: how texts are varied while they are learnt from, see `training.reworded`.
        privacy: how little is told of a person; None: nothing is hidden.
    """

    model: str = PACKAGED
    adapt: Adapt = Adapt()
    objective: Objective = Objective()
    course: Course = Course.parse({n: v for n, v in SUITED["map"].items() if n != "batch"})
    batch: int = Field(default=int(SUITED["map"]["batch"]), ge=2)
    max_length: int = Field(default=48, ge=4)
    continual: Continue | None = None
    keep_memory: bool = True
    heads: Heads = Heads()
    augment: Rewording = Rewording()
    privacy: Privacy | None = None

    def adapted_to(self, kind: Kind) -> Self:
        """The recipe for other parameters; what suited the former kind is what suits this one."""
        if kind == self.adapt.kind:
            return self
        whole = self.model_dump() | {"adapt": {"kind": kind}}
        before = SUITED[self.adapt.kind]
        for place in (whole, whole["course"]):
            for name in [n for n in before if n in place and place[n] == before[n]]:
                del place[name]
        return type(self).parse(whole)

    @model_validator(mode="before")
    @classmethod
    def _suited(cls, given: Any) -> Any:
        """Fill in what suits the kind, where nothing is said."""
        if not isinstance(given, dict):
            return given
        adapt, told = given.get("adapt", {}), given.get("course", {})
        kind = adapt.get("kind", "map") if isinstance(adapt, dict) else getattr(adapt, "kind", None)
        if kind not in tuple(SUITED):  # the fields themselves say what is wrong
            return given
        course = {n: value for n, value in SUITED[kind].items() if n != "batch"}
        whole = course | told if isinstance(told, dict) else told
        return {"batch": SUITED[kind]["batch"]} | given | {"course": whole}

    @model_validator(mode="after")
    def _texts_can_be_varied(self) -> Self:
        augment, plain = self.augment, Rewording()
        if self.adapt.on_top and augment != plain:
            raise ValueError(
                f"`augment` varies texts, and adapt.kind = {self.adapt.kind!r} learns from vectors "
                "that were made of them once; take another kind, or leave `augment` out"
            )
        named = augment.back_translation is not None
        if augment.translated == 0 if named else augment.translated != plain.translated:
            raise ValueError(
                "`augment.translated` is the share of `augment.back_translation`; name two models "
                "and a share above 0, or leave both out"
            )
        return self

    @model_validator(mode="after")
    def _privacy_can_be_kept(self) -> Self:
        if self.privacy is None:
            return self
        course, objective = self.course, self.objective
        fits = {
            "adapt.kind = 'map' or 'lora'": self.adapt.kind in ("map", "lora"),
            "objective.kind = 'contrastive'": objective.kind == "contrastive",
            "objective.pairs = 'people'": objective.pairs == "people",
            "objective.hard = 0": objective.hard == 0,
            "objective.popularity = 0": objective.popularity == 0,
            "course.accumulate = 1": course.accumulate == 1,
            "course.adversarial = 0": course.adversarial == 0,
            "course.precision = 'fp32'": course.precision == "fp32",
            "no course.patience, as nothing is measured": course.patience is None,
            "no heads": not self.heads.weights(),
            "no `continual`": self.continual is None,
        }
        missing = [name for name, fit in fits.items() if not fit]
        if missing:
            raise ValueError(f"`privacy` needs {' and '.join(missing)}")
        return self


class TrainRecipe(Recipe):
    """How a shop's encoders are trained.

    Attributes:
        pretrain: on the shop's texts.
        finetune: on its behaviour.
        distil: into fewer layers.
        static: into one vector a token.
    """

    pretrain: Pretrain = Pretrain()
    finetune: Finetune = Finetune()
    distil: Distil = Distil()
    static: StaticDistil = StaticDistil()
