"""The pages of figures are as the stored results have them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_pages_are_made_from_the_stored_results() -> None:
    words = [sys.executable, ROOT / "benchmarks" / "figures.py", "--check"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
