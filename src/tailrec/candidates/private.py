"""Differentially private sums for `linear`: what behaviour tells, clipped by person, noised once.

Two sums are made over all people: the pair (PᵀP, PᵀF) of `gram`, and the events of each item. What
one person adds to either is scaled down to a norm of at most `clip` or `count_clip`; then Gaussian
noise is added to every entry, those that are 0 included. The noise is calibrated exactly, for
neighbours that differ by one person being there or not. Everything made from the sums afterwards
costs nothing more.

Entries that stay below a threshold are dropped, so the matrices stay sparse. An entry that was 0
passes it by luck alone, with a known chance: how many do, which and with what value can be drawn
without visiting the others, and the result has the distribution of noise on every entry.

Source:
    Balle and Wang 2018, arXiv:1805.06530, for the calibration; Dong, Roth and Su 2022,
    doi:10.1111/rssb.12454, for the division of the budget; Cormode, Procopiuc, Srivastava and Tran
    2012, doi:10.1145/2274576.2274608, for the draw of sparse results.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri, ndtri_exp
from scipy.stats import binom

from tailrec.candidates.gram import Bonds, Gram, gram, norms
from tailrec.dataset import Dataset
from tailrec.items import Array, Float32Array, Float64Array, Int64Array
from tailrec.recipe import Recipe

_BITS: Final = 63
"""Random bits of a uniform number: tails of the noise reach as far as they allow."""


class Privacy(Recipe):
    """How much one person may change of what the model takes from behaviour.

    Attributes:
        epsilon: ε, spent by each fit; smaller is more private.
        delta: δ, chance in which ε does not hold; none: the power of ten next below 1 / people.
        clip: largest norm of one person's part in the sums of pairs. Smaller: less noise, and less
            of people with long histories.
        count_clip: largest norm of one person's part in the counts of items; 3: nine items.
        counts: share of the budget for the counts of items, in (0, 1); the pairs have the rest.
        threshold: standard deviations of the noise below which an entry counts as 0.
        seed: of the noise. With one, a fit can be repeated and the noise taken off: for
            experiments alone. None: from the operating system.
    """

    epsilon: float = Field(default=3.0, gt=0)
    delta: float | None = Field(default=None, gt=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    count_clip: float = Field(default=3.0, gt=0)
    counts: float = Field(default=0.1, gt=0, lt=1)
    threshold: float = Field(default=5.0, ge=2)
    seed: int | None = None

    def spend(self, n_users: int) -> "Spent":
        """The budget, and the noise it asks for.

        Args:
            n_users: people in the data; it only decides δ where the recipe does not.
        """
        delta = self.delta or 10.0 ** math.floor(-math.log10(max(n_users, 10)) - 1e-9)
        mu = tightness(self.epsilon, delta)
        # Gaussian mechanisms one after the other add up their squares.
        pairs = self.clip / (mu * math.sqrt(1 - self.counts))
        counts = self.count_clip / (mu * math.sqrt(self.counts))
        return Spent(self.epsilon, delta, pairs, counts, self.seed is not None)

    def sums(
        self, data: Dataset, weight: Float32Array, *, window: int, bonds: Bonds
    ) -> "PrivateSums":
        """Both sums, noised.

        Args:
            data: histories.
            weight: float32 [E], what each event counts.
            window: as of `gram`.
            bonds: as of `gram`.

        Cost:
            Twice that of `gram`; memory also for the entries that pass by luck, I² · Φ(-threshold).
        """
        spent = self.spend(data.n_users)
        noise = Noise(self.seed)
        clipped = clipped_weights(data, weight, self.clip, window=window, bonds=bonds)
        exact = gram(data, clipped, window=window, bonds=bonds)
        counts = clipped_counts(data, self.count_clip)
        counts += spent.count_noise * noise.gauss(len(counts))
        whole = np.rint(np.maximum(counts, 0)).astype(np.int64)
        noised = noised_gram(exact, spent.pair_noise, self.threshold, noise)
        return PrivateSums(noised, whole, spent)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a private fit gave away at most, and how.

    Attributes:
        epsilon: ε.
        delta: δ.
        pair_noise: standard deviation of the noise on (PᵀP, PᵀF).
        count_noise: standard deviation of the noise on the counts of items.
        seeded: whether the noise came from a seed; then it protects nobody who knows it.
    """

    epsilon: float
    delta: float
    pair_noise: float
    count_noise: float
    seeded: bool

    def card(self) -> dict[str, Any]:
        """Plain values, for the card of a fit."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "neighbours": "one person added or removed", "per": "fit"}

    def without_exact(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """The card of a fit as it may stand beside the model: without exact facts of the data."""
        n_items = card.get("data", {}).get("n_items")
        return {**card, "data": {"n_items": n_items}, "privacy": self.card()}

    def array(self) -> Float64Array:
        """float64 [5], for an artifact."""
        return np.array([float(getattr(self, name)) for name in self.__slots__])

    @classmethod
    def from_array(cls, values: Array) -> Self:
        """What gave this array."""
        epsilon, delta, pair_noise, count_noise, seeded = values.tolist()
        return cls(epsilon, delta, pair_noise, count_noise, bool(seeded))


class PrivateSums(NamedTuple):
    """What is known of behaviour, noised.

    Attributes:
        pairs: the matrices; the diagonal and what passed the threshold.
        counts: int64 [I], events of each item, at least 0.
        spent: the budget.
    """

    pairs: Gram
    counts: Int64Array
    spent: Spent


class Noise:
    """Random numbers: from the operating system's secure source, or from a seed."""

    def __init__(self, seed: int | None) -> None:
        self._rng: Generator | None = None if seed is None else np.random.default_rng(seed)

    def uniform(self, n: int) -> Float64Array:
        """float64 [n] in (0, 1), never 0."""
        if self._rng is not None:
            drawn = self._rng.integers(1 << _BITS, size=n, dtype=np.int64)
        else:
            drawn = (np.frombuffer(os.urandom(8 * n), np.uint64) >> np.uint64(64 - _BITS)).view(
                np.int64
            )
        return np.asarray((drawn + 0.5) * 2.0**-_BITS, np.float64)

    def gauss(self, n: int) -> Float64Array:
        """float64 [n], standard normal."""
        size = -ndtri(self.uniform(n) / 2)
        return np.where(self.uniform(n) < 0.5, size, -size)

    def tail(self, n: int, beyond: float) -> Float64Array:
        """float64 [n], standard normal, given that they lie beyond a threshold."""
        # In logarithms: far out the chance itself is no number any more.
        return np.asarray(-ndtri_exp(log_ndtr(-beyond) + np.log(self.uniform(n))))

    def below(self, n: int, bound: int) -> Int64Array:
        """int64 [n], whole numbers from 0, below a bound."""
        drawn = (self.uniform(n) * bound).astype(np.int64)
        return np.minimum(drawn, bound - 1)


