"""Our metrics against RecTools', kept in a file made by RecTools in its own environment.

``benchmarks/peers/rectools/reference.py`` makes the file. Where definitions differ, RecTools'
number is converted exactly, and the test says how.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.rows import ragged, slates, unit

from tailrec.evaluation.accuracy import PerUser, accuracy
from tailrec.evaluation.diversity import intra_list_distance
from tailrec.evaluation.novelty import novelty, serendipity
from tailrec.evaluation.tail import exposure
from tailrec.hits import count_targets, find_hits
from tailrec.items import Float64Array, Int32Array, Int64Array

MADE = json.loads(Path(__file__).with_name("rectools_reference.json").read_text("utf-8"))
AT = MADE["at"]
WORLD: dict[str, Any] = MADE["world"]


def theirs(name: str) -> Float64Array:
    return np.array(MADE["per_user"][name], float)


@pytest.fixture
def ids() -> Int32Array:
    return slates(WORLD["slates"], max(AT))


@pytest.fixture
def counts() -> Int64Array:
    return np.bincount(ragged(WORLD["past"])[1], minlength=MADE["n_items"])


def shown_at(k: int) -> Int64Array:
    """Filled places of the slates, at most k."""
    return np.array([min(len(slate), k) for slate in WORLD["slates"]])


def check(ours: PerUser, names: list[str]) -> None:
    for name in (f"{metric}@{k}" for metric in names for k in AT):
        np.testing.assert_allclose(ours[name], theirs(name), rtol=1e-12, atol=1e-12, err_msg=name)


def test_accuracy(ids: Int32Array) -> None:
    targets = ragged(WORLD["targets"])
    ours = accuracy(find_hits(ids, *targets), count_targets(*targets), AT)
    check(ours, ["recall", "precision", "f1", "hit", "ndcg", "mrr"])


def test_novelty(ids: Int32Array, counts: Int64Array) -> None:
    """Here, too, an item nobody has counts as one person's. Nobody has an item twice."""
    n_users = sum(bool(past) for past in WORLD["past"])
    check(novelty(ids, counts, n_users, AT), ["novelty"])


def test_serendipity(ids: Int32Array, counts: Int64Array) -> None:
    """RecTools divides by the length of a slate, we by k, as precision does.

    It also ranks popularity densely, so that 12,000 items with 100 different counts have 100
    ranks; we rank items. Where all counts differ, as in this world, both are the same.
    """
    assert len(np.unique(counts[counts > 0])) == (counts > 0).sum()
    targets = ragged(WORLD["targets"])
    ours = serendipity(ids, find_hits(ids, *targets), count_targets(*targets), counts, AT)
    for k in AT:
        converted = theirs(f"serendipity@{k}") * shown_at(k) / k
        np.testing.assert_allclose(ours[f"serendipity@{k}"], converted, rtol=1e-12, atol=1e-12)


def test_intra_list_distance(ids: Int32Array) -> None:
    """RecTools gives 0 where no pair has a distance, we nothing. Our vectors are float32."""
    vectors = np.array(WORLD["vectors"])
    ours = intra_list_distance(ids, unit(vectors), AT)
    for k in AT:
        with_words = np.array([vectors[slate[:k]].any(1).sum() for slate in WORLD["slates"]])
        assert (theirs(f"ild@{k}")[with_words < 2] == 0).all()
        converted = np.where(with_words < 2, np.nan, theirs(f"ild@{k}"))
        np.testing.assert_allclose(ours[f"ild@{k}"], converted, atol=1e-6)


def test_exposure(ids: Int32Array, counts: Int64Array) -> None:
    """Our mean popularity is over places, theirs over slates of unequal lengths."""
    ours = exposure(ids, counts, AT)
    for k in AT:
        assert ours[f"coverage@{k}"] == pytest.approx(MADE["overall"][f"coverage@{k}"])
        pooled = np.average(theirs(f"popularity@{k}"), weights=shown_at(k))
        assert ours[f"popularity@{k}"] == pytest.approx(pooled)
