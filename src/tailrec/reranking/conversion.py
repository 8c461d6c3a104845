"""How often a look at an item ends in a purchase, as far as is known."""

import numpy as np

from tailrec.errors import DataError
from tailrec.items import Float32Array, Float64Array


def conversion(looks: Float64Array, bought: Float64Array, *, optimism: float = 0.0) -> Float32Array:
    """The rate of purchases after looks, drawn to the mean of all where little is known.

    The mean of the posterior of a Beta distribution over items, fitted by its moments: an item
    hardly looked at has about the mean of all.

    What is ordered by the mean alone never learns of items it does not show. With optimism, items
    of which little is known are shown until more is.

    Args:
        looks: float64 [I], views and clicks of each item.
        bought: float64 [I], purchases; more of them than looks count as looks.
        optimism: standard deviations of the posterior that are added to its mean.

    Returns:
        float32 [I], above 0, and at most 1 without optimism; 1 for all where nothing was bought.

    Raises:
        DataError: lengths differ, or a count is negative.

    Source:
        Kleinman 1973, doi:10.1080/01621459.1973.10481332 (moments of proportions);
        Auer 2002, "Using confidence bounds for exploitation-exploration trade-offs", JMLR 3.
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
    belief = (bought + strength * mean) / (looks + strength)
    deviation = np.sqrt(belief * (1 - belief) / (looks + strength + 1))
    return np.asarray(belief + optimism * deviation, np.float32)
