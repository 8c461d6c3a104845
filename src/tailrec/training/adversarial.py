"""A second look at each batch, with word embeddings moved where they raise the loss most.

What an encoder says should not hang on the exact vectors of its words. So after a batch's
gradient g the embedding table is moved by epsilon * g / |g|, the gradient of the same loss there
is added, and the table is put back to the bit. Miyato et al. move the embeddings of one text at a
time; to move the table moves all texts of a batch together and needs no change to the model.

Source:
    Miyato, Dai & Goodfellow 2017, "Adversarial training methods for semi-supervised text
    classification", arXiv:1605.07725.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tailrec.errors import RecipeError
from tailrec.training.models import language_models


class Adversary:
    """Moves the embedding tables of a module's language models.

    Tables that are not trained, as those below an adapter, get a gradient for the occasion and
    keep none.
    """

    def __init__(self, module: torch.nn.Module, epsilon: float) -> None:
        """Find the tables.

        Args:
            module: what is trained.
            epsilon: length of a move, in the units of the embeddings.

        Raises:
            RecipeError: the module has no word embeddings, or they are no floating numbers.
        """
        self._epsilon = epsilon
        found: list[Any] = [
            model.get_input_embeddings().weight for model in language_models(module)
        ]
        self._tables = list({id(table): table for table in found}.values())
        if not self._tables or not all(table.is_floating_point() for table in self._tables):
            raise RecipeError(
                "`adversarial` moves word embeddings, and what is trained has none that can be "
                "moved; set it to 0"
            )
        # Now, as a task may stop and start the training of others on its way.
        self._silent = [table for table in self._tables if not table.requires_grad]

    def backward(
        self, loss: Callable[[], torch.Tensor], back: Callable[[torch.Tensor], None]
    ) -> torch.Tensor:
        """Add the gradient of a loss as it is, and as it is with the tables moved.

        Args:
            loss: computes it; called twice, and should draw the same numbers both times.
            back: adds a loss's gradient.

        Returns:
            The loss as it is.
        """
        with self._listening():
            before = [table.grad for table in self._tables]
            for table in self._tables:
                table.grad = None
            plain = loss()
            back(plain)
            own = [table.grad for table in self._tables]
            for table, one, earlier in zip(self._tables, own, before, strict=True):
                table.grad = _sum(one, earlier)
            with self._moved(own):
                back(loss())
        return plain.detach()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Within it, tables that are not trained have a gradient too."""
        try:
            for table in self._silent:
                table.requires_grad_(True)
            yield
        finally:
            for table in self._silent:
                table.requires_grad_(False)
                table.grad = None

    @contextmanager
    def _moved(self, along: list[torch.Tensor | None]) -> Iterator[None]:
        """Within it, each table is moved along its gradient; afterwards it is as it was."""
        kept = [table.detach().clone() for table in self._tables]
        try:
            with torch.no_grad():
                for table, grad in zip(self._tables, along, strict=True):
                    length = 0.0 if grad is None else float(grad.norm())
                    # A gradient that overflowed has no direction; its step is skipped anyway.
                    if grad is not None and 0 < length < float("inf"):
                        table.add_(grad.to(table.dtype), alpha=self._epsilon / length)
            yield
        finally:
            with torch.no_grad():
                for table, values in zip(self._tables, kept, strict=True):
                    table.copy_(values)


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return other + one
