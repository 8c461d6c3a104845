"""How often a look at an item ends in a purchase, as far as is known."""

import numpy as np

from tailrec.errors import DataError
from tailrec.items import Float32Array, Float64Array


def conversion(looks: Float64Array, bought: Float64Array) -> Float32Array:
    """The rate of purchases after looks, drawn to the mean of all where little is known.

    The mean of the posterior of a Beta distribution over items, fitted by its moments: an item
    hardly looked at has about the mean of all.

    Args:
        looks: float64 [I], views and clicks of each item.
        bought: float64 [I], purchases; more of them than looks count as looks.

    Returns:
        float32 [I], in (0, 1]; 1 for all where nothing was bought.

    Raises:
        DataError: lengths differ, or a count is negative.

    Source:
        Kleinman 1973, doi:10.1080/01621459.1973.10481332 (moments of proportions).
    """
    if looks.shape != bought.shape or min(looks.min(initial=0), bought.min(initial=0)) < 0:
        raise DataError(
            f"{looks.shape} looks and {bought.shape} purchases, the least of them "
            f"{min(looks.min(initial=0), bought.min(initial=0)):g}; as many are needed, from 0 up"
        )
    looks = np.maximum(looks, bought)
    if not bought.any():
        return np.ones(len(looks), np.float32)
    mean = bought.sum() / looks.sum()
    known = looks > 1
    n, rate = looks[known], bought[known] / looks[known]
    # What is more than the binomial noise is the spread of the items.
    spread = (n * (rate - mean) ** 2).sum() - len(n) * mean * (1 - mean)
    variance = max(spread / (n - 1).sum(), 1e-6) if len(n) else 1e-6
    strength = max(mean * (1 - mean) / variance - 1, 1.0)
    return np.asarray((bought + strength * mean) / (looks + strength), np.float32)
