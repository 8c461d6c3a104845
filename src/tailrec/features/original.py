"""An encoder as published, run by PyTorch. Importing this is slow; the int8 form needs it once."""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from transformers.utils import logging as transformers_logging

from tailrec.features.adapted import opened
from tailrec.items import Float32Array


class Original:
    """A sentence-transformers model.

    Attributes:
        model: the model itself.
        dim: length of a vector.
        longest: tokens of a text that the model can read.
    """

    def __init__(self, folder: Path, *, device: str | None, max_length: int) -> None:
        with quiet():
            # The eager form of attention exports to fewer operations than the fused one.
            self.model = opened(
                folder, device=device, model_kwargs={"attn_implementation": "eager"}
            ).eval()
        longest = self.model.max_seq_length
        # A static model reads texts of any length, and cannot be told to read less.
        self.longest = int(longest) if longest and math.isfinite(longest) else max_length
        self._max_length = min(max_length, self.longest)
        if longest != math.inf:
            self.model.max_seq_length = self._max_length
        self.dim = int(self.model.get_embedding_dimension() or 0)

    def vectors(self, texts: Sequence[str], *, batch_tokens: int) -> Float32Array:
        """float32 [N, dim], not yet of unit length.

        Args:
            texts: [N] strings.
            batch_tokens: tokens encoded at once, padding counted.
        """
        longest = max((len(text) for text in texts), default=1)
        # A token has one letter at least; two tokens mark the ends.
        size = max(1, batch_tokens // min(self._max_length, longest + 2))
        vectors = self.model.encode(list(texts), batch_size=size, show_progress_bar=False)
        return np.asarray(vectors, np.float32).reshape(len(texts), self.dim)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of weights, no notes of the exporter about what is not used here."""
    bars = transformers_logging.is_progress_bar_enabled()
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning
            )
            # peft asks transformers by a name that is on its way out.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is", FutureWarning)
            yield
    finally:
        exporter.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
