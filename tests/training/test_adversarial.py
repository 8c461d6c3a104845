"""Embeddings moved against a batch: by how much, which way, and back again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.training.apart import MARK
from tests.training.tasks import WORDS, Line, Masked, same, values
from tests.training.tiny import tiny_language_model

from tailrec.errors import RecipeError
from tailrec.training.adversarial import Adversary
from tailrec.training.course import Course, train
from tailrec.training.run_folder import RunFolder

COURSE = Course(steps=6, rate=1e-3, check_every=100, adversarial=0.7, device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language_model(WORDS, tmp_path_factory.mktemp("model"))


class Unmeasured(Masked):
    """It ends in its last state."""

    def figures(self) -> dict[str, float]:
        return {}


def table_of(task: Masked) -> torch.nn.Parameter:
    table: torch.nn.Parameter = task.module.get_input_embeddings().weight
    return table


def looked_at(task: Masked, epsilon: float) -> tuple[list[torch.Tensor], list[float]]:
    """The tables a loss was computed with, and the losses."""
    tables, losses = [], []
    batch = task.batch(0, np.random.default_rng(0))
    task.module.eval()

    def loss() -> torch.Tensor:
        tables.append(table_of(task).detach().clone())
        own = task.loss(batch)
        losses.append(float(own.detach()))
        return own

    Adversary(task.module, epsilon).backward(loss, lambda own: own.backward())
    return tables, losses


def test_the_table_moves_along_its_gradient_and_comes_back(model: Path) -> None:
    task = Masked(model)
    before = values(task.module)
    plain = Masked(model)
    plain.module.eval()
    batch = plain.batch(0, np.random.default_rng(0))
    plain.loss(batch).backward()
    slope = table_of(plain).grad
    assert slope is not None
    (first, second), losses = looked_at(task, 0.5)
    assert torch.allclose(second - first, 0.5 * slope / slope.norm(), atol=1e-6)
    assert losses[1] > losses[0]
    assert same(before, values(task.module))
    # The gradient is that of both losses.
    moved = Masked(model)
    moved.module.eval()
    with torch.no_grad():
        table_of(moved).copy_(second)
    moved.loss(batch).backward()
    for (name, own), one, other in zip(
        task.module.named_parameters(),
        plain.module.parameters(),
        moved.module.parameters(),
        strict=True,
    ):
        assert torch.allclose(own.grad, one.grad + other.grad, atol=1e-6), name


def test_each_batch_of_a_step_has_its_own_direction(model: Path) -> None:
    """What earlier batches left in the gradient neither turns the move nor is lost."""
    alone, after = Masked(model), Masked(model)
    (_, expected), _ = looked_at(alone, 0.5)
    left = torch.randn_like(table_of(after))
    table_of(after).grad = left.clone()
    (_, found), _ = looked_at(after, 0.5)
    assert torch.equal(found, expected)
    own = table_of(alone).grad
    assert own is not None
    assert torch.allclose(table_of(after).grad, own + left, atol=1e-5)  # type: ignore[arg-type]


def test_a_run_is_another_one_and_learns(model: Path, tmp_path: Path) -> None:
    def trained(name: str, **changes: Any) -> dict[str, torch.Tensor]:
        task = Unmeasured(model)
        run = RunFolder(tmp_path / name, MARK)
        train(task, COURSE.model_copy(update={"steps": 40, **changes}), run)
        losses = [line["loss"] for line in run.curve() if "loss" in line]
        assert sum(losses[-10:]) < sum(losses[:10])
        return values(task.module)

    assert not same(trained("plain", adversarial=0.0), trained("moved"))


def adapter(task: Masked) -> Masked:
    torch.manual_seed(0)
    task.module = get_peft_model(task.module, LoraConfig(r=2, target_modules=["query", "value"]))
    return task


# peft asks the model under a name that transformers calls outdated.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_frozen_table_moves_too(model: Path, tmp_path: Path) -> None:
    def adapted(epsilon: float) -> tuple[Masked, dict[str, torch.Tensor]]:
        task = adapter(Unmeasured(model))
        course = COURSE.model_copy(update={"adversarial": epsilon, "accumulate": 2})
        train(task, course, RunFolder(tmp_path / str(epsilon), MARK))
        return task, values(task.module)

    before = values(adapter(Masked(model)).module)
    task, moved = adapted(0.7)
    changed = {name for name, value in moved.items() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora" in name for name in changed)
    assert not table_of(task).requires_grad
    assert table_of(task).grad is None
    assert not same(moved, adapted(0.0)[1])


def test_a_fault_leaves_the_table_as_it_was(model: Path) -> None:
    task = Masked(model)
    before = values(task.module)
    n_calls = 0

    def back(loss: torch.Tensor) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        loss.backward()  # type: ignore[no-untyped-call]

    batch = task.batch(0, np.random.default_rng(0))
    with pytest.raises(KeyboardInterrupt):
        Adversary(task.module, 0.5).backward(lambda: task.loss(batch), back)
    assert same(before, values(task.module))


def test_without_word_embeddings_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`adversarial` moves word embeddings"):
        train(Line(), COURSE, RunFolder(tmp_path, MARK))
