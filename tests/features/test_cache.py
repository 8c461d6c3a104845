import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tailrec.features.cache import VectorCache

DIM = 4


def vectors_of(texts: list[str]) -> np.ndarray:
    """A vector that tells its text, so that a mix-up shows."""
    return np.array([[len(text), *text.encode()[-3:].rjust(3)] for text in texts], np.float32)


def names(prefix: str, n_texts: int) -> list[str]:
    return [f"{prefix}{number:03}" for number in range(n_texts)]


def assert_holds(cache: VectorCache, texts: list[str]) -> None:
    vectors, known = cache.get(texts)
    assert known.all()
    np.testing.assert_array_equal(vectors, vectors_of(texts))


def test_what_was_put_comes_back_and_only_that(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "new" / "folder", DIM)
    vectors, known = cache.get(["a", "b"])
    assert not known.any()
    assert not vectors.any()
    cache.put(["pear", "apple", "pear"], vectors_of(["pear", "apple", "pear"]))
    cache.put([], np.zeros((0, DIM), np.float32))
    vectors, known = VectorCache(cache.folder, DIM).get(["plum", "apple", "apple", "pear", ""])
    assert known.tolist() == [False, True, True, True, False]
    np.testing.assert_array_equal(vectors[known], vectors_of(["apple", "apple", "pear"]))
    assert not vectors[~known].any()


def test_many_files_are_put_together(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, DIM)
    texts = names("t", 100)
    for text in texts:
        cache.put([text], vectors_of([text]))
    assert len(list(tmp_path.iterdir())) <= 16
    assert_holds(cache, texts)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(bytes(whole))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"\xff" * 200)


@pytest.mark.parametrize("damage", [cut, flip, empty, scribble])
def test_a_damaged_file_is_missed_and_replaced(tmp_path: Path, damage: object) -> None:
    cache = VectorCache(tmp_path, DIM)
    texts = names("t", 5)
    cache.put(texts, vectors_of(texts))
    (path,) = tmp_path.iterdir()
    damage(path)  # type: ignore[operator]
    cache.put(["sound"], vectors_of(["sound"]))
    _, known = cache.get([*texts, "sound"])
    assert known.tolist() == [False] * 5 + [True]
    assert not path.exists()
    cache.put(texts, vectors_of(texts))
    assert_holds(cache, [*texts, "sound"])


def test_vectors_of_another_length_are_no_vectors_of_ours(tmp_path: Path) -> None:
    VectorCache(tmp_path, 3).put(["a"], np.ones((1, 3), np.float32))
    _, known = VectorCache(tmp_path, DIM).get(["a"])
    assert not known.any()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, DIM)
    with pytest.raises(IndexError):
        cache.put(["a", "b"], np.ones((1, DIM), np.float32))
    assert not list(tmp_path.iterdir())


FILL = """
import sys
from pathlib import Path
import numpy as np
from tailrec.features.cache import VectorCache

cache = VectorCache(Path(sys.argv[1]), 1)
for number in range(60):
    cache.put([f"{sys.argv[2]}{number}"], np.full((1, 1), number, np.float32))
"""


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    writers = [subprocess.Popen([*command, prefix]) for prefix in "xy"]
    assert [writer.wait() for writer in writers] == [0, 0]
    texts = [f"{prefix}{number}" for prefix in "xy" for number in range(60)]
    vectors, known = VectorCache(tmp_path, 1).get(texts)
    assert known.all()
    assert vectors.ravel().tolist() == [*range(60), *range(60)]
