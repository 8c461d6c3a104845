"""How likely each place of a slate is looked at: assumed, or estimated from what was clicked.

The position-based model: an item at place k is clicked with the chance attention[k] times its
own. Attention falls with the place, and the first place has 1.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field
from scipy.optimize import isotonic_regression, minimize_scalar

from tailrec.errors import DataError
from tailrec.items import BoolArray, Float64Array, Int32Array, Int64Array
from tailrec.kernels import compiled
from tailrec.recipe import Recipe

_ROUNDS: Final = 20_000
"""Steps of an estimator, at most; rare clicks need thousands of cheap ones."""
_SETTLED: Final = 1e-7
"""No place changes by more than this part of it in a step: the estimate stands."""
_STEEPEST: Final = 4.0
"""Exponent of the steepest power that places are smoothed towards."""


def dcg(k: int) -> Float64Array:
    """The attention that DCG assumes: 1 / log2(1 + place).

    Args:
        k: places, at least 1.

    Returns:
        float64 [k], falling from 1.

    Raises:
        DataError: k is below 1.

    Source:
        Järvelin and Kekäläinen 2002, doi:10.1145/582415.582418.
    """
    return np.asarray(1 / np.log2(1 + _places(k)), np.float64)


def power(k: int, exponent: float) -> Float64Array:
    """Attention that falls as a power: place ** -exponent.

    Args:
        k: places, at least 1.
        exponent: at least 0, where all places are alike.

    Returns:
        float64 [k], falling from 1.

    Raises:
        DataError: k is below 1 or the exponent below 0.
    """
    if not exponent >= 0:
        raise DataError(f"exponent is {exponent}; attention falls, so it must be at least 0")
    return np.asarray(_places(k) ** -exponent, np.float64)


@dataclass(frozen=True, slots=True)
class ClickLog:
    """What was shown where, and whether it was clicked; one row an impression.

    The estimators take an item to be liked as much wherever it stands. Where slates are made
    for each person that is not so: items stand high for those who like them. Use a log of
    slates that are the same for everybody or drawn at random, or number pairs of a group of
    people and an item instead of items.

    Attributes:
        item: int32 [N], catalogue numbers.
        position: int32 [N], places from 1, the top.
        clicked: bool [N].

    Raises:
        DataError: lengths differ, a place is below 1 or an item below 0.
    """

    item: Int32Array
    position: Int32Array
    clicked: BoolArray

    def __post_init__(self) -> None:
        lengths = {len(self.item), len(self.position), len(self.clicked)}
        if len(lengths) > 1:
            raise DataError(
                f"{len(self.item)} items, {len(self.position)} positions and {len(self.clicked)} "
                f"clicks; a row of each is needed for every impression"
            )
        if self.position.min(initial=1) < 1 or self.item.min(initial=0) < 0:
            raise DataError(
                f"positions start at {self.position.min()} and items at {self.item.min()}; "
                f"positions count from 1 (the top), items from 0"
            )

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True, slots=True)
class AttentionCurve:
    """Attention by place, and how it was come by.

    Attributes:
        attention: float64 [k], falling from 1.
        kind: what it is; another than was asked for where the log did not say enough.
        reason: why it is another; empty where it is what was asked for.
        clicks: how many the log holds.
    """

    attention: Float64Array
    kind: Literal["dcg", "power", "estimated"]
    reason: str
    clicks: int


class Attention(Recipe):
    """Which attention is taken.

    Attributes:
        kind: ``dcg``, ``power``, or ``estimated`` from a log of clicks.
        exponent: of ``power``.
        method: of ``estimated``: ``em`` needs items shown at several places, told apart by how
            often they are clicked; ``pairs`` compares each item with itself at two places;
            ``rates`` compares places alone, for logs whose places were drawn at random.
        min_clicks: with fewer clicks than this in the log, ``estimated`` gives ``dcg``.
        strength: of ``em``: impressions that speak for an item being liked as all are.
        smoothing: clicks at the top that speak for a power law, at each place.
    """

    kind: Literal["dcg", "power", "estimated"] = "dcg"
    exponent: float = Field(default=0.7, ge=0.0)
    method: Literal["em", "pairs", "rates"] = "em"
    min_clicks: int = Field(default=200, ge=1)
    strength: float = Field(default=20.0, gt=0.0)
    smoothing: float = Field(default=5.0, gt=0.0)

    def curve(self, k: int, log: ClickLog | None = None) -> AttentionCurve:
        """The attention of k places.

        Args:
            k: places, at least 1.
            log: what ``estimated`` learns from; the other kinds do not look at it. Places
                beyond k are used, and places it lacks follow a power law.

        Returns:
            The curve; of kind ``dcg``, with a reason, where the log says too little.

        Raises:
            DataError: k is below 1.
        """
        clicks = 0 if log is None else int(log.clicked.sum())
        assumed = dcg(k)
        if self.kind == "dcg":
            return AttentionCurve(assumed, "dcg", "", clicks)
        if self.kind == "power":
            return AttentionCurve(power(k, self.exponent), "power", "", clicks)
        if log is None or clicks < self.min_clicks:
            reason = f"{clicks} clicks in the log; at least {self.min_clicks} are needed"
            return AttentionCurve(assumed, "dcg", reason, clicks)
        raw, mass = self._estimate(_Cells.of(log))
        if np.count_nonzero(raw * mass) < 2:
            reason = f"no two places can be compared by {self.method!r}: items do not move"
            return AttentionCurve(assumed, "dcg", reason, clicks)
        smooth = _smoothed(raw, mass, max(k, len(raw)), self.smoothing)
        return AttentionCurve(smooth[:k], "estimated", "", clicks)

    def _estimate(self, cells: "_Cells") -> tuple[Float64Array, Float64Array]:
        """Attention [P] and mass [P]: what could be clicked there; their product are the clicks."""
        if self.method == "em":
            return _by_em(cells, self.strength)
        return _by_pairs(cells) if self.method == "pairs" else _by_rates(cells)


@dataclass(frozen=True, slots=True)
class _Cells:
    """A log summed up by item and place; each [C], items numbered densely, places from 0."""

    item: Int64Array
    place: Int64Array
    shown: Float64Array
    clicked: Float64Array
    n_places: int

    @classmethod
    def of(cls, log: ClickLog) -> "_Cells":
        n_places = int(log.position.max())
        key = log.item.astype(np.int64) * n_places + log.position - 1
        own, row = np.unique(key, return_inverse=True)
        return cls(
            np.unique(own // n_places, return_inverse=True)[1],
            own % n_places,
            np.bincount(row).astype(np.float64),
            np.bincount(row, log.clicked).astype(np.float64),
            n_places,
        )

    def by_place(self, values: Float64Array) -> Float64Array:
        return np.bincount(self.place, values, self.n_places).astype(np.float64)


def _by_rates(cells: _Cells) -> tuple[Float64Array, Float64Array]:
    """Click rates by place, in parts of the highest."""
    shown, clicked = cells.by_place(cells.shown), cells.by_place(cells.clicked)
    rate = np.divide(clicked, shown, out=np.zeros(len(shown)), where=shown > 0)
    return rate / rate.max(), shown * rate.max()


def _by_em(cells: _Cells, strength: float) -> tuple[Float64Array, Float64Array]:
    """Attention and how items are liked, by expectation and maximisation.

    Source:
        Wang et al. 2018, doi:10.1145/3159652.3159732, with the chance of each item by itself,
        drawn to the mean of all, in the place of a regression.
    """
    start = dcg(cells.n_places)
    looked = cells.shown @ start[cells.place]
    mean = min(cells.clicked.sum() / looked, 0.5)
    n_items = int(cells.item.max()) + 1
    by_item = np.bincount(cells.item, cells.clicked, n_items) + strength * mean
    liked = by_item / (
        np.bincount(cells.item, cells.shown * start[cells.place], n_items) + strength
    )
    attention = start.copy()
    counts = (cells.shown, cells.clicked)
    _maximise((cells.item, cells.place), counts, (attention, liked), (strength, mean))
    mass = cells.by_place(cells.shown * liked[cells.item]) * attention.max()
    return attention / attention.max(), mass


@compiled
def _maximise(
    cells: tuple[Int64Array, Int64Array],
    counts: tuple[Float64Array, Float64Array],
    chances: tuple[Float64Array, Float64Array],
    prior: tuple[float, float],
) -> None:
    """Bring attention [P] and liking [I] to where they explain the clicks best, in place."""
    (item, place), (shown, clicked), (attention, liked) = cells, counts, chances
    strength, mean = prior
    there, of_item = np.zeros(len(attention)), np.zeros(len(liked))
    for c in range(len(shown)):
        there[place[c]] += shown[c]
        of_item[item[c]] += shown[c]
    for _ in range(_ROUNDS):
        looked, wanted = np.zeros(len(attention)), np.zeros(len(liked))
        for c in range(len(shown)):
            look, like = attention[place[c]], liked[item[c]]
            passed = (shown[c] - clicked[c]) / (1 - look * like)
            looked[place[c]] += clicked[c] + passed * look * (1 - like)
            wanted[item[c]] += clicked[c] + passed * like * (1 - look)
        change = 0.0
        for p in range(len(attention)):
            if there[p] > 0:
                new = min(looked[p] / there[p], 1 - 1e-9)
                change = max(change, abs(new - attention[p]) / max(attention[p], 1e-12))
                attention[p] = new
        for i in range(len(liked)):
            liked[i] = min((wanted[i] + strength * mean) / (of_item[i] + strength), 1 - 1e-9)
        if change < _SETTLED:
            break


def _by_pairs(cells: _Cells) -> tuple[Float64Array, Float64Array]:
    """Attention by comparing each item with itself at every two places it stood at.

    For two places, the clicks of the items shown at both, weighted as if they had been shown
    equally often at either, stand to each other as the attention does. All pairs together are
    a Bradley-Terry model, the limit of the paper's likelihood for rare clicks; the estimate is
    consistent however often people click.

    Source:
        Agarwal et al. 2019, doi:10.1145/3289600.3291017 (AllPairs); Hunter 2004,
        doi:10.1214/aos/1079120141 (the iteration).

    Cost:
        Items times places squared.
    """
    n_items = int(cells.item.max()) + 1
    shown, clicked = np.zeros((2, n_items, cells.n_places))
    shown[cells.item, cells.place], clicked[cells.item, cells.place] = cells.shown, cells.clicked
    rate = np.divide(clicked, shown, out=np.zeros_like(shown), where=shown > 0)
    won = np.zeros((cells.n_places, cells.n_places))  # clicks at a row's place beside a column's
    for place in range(cells.n_places):
        own = shown[:, [place]]
        both = np.divide(own * shown, own + shown, out=np.zeros_like(shown), where=own > 0)
        won[place] = rate[:, place] @ both
    np.fill_diagonal(won, 0.0)
    played, wins = won + won.T, won.sum(axis=1)
    attention = np.where(wins > 0, dcg(cells.n_places), 0.0)
    for _ in range(_ROUNDS):
        pairs = attention[:, None] + attention
        share = np.divide(played, pairs, out=np.zeros_like(played), where=pairs > 0).sum(axis=1)
        new = np.divide(wins, share, out=np.zeros_like(wins), where=share > 0)
        new /= new.max() if new.any() else 1.0
        settled = np.abs(new - attention).max() < _SETTLED
        attention = new
        if settled:
            break
    pairs = attention[:, None] + attention
    share = np.divide(played, pairs, out=np.zeros_like(played), where=pairs > 0)
    # A click counts about half in each pair; the mass is to be that of the clicks themselves.
    return attention, share.sum(axis=1) * 2 / max(cells.n_places - 1, 1)


def _smoothed(
    raw: Float64Array, mass: Float64Array, n_places: int, smoothing: float
) -> Float64Array:
    """Attention [n_places], falling from 1: places with little evidence follow a power law."""
    mass = np.pad(mass, (0, n_places - len(mass)))
    clicks = np.pad(raw, (0, n_places - len(raw))) * mass
    place = _places(n_places)

    def misfit(exponent: float) -> float:
        """Minus the Poisson likelihood of the clicks, the height of the curve at its best."""
        expected = mass * place**-exponent
        height = clicks.sum() / expected.sum()
        return float(clicks @ np.log(place) * exponent - clicks.sum() * np.log(height))

    exponent = minimize_scalar(misfit, bounds=(0.0, _STEEPEST), method="bounded").x
    law = place**-exponent
    law *= clicks.sum() / (mass @ law)
    near = (clicks + smoothing * law) / (mass + smoothing)
    falling = isotonic_regression(near, weights=mass + smoothing, increasing=False).x
    return np.asarray(falling / falling[0], np.float64)


def _places(k: int) -> Float64Array:
    """float64 [k], 1 for the top."""
    if k < 1:
        raise DataError(f"k is {k}; a slate has at least 1 place")
    return np.arange(1.0, k + 1)
