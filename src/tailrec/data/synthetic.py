"""What was made up, and how it is told from what happened.

People that were made up have ids that begin with `PREFIX`; rows of tables that were made up have
`SYNTHETIC` true. No part of a split that is asked about may hold any of them.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from tailrec.items import BoolArray

PREFIX: Final = "synthetic:"
"""What the id of everybody, and every item, that was made up begins with."""
SYNTHETIC: Final = "synthetic"
"""Column that is true where a row was made up."""


def is_synthetic(ids: Iterable[str]) -> BoolArray:
    """Which ids are of what was made up.

    Args:
        ids: [N] ids of people or of items.

    Returns:
        bool [N].
    """
    return np.fromiter((name.startswith(PREFIX) for name in ids), np.bool_)
