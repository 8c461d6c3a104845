"""What a run keeps for runs that go on from its encoder: which items belonged together.

Nobody's history is in it, only the strongest partners of each item, over all periods learnt so
far. The encoder's own files are the parameters that a later run begins with.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import sparse

from tailrec.dataset import Catalog
from tailrec.errors import ArtifactError
from tailrec.files import whole_file
from tailrec.items import Array, StrArray
from tailrec.training.marks import told_apart
from tailrec.training.pairs import Affinity

MEMORY: Final = "memory.safetensors"
"""File in the folder of a run."""


@dataclass(frozen=True)
class Memory:
    """Items that belonged together in periods learnt before.

    Attributes:
        ids: object [N], of items with partners, and of these.
        strengths: float32 CSR [N, N]; each period's share of a row sums to 1 or less.
        periods: how many were learnt, one after another.
        encoder: fingerprint of the encoder that learnt them.
    """

    ids: StrArray
    strengths: sparse.csr_array
    periods: int
    encoder: str

    @property
    def digest(self) -> str:
        """Of all that it holds: 32 hexadecimal digits."""
        whole = hashlib.sha256(f"{self.periods} {self.encoder}".encode())
        whole.update(told_apart(self.ids))
        pairs = self.strengths
        for array in (pairs.indptr.astype(np.int64), pairs.indices.astype(np.int32), pairs.data):
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()[:32]

    def affinity(self, catalog: Catalog) -> Affinity:
        """The same among the items of a catalogue; items that it lacks are left out.

        Raises:
            DataError: no two of them are there.
        """
        number = np.array([catalog.index.get(name, -1) for name in self.ids], np.int64)
        pairs = sparse.coo_array(self.strengths)
        row, column = number[pairs.row], number[pairs.col]
        there = (row >= 0) & (column >= 0)
        shape = (len(catalog), len(catalog))
        kept = sparse.coo_array((pairs.data[there], (row[there], column[there])), shape=shape)
        return Affinity.of(kept.tocsr())

    def save(self, folder: Path) -> None:
        """Write the file, whole, into a run's folder."""
        names = [str(name).encode() for name in self.ids]
        arrays: dict[str, Array] = {
            "ids": np.frombuffer(b"".join(names), np.uint8),
            "lengths": np.array([len(name) for name in names], np.int64),
            "indptr": self.strengths.indptr.astype(np.int64),
            "indices": self.strengths.indices.astype(np.int32),
            "strengths": self.strengths.data.astype(np.float32),
        }
        told = {"periods": str(self.periods), "encoder": self.encoder}
        with whole_file(folder / MEMORY) as beside:
            save_file(arrays, beside, metadata=told)

    @classmethod
    def read(cls, folder: Path) -> "Memory":
        """Read the file of a run.

        Raises:
            ArtifactError: the run kept none, or it is damaged.
        """
        path = folder / MEMORY
        if not path.is_file():
            raise ArtifactError(
                f"{path} is not there, so nothing can be continued from {folder}; fine-tune with "
                "`keep_memory = true` first"
            )
        try:
            with safe_open(path, framework="numpy") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                told = file.metadata()
            whole, ends = arrays["ids"].tobytes(), np.cumsum(arrays["lengths"])
            starts = ends - arrays["lengths"]
            names = [whole[a:b].decode() for a, b in zip(starts, ends, strict=True)]
            parts = (arrays["strengths"], arrays["indices"], arrays["indptr"])
            strengths = sparse.csr_array(parts, shape=(len(names), len(names)))
            ids = np.array(names, dtype=object)
            return cls(ids, strengths, int(told["periods"]), told["encoder"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path} is damaged ({error}); fine-tune again, or train without it"
            ) from error


def remembered(
    catalog: Catalog, affinity: Affinity, encoder: str, earlier: Memory | None = None
) -> Memory:
    """What a run has to keep: what it learnt, beside what earlier ones had kept.

    Args:
        catalog: the items.
        affinity: of the run's own period.
        encoder: fingerprint of what was trained.
        earlier: of the periods before.
    """
    rows = np.asarray(affinity.matrix.sum(axis=1)).ravel()
    scale = sparse.diags_array(1 / np.maximum(rows, 1e-12))
    ids, own = catalog.ids, sparse.csr_array(scale @ affinity.matrix)
    if earlier is not None:
        # Items that left the catalogue stay: they may come back.
        ids = np.append(ids, [name for name in earlier.ids if name not in catalog.index])
        own = _wider(own, np.arange(len(catalog)), len(ids))
        own = own + _wider(earlier.strengths, _places(ids, earlier.ids), len(ids))
    matrix = Affinity.of(own).matrix
    known = np.union1d(np.flatnonzero(np.diff(matrix.indptr)), matrix.indices)
    n_periods = 1 if earlier is None else earlier.periods + 1
    return Memory(ids[known], sparse.csr_array(matrix[known][:, known]), n_periods, encoder)


def _places(ids: StrArray, names: StrArray) -> Array:
    place = {name: number for number, name in enumerate(ids)}
    return np.array([place[name] for name in names], np.int64)


def _wider(matrix: sparse.csr_array, place: Array, size: int) -> sparse.csr_array:
    """The same pairs among more items: those of row n stand at `place[n]`."""
    pairs = sparse.coo_array(matrix)
    at = (place[pairs.row], place[pairs.col])
    return sparse.coo_array((pairs.data, at), shape=(size, size)).tocsr()
