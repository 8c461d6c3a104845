"""A search finds a known optimum, prunes what is hopeless, and goes on after any kill."""

import json
import signal
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.training.apart import MARK, begin_search, search_lines, wait

from tailrec.errors import ArtifactError, DataError, RecipeError
from tailrec.training.attempts import DRAWN, UNPRUNED, Between, Found, OneOf, Tried
from tailrec.training.run_folder import RunFolder
from tailrec.training.search import Attempt, Objective, search

SPACE = {
    "rate": Between(1e-3, 1.0, log=True),
    "width": Between(1, 9, whole=True),
    "kind": OneOf(("round", "flat", None)),
}
FOREVER = 1e9


def hill(attempt: Attempt) -> float:
    """Highest at a rate of 0.03, a width of 7 and round; reached in four steps."""
    options: Mapping[str, Any] = attempt.options
    rate = abs(2 + (5 / 3) * (-(options["rate"] ** 0.1) * 1.42))
    height = -rate - abs(options["width"] - 7) / 9 - (options["kind"] != "round") / 2
    for step in range(1, 5):
        attempt.report(step, height * 5 / (step + 1))
    return height


def tried(objective: Objective = hill, **how: Any) -> Found:
    return search(SPACE, objective, **{"budget_s": FOREVER, "at_most": 30, **how})


def test_it_finds_better_options_than_chance() -> None:
    found = tried(at_most=60)
    assert len(found.tried) == 60
    drawn = [hill(Attempt(0, one.options, lambda *_: None)) for one in found.tried]
    assert found.best.figure == max(drawn)
    assert max(drawn) > max(drawn[:DRAWN])
    assert found.best.options["kind"] == "round"
    later = drawn[DRAWN:]
    assert sum(later) / len(later) > sum(drawn[:DRAWN]) / DRAWN
    for one in found.tried:
        assert 1e-3 <= one.options["rate"] <= 1  # type: ignore[operator]
        assert one.options["width"] in range(1, 10)


