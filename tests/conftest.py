"""What every test may ask for: random numbers and the real data."""

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped, with the reason, where it is missing."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TAILREC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set TAILREC_DATA to its folder")
    return folder
