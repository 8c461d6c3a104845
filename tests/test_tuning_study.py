"""Studies on the disk: continued, also after a kill; shared; never of other data."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tests.worlds import crowd, words_of

from tailrec.candidates.popular import Popular
from tailrec.data.split import Split, leave_one_out
from tailrec.dataset import Features
from tailrec.engine import AnySource
from tailrec.errors import ArtifactError
from tailrec.items import BoolArray
from tailrec.tail.segments import is_tail
from tailrec.tuning import tune
from tailrec.tuning_spaces import source_named
from tailrec.tuning_study import Trial, open_study, recorded, study_file

Inner = tuple[Split, Features, BoolArray]
Searches = Callable[..., list[Trial]]

SEARCH = """
import sys
from pathlib import Path

import numpy as np
from tailrec.candidates.popular import Popular
from tailrec.data.split import leave_one_out
from tailrec.tail.segments import is_tail
from tailrec.tuning import tune
from tests.worlds import crowd, words_of

data = crowd(np.random.default_rng(3), n_users=80)
split = leave_one_out(data)
tail = is_tail(split.train.item_counts, "pareto")
n_told = 0


def told(*_):
    global n_told
    n_told += 1
    # A trial is told before it is kept: at the fourth, three are on the disk.
    print(n_told, flush=True)
    if n_told == int(sys.argv[2]):
        input()


features = words_of(data)
file = Path(sys.argv[1])
tune(Popular(), split, features, tail, budget_s=1e9, seed=4, storage=file, progress=told)
"""
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def inner() -> Inner:
    data = crowd(np.random.default_rng(3), n_users=80)
    split = leave_one_out(data)
    return split, words_of(data), is_tail(split.train.item_counts, "pareto")


@pytest.fixture
def search(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> Searches:
    """A search of so many new fits."""

    def search(source: AnySource, n: int, file: Path | None) -> list[Trial]:
        # A second a look: the first is the start, and one more follows the last fit.
        monkeypatch.setattr("tailrec.tuning.monotonic", count().__next__)
        known = bool(file and recorded(file))
        return tune(source, *inner, budget_s=n + known, seed=4, storage=file)

    return search


def start(file: Path, stop_at: int) -> "subprocess.Popen[str]":
    """A process that searches, and waits for a word after so many trials."""
    return subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(file), str(stop_at)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(process: "subprocess.Popen[str]", stop_at: int) -> None:
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(stop_at)]
    assert told == [f"{n + 1}\n" for n in range(stop_at)]


@pytest.mark.parametrize("kind", ["linear", "als", "popular"])
def test_trials_are_read_back_as_they_were(kind: str, search: Searches, tmp_path: Path) -> None:
    file = tmp_path / "tuning" / "study.journal"
    in_memory = search(source_named(kind), 4, None)
    on_disk = search(source_named(kind), 4, file)
    assert in_memory == on_disk == recorded(file)
    assert [type(trial.source) for trial in recorded(file)] == [type(t.source) for t in on_disk]
    assert [trial.seconds for trial in recorded(file)] == [trial.seconds for trial in on_disk]


def test_a_study_goes_on_where_it_ended(search: Searches, tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    first = search(Popular(), 6, file)
    assert len(first) == 6
    # Nothing known is measured again, and what follows is what would have followed at once.
    assert search(Popular(), 8, file) == search(Popular(), 14, None)
    assert search(Popular(), 0, file)[:6] == first
    # Options that were never given before are measured first.
    new = search(Popular(half_life_days=77), 0, file)
    assert new[-1].source == Popular(half_life_days=77)
    assert len(new) == 15


def test_a_search_that_is_killed_goes_on(search: Searches, tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    with start(file, 4) as process:
        wait_for(process, 4)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(recorded(file)) == 3
    assert search(Popular(), 9, file) == search(Popular(), 12, None)


def test_a_line_half_written_is_left_out_and_spoils_nothing(
    search: Searches, tmp_path: Path
) -> None:
    file = tmp_path / "study.journal"
    search(Popular(), 5, file)
    whole = file.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for torn in (last + 1, (last + len(whole)) // 2, len(whole) - 1):
        file.write_bytes(whole[:torn])
        assert len(recorded(file)) == 4
        assert search(Popular(), 3, file) == search(Popular(), 7, None)
        assert len(recorded(file)) == 7


def test_two_processes_search_one_study(search: Searches, tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    with start(file, 30) as one, start(file, 30) as other:
        for process in (one, other):
            wait_for(process, 30)
        # While both live, a third has a number of its own.
        with open_study(file) as study:
            assert study.lane == 2
        for process in (one, other):
            process.kill()
    trials = recorded(file)
    assert len(trials) == 58
    # Only the options given and what follows them at once may be done by both; were it not for
    # their numbers, both would do all the same.
    distinct = {trial.source.model_dump_json() for trial in trials}
    assert len(distinct) > 50
    with open_study(file) as study:
        assert study.lane == 0
    assert search(Popular(), 2, file)[:58] == trials


def test_a_file_that_is_no_study_is_named(search: Searches, tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    search(Popular(), 3, file)
    whole = file.read_bytes()
    for damaged in (b"nothing\nof\nthe\nkind\n", whole[5:], whole.replace(b"ndcg", b"dcgn")):
        file.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"(?s)study\.journal is no study .* delete it"):
            recorded(file)
    file.unlink()
    assert recorded(file) == []


def test_other_data_have_a_study_of_their_own(inner: Inner, tmp_path: Path) -> None:
    split, features, tail = inner

    def name(
        source: AnySource = source_named("linear"),  # noqa: B008
        split: Split = split,
        features: Features = features,
        tail: BoolArray = tail,
        seed: int = 0,
    ) -> str:
        return study_file(tmp_path, source, split, features, tail=tail, seed=seed).name

    same = name()
    assert same == name(split=leave_one_out(crowd(np.random.default_rng(3), n_users=80)))
    assert same.startswith("linear-")
    heavier = split.train.weight.copy()
    heavier[0] = 0.7
    others = [
        name(source_named("ease")),
        name(split=leave_one_out(crowd(np.random.default_rng(4), n_users=80))),
        name(split=replace(split, train=replace(split.train, weight=heavier))),
        name(split=replace(split, target=split.target[::-1])),
        name(features=Features(features.words, np.ones((len(features), 2), np.float32))),
        name(features=Features(features.words * np.float32(2), features.dense)),
        name(tail=~tail),
        name(seed=1),
        name(source_named("linear").model_copy(update={"window": 5})),
    ]
    assert len({same, *others}) == 1 + len(others)
    # Options that are searched do not make another study of it, wherever the search starts.
    searched = {"ridge": 5.0, "tilt": 0.2, "prior": 0.1}
    assert same == name(source_named("linear").model_copy(update=searched))
