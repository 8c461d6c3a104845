"""What a teacher says of a shop's texts: all that a student learns from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tailrec.dataset import Catalog
from tailrec.features.text import Progress, TextEncoder
from tailrec.features.weights import find_model, fingerprint
from tailrec.items import Float32Array
from tailrec.training.marks import told_apart


@dataclass(frozen=True)
class Taught:
    """Texts and their vectors.

    Attributes:
        teacher: the encoder that made the vectors.
        folder: its files.
        texts: [N], distinct, with the teacher's prefix, none of them blank.
        vectors: float32 [N, D], of unit length.
        home: folder of the shop, where its encoders are; or None.
    """

    teacher: TextEncoder
    folder: Path
    texts: list[str]
    vectors: Float32Array
    home: Path | None = None

    @classmethod
    def of(
        cls,
        teacher: TextEncoder,
        catalog: Catalog,
        *,
        cache: Path | None = None,
        home: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Ask the teacher, who reads as published: what the int8 form rounds is not to be learnt.

        Args:
            teacher: which encoder reads which fields.
            catalog: the items.
            cache: folder where vectors are kept, or None.
            home: folder of the shop, or None.
            progress: told how many texts are encoded.

        Raises:
            RecipeError: the teacher cannot be found.
        """
        exact = teacher.model_copy(update={"form": "fp32"})
        vectors = exact.prepare(cache=cache, home=home).encode(catalog, progress=progress)
        row: dict[str, int] = {}
        for number, text in enumerate(teacher.texts(catalog)):
            if text.strip():
                row.setdefault(text, number)
        texts = teacher.prefixed(row)
        folder = find_model(teacher.model, home)
        return cls(teacher, folder, texts, vectors[list(row.values())], home)

    def digest(self) -> str:
        """A digest of the texts and of the teacher's files: 32 hexadecimal digits."""
        whole = hashlib.sha256(f"{self.teacher.max_length}:{fingerprint(self.folder)}".encode())
        whole.update(told_apart(self.texts))
        return whole.hexdigest()[:32]

    def card(self) -> dict[str, Any]:
        """What is worth knowing of the teacher, as plain values."""
        return {"model": self.teacher.model, "fingerprint": fingerprint(self.folder)}