def test_what_promises_little_is_pruned() -> None:
    """By the median rule, worked out here from what was reported."""
    found = tried()
    pruned = [one for one in found.tried if one.state == "pruned"]
    assert 3 < len(pruned) < 27
    for one in found.tried:
        done = sorted(
            earlier.reports[1] for earlier in found.tried[: one.number] if earlier.state == "done"
        )
        if len(done) < UNPRUNED:
            assert one.state == "done"
            continue
        middle = (done[(len(done) - 1) // 2] + done[len(done) // 2]) / 2
        assert (one.state == "pruned" and len(one.reports) == 1) == (one.reports[1] < middle)
    assert found.best.state == "done"


def test_proposals_depend_on_the_seed_alone() -> None:
    assert tried(seed=3) == tried(seed=3)
    assert tried(seed=3).tried[0].options != tried(seed=4).tried[0].options


def test_options_given_are_tried_first() -> None:
    given = {"rate": 0.5, "width": 2, "kind": None}
    assert tried(given=given, at_most=3).tried[0].options == given
    for wrong in (
        {**given, "width": 10},
        {**given, "kind": "odd"},
        {"rate": 0.5},
        {**given, "a": 1},
    ):
        with pytest.raises(RecipeError, match="there must be one for each of rate, width, kind"):
            tried(given=wrong)


def test_a_small_space_is_tried_out() -> None:
    space = {"kind": OneOf(("round", "flat")), "width": Between(1, 3, whole=True)}

    def flat(attempt: Attempt) -> float:
        return float(attempt.options["width"])  # type: ignore[arg-type]

    found = search(space, flat, budget_s=FOREVER)
    asked = {tuple(one.options.values()) for one in found.tried}
    assert len(asked) == len(found.tried) == 6
    assert found.best.options["width"] == 3


def test_options_that_fail_are_passed_over() -> None:
    def fragile(attempt: Attempt) -> float:
        if attempt.number == 0:
            raise DataError("it diverged")
        return float("nan") if attempt.number == 1 else hill(attempt)

    found = tried(fragile)
    assert [one.state for one in found.tried[:2]] == ["failed", "failed"]
    assert [one.reason for one in found.tried[:2]] == ["it diverged", "its figure is no number"]
    assert found.best.number > 1

    def hopeless(attempt: Attempt) -> float:
        raise DataError(f"no data for {attempt.number}")

    with pytest.raises(RecipeError, match="the first 3 attempts all failed; no data for 2"):
        tried(hopeless)


def test_time_ends_a_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clock that ticks once a look; the attempt under way is left, and taken up later."""
    monkeypatch.setattr("tailrec.training.search.monotonic", count().__next__)
    file = tmp_path / "search.journal"
    first = tried(budget_s=12, storage=file)
    assert [one.state for one in first.tried] == ["done", "done", "open"]
    again = tried(budget_s=FOREVER, storage=file)
    assert again.tried[: len(first.tried) - 1] == first.tried[:-1]
    assert again == tried()
    # One attempt is finished even without time, and none where one is known.
    assert [one.state for one in tried(budget_s=0).tried] == ["done"]
    assert tried(budget_s=0, storage=file) == again


def test_the_journal_is_of_one_space(tmp_path: Path) -> None:
    file = tmp_path / "search.journal"
    tried(storage=file, at_most=2)
    with pytest.raises(ArtifactError, match="is of another space; name another search"):
        search({"rate": Between(0.1, 1.0)}, hill, budget_s=0, storage=file)
    file.write_text("nothing\nof\nthe\nkind\n")
    with pytest.raises(ArtifactError, match=r"search\.journal is no search of this version"):
        tried(storage=file)


def test_progress_tells_the_best_so_far() -> None:
    told: list[tuple[str, int, int]] = []
    found = tried(at_most=6, progress=lambda *said: told.append(said))
    assert [text.split(",")[0] for text, _, _ in told] == [f"attempt {n + 1}" for n in range(6)]
    assert told[0][0] == "attempt 1"
    best = max(found.tried[:5], key=lambda one: one.figure or -9.0)
    assert told[5][0].endswith(f"best so far {best.figure:.4f} of attempt {best.number + 1}")
    assert {of for _, _, of in told} == {int(FOREVER)}


def as_plain(one: Tried) -> str:
    return json.dumps([one.number, dict(one.options), one.state, one.figure, dict(one.reports)])


def goes_on(tmp_path: Path, kills: list[int]) -> None:
    straight = search_lines(tmp_path / "straight")
    folder = tmp_path / "killed"
    for n_steps in kills:
        assert wait([begin_search(folder, n_steps)]) == [-signal.SIGKILL]
    found = search_lines(folder)
    assert [as_plain(one) for one in found.tried] == [as_plain(one) for one in straight.tried]
    assert {one.state for one in found.tried} == {"done", "pruned"}
    for one in found.tried:
        own, known = (
            RunFolder(where / "attempts" / str(one.number), MARK).curve()
            for where in (folder, tmp_path / "straight")
        )
        assert own == known


def test_a_search_that_is_killed_goes_on(tmp_path: Path) -> None:
    goes_on(tmp_path, [17])


@pytest.mark.slow
def test_a_search_that_is_killed_often_goes_on(tmp_path: Path) -> None:
    goes_on(tmp_path, [1, 5, 9, 13, 2, 20])


def test_two_searches_share_a_journal(tmp_path: Path) -> None:
    """While one trains, another leaves its attempt alone and takes numbers of its own."""
    file = tmp_path / "search.journal"
    inner: list[Found] = []

    def nested(objective: Callable[[Attempt], float]) -> Objective:
        def outer(attempt: Attempt) -> float:
            if not inner:
                inner.append(tried(storage=file, at_most=4))
            return objective(attempt)

        return outer

    found = tried(nested(hill), storage=file, at_most=6)
    assert [one.state for one in inner[0].tried] == ["open", "done", "done", "done"]
    assert [one.number for one in found.tried] == list(range(6))
    assert all(one.state != "open" for one in found.tried)
    assert found.tried[1:4] == inner[0].tried[1:]