def spent_delta(epsilon: float, mu: float) -> float:
    """δ of one Gaussian mechanism.

    Args:
        epsilon: ε, at least 0.
        mu: sensitivity against standard deviation of the noise, above 0.
    """
    gain = log_ndtr(mu / 2 - epsilon / mu)
    loss = epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    return float(np.exp(gain) * -np.expm1(min(loss - gain, 0.0)))


def tightness(epsilon: float, delta: float) -> float:
    """Largest sensitivity, against the standard deviation of the noise, that a budget allows.

    Args:
        epsilon: ε, above 0.
        delta: δ, in (0, 1).

    Source:
        Balle and Wang 2018, theorem 8.
    """
    low, high = 1e-9, 1.0
    while spent_delta(epsilon, high) < delta:
        high *= 2
    return float(brentq(lambda mu: spent_delta(epsilon, mu) - delta, low, high, xtol=1e-12))


def composed_epsilon(epsilon: float, delta: float, fits: int) -> float:
    """ε of several private fits on the same people, all of them given away, at the same δ.

    Args:
        epsilon: ε of each.
        delta: δ of each and of all.
        fits: how many.
    """
    mu = tightness(epsilon, delta) * math.sqrt(fits)
    high = epsilon
    while spent_delta(high, mu) > delta:
        high *= 2
    return float(brentq(lambda e: spent_delta(e, mu) - delta, 0, high, xtol=1e-9))


def clipped_weights(
    data: Dataset, weight: Float32Array, clip: float, *, window: int, bonds: Bonds
) -> Float32Array:
    """Weights under which no user adds more than `clip` to the pair of matrices.

    A part grows with the square of its user's weights, so all of a user's are scaled alike.
    """
    norm = norms(data, weight, window=window, bonds=bonds)
    scale = np.sqrt(np.minimum(1, clip / np.maximum(norm, np.finfo(np.float32).tiny)))
    return (weight * scale[data.user]).astype(np.float32)


def clipped_counts(data: Dataset, clip: float) -> Float64Array:
    """Events of each item, [I], to which no user adds a vector longer than `clip`."""
    pair = data.user.astype(np.int64) * data.n_items + data.item
    pairs, times = np.unique(pair, return_counts=True)
    user, item = np.divmod(pairs, data.n_items)
    length = np.sqrt(np.bincount(user, times.astype(np.float64) ** 2, minlength=data.n_users))
    scale = np.minimum(1, clip / np.maximum(length, 1))
    return np.asarray(np.bincount(item, times * scale[user], minlength=data.n_items), np.float64)


