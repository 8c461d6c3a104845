"""A small shop of words."""

import pytest
from tests.search.small import TITLES, index_of

from tailrec.search.index import SearchIndex


@pytest.fixture(scope="session")
def index() -> SearchIndex:
    """Eight items, by words alone."""
    return index_of(TITLES)
