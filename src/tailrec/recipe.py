"""Options, and nothing else: the base every recipe derives from."""

import tomllib
from pathlib import Path
from typing import Self

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from tailrec.errors import RecipeError


class Recipe(BaseModel):
    """Options of one part, frozen; every default is stated in the subclass, once.

    A recipe is the constructor of a model: ``model = Linear(decay=0.7).fit(...)``. What was
    learnt lives in the model, so "not fitted" cannot happen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, object], *, origin: str = "recipe") -> Self:
        """A recipe from plain values.

        Raises:
            RecipeError: an option is unknown or out of range; names it, its value and `origin`.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "(whole)"
            message = f"{origin}: option {where}: {first['msg']}, got {first.get('input')!r}"
            raise RecipeError(message) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe from a TOML file.

        Raises:
            RecipeError: the file is unreadable, is no TOML, or holds a bad option.
        """
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read as TOML: {error}") from error
        return cls.parse(values, origin=str(path))

    def toml(self) -> str:
        """The whole recipe as TOML, defaults included; options that are None are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