def noised_gram(exact: Gram, noise: float, threshold: float, luck: Noise) -> Gram:
    """The matrices with noise on every entry, less those that stay below a threshold.

    PᵀP is symmetric: an entry and its mirror count twice in the norm and get one noise, of
    1/√2 of the deviation. Both matrices hold nothing below 0, and no entry of PᵀP may
    exceed the geometric mean of its diagonal entries, so what does is brought there.

    Args:
        exact: clipped sums.
        noise: standard deviation.
        threshold: in standard deviations.
        luck: the noise.

    Returns:
        The noised matrices; the diagonal is in `diagonal` alone.
    """
    n_items = len(exact.diagonal)
    diagonal = exact.diagonal + noise * luck.gauss(n_items)
    diagonal = np.where(diagonal >= threshold * noise, diagonal, 0)
    row = np.repeat(np.arange(n_items, dtype=np.int64), np.diff(exact.indptr))
    column = exact.indices.astype(np.int64)
    upper, off = row < column, row != column
    together = _entries(
        (row * n_items + column)[upper],
        exact.together[upper].astype(np.float64),
        n_items,
        (noise / math.sqrt(2), threshold, True),
        luck,
    )
    leads = _entries(
        (row * n_items + column)[off],
        exact.leads[off].astype(np.float64),
        n_items,
        (noise, threshold, False),
        luck,
    )
    return _joined(together, leads, diagonal)


class _Entries(NamedTuple):
    """Entries of a matrix above 0: `row * I + column`, rising, and their values."""

    key: Int64Array
    value: Float64Array


def _entries(
    key: Int64Array,
    value: Float64Array,
    n_items: int,
    how: tuple[float, float, bool],
    luck: Noise,
) -> _Entries:
    """Noise on entries that are there and, those that pass by luck, on all that are not.

    Args:
        key: of the entries that are there, rising.
        value: of them.
        n_items: I.
        how: standard deviation, threshold in deviations, and whether only row < column counts.
        luck: the noise.
    """
    noise, threshold, upper = how
    noised = value + noise * luck.gauss(len(value))
    kept = noised >= threshold * noise
    n_absent = n_items * (n_items - 1) // (2 if upper else 1) - len(key)
    chance = math.exp(log_ndtr(-threshold))
    n_lucky = int(binom.ppf(luck.uniform(1)[0], n_absent, chance)) if n_absent else 0
    lucky = _absent(n_lucky, key, n_items, upper, luck)
    keys = np.concatenate([key[kept], lucky])
    values = np.concatenate([noised[kept], noise * luck.tail(n_lucky, threshold)])
    order = np.argsort(keys)
    return _Entries(keys[order], values[order])


def _absent(n: int, key: Int64Array, n_items: int, upper: bool, luck: Noise) -> Int64Array:
    """n keys that are not among those given, every choice of n as likely as any other."""
    found = np.zeros(0, np.int64)
    while len(found) < n:
        more = 2 * (n - len(found)) + 16
        row, column = luck.below(more, n_items), luck.below(more, n_items)
        if upper:
            row, column = np.minimum(row, column), np.maximum(row, column)
        drawn = (row * n_items + column)[row != column]
        place = np.searchsorted(key, drawn)
        there = np.zeros(len(drawn), np.bool_)
        inside = place < len(key)
        there[inside] = key[place[inside]] == drawn[inside]
        # In the order they were drawn: cutting a sorted list would favour the first rows.
        both = np.concatenate([found, drawn[~there]])
        found = both[np.sort(np.unique(both, return_index=True)[1])]
    return found[:n]


def _joined(together: _Entries, leads: _Entries, diagonal: Float64Array) -> Gram:
    """Both matrices over one symmetric pattern."""
    n_items = len(diagonal)
    row, column = np.divmod(together.key, n_items)
    most = np.sqrt(diagonal[row] * diagonal[column])
    bounded = np.minimum(together.value, most)
    mirrored = column * n_items + row
    turned = leads.key % n_items * n_items + leads.key // n_items
    pattern = np.unique(np.concatenate([together.key, mirrored, leads.key, turned]))
    values = np.zeros((2, len(pattern)))
    values[0, np.searchsorted(pattern, together.key)] = bounded
    values[0, np.searchsorted(pattern, mirrored)] = bounded
    values[1, np.searchsorted(pattern, leads.key)] = leads.value
    counts = np.bincount(pattern // n_items, minlength=n_items)
    both = values.astype(np.float32)
    return Gram(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        (pattern % n_items).astype(np.int32),
        both[0],
        both[1],
        diagonal.astype(np.float32),
    )
