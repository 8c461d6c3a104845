"""Private fine-tuning: what a person can do to a step, what is spent, and that it still learns."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant
from tests.training.test_finetune import COLOURS, TASTE, THINGS, TITLES, encoded, material, purity
from tests.training.tiny import tiny_encoder
from tests.worlds import shop
from torch.nn.functional import normalize

from tailrec.errors import DataError, RecipeError
from tailrec.features.adapted import opened
from tailrec.features.weights import read_card
from tailrec.training.adapt import adapted
from tailrec.training.embedders import Embedder, MapEmbedder, TextEmbedder
from tailrec.training.finetune import Material, finetune
from tailrec.training.memory import MEMORY
from tailrec.training.private import Private, noise_for, spent
from tailrec.training.recipes import Adapt, Course, Finetune, Objective, Privacy
from tailrec.training.run_folder import RunFolder

PEOPLE = Objective(pairs="people")
N_PEOPLE = 300
LOOSE = Privacy(epsilon=8, delta=1e-3, negatives=3, seeded=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder([*COLOURS, *THINGS], tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def crowd(base: Path) -> Material:
    """Many people, each with five things of one taste."""
    rng = np.random.default_rng(0)
    own = [np.flatnonzero(taste == TASTE)[:-2] for taste in (0, 1)]
    histories = [rng.permutation(own[n % 2])[:5].tolist() for n in range(N_PEOPLE)]
    given = material(base)
    return replace(given, lessons=replace(given.lessons, data=shop(histories, TITLES)))


def embedder(base: Path, given: Material, kind: str) -> Embedder:
    torch.manual_seed(0)
    if kind == "map":
        return MapEmbedder(given.vectors)
    model = opened(base, device="cpu")
    ready = adapted(model, Adapt(kind="lora", rank=2, dropout=0), steps=1)
    for name, value in model.named_parameters():
        if "lora_B" in name:  # as after some steps, so that all matrices have a gradient
            torch.nn.init.normal_(value, std=0.1)
    return TextEmbedder(ready.module, model, given.texts)


def private(base: Path, given: Material, kind: str, options: Privacy = LOOSE) -> Private:
    own = embedder(base, given, kind)
    return Private(own, given.lessons.data, PEOPLE, options, size=16, steps=20, seed=0)


def stacked(task: Private, number: int = 0) -> torch.Tensor:
    """[P, G], the cut gradient of every person of a batch."""
    batch = task.batch(number, np.random.default_rng(0))
    parts = [torch.cat([g.flatten(1) for g in grads], dim=1) for grads in task.cut(batch)]
    return torch.cat(parts)


@pytest.mark.parametrize("kind", ["map", "lora"])
def test_gradients_are_those_of_people_one_by_one_and_cut(
    base: Path, crowd: Material, kind: str
) -> None:
    """Each person's loss alone, by plain autograd, cut by hand."""
    wide, narrow = (
        private(base, crowd, kind, LOOSE.model_copy(update={"clip": clip})) for clip in (1e6, 0.05)
    )
    for task in (wide, narrow):
        for part in task.module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        task.module.train()
    plain = embedder(base, crowd, kind)
    plain.module.eval()
    trained = [value for value in plain.module.parameters() if value.requires_grad]
    batch = wide.batch(0, np.random.default_rng(0))
    found, cut = stacked(wide), stacked(narrow)
    assert len(found) == len(batch.items) > 8
    for row, (items, weight) in enumerate(zip(batch.items, batch.weight, strict=True)):
        vectors = plain.embed(plain.prepare(items, np.random.default_rng(0)))
        n_past = len(weight)
        past = normalize(torch.as_tensor(weight) @ vectors[:n_past], dim=0)
        likeness = vectors[n_past:] @ past / PEOPLE.temperature
        loss = torch.logsumexp(likeness, dim=0) - likeness[0]
        grads = torch.autograd.grad(loss, trained)
        own = torch.cat([grad.flatten() for grad in grads])
        assert torch.allclose(found[row], own, rtol=1e-3, atol=1e-4)
        assert own.norm() > 0.05  # so that there is something to cut
        assert torch.allclose(cut[row], own * (0.05 / own.norm()), rtol=1e-3, atol=1e-5)
    assert cut.norm(dim=1).max() <= 0.05 * (1 + 1e-5)


def test_a_step_is_the_sum_of_people_and_noise_of_the_told_size(
    base: Path, crowd: Material
) -> None:
    task = private(base, crowd, "map")
    task.module.train()
    batch = task.batch(0, np.random.default_rng(0))
    loss = task.loss(batch)
    assert loss.item() == 0  # a loss of people would be told in the curve
    loss.backward()
    (weight,) = [value for value in task.module.parameters() if value.requires_grad]
    assert weight.grad is not None
    noise = weight.grad.flatten() * 16 - stacked(task).sum(dim=0)
    assert noise.std() == pytest.approx(task.noise * LOOSE.clip, rel=0.1)  # 1,024 numbers
    assert abs(noise.mean()) < 4 * task.noise / 32


def test_people_are_drawn_each_by_their_own_chance(base: Path, crowd: Material) -> None:
    task = private(base, crowd, "map")
    sizes = []
    for number in range(200):
        task.after_step(number)
        batch = task.batch(number, np.random.default_rng(0))
        sizes.append(len(batch.items))
        tastes = TASTE[batch.items[:, 6]]
        past = TASTE[batch.items[:, 0]]
        assert np.array_equal(tastes, past)  # the next item and the last are one person's
    share = 16 / N_PEOPLE
    assert task.share == share
    assert np.mean(sizes) == pytest.approx(16, abs=4 * (16 / 200) ** 0.5)
    assert np.var(sizes) == pytest.approx(16 * (1 - share), rel=0.4)  # binomial, not fixed


