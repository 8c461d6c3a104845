"""What is read from the environment, in one place."""

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a process.

    Attributes:
        store_url: `TAILREC_STORE_URL`, overrides the url of every shop's recipe.
    """

    store_url: str | None = None

    @classmethod
    def read(cls) -> Self:
        """The settings of this process."""
        return cls(os.environ.get("TAILREC_STORE_URL") or None)
