"""Texts translated to another language and back: the same thing in other words.

Any pair of sequence-to-sequence models of transformers will do (Marian, for one). Neither is
packaged; without them texts are left as they are.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tailrec.data.augment import Rewording
from tailrec.errors import RecipeError
from tailrec.features.text import Progress
from tailrec.features.weights import fingerprint
from tailrec.files import whole_file

log = logging.getLogger(__name__)

Translate = Callable[[Sequence[str]], list[str]]
LONGEST: Final = 128
"""Tokens of a text that are translated."""
BATCH: Final = 32
"""Texts translated at once."""
PIECE: Final = 1024
"""Texts translated between two reports; what is translated is kept if the process then ends."""


def back_translation(
    recipe: Rewording, *, device: str = "cpu", longest: int = LONGEST, home: Path | None = None
) -> Translate | None:
    """What translates texts there and back, as the recipe says.

    Args:
        recipe: `back_translation` names the two models.
        device: of PyTorch's.
        longest: tokens of a text that are read and written.
        home: where a folder that is not absolute is looked for: the shop; None: here.

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
        Translator(_placed(model, home), device=device, longest=longest)
        for model in recipe.back_translation
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


def translated_texts(
    texts: Sequence[str],
    recipe: Rewording,
    *,
    device: str = "cpu",
    cache: Path | None = None,
    home: Path | None = None,
    progress: Progress | None = None,
) -> list[str] | None:
    """Texts there and back, as the recipe says; those translated before come from the cache.

    Args:
        texts: [N] strings.
        recipe: `back_translation` names the two models.
        device: of PyTorch's.
        cache: folder that keeps translations, made where missing; None keeps nothing.
        home: where a folder that is not absolute is looked for: the shop; None: here.
        progress: told how many of the texts not in the cache are translated.

    Returns:
        [N] strings, blank ones as they are; None, and one log line, where no models are named.

    Raises:
        RecipeError: a model cannot be loaded.
    """
    if recipe.back_translation is None:
        back_translation(recipe)  # says so
        return None
    path = None
    if cache is not None:
        path = cache / "translations" / f"{_digest(recipe.back_translation, home)}.parquet"
    known = _kept(path)
    # Texts of one length side by side need little padding.
    missing = sorted({t for t in texts if t.strip()} - known.keys(), key=lambda t: (len(t), t))
    translate = back_translation(recipe, device=device, home=home) if missing else None
    if translate is not None:
        for done in range(0, len(missing), PIECE):
            piece = missing[done : done + PIECE]
            known |= zip(piece, translated_once(piece, translate), strict=True)
            _keep(path, known)
            if progress is not None:
                progress("translating texts", done + len(piece), len(missing))
    return [known.get(text, text) for text in texts]


def _placed(model: str, home: Path | None) -> str:
    """A model's folder, where the shop has one of this name; else the name."""
    folder = (home or Path()) / model
    return str(folder) if folder.is_dir() else model


def _digest(models: Sequence[str], home: Path | None) -> str:
    """Of the models' files, or of their names on the hub, and of how much is read."""
    places = [Path(_placed(model, home)) for model in models]
    marks = [fingerprint(place) if place.is_dir() else place.as_posix() for place in places]
    return hashlib.sha256("\n".join((*marks, str(LONGEST))).encode()).hexdigest()[:32]


def _kept(path: Path | None) -> dict[str, str]:
    """Translations by text; none where the file is missing or damaged."""
    if path is None or not path.is_file():
        return {}
    try:
        table = pl.read_parquet(path, columns=["text", "translated"])
    except (OSError, pl.exceptions.PolarsError):  # they are made again
        return {}
    return dict(zip(table["text"], table["translated"], strict=True))


def _keep(path: Path | None, known: dict[str, str]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame({"text": list(known), "translated": list(known.values())})
    with whole_file(path) as beside:
        table.write_parquet(beside)