def test_epsilon_grows_with_steps_and_is_what_opacus_says() -> None:
    noise = noise_for(LOOSE, 0.05, 100)
    grown = [spent(LOOSE, noise, 0.05, steps) for steps in (0, 1, 10, 100)]
    assert grown == sorted(set(grown))
    assert grown[0] == 0
    assert LOOSE.epsilon * 0.99 < grown[-1] <= LOOSE.epsilon
    accountant = RDPAccountant()
    for _ in range(100):
        accountant.step(noise_multiplier=noise, sample_rate=0.05)
    assert grown[-1] == pytest.approx(accountant.get_epsilon(LOOSE.delta))
    assert noise_for(LOOSE.model_copy(update={"epsilon": 1.0}), 0.05, 100) > noise


def recipe(base: Path, privacy: Privacy, *, kind: str = "map", steps: int = 40) -> Finetune:
    return Finetune(
        model=str(base),
        adapt=Adapt(kind=kind, **({"rank": 4} if kind == "lora" else {})),
        objective=PEOPLE,
        course=Course(
            steps=steps, rate=5e-2 if kind == "map" else 1e-2, check_every=10, device="cpu"
        ),
        batch=64,
        privacy=privacy,
    )


def test_it_learns_and_tells_what_it_spent(base: Path, tmp_path: Path, crowd: Material) -> None:
    how = recipe(base, LOOSE)
    run = RunFolder(tmp_path / "run", crowd.mark(how))
    outcome = finetune(how, crowd, run)
    assert purity(encoded(run.encoder)) > purity(crowd.vectors) + 0.3
    assert outcome.best_step == how.course.steps
    card = read_card(run.encoder)
    told = [line["epsilon"] for line in run.curve() if "epsilon" in line]
    assert told == sorted(set(told))
    assert card["privacy"]["epsilon"] == told[-1] <= LOOSE.epsilon
    assert card["privacy"]["steps"] == how.course.steps
    assert card["held_out"] == {}
    assert {name for line in run.curve() for name in line} == {"step", "loss", "rate", "epsilon"}
    assert how.keep_memory
    assert not (run.folder / MEMORY).exists()


@pytest.mark.slow
def test_low_rank_matrices_learn_too(base: Path, tmp_path: Path, crowd: Material) -> None:
    how = recipe(base, LOOSE.model_copy(update={"epsilon": 1000.0}), kind="lora")
    run = RunFolder(tmp_path / "run", crowd.mark(how))
    finetune(how, crowd, run)
    assert purity(encoded(run.encoder)) > purity(crowd.vectors) + 0.2


@pytest.mark.parametrize("seeded", [True, False])
def test_a_killed_run_goes_on_with_its_noise_and_its_account(
    base: Path, tmp_path: Path, crowd: Material, seeded: bool
) -> None:
    how = recipe(base, LOOSE.model_copy(update={"seeded": seeded}), steps=12)
    whole, broken = (RunFolder(tmp_path / name, crowd.mark(how)) for name in "ab")
    finetune(how, crowd, whole)

    def stop(_: str, step: int, __: int) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(how, crowd, broken, progress=stop)
    kept = broken.read_checkpoint()
    assert kept is not None
    finetune(how, crowd, broken)
    after = broken.read_checkpoint()
    assert after is not None
    assert torch.equal(kept[0]["module.secret"], after[0]["module.secret"])
    assert int(after[0]["module.steps"]) == 12
    assert read_card(broken.encoder)["privacy"] == read_card(whole.encoder)["privacy"]
    # Without a seed two runs draw noise of their own.
    assert np.array_equal(encoded(broken.encoder), encoded(whole.encoder)) == seeded


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({"adapt": {"kind": "full"}}, "adapt.kind = 'map' or 'lora'"),
        ({"adapt": {"kind": "adapter"}}, "adapt.kind = 'map' or 'lora'"),
        ({"objective": {}}, "objective.pairs = 'people'"),
        ({"objective": {"kind": "autoencoder", "pairs": "people"}}, "objective.kind"),
        ({"objective": {"pairs": "people", "hard": 2}}, "objective.hard = 0"),
        ({"course": {"accumulate": 2}}, "course.accumulate = 1"),
        ({"course": {"patience": 2}}, "no course.patience"),
        ({"course": {"adversarial": 0.1}}, "course.adversarial = 0"),
        ({"heads": {"rating": 1.0}}, "no heads"),
    ],
)
def test_what_would_look_at_people_besides_is_refused(
    change: dict[str, object], needs: str
) -> None:
    whole = {"objective": {"pairs": "people"}, "privacy": {}}
    assert Finetune.parse(cast(dict[str, object], whole)).privacy == Privacy()
    with pytest.raises(RecipeError, match=needs):
        Finetune.parse({**whole, **change})


def test_too_few_people_and_too_little_epsilon_are_refused(base: Path, crowd: Material) -> None:
    with pytest.raises(RecipeError, match=r"`delta` is 0\.01 and there are 300 people"):
        private(base, crowd, "map", LOOSE.model_copy(update={"delta": 0.01}))
    with pytest.raises(RecipeError, match="no noise keeps"):
        private(base, crowd, "map", Privacy(epsilon=1e-9, delta=1e-5))
    alone = replace(crowd, lessons=replace(crowd.lessons, data=shop([[0], [1]], TITLES)))
    with pytest.raises(DataError, match="nobody has a past"):
        private(base, alone, "map")


def test_several_processes_are_refused(base: Path, crowd: Material) -> None:
    task = private(base, crowd, "map")
    with pytest.raises(RecipeError, match="one process"):
        task.batch(1, np.random.default_rng(0))  # the second of two, while no step is made
