"""Vectors kept by content: a text is encoded once, however often a shop is fitted."""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tailrec.items import Array, BoolArray, Float32Array

_KEY_BYTES: Final = 16
_MANY: Final = 16
"""Files a cache may have before the smaller half of them is put together."""


class VectorCache:
    """Vectors of texts under one encoder, in a folder that several processes may share.

    Every `put` adds a file of its own, written beside and renamed into place, so that readers
    and writers never wait for each other. A file that is damaged is deleted: the cache then
    misses those texts, and whoever asks encodes them again.

    Attributes:
        folder: where the files are; made on the first `put`.
        dim: length of a vector.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim

    def get(self, texts: Sequence[str]) -> tuple[Float32Array, BoolArray]:
        """Vectors of the texts that are known.

        Args:
            texts: [N] strings.

        Returns:
            float32 [N, dim], zero where unknown, and bool [N], which are known.
        """
        vectors = np.zeros((len(texts), self.dim), np.float32)
        known = np.zeros(len(texts), np.bool_)
        wanted = _keys(texts)
        seen: set[Path] = set()
        # Files that another process puts together meanwhile turn up under a new name.
        while fresh := [path for path in self._files() if path not in seen]:
            seen.update(fresh)
            for path in fresh:
                loaded = self._read(path)
                if loaded is None or not len(loaded[0]):
                    continue
                keys, stored = loaded
                place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
                hit = (keys[place] == wanted) & ~known
                vectors[hit] = stored[place[hit]]
                known |= hit
        return vectors, known

    def put(self, texts: Sequence[str], vectors: Float32Array) -> None:
        """Keep vectors.

        Args:
            texts: [N] strings.
            vectors: float32 [N, dim].
        """
        if not len(texts):
            return
        self._write(_keys(texts), vectors)
        files = self._files()
        if len(files) > _MANY:
            sizes = {path: path.stat().st_size for path in files if path.exists()}
            self._merge(sorted(sizes, key=sizes.__getitem__)[: _MANY // 2])

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))

    def _read(self, path: Path) -> tuple[Array, Float32Array] | None:
        """Sorted keys and their vectors; None, and the file gone, where it is damaged."""
        try:
            with safe_open(path, framework="numpy") as file:
                stored = (file.get_tensor("keys"), file.get_tensor("vectors"))
                told = (file.metadata() or {}).get("check")
        except FileNotFoundError:  # another process put it together with others
            return None
        except (SafetensorError, OSError):
            told, stored = None, (np.zeros(0), np.zeros(0))
        keys, vectors = stored
        if told != _checksum(keys, vectors) or vectors.shape[1:] != (self.dim,):
            path.unlink(missing_ok=True)
            return None
        return keys.reshape(-1).view(f"S{_KEY_BYTES}"), vectors

    def _write(self, keys: Array, vectors: Float32Array) -> None:
        keys, first = np.unique(keys, return_index=True)
        plain = keys.view(np.uint8).reshape(len(keys), _KEY_BYTES)
        vectors = np.ascontiguousarray(vectors[first], np.float32)
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=self.folder, suffix=".part")
        os.close(handle)
        try:
            arrays: dict[str, Array] = {"keys": plain, "vectors": vectors}
            save_file(arrays, beside, metadata={"check": _checksum(plain, vectors)})
            Path(beside).replace(Path(beside).with_suffix(".safetensors"))
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def _merge(self, files: Sequence[Path]) -> None:
        loaded = [part for part in map(self._read, files) if part is not None]
        if loaded:
            keys, vectors = zip(*loaded, strict=True)
            self._write(np.concatenate(keys), np.concatenate(vectors))
        for path in files:
            path.unlink(missing_ok=True)


def _keys(texts: Sequence[str]) -> Array:
    """S16 [N], a digest of each text; comparing ignores closing zero bytes, which is harmless."""
    digests = [hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).digest() for text in texts]
    return np.frombuffer(b"".join(digests), f"S{_KEY_BYTES}")


def _checksum(keys: Array, vectors: Array) -> str:
    return str(zlib.crc32(vectors.tobytes(), zlib.crc32(keys.tobytes())))
