"""A trained encoder on disk: a sentence-transformers folder with a card of how it came about."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from tailrec.errors import ArtifactError
from tailrec.features.original import quiet
from tailrec.features.weights import CARD
from tailrec.files import plain, sync, whole_file


def save_encoder(model: SentenceTransformer, folder: Path, card: Mapping[str, Any]) -> None:
    """Write beside `folder`, then rename into place, over an encoder that stands there.

    Weights are written as safetensors only, so that loading them runs no code. Somebody who reads
    while an encoder is replaced finds the old one, the new one, or for an instant none; never
    half of one.

    Args:
        model: what was trained.
        folder: of the encoder; its parent is made where missing.
        card: plain values: what was learnt from, by which versions, how good it is.

    Raises:
        ArtifactError: `folder` holds something else than an encoder.
    """
    if folder.exists() and not (folder / "modules.json").is_file():
        raise ArtifactError(f"{folder} holds no encoder; name an empty place or another folder")
    with whole_folder(folder) as beside:
        # What the last call cut and padded to is no part of the model.
        tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
        if tokenizer is not None:
            tokenizer.no_truncation()
            tokenizer.no_padding()
        with quiet():
            model.save(str(beside), create_model_card=False, safe_serialization=True)
        write_card(beside, card)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Put another card into an encoder's folder; the encoder stays what it is."""
    with whole_file(folder / CARD) as beside:
        told = json.dumps(plain(card), indent=2, ensure_ascii=False)
        beside.write_text(told + "\n", "utf-8")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which then takes the place of `folder`.

    Args:
        folder: its parent is made where missing; left as it was if what is within fails.
    """
    # Named as other things half written are, with the process at the end.
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    before = folder.with_name(f".{folder.name}-before.{os.getpid()}")
    for left in (beside, before):
        shutil.rmtree(left, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield beside
        for path in beside.rglob("*"):
            sync(path)
        _swap(beside, folder, before)
        sync(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _swap(beside: Path, folder: Path, before: Path) -> None:
    """Put `beside` in the place of `folder`; folders cannot be replaced in one step."""
    if not folder.exists():
        beside.rename(folder)
        return
    folder.rename(before)
    try:
        beside.rename(folder)
    except BaseException:
        before.rename(folder)
        raise
    shutil.rmtree(before)
