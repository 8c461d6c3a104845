from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tailrec.candidates.linear import Linear
from tailrec.tuning import Objective, choose
from tailrec.tuning_report import draw_history, trial_table, write_history
from tailrec.tuning_search import Goal, Tuned
from tailrec.tuning_study import Trial

FIGURES = [(0.10, 0.02), (0.08, 0.05), (0.12, 0.01), (0.119, 0.03), (0.06, 0.051)]


def tuned(objective: Objective = "tail", keep: float = 0.97) -> Tuned:
    trials = [Trial(Linear(ridge=n + 1), a, b, seconds=n) for n, (a, b) in enumerate(FIGURES)]
    chosen = choose(trials, keep, objective=objective)
    return Tuned(trials[0], chosen, trials, 5, Goal(objective, keep), False, Path("study"))


def test_every_trial_is_a_row_with_every_option() -> None:
    table = trial_table(tuned())
    assert table["number"].to_list() == [1, 2, 3, 4, 5]
    assert table["ndcg@10"].to_list() == [a for a, _ in FIGURES]
    assert table["tail_ndcg@10"].to_list() == [b for _, b in FIGURES]
    assert table["enough"].to_list() == [False, False, True, True, False]
    assert table["given"].to_list() == [True, False, False, False, False]
    assert table["chosen"].to_list() == [False, False, False, True, False]
    assert table["ridge"].to_list() == [1, 2, 3, 4, 5]
    assert set(Linear.model_fields) < set(table.columns)
    other = trial_table(tuned("overall"))
    assert other["enough"].to_list() == [False, True, False, False, True]
    assert other["chosen"].to_list() == [False, True, False, False, False]


@pytest.mark.parametrize("objective", ["tail", "overall"])
def test_the_picture_shows_what_the_table_says(objective: Objective) -> None:
    search = tuned(objective)
    overall, tail, plane = draw_history(search).axes
    for axes, place in ((overall, 0), (tail, 1)):
        values = np.array([both[place] for both in FIGURES])
        lines = {line.get_label().split()[0]: line for line in axes.get_lines()}
        np.testing.assert_allclose(lines["best"].get_ydata(), np.maximum.accumulate(values))
        assert lines["given"].get_ydata() == values[:1]
        assert (
            lines["chosen"].get_ydata()[0] == (search.chosen.ndcg, search.chosen.tail_ndcg)[place]
        )
    lines = {line.get_label(): line for line in plane.get_lines()}
    assert lines["chosen"].get_xdata()[0] == search.chosen.ndcg
    assert lines["chosen"].get_ydata()[0] == search.chosen.tail_ndcg
    drawn = len(lines["may be chosen"].get_xdata()), len(lines["others"].get_xdata())
    assert drawn == (2, 3)
    if objective == "tail":
        bound = lines["0.97 × best overall"].get_xdata()
        assert bound == pytest.approx([0.97 * 0.12] * 2)
    else:
        bound = lines["0.97 × best tail"].get_ydata()
        assert bound == pytest.approx([0.97 * 0.051] * 2)


def test_files_are_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "tuning"
    picture, table = write_history(tuned(), folder)
    assert sorted(folder.iterdir()) == [picture, table]
    first = picture.read_bytes()
    assert first[:4] == b"\x89PNG"
    read = pl.read_csv(table)
    assert read["ndcg@10"].to_list() == [a for a, _ in FIGURES]
    assert read.columns == trial_table(tuned()).columns
    write_history(tuned(), folder)
    assert picture.read_bytes() == first


def test_one_trial_alone_is_drawn(tmp_path: Path) -> None:
    only = Trial(Linear(), 0.0, 0.0)
    search = Tuned(only, only, [only], 1, Goal(), False, Path("study"))
    assert search.changed == {}
    assert len(write_history(search, tmp_path)) == 2


def test_changed_options_are_named() -> None:
    assert tuned().changed == {"ridge": (1, 4)}
