"""Where the options of each source are searched, and what one fit can be measured with."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from tailrec.candidates.content import Content
from tailrec.candidates.ease import Ease
from tailrec.candidates.linear import Linear
from tailrec.candidates.neighbours import ItemKnn
from tailrec.engine import AnySource, EngineRecipe
from tailrec.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Range:
    """Where an option is searched, on a logarithmic scale."""

    low: float
    high: float


_FADING: Final = Range(0.3, 1.0)

SPACES: Final[Mapping[str, Mapping[str, Range]]] = MappingProxyType(
    {
        "linear": {
            "words": Range(1, 16),
            "meaning": Range(1, 16),
            "text": Range(0.4, 3),
            "ridge": Range(20, 400),
            "decay": Range(0.45, 0.95),
            "ahead": Range(0.05, 0.8),
            "reverse": Range(0.03, 1.0),
            "basket": Range(0.1, 3.0),
            "recall": Range(0.55, 0.98),
        },
        "ease": {"regularization": Range(5, 5_000), "decay": _FADING},
        "itemknn": {
            "neighbours": Range(20, 2_000),
            "shrinkage": Range(0.1, 100),
            "decay": _FADING,
        },
        "als": {
            "factors": Range(16, 192),
            "regularization": Range(0.01, 200),
            "alpha": Range(1, 60),
            "iterations": Range(4, 30),
            "decay": _FADING,
        },
        # Only the ratio of `words` to `meaning` orders texts, so one of them is enough.
        "content": {
            "meaning": Range(0.05, 20),
            "neighbours": Range(20, 1_000),
            "decay": _FADING,
        },
        # A fit takes minutes: few options, those that depend most on how sparse a shop is.
        "sequence": {
            "own": Range(1, 100),
            "left_out": Range(0.05, 0.8),
            "dropout": Range(0.05, 0.6),
        },
        "popular": {"half_life_days": Range(0.5, 2_000)},
        # What its parts say is weighed anew in every fit; the parts are searched one by one.
        "mixture": {},
    }
)
STARTS: Final[Mapping[str, tuple[Mapping[str, float], ...]]] = MappingProxyType(
    {
        "linear": ({"words": 2.0, "meaning": 2.0, "ridge": 150.0, "recall": 0.8},),
        "ease": ({"regularization": 300.0, "decay": 0.85},),
        "itemknn": ({"neighbours": 200, "shrinkage": 10.0, "decay": 0.85},),
        # Few factors are solved for in a fraction of the time, so they are looked at first.
        "als": (
            {"factors": 32, "regularization": 0.1, "iterations": 8, "decay": 0.85},
            {"factors": 64, "regularization": 10.0, "iterations": 10, "decay": 0.6},
        ),
        "content": ({"meaning": 2.0, "decay": 0.85},),
        "sequence": ({"own": 30.0, "dropout": 0.4},),
        "popular": ({"half_life_days": 30.0}, {"half_life_days": 5.0}),
        "mixture": (),
    }
)
"""Options tried right after those given: good on sparse, on dense and on quick data."""
_SERVED: Final = (
    (0.7, -0.05, 0.0),
    (1.4, 0.0, 0.0),
    (3.0, 0.1, 0.0),
    (8.0, 0.1, 0.0),
    (0.7, -0.05, 0.01),
    (0.7, -0.05, 0.05),
    (0.35, -0.05, 0.3),
)
"""Factors of `text`, tilts and priors that each fit of `linear` is also measured with."""
_SET_BY_SERVING: Final = {"tilt", "prior"}
"""Options of `linear` that are searched that way alone."""
_DECAYS: Final = (1.0, 0.85, 0.7, 0.55)
"""What each fit of a source between items is also measured with: there, slates are cheap."""


def served(source: AnySource) -> list[AnySource]:
    """The options given, then others that the same fit can be measured with."""
    if isinstance(source, Linear):
        others = [
            {"text": rounded(source.text * factor), "tilt": tilt, "prior": prior}
            for factor, tilt, prior in _SERVED
        ]
    elif isinstance(source, Ease | ItemKnn | Content):
        others = [{"decay": decay} for decay in _DECAYS if decay != source.decay]
    else:  # `als` solves for each person anew, which takes as long as a fit
        others = []
    return [source, *(source.model_copy(update=options) for options in others)]


def with_options(source: AnySource, options: Mapping[str, float]) -> AnySource:
    """The source with some options changed: whole numbers where it has them, others short."""
    whole = {name for name in options if isinstance(getattr(source, name), int)}
    update = {n: round(value) if n in whole else rounded(value) for n, value in options.items()}
    return source.model_copy(update=update)


def place(source: AnySource) -> dict[str, float]:
    """Where a source stands in its space; an option outside its range counts as the nearest end."""
    options = {name: getattr(source, name) for name in SPACES[source.kind]}
    return {
        # None stands for no limit.
        name: float(np.clip(np.inf if value is None else value, span.low, span.high))
        for (name, value), span in zip(options.items(), SPACES[source.kind].values(), strict=True)
    }


def fixed(source: AnySource) -> dict[str, Any]:
    """The options that no search changes, as plain values."""
    searched = {*SPACES[source.kind], *(_SET_BY_SERVING if isinstance(source, Linear) else ())}
    return {n: value for n, value in source.model_dump(mode="json").items() if n not in searched}


def source_named(kind: str) -> AnySource:
    """A source with its default options.

    Raises:
        RecipeError: there is no such kind.
    """
    try:
        return EngineRecipe.model_validate({"source": {"kind": kind.strip()}}).source
    except ValidationError as error:
        kinds = ", ".join(SPACES)
        raise RecipeError(f"source {kind!r} is not known; it must be one of {kinds}") from error


def rounded(value: float) -> float:
    """Four digits: more mean nothing, and people read the options chosen."""
    return float(f"{value:.4g}")
