"""Texts translated to another language and back: the same thing in other words.

Any pair of sequence-to-sequence models of transformers will do (Marian, for one). Neither is
packaged; without them texts are left as they are.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tailrec.data.augment import Augment
from tailrec.errors import RecipeError

log = logging.getLogger(__name__)

Translate = Callable[[Sequence[str]], list[str]]
LONGEST: Final = 128
"""Tokens of a text that are translated."""
BATCH: Final = 32
"""Texts translated at once."""


def back_translation(
    recipe: Augment, *, device: str = "cpu", longest: int = LONGEST
) -> Translate | None:
    """What translates texts there and back, as the recipe says.

    Args:
        recipe: `back_translation` names the two models.
        device: of PyTorch's.
        longest: tokens of a text that are read and written.

    Returns:
        A function of texts [N] to texts [N]; None, and one log line, where no models are named.

    Raises:
        RecipeError: a model cannot be loaded.
    """
    if recipe.back_translation is None:
        log.info(
            "no text is translated there and back: back_translation names no models; give two, "
            "such as those for English to German and German to English"
        )
        return None
    there, back = (
        Translator(model, device=device, longest=longest) for model in recipe.back_translation
    )
    return lambda texts: back.translate(there.translate(texts))


class Translator:
    """One translation model, loaded.

    Attributes:
        model: its name on the Hugging Face hub, or its folder.
        longest: tokens of a text that are read and written.
    """

    def __init__(self, model: str, *, device: str = "cpu", longest: int = LONGEST) -> None:
        self.model = model
        self._longest = longest
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
            loaded = AutoModelForSeq2SeqLM.from_pretrained(model)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise RecipeError(
                f"translation model {model!r} cannot be loaded ({error}); name a folder, or a "
                "model on the hub, that transformers reads as sequence to sequence"
            ) from error
        self._network = loaded.to(device).eval()
        self._device = device

    def translate(self, texts: Sequence[str]) -> list[str]:
        """The texts in the other language, each by its likeliest words; blank ones stay.

        Args:
            texts: [N] strings; of long ones the first tokens are read.

        Returns:
            [N] strings, the same on every call.
        """
        done = list(texts)
        told = [row for row, text in enumerate(done) if text.strip()]
        # Texts of one length side by side need little padding.
        told.sort(key=lambda row: (len(done[row]), row))
        for start in range(0, len(told), BATCH):
            rows = told[start : start + BATCH]
            for row, text in zip(rows, self._translated([done[r] for r in rows]), strict=True):
                done[row] = text
        return done

    def _translated(self, texts: list[str]) -> list[str]:
        read = self._tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True, max_length=self._longest
        )
        taken = {n: read[n].to(self._device) for n in ("input_ids", "attention_mask")}
        with torch.no_grad():
            made = self._network.generate(
                **taken, num_beams=1, do_sample=False, max_new_tokens=self._longest
            )
        texts_back: list[str] = self._tokenizer.batch_decode(made, skip_special_tokens=True)
        return [text.strip() for text in texts_back]


def translated_once(texts: Sequence[str], translate: Translate) -> list[str]:
    """Translations of texts, each distinct text translated once.

    Args:
        texts: [N] strings.
        translate: what `back_translation` gave.

    Returns:
        [N] strings; the text itself where the translation is empty.
    """
    distinct, place = np.unique(np.array(list(texts), dtype=object), return_inverse=True)
    known = [new or old for old, new in zip(distinct, translate(list(distinct)), strict=True)]
    return [known[at] for at in place]
