"""Accuracy by hand, by expectation, and against an independent library."""

import json
import os
import subprocess
import sys
from math import comb

import numpy as np
import pytest
from tests.evaluation.rows import ragged, slates

from tailrec.evaluation.accuracy import accuracy, cut
from tailrec.hits import count_targets, find_hits
from tailrec.items import PADDING


def test_hits_are_found_in_their_own_row_alone() -> None:
    ids = np.array([[4, 2, 0], [1, PADDING, PADDING], [3, 4, PADDING]], np.int32)
    # Item 4 is the largest: row 1's padding must not read as row 0's item 4, nor row 2's.
    hits = find_hits(ids, *ragged([[4, 1], [4], [0]]))
    np.testing.assert_array_equal(
        hits, [[True, False, False], [False, False, False], [False, False, False]]
    )


def test_targets_are_counted_by_tier() -> None:
    ptr, target = ragged([[0, 1, 2], [2], []])
    mask = np.array([True, False, True])
    assert count_targets(ptr, target).tolist() == [3, 1, 0]
    assert count_targets(ptr, target, mask).tolist() == [2, 1, 0]
    assert count_targets(ptr, target, ~mask).tolist() == [1, 0, 0]


def test_slates_and_targets_of_different_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="2 slates, but targets of 1"):
        find_hits(np.zeros((2, 3), np.int32), *ragged([[1]]))


def test_a_slate_worked_by_hand() -> None:
    hits = np.array([[False, True, True, False]])
    figures = accuracy(hits, np.array([3]), at=(2, 4, 10))
    dcg = 1 / np.log2(3) + 1 / np.log2(4)
    ideal = {2: 1 + 1 / np.log2(3), 4: 1 + 1 / np.log2(3) + 1 / np.log2(4)}
    expected = {
        "recall@2": 1 / 3,
        "recall@4": 2 / 3,
        "precision@2": 1 / 2,
        "precision@4": 2 / 4,
        "precision@10": 2 / 10,
        "f1@2": 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2),
        "f1@4": 2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2),
        "ndcg@2": 1 / np.log2(3) / ideal[2],
        "ndcg@4": dcg / ideal[4],
        "ndcg@10": dcg / ideal[4],
        "mrr@2": 1 / 2,
        "mrr@10": 1 / 2,
        "hit@2": 1,
    }
    for name, value in expected.items():
        assert figures[name] == pytest.approx([value]), name


def test_requests_without_targets_have_no_figures_and_misses_are_zero() -> None:
    figures = accuracy(np.zeros((2, 5), bool), np.array([0, 2]), at=(5,))
    for name, values in figures.items():
        np.testing.assert_array_equal(values, [np.nan, 0], err_msg=name)


def test_the_only_target_at_a_known_place_gives_known_figures() -> None:
    place = np.arange(20)
    figures = accuracy(np.eye(20, dtype=bool), np.ones(20, np.int64), at=(10,))
    inside = place < 10
    np.testing.assert_allclose(figures["ndcg@10"], inside / np.log2(place + 2))
    np.testing.assert_allclose(figures["mrr@10"], inside / (place + 1))
    np.testing.assert_array_equal(figures["recall@10"], inside)


def test_random_slates_find_what_chance_finds(rng: np.random.Generator) -> None:
    users, items, k, n_targets = 20_000, 50, 10, 3
    ids = rng.permuted(np.tile(np.arange(items, dtype=np.int32), (users, 1)), axis=1)[:, :k]
    wanted = rng.permuted(np.tile(np.arange(items), (users, 1)), axis=1)[:, :n_targets]
    ptr = np.arange(users + 1, dtype=np.int64) * n_targets
    hits = find_hits(ids, ptr, wanted.ravel().astype(np.int32))
    figures = accuracy(hits, np.full(users, n_targets), at=(k,))
    gains = 1 / np.log2(np.arange(k) + 2)
    expected = {
        "recall": k / items,
        "precision": n_targets / items,
        "hit": 1 - comb(items - n_targets, k) / comb(items, k),
        "ndcg": n_targets / items * gains.sum() / gains[:n_targets].sum(),
    }
    for name, value in expected.items():
        values = figures[f"{name}@{k}"]
        # Four standard errors: a right figure fails once in 16,000 seeds.
        assert values.mean() == pytest.approx(value, abs=4 * values.std() / np.sqrt(users)), name


def test_a_running_metric_is_cut_where_asked_and_at_its_end() -> None:
    running = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    figures = cut("x", running, at=(1, 3, 10))
    assert {name: own.tolist() for name, own in figures.items()} == {
        "x@1": [1, 4],
        "x@3": [3, 6],
        "x@10": [3, 6],
    }


_RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
given = json.load(sys.stdin)
scores = evaluate(Qrels(given["qrels"]), Run(given["run"]), given["metrics"], return_mean=False)
print(json.dumps({name: list(values) for name, values in scores.items()}))
"""


@pytest.mark.slow
def test_figures_agree_with_ranx(rng: np.random.Generator) -> None:
    users, items, k = 60, 40, 15
    shown = [rng.permutation(items)[: rng.integers(1, k + 1)] for _ in range(users)]
    wanted = [rng.permutation(items)[: rng.integers(1, 13)] for _ in range(users)]
    names = ["recall", "precision", "f1", "ndcg", "mrr", "hit_rate"]
    given = {
        "qrels": {f"u{u:02d}": {f"i{i}": 1 for i in row} for u, row in enumerate(wanted)},
        "run": {
            f"u{u:02d}": {f"i{i}": float(k - place) for place, i in enumerate(row)}
            for u, row in enumerate(shown)
        },
        "metrics": [f"{name}@{at}" for name in names for at in (5, 10)],
    }
    # Uncompiled, it starts in seconds; apart, it leaves numba's global settings alone.
    answer = subprocess.run(
        [sys.executable, "-c", _RANX],
        input=json.dumps(given),
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(answer.stdout.splitlines()[-1])
    ptr, target = ragged([row.tolist() for row in wanted])
    ours = accuracy(
        find_hits(slates(shown, k), ptr, target), count_targets(ptr, target), at=(5, 10)
    )
    assert len(theirs) == len(ours) == 12
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name.replace("hit_rate", "hit")], values, err_msg=name)
