"""A fitted thing on disk: a folder of recipe, arrays and card, written whole or not at all.

::

    recipe.toml          every option, defaults included
    arrays.safetensors   what was learnt; mapped into memory on load, shared between processes
    card.json            what it was learnt from, by which versions, how good it is

Nothing is ever pickled: loading a model runs no code of the model's.
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import save_file

from tailrec.errors import ArtifactError
from tailrec.files import sync, whole_file
from tailrec.items import Array, Int64Array, StrArray

V = TypeVar("V")

RECIPE = "recipe.toml"
ARRAYS = "arrays.safetensors"
CARD = "card.json"
CURRENT = "current"
DIGEST = "arrays_blake2b"
"""Name in the card of the digest of the arrays' file; it is added when the model is saved."""

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "I64": np.int64,
    "I32": np.int32,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """The three files of a saved model.

    Attributes:
        recipe: text of `recipe.toml`.
        arrays: by name; read-only views of the mapped file when loaded.
        card: plain values: fingerprint, versions, figures.
    """

    recipe: str
    arrays: Mapping[str, Array]
    card: Mapping[str, Any]


def save_artifact(artifact: Artifact, folder: Path) -> None:
    """Write beside `folder`, then rename into place; a killed process leaves no half model.

    Raises:
        ArtifactError: `folder` exists.
    """
    if folder.exists():
        raise ArtifactError(f"{folder} exists; a saved model is never overwritten")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        (beside / RECIPE).write_text(artifact.recipe, "utf-8")
        arrays = {name: np.ascontiguousarray(values) for name, values in artifact.arrays.items()}
        save_file(arrays, beside / ARRAYS)
        card = {**artifact.card, DIGEST: _digest(beside / ARRAYS)}
        (beside / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False), "utf-8")
        for name in (RECIPE, ARRAYS, CARD):
            sync(beside / name)
        beside.rename(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def load_artifact(folder: Path) -> Artifact:
    """Read an artifact; its arrays stay in the file and are paged in when used.

    Raises:
        ArtifactError: a file is missing or damaged; names it.
    """
    try:
        recipe = (folder / RECIPE).read_text("utf-8")
        card = _object((folder / CARD).read_text("utf-8"))
        return Artifact(recipe, _map_arrays(folder / ARRAYS), card)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder} is no complete model ({error}); fit again with `tailrec fit`"
        ) from error


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"{CARD} holds no object")
    return value


def verify_artifact(folder: Path) -> None:
    """Read the whole artifact and compare its arrays with the digest in its card.

    Raises:
        ArtifactError: a file is missing, or its content is not what was saved.

    Cost: reads every byte, which `load_artifact` does not.
    """
    told = load_artifact(folder).card.get(DIGEST)
    if told != _digest(folder / ARRAYS):
        raise ArtifactError(f"{folder / ARRAYS} is damaged; fit again with `tailrec fit`")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def clear_leftovers(models: Path) -> None:
    """Remove what processes that were killed while saving left behind, and nothing of others."""
    for beside in models.glob(".*.*"):
        owner = beside.suffix[1:]
        if owner.isdecimal() and not _runs(int(owner)):
            if beside.is_dir():
                shutil.rmtree(beside, ignore_errors=True)
            else:
                beside.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def set_current(models: Path, version: str) -> None:
    """Name the version that is served, in one step."""
    with whole_file(models / CURRENT) as beside:
        beside.write_text(version + "\n", "utf-8")


def get_current(models: Path) -> str | None:
    """The version that is served, or None where nothing was fitted yet."""
    try:
        return (models / CURRENT).read_text("utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None


def pack_strings(values: Sequence[str] | StrArray) -> tuple[Array, Int64Array]:
    """Strings as UTF-8 bytes (uint8) and bounds (int64 [N + 1]), for `unpack_strings`."""
    encoded = [value.encode() for value in values]
    bounds = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), bounds


def unpack_strings(data: Array, bounds: Int64Array) -> StrArray:
    """The strings that `pack_strings` packed: object [N]."""
    whole = data.tobytes()
    edges = bounds.tolist()
    values = [whole[a:b].decode() for a, b in itertools.pairwise(edges)]
    return np.array(values, dtype=object)


def under(arrays: Mapping[str, V], prefix: str) -> dict[str, V]:
    """The arrays whose names start with a prefix, without it."""
    return {
        name.removeprefix(prefix): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }


def _map_arrays(path: Path) -> dict[str, Array]:
    """Read-only views of a safetensors file, by the layout of its published format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = int.from_bytes(file.read(8), "little")
        if not 0 < head <= size - 8:
            raise ValueError(f"{path.name} has no valid header")
        header: dict[str, Any] = json.loads(file.read(head))
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if 8 + head + end != size:
        raise ValueError(f"{path.name} has {size} bytes, its header speaks of {8 + head + end}")
    whole = np.memmap(path, np.uint8, "r", offset=8 + head) if end else np.zeros(0, np.uint8)
    arrays = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        flat: Array = np.asarray(whole[start:stop]).view(_DTYPES[entry["dtype"]])
        arrays[name] = flat.reshape(entry["shape"])
    return arrays
